"""The forwarding decision about what came out of a LISP header, from its headers and the tables alone."""

from __future__ import annotations

from nodes.dataplane.decision import (
    Deliver,
    Drop,
    Inbound,
    Native,
    Reencapsulate,
    Tables,
    Unreachable,
    leads_away,
    not_unicast,
)
from nodes.dataplane.packet import Packet
from nodes.lisp.config import Role
from nodes.lisp.eid import IPAddress


def decide_inbound(packet: Packet, instance_id: int, tables: Tables) -> Inbound:
    """What to do with a packet that came out of a LISP header with this instance-ID (0: none)."""
    if not_unicast(packet):
        return Drop("not unicast")
    destination = packet.destination
    if Role.ETR in tables.roles:
        if _is_here(destination, instance_id, tables):
            return Deliver()
        if tables.dynamic.lookup_address(instance_id, destination):
            return _for_absent(packet, instance_id, tables)
    if Role.RTR in tables.roles and _is_in_transit(packet, instance_id, tables):
        return Reencapsulate()
    if Role.PETR not in tables.roles:
        return Drop("not an EID of this site")
    # RFC 6832 section 6: a PETR serves LISP sites, and only towards those that are none: what goes back into the
    # aggregates would be encapsulated again, without end.
    if not tables.aggregates.lookup_address(instance_id, packet.source):
        return Drop("source outside the aggregates")
    if tables.aggregates.lookup_address(instance_id, destination):
        return Drop("destination inside the aggregates", Unreachable.HOST)
    # S01: hosts do not reach the RLOC space, by no way round.
    if tables.rloc_space.lookup_address(0, destination) or destination in tables.own:
        return Drop("destination is an RLOC", Unreachable.PROHIBITED)
    return Native()


def _is_here(address: IPAddress, instance_id: int, tables: Tables) -> bool:
    """Whether an address is an EID of this site, and not that of a host that is known to be elsewhere now."""
    found = tables.local.lookup_address(instance_id, address)
    if found is None or _is_found(address, instance_id, tables):
        return found is not None
    # X10: a home site, whose hosts need not be found one by one; what was learned of one that went away counts.
    return not leads_away(address, instance_id, tables)


def _is_found(address: IPAddress, instance_id: int, tables: Tables) -> bool:
    """Whether an address is an EID of this site; of a dynamic prefix, one whose host was found here."""
    found = tables.local.lookup_address(instance_id, address)
    return found is not None and (
        found[0].mask_len == address.max_prefixlen or not tables.dynamic.lookup_address(instance_id, address)
    )


def _for_absent(packet: Packet, instance_id: int, tables: Tables) -> Inbound:
    """X06: who sends it goes by an old mapping. It goes on by a newer one; where there is none, that is asked for."""
    if not tables.roles & {Role.ITR, Role.RTR}:
        return Drop("not an EID of this site")
    if _is_found(packet.source, instance_id, tables):
        return Drop("source is a host of this site")  # forged: it does not send through the core
    return Reencapsulate(absent=True)


def _is_in_transit(packet: Packet, instance_id: int, tables: Tables) -> bool:
    """Whether a decapsulated packet is on its way to an EID that is none of this site.

    RFC 6832 section 5: in instance 0, who sends it may have no EID: a PITR tunnels for him. Elsewhere the source is an
    EID too, or the RLOC of another router on the way, which sends an ICMP error.
    """
    inside, source = tables.aggregates, packet.source
    return bool(
        inside.lookup_address(instance_id, packet.destination)
        and not tables.local.lookup_address(instance_id, packet.destination)
        and (
            not instance_id or inside.lookup_address(instance_id, source) or tables.rloc_space.lookup_address(0, source)
        )
    )
