"""Which addresses may stand in a locator-set, and which locators a node can send to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import TypeGuard

from nodes.lisp.config import UNUSED_PRIORITY, Locator
from nodes.lisp.eid import IPAddress
from nodes.lisp.wire import Address, LocatorRecord, sorted_locators

_BROADCAST = IPv4Address("255.255.255.255")


def is_unicast(address: Address) -> TypeGuard[IPAddress]:
    """Whether this is an IP address that a single machine can have: what an RLOC has to be (RFC 9301 section 5.4)."""
    return isinstance(address, IPv4Address | IPv6Address) and not (
        address.is_multicast or address.is_unspecified or address.is_loopback or address == _BROADCAST
    )


def forbidden(locators: Iterable[LocatorRecord]) -> list[LocatorRecord]:
    """The locators that no mapping may have: IP addresses that are not unicast (RFC 9301 section 5.4).

    Locators of other kinds (LCAF) are legal; a node that cannot use them leaves them aside.
    """
    return [
        one for one in locators if isinstance(one.address, IPv4Address | IPv6Address) and not is_unicast(one.address)
    ]


def usable(locators: Iterable[LocatorRecord], own: Collection[IPAddress]) -> tuple[Locator, ...]:
    """The locators that a node with the RLOCs ``own`` can encapsulate to, sorted by address.

    Left aside: unreachable ones (R-bit 0), priority 255 (RFC 9301 section 5.4), address families the node has no
    RLOC of, and the node's own RLOCs.
    """
    families = {rloc.version for rloc in own}
    return tuple(
        Locator(one.address, one.priority, one.weight)
        for one in sorted_locators(locators)
        if isinstance(one.address, IPv4Address | IPv6Address)
        and one.reachable
        and one.priority != UNUSED_PRIORITY
        and one.address.version in families
        and one.address not in own
    )
