"""Which addresses may stand in a locator-set, and which locators a node can send to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TypeGuard

from nodes.lisp.config import UNUSED_PRIORITY, Locator
from nodes.lisp.eid import IPAddress
from nodes.lisp.wire import Address, ExplicitLocatorPath, LocatorRecord, ReencapHop

_BROADCAST = 0xFFFFFFFF


def is_unicast(address: Address) -> TypeGuard[IPAddress]:
    """Whether this is an IP address that a single machine can have: what an RLOC has to be (RFC 9301 section 5.4)."""
    # By their numbers: not unspecified (0), not of the host itself (127.0.0.0/8, ::1), no group, no broadcast.
    if isinstance(address, IPv4Address):
        number = int(address)
        return number != 0 and number >> 24 != 127 and number >> 28 != 0xE and number != _BROADCAST
    if isinstance(address, IPv6Address):
        number = int(address)
        return number > 1 and number >> 120 != 0xFF
    return False


def forbidden(locators: Iterable[LocatorRecord]) -> list[LocatorRecord]:
    """The locators that no mapping may have: IP addresses that are not unicast (RFC 9301 section 5.4).

    Locators of other kinds (LCAF) are legal; a node that cannot use them leaves them aside.
    """
    return [
        one for one in locators if isinstance(one.address, IPv4Address | IPv6Address) and not is_unicast(one.address)
    ]


def usable(locators: Iterable[LocatorRecord], own: Collection[IPAddress]) -> tuple[Locator, ...]:
    """The RLOCs that a node with the RLOCs ``own`` can encapsulate to, sorted by address, each once.

    Left aside: unreachable ones (R-bit 0), priority 255 (RFC 9301 section 5.4), address families the node has no
    RLOC of, and the node's own RLOCs. Of an Explicit Locator Path it is the next hop that counts; where several lead to
    one next hop, that has the best of their priorities and the greatest weight of those.
    """
    found: dict[IPAddress, Locator] = {}
    for one in locators:
        hop = next_hop(one.address, own)
        if hop is None or not one.reachable or one.priority == UNUSED_PRIORITY:
            continue
        other = found.get(hop)
        if other is None or (one.priority, -one.weight) < (other.priority, -other.weight):
            found[hop] = Locator(hop, one.priority, one.weight)
    return tuple(found[hop] for hop in sorted(found, key=lambda address: (address.version, int(address))))


def next_hop(locator: Address, own: Collection[IPAddress]) -> IPAddress | None:
    """Whom a node with the RLOCs ``own`` sends packets for a locator to; None if it can send them to nobody.

    Args:
        locator: A locator: an RLOC, or an Explicit Locator Path.
        own: The node's own RLOCs.
    """
    families = {rloc.version for rloc in own}
    # RFC 8060 section 4.6: who stands in the path sends to the hop behind its own; anybody else to the first. The last
    # hop is the ETR: behind it there is nobody.
    path = _path(locator)
    places = [number for number, hop in enumerate(path, 1) if hop.address in own]
    for hop in path[places[-1] if places else 0 :]:
        # L-bit: no RLOC, but something to be looked up, which is not done here.
        if is_unicast(hop.address) and hop.address.version in families and not hop.lookup:
            return hop.address
        # S-bit: this hop is required; one without it may be left out.
        if hop.strict:
            return None
    return None


def rlocs_of(locator: Address) -> tuple[Address, ...]:
    """The RLOCs of a locator in their order: one, or the hops of an Explicit Locator Path."""
    return tuple(hop.address for hop in locator.hops) if isinstance(locator, ExplicitLocatorPath) else (locator,)


def last_hop(locator: Address) -> Address | None:
    """The RLOC where a locator ends: the ETR's own, whatever comes before it; None for an empty path."""
    return (rlocs_of(locator) or (None,))[-1]


def explicit_path(rlocs: Sequence[IPAddress]) -> Address:
    """The locator that leads from one RLOC to the next; a single one needs no Explicit Locator Path.

    No hop may be left out, each may be probed (RFC 8060 section 4.6).
    """
    if len(rlocs) == 1:
        return rlocs[0]
    return ExplicitLocatorPath(tuple(ReencapHop(rloc, probe=True, strict=True) for rloc in rlocs))


def _path(locator: Address) -> tuple[ReencapHop, ...]:
    return locator.hops if isinstance(locator, ExplicitLocatorPath) else (ReencapHop(locator, strict=True),)
