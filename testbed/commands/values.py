"""What people type, read: one line for whatever it cannot be."""

from __future__ import annotations

import errno
from pathlib import Path

from testbed.lab import InputError, LabError
from testbed.words import echoed

_MOST_DIGITS = 9


def _whole(text: str) -> int | None:
    """A whole number; None for what is none, or has more digits than any number here."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def seconds(text: str) -> float:
    """Read a positive number of seconds.

    Raises:
        InputError: It is not one.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86400:
        raise InputError(f"{echoed(text)} is not a time, allowed are seconds above 0, at most a day")
    return value


def instance_id(text: str) -> int:
    """Read a 24-bit instance-ID.

    Raises:
        InputError: It is not one.
    """
    value = _whole(text)
    if value is None or value >= 1 << 24:
        raise InputError(f"{echoed(text)} is not an instance-ID, allowed are 0 to {(1 << 24) - 1}")
    return value


def key_id(text: str) -> int:
    """Read a Key ID, 0 to 255.

    Raises:
        InputError: It is not one.
    """
    value = _whole(text)
    if value is None or value > 255:
        raise InputError(f"key ID {echoed(text)} is not allowed, allowed are 0 to 255")
    return value


def octet(text: str, name: str) -> int | None:
    """Read a priority or weight, 0 to 255; "" is None.

    Raises:
        InputError: It is not one.
    """
    if not text:
        return None
    value = _whole(text)
    if value is None or value > 255:
        raise InputError(f"{name} {echoed(text)} is not allowed, allowed are 0 to 255")
    return value


def megabits(text: str) -> float | None:
    """Read a rate in Mbit/s; "" is None.

    Raises:
        InputError: It is not one.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 1e6:
        raise InputError(f"{echoed(text)} is not a rate, allowed are Mbit/s from 0.001 to 1000000")
    return value


def number(text: str, what: str, most: int) -> int:
    """Read a whole number of ``what``, from 1 to ``most``.

    Raises:
        InputError: It is not one.
    """
    value = _whole(text)
    if value is None or not 1 <= value <= most:
        raise InputError(f"{echoed(text)} is not a number of {what}, allowed are 1 to {most}")
    return value


def by_udp(tcp: bool, udp: bool) -> bool:
    """Whether UDP is wanted; TCP is when nothing is said.

    Raises:
        InputError: Both are.
    """
    if tcp and udp:
        raise InputError("--tcp and --udp exclude each other; run it twice to compare them")
    return udp


def check_writable(option: str, file: Path) -> None:
    """See that a file can be written, before what goes there takes minutes; one that is not there is not made yet.

    Raises:
        InputError: It cannot.
    """
    if str(file) == "-":
        raise InputError(f"{option} -: say a file; what is for people goes to standard output")
    new = not file.exists()
    try:
        file.open("a").close()
        if new:
            file.unlink()
    except OSError as error:
        raise InputError(f"{option} {echoed(file)}: {error.strerror}, allowed is a file that can be written") from None


def unwritten(path: Path, error: OSError) -> LabError:
    """Why a file that somebody named cannot be written: it is no place for one, or the disk is full."""
    kind = LabError if error.errno == errno.ENOSPC else InputError
    return kind(f"{echoed(path)} cannot be written: {error.strerror}")
