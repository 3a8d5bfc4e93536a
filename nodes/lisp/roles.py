"""What a LISP node may be told to do, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a LISP node does (RFC 9300 section 3, RFC 9301 section 3, RFC 6832). Any combination runs in one process."""

    ITR = "itr"
    ETR = "etr"
    PITR = "pitr"
    PETR = "petr"
    RTR = "rtr"
    MAP_SERVER = "map-server"
    MAP_RESOLVER = "map-resolver"


class DataPlane(StrEnum):
    """What forwards the packets of a LISP node."""

    AUTO = "auto"  # eBPF where it runs, else Python, and a word about it
    EBPF = "ebpf"  # tc programs in the kernel; what they leave is Python's. Where they do not run, nothing starts
    PYTHON = "python"  # the daemon alone


ROLE_SETS: Mapping[str, tuple[Role, ...]] = {
    **{role.value: (role,) for role in Role},
    "xtr": (Role.ITR, Role.ETR),
    "pxtr": (Role.PITR, Role.PETR),
    "msmr": (Role.MAP_SERVER, Role.MAP_RESOLVER),
}
"""The names a topology may use for one or several roles."""
