"""Static routes: shortest paths inside the core, a default route everywhere else.

What each kind of router knows is the point of LISP (requirements S01, S02): core routers know the core's links,
non-LISP subnets, and of all EIDs only the aggregates, towards the nearest PITR (RFC 6832 section 5, requirement M15).
LISP routers know nothing but a default route to the core: with a more specific one, packets would leave without a LISP
header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from nodes.lisp.config import Role
from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.address import Plan
from testbed.language.segments import default_roles, is_lisp, roles_of, segments
from testbed.language.tables import TopologyRow
from testbed.model import Route
from testbed.resolve.wiring import Wiring

DEFAULT: Mapping[int, IPNetwork] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True, slots=True)
class Destination:
    """A prefix that the core reaches.

    Attributes:
        prefix: The prefix.
        exits: The core routers that have it next to them; the address behind it, or None if it is a link of their own.
    """

    prefix: IPNetwork
    exits: tuple[tuple[str, IPAddress | None], ...]


def routes(topology: TopologyRow, plan: Plan, wiring: Wiring, learning: frozenset[str]) -> dict[str, tuple[Route, ...]]:
    """The static routes of every node that has any.

    Args:
        topology: What the file says.
        plan: Every address.
        wiring: Every interface.
        learning: The nodes that learn all their routes by OSPF and BGP.
    """
    found: dict[str, tuple[Route, ...]] = {}
    destinations = _destinations(topology, plan)
    for router in topology.core.routers:
        if router.name not in learning:
            found[router.name] = _core_routes(router.name, topology, wiring, destinations)
    for node, site, _ in default_roles(topology):
        # A mobile node has that of the network where it is, from there.
        if node.name not in learning and not (site and site.mobile):
            beyond = [plan.uplinks[node.name, link.name][1] for link in node.links]
            found[node.name] = _defaults([one.ip for addresses in beyond for one in addresses])
    for host, gateways in plan.gateways.items():
        found[host] = _defaults(gateways)
    return found


def _defaults(gateways: Sequence[IPAddress]) -> tuple[Route, ...]:
    return tuple(Route(DEFAULT[gateway.version], gateway) for gateway in gateways)


def _destinations(topology: TopologyRow, plan: Plan) -> list[Destination]:
    found = [
        Destination(address.network, tuple((end.value, None) for end in link.between))
        for link, (lower, _) in zip(topology.core.links, plan.core_links, strict=True)
        for address in lower
    ]
    proxies: list[tuple[str, IPAddress | None]] = []
    for node, site, default in default_roles(topology):
        exits: list[tuple[str, IPAddress | None]] = []
        for uplink in node.links:
            for own in plan.uplinks[node.name, uplink.name][0]:
                found.append(Destination(own.network, ((uplink.router, None),)))
                exits.append((uplink.router, own.ip))
        if Role.PITR in roles_of(node, default):
            proxies += exits
        if site is not None and not is_lisp(site) and node is site.routers[0]:
            subnets = [one for segment in segments(site) for one in plan.segments[segment.key].subnets]
            found += _towards(subnets, exits)
    return [*found, *_towards(plan.eid_space, proxies)]


def _towards(prefixes: Sequence[IPNetwork], exits: Sequence[tuple[str, IPAddress | None]]) -> list[Destination]:
    """How prefixes are reached through some nodes; not at all where the core has no link of their IP version."""
    found = []
    for prefix in prefixes:
        ways = tuple((router, via) for router, via in exits if via is not None and via.version == prefix.version)
        if ways:
            found.append(Destination(prefix, ways))
    return found


def _core_routes(
    router: str, topology: TopologyRow, wiring: Wiring, destinations: list[Destination]
) -> tuple[Route, ...]:
    """The routes of one core router, by the fewest hops; among equals the file's order decides."""
    names = {one.name for one in topology.core.routers}
    distance: dict[str, int] = {router: 0}
    first_hop: dict[str, dict[int, IPAddress]] = {router: {}}
    waiting = [router]
    for here in waiting:
        for interface in wiring.interfaces.get(here, ()):
            peer = interface.peer
            if peer in names and peer not in distance:
                distance[peer] = distance[here] + 1
                there = next(one for one in wiring.interfaces[peer] if one.name == interface.peer_interface)
                first_hop[peer] = first_hop[here] or {one.version: one.ip for one in there.addresses}
                waiting.append(peer)
    found: list[Route] = []
    for destination in destinations:
        nearest, behind = min(destination.exits, key=lambda one: distance[one[0]])
        via = behind if nearest == router else first_hop[nearest][destination.prefix.version]
        if via is not None:
            found.append(Route(destination.prefix, via))
    return tuple(found)
