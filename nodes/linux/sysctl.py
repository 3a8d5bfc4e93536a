"""Kernel settings of the caller's network namespace."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/proc/sys")


def write_sysctl(name: str, value: int) -> None:
    """Set one, by its path below /proc/sys ("net/ipv4/ip_forward"): interface names may hold dots.

    Raises:
        OSError: It is not there, or the caller may not.
    """
    # In one write, without a line's end: some of Linux 6.1's take one byte and refuse what is behind it.
    (_ROOT / name).write_text(str(value))


def read_sysctl(name: str) -> int:
    """Read one, as :func:`write_sysctl` names it."""
    return int((_ROOT / name).read_text())


def has_sysctl(name: str) -> bool:
    """Whether this kernel has it: those of IPv6 can be missing."""
    return (_ROOT / name).exists()
