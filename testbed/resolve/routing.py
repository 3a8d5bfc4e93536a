"""What BIRD does where the topology says ``routing: ospf-bgp``.

The core is one autonomous system: OSPF carries the RLOC space inside it, iBGP between loopbacks the rest. Its eBGP
neighbours are PITRs, which announce the EID aggregates (RFC 6832 section 5), and the edges of non-LISP sites, which
announce their subnets. Other LISP nodes know a default route only (requirement S02) and appear in OSPF as stubs.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_network
from itertools import count

from nodes.lisp.config import Role
from nodes.lisp.eid import IPNetwork
from testbed.address import Plan
from testbed.language.checks.core import CORE_ASN
from testbed.language.network_tables import NodeRow
from testbed.language.segments import default_roles, is_lisp, roles_of, segments
from testbed.language.tables import SiteRow, TopologyRow
from testbed.model import BgpPeer, RoutingDaemon
from testbed.resolve.wiring import Wiring

_FIRST_ASN = 65001


def routing_daemons(topology: TopologyRow, plan: Plan, wiring: Wiring) -> dict[str, RoutingDaemon]:
    """The routing daemon of every node that has one, by name."""
    outside = [
        (node, site, announced)
        for node, site, default in default_roles(topology)
        if (announced := _announced(node, site, default, plan))
    ]
    core_asn = topology.core.asn.value if topology.core.asn else CORE_ASN
    numbers = _numbers(outside, core_asn)
    core = [router.name for router in topology.core.routers]
    sessions: dict[str, list[BgpPeer]] = {
        name: [BgpPeer(address, core_asn) for other in core if other != name for address in plan.loopbacks[other]]
        for name in core
    }
    found: dict[str, RoutingDaemon] = {}
    for number, (node, site, announced) in enumerate(outside, 1):
        mine: list[BgpPeer] = []
        for link in node.links:
            own, peer = plan.uplinks[node.name, link.name]
            mine += [BgpPeer(one.ip, core_asn) for one in peer]
            sessions[link.router] += [BgpPeer(one.ip, numbers[node.name]) for one in own]
        found[node.name] = RoutingDaemon(
            router_id=_router_id(node.name, wiring, len(core) + number),
            asn=numbers[node.name],
            bgp=tuple(mine),
            announced=announced,
            # A PITR takes nothing from BGP: a route better than its default one would switch LISP off.
            learned=() if site is None or is_lisp(site) else _announced_by_others(node, outside),
        )
    everything = [prefix for _, _, announced in outside for prefix in announced]
    for number, name in enumerate(core, 1):
        interfaces = wiring.interfaces.get(name, [])
        found[name] = RoutingDaemon(
            router_id=next((one for one in plan.loopbacks[name] if isinstance(one, IPv4Address)), IPv4Address(number)),
            asn=core_asn,
            ospf=tuple(one.name for one in interfaces if one.peer in core),
            stubs=tuple(one.name for one in interfaces if one.peer not in core),
            bgp=tuple(sessions[name]),
            loopbacks=plan.loopbacks[name],
        )
    inside = [
        address.network
        for name in core
        for interface in wiring.interfaces.get(name, [])
        for address in interface.addresses
    ]
    inside += [ip_network(one) for name in core for one in plan.loopbacks[name]]
    for name in core:
        connected = {address.network for one in wiring.interfaces.get(name, []) for address in one.addresses}
        connected |= {ip_network(one) for one in plan.loopbacks[name]}
        learned = dict.fromkeys(one for one in (*inside, *everything) if one not in connected)
        found[name] = replace(found[name], learned=tuple(learned))
    return found


def _announced(node: NodeRow, site: SiteRow | None, default: str, plan: Plan) -> tuple[IPNetwork, ...]:
    """What a node outside the core announces to it, of the IP versions that the core has."""
    if Role.PITR in roles_of(node, default):
        prefixes = plan.eid_space
    elif site is not None and not is_lisp(site):
        prefixes = tuple(one for segment in segments(site) for one in plan.segments[segment.key].subnets)
    else:
        return ()
    return tuple(one for one in prefixes if one.version in plan.versions)


def _announced_by_others(
    node: NodeRow, outside: list[tuple[NodeRow, SiteRow | None, tuple[IPNetwork, ...]]]
) -> tuple[IPNetwork, ...]:
    mine = next(announced for other, _, announced in outside if other is node)
    return tuple(dict.fromkeys(one for _, _, announced in outside for one in announced if one not in mine))


def _numbers(outside: list[tuple[NodeRow, SiteRow | None, tuple[IPNetwork, ...]]], core_asn: int) -> dict[str, int]:
    """The AS numbers outside the core: as given, else one for each site and each node that stands in none."""
    given = {node.asn.value for node, _, _ in outside if node.asn} | {core_asn}
    free = (number for number in count(_FIRST_ASN) if number not in given)
    systems: dict[str, int] = {}
    found: dict[str, int] = {}
    for node, site, _ in outside:
        system = f"site {site.name}" if site else node.name
        if node.asn is None and system not in systems:
            systems[system] = next(free)
        found[node.name] = node.asn.value if node.asn else systems[system]
    return found


def _router_id(name: str, wiring: Wiring, number: int) -> IPv4Address:
    """A node's first IPv4 address, or its number where there is none."""
    addresses = (one.ip for interface in wiring.interfaces.get(name, []) for one in interface.addresses)
    return next((one for one in addresses if isinstance(one, IPv4Address)), IPv4Address(number))
