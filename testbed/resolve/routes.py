"""Static routes: shortest paths inside the core, a default route everywhere else.

What each kind of router knows is the point of LISP (requirements S01, S02): core routers know the core's links,
non-LISP subnets, and of all EIDs only the aggregates, towards the nearest PITR (RFC 6832 section 5, requirement M15).
LISP routers know nothing but a default route to the core: with a more specific one, packets would leave without a LISP
header.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from nodes.lisp.config import Role
from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.address import Plan
from testbed.language.checks import default_roles, is_lisp, roles_of
from testbed.language.tables import TopologyRow
from testbed.model import Route
from testbed.resolve.wiring import Wiring

DEFAULT = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class Destination:
    """A prefix that the core reaches.

    Attributes:
        prefix: The prefix.
        exits: The core routers that have it next to them; the address behind it, or None if it is a link of their own.
    """

    prefix: IPNetwork
    exits: tuple[tuple[str, IPAddress | None], ...]


def routes(topology: TopologyRow, plan: Plan, wiring: Wiring) -> dict[str, tuple[Route, ...]]:
    """The static routes of every node that has any."""
    found: dict[str, tuple[Route, ...]] = {}
    destinations = _destinations(topology, plan)
    for router in topology.core.routers:
        found[router.name] = _core_routes(router.name, topology, wiring, destinations)
    for node, _, _ in default_roles(topology):
        for uplink in node.links[:1]:
            # Also with several links: the first carries the default route.
            found[node.name] = (Route(DEFAULT, plan.uplinks[node.name, uplink.name][1].ip),)
    for host, gateway in plan.gateways.items():
        found[host] = (Route(DEFAULT, gateway),)
    return found


def _destinations(topology: TopologyRow, plan: Plan) -> list[Destination]:
    found = [
        Destination(lower.network, tuple((end.value, None) for end in link.between))
        for link, (lower, _) in zip(topology.core.links, plan.core_links, strict=True)
    ]
    proxies: list[tuple[str, IPAddress | None]] = []
    for node, site, default in default_roles(topology):
        exits: list[tuple[str, IPAddress | None]] = []
        for uplink in node.links:
            own, _ = plan.uplinks[node.name, uplink.name]
            found.append(Destination(own.network, ((uplink.name, None),)))
            exits.append((uplink.name, own.ip))
        if Role.PITR in roles_of(node, default):
            proxies += exits
        if site is not None and not is_lisp(site) and node is site.routers[0]:
            found += [Destination(subnet, tuple(exits)) for subnet in plan.subnets[site.name]]
    if proxies:
        found += [Destination(aggregate, tuple(proxies)) for aggregate in plan.eid_space]
    return found


def _core_routes(
    router: str, topology: TopologyRow, wiring: Wiring, destinations: list[Destination]
) -> tuple[Route, ...]:
    """The routes of one core router, by the fewest hops; among equals the file's order decides."""
    names = {one.name for one in topology.core.routers}
    distance: dict[str, int] = {router: 0}
    first_hop: dict[str, IPAddress | None] = {router: None}
    waiting = [router]
    for here in waiting:
        for interface in wiring.interfaces.get(here, ()):
            peer = interface.peer
            if peer in names and peer not in distance:
                distance[peer] = distance[here] + 1
                there = next(one for one in wiring.interfaces[peer] if one.name == interface.peer_interface)
                first_hop[peer] = first_hop[here] or there.addresses[0].ip
                waiting.append(peer)
    found: list[Route] = []
    for destination in destinations:
        nearest, behind = min(destination.exits, key=lambda one: distance[one[0]])
        via = behind if nearest == router else first_hop[nearest]
        if via is not None:
            found.append(Route(destination.prefix, via))
    return tuple(found)
