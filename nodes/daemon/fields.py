"""The fields of a request on the control socket, read with their kinds and ranges checked.

Whoever writes there is root, and a slip of the pen must not end a router. Each error is one line and names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from nodes.lisp.config import Locator
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.wire.addresses import MAX_INSTANCE_ID

LONGEST_WAIT = 3600.0
"""The longest time in seconds that a request may ask to wait."""


def text(request: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text field.

    Raises:
        ValueError: It is something else, or missing without a default.
    """
    value = request.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_shown(value)}, allowed is text")
    return value


def whole_number(request: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """A whole number from 0 to ``most``.

    Raises:
        ValueError: It is something else.
    """
    value = request.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{name} is {_shown(value)}, allowed are whole numbers from 0 to {most}")
    return value


def optional_number(request: Mapping[str, Any], name: str, most: int) -> int | None:
    """A whole number from 0 to ``most``, or None where the field is missing or null.

    Raises:
        ValueError: It is something else.
    """
    return None if request.get(name) is None else whole_number(request, name, 0, most)


def address(request: Mapping[str, Any], name: str) -> IPAddress:
    """An IPv4 or IPv6 address.

    Raises:
        ValueError: It is something else.
    """
    written = text(request, name)
    try:
        if "%" not in written:
            return ip_address(written)
    except ValueError:
        pass
    raise ValueError(f"{name} is {_shown(written)}, allowed is an IPv4 or IPv6 address")


def seconds(request: Mapping[str, Any], name: str, default: float) -> float:
    """A time in seconds, above 0 and at most :data:`LONGEST_WAIT`.

    Raises:
        ValueError: It is something else.
    """
    value = request.get(name, default)
    # Not a number (NaN) is refused as well: every comparison with it fails.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LONGEST_WAIT:
        raise ValueError(f"{name} is {_shown(value)}, allowed are seconds above 0, {LONGEST_WAIT:g} at most")
    return float(value)


def eid_prefix(request: Mapping[str, Any]) -> EidPrefix:
    """The field ``eid``, an address or a prefix, inside the field ``instance_id`` (0 if that is missing).

    Raises:
        ValueError: One of them is something else.
    """
    instance_id = whole_number(request, "instance_id", 0, MAX_INSTANCE_ID)
    written = text(request, "eid")
    try:
        # A zone (fe80::1%eth0) names an interface of one machine; an EID is the same everywhere.
        if "%" not in written:
            return EidPrefix.of(written, instance_id)
    except ValueError:
        pass
    raise ValueError(f"eid is {_shown(written)}, allowed is an IPv4 or IPv6 address or prefix without host bits")


def mapped_prefix(row: object) -> EidPrefix:
    """The EID-prefix of one mapping: an object with ``eid`` and ``instance_id``, whatever else it has.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(row, dict):
        raise ValueError(f"a mapping is {_shown(row)}, allowed is an object with eid and locators")
    return eid_prefix(row)


def mapping(row: object) -> tuple[EidPrefix, tuple[Locator, ...]]:
    """One mapping: an object with ``eid``, ``instance_id`` and ``locators`` (``rloc``, ``priority``, ``weight``).

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(row, dict):
        raise ValueError(f"a mapping is {_shown(row)}, allowed is an object with eid and locators")
    listed = row.get("locators")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ValueError(f"locators is {_shown(listed)}, allowed is a list of objects with rloc, priority and weight")
    locators = tuple(
        Locator(address(one, "rloc"), whole_number(one, "priority", 1, 255), whole_number(one, "weight", 100, 255))
        for one in listed
    )
    return eid_prefix(row), locators


def _shown(value: object) -> str:
    """A value in an error: on one line, cut where it is long."""
    words = ascii(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
