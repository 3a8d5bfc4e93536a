"""What a drawing of a topology says: boxes with their lines, areas around them, wires between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from math import ceil, sqrt
from pathlib import PurePath

from nodes.lisp.config import Locator, Role
from nodes.lisp.eid import EidPrefix, IPAddress
from testbed.graph.text import Line, height_of, width_of
from testbed.model import Interface, Link, Node, NodeKind, Routing, Side, Site, Topology

_ROLES = {
    Role.ITR: "ITR",
    Role.ETR: "ETR",
    Role.PITR: "PITR",
    Role.PETR: "PETR",
    Role.RTR: "RTR",
    Role.MAP_SERVER: "Map-Server",
    Role.MAP_RESOLVER: "Map-Resolver",
}


_CARD_GAP = 8  # pixels


class Look(StrEnum):
    """What a box or an area is drawn like; also its CSS class."""

    CORE = "core"
    SITE = "site"  # a LISP site, and its xTRs
    PLAIN = "plain"  # a non-LISP site, and its routers
    MAPPING = "mapping"
    PROXY = "proxy"
    FABRIC = "fabric"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Box:
    """A node: its lines, and what a pointer over it is told. Or many small sites: a card each, side by side.

    One that is marked is what the drawing is about.
    """

    name: str
    look: Look
    lines: tuple[Line, ...]
    hint: str
    tenant: int = 0
    cards: tuple[Box, ...] = ()
    marked: bool = False

    @property
    def width(self) -> int:
        """In pixels, with its margins."""
        if self.cards:
            return self.card_size[0] * self._columns + _CARD_GAP * (self._columns - 1)
        return max(48, ceil(width_of(self.lines)) + 20)

    @property
    def height(self) -> int:
        """In pixels, with its margins."""
        if self.cards:
            rows = ceil(len(self.cards) / self._columns)
            return self.card_size[1] * rows + _CARD_GAP * (rows - 1)
        return ceil(height_of(self.lines)) + 10

    @property
    def card_size(self) -> tuple[int, int]:
        """The width and the height of each card: those of the largest."""
        return max(card.width for card in self.cards), max(card.height for card in self.cards)

    @property
    def _columns(self) -> int:
        """How many cards stand side by side: few, for a site is wider than high."""
        return max(1, round(sqrt(len(self.cards)) * 0.6))

    def placed_cards(self) -> list[tuple[Box, int, int]]:
        """Each card and where it stands in this box, row by row."""
        if not self.cards:
            return []
        across, down = (size + _CARD_GAP for size in self.card_size)
        return [
            (card, number % self._columns * across, number // self._columns * down)
            for number, card in enumerate(self.cards)
        ]


@dataclass(frozen=True, slots=True)
class Area:
    """A frame around nodes: a site, or the core."""

    name: str
    look: Look
    lines: tuple[Line, ...]
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wire:
    """A link: its ends, its label, what a pointer over it is told, and whether it is one between core routers."""

    a: str
    b: str
    label: tuple[Line, ...]
    hint: str
    core: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing before anything has a place."""

    title: tuple[Line, ...]
    boxes: Mapping[str, Box]
    areas: tuple[Area, ...]
    wires: tuple[Wire, ...]


def figure_of(topology: Topology) -> Figure:
    """Say a topology in boxes, areas and wires."""
    boxes = {node.name: _box(topology, node) for node in topology.nodes.values()}
    routers = tuple(node.name for node in topology.core)
    areas = [Area("core", Look.CORE, _core_lines(topology), routers)] if routers else []
    for site in topology.sites.values():
        members = tuple(node.name for node in topology.nodes.values() if node.site == site.name)
        look = Look.SITE if site.is_lisp else Look.PLAIN
        areas.append(Area(f"site {site.name}", look, _site_lines(site), members))
    title = (Line(topology.title, 17, bold=True), Line(_about(topology), 11))
    return Figure(title, boxes, tuple(areas), tuple(_wire(topology, link) for link in topology.links))


def _about(topology: Topology) -> str:
    """The line below the title: the spaces and how routes are learned."""
    rlocs = " and ".join(map(str, topology.rloc_space))
    networks = dict.fromkeys(str(prefix.network) for prefix in topology.eid_aggregates)
    routing = "OSPF and BGP" if topology.routing is Routing.OSPF_BGP else "static routes"
    return f"{topology.name} · RLOC space {rlocs} · EIDs {' and '.join(networks)} · {routing}"


def _box(topology: Topology, node: Node) -> Box:
    lines = [Line(node.name, 12.5, bold=True)]
    tenant = 0
    match node.kind:
        case NodeKind.HOST:
            lines += [Line(str(address.ip)) for one in node.interfaces for address in one.addresses]
            tenant = _instance_of(topology, node)
            if tenant:
                lines.append(Line(f"instance {tenant}", 9.5))
            look = Look.HOST
        case NodeKind.FABRIC:
            look = Look.FABRIC
        case NodeKind.ROUTER:
            look = Look.CORE if node.site == "core" else Look.PLAIN
            lines += _router_lines(topology, node)
        case NodeKind.LISP_ROUTER:
            look = _look(node)
            lines += _lisp_lines(node)
        case NodeKind.MOBILE_NODE:
            look = Look.SITE
            lines += _mobile_lines(node)
    return Box(node.name, look, tuple(lines), _interfaces(node), tenant)


def _instance_of(topology: Topology, host: Node) -> int:
    """The instance-ID of a host: that of the router's interface that it, or the fabric before it, hangs on."""
    seen, waiting = {host.name}, [host]
    while waiting:
        node = waiting.pop()
        for one in node.interfaces:
            peer = topology[one.peer]
            if peer.kind is NodeKind.FABRIC and peer.name not in seen:
                seen.add(peer.name)
                waiting.append(peer)
            elif peer.lisp is not None:
                [facing] = [other for other in peer.interfaces if other.name == one.peer_interface]
                return facing.instance_id
    return 0


def _router_lines(topology: Topology, node: Node) -> Iterable[Line]:
    """The AS, the loopback addresses and the gateway addresses of a plain router."""
    if node.routing is not None:
        yield Line(f"AS {node.routing.asn}", 9.5)
        yield from (Line(str(address), 9.5) for address in node.routing.loopbacks)
    if node.site != "core":
        yield from _gateways((one for one in node.interfaces if topology[one.peer].site == node.site), node)


def _gateways(interfaces: Iterable[Interface], node: Node) -> Iterable[Line]:
    """The addresses that hosts send to: a gateway's, or else the router's own; tenants may have the same."""
    gateways = {one.interface: one.addresses for one in node.lisp.gateways} if node.lisp else {}
    found = chain.from_iterable(gateways.get(one.name) or one.addresses for one in interfaces)
    return (Line(f"gateway {address}", 9.5) for address in dict.fromkeys(str(one.ip) for one in found))


def _look(node: Node) -> Look:
    """A site's routers are of the site's colour, whatever else they do."""
    if node.lisp is None or node.site != "core":
        return Look.SITE
    return Look.PROXY if node.lisp.roles & {Role.PITR, Role.PETR, Role.RTR} else Look.MAPPING


def _lisp_lines(node: Node) -> Iterable[Line]:
    """The roles of a LISP node, its RLOCs as others see them, what it announces, its gateway addresses."""
    assert node.lisp is not None
    roles = [name for role, name in _ROLES.items() if role in node.lisp.roles]
    for start in range(0, len(roles), 4):
        yield Line(" · ".join(roles[start : start + 4]), 10)
    if node.implementation:
        yield Line(PurePath(node.implementation).stem, 10)
    locators = _locators(node)
    at = {address.ip: one.peer for one in node.interfaces for address in one.addresses}
    several = len({address.version for address in node.lisp.rlocs}) < len(node.lisp.rlocs)
    for address in node.lisp.rlocs:
        yield Line(f"RLOC {address}" + (f" at {at[address]}" if several and address in at else ""), bold=True)
        if several and (locator := locators.get(address)):
            yield Line(f"priority {locator.priority} · weight {locator.weight}", 9.5)
    if Role.PITR in node.lisp.roles:
        aggregates = dict.fromkeys(str(prefix.network) for prefix in node.lisp.eid_aggregates)
        yield from (Line(f"announces {prefix}", 9.5) for prefix in aggregates)
    yield from _gateways((one for one in node.interfaces if one.side is Side.SITE), node)


def _mobile_lines(node: Node) -> Iterable[Line]:
    """A mobile node's EIDs, and its RLOCs in each network."""
    yield Line("mobile node", 10)
    yield from (Line(f"EID {address}") for address in node.eids)
    for network, name in node.networks.items():
        [interface] = [one for one in node.interfaces if one.name == name]
        yield from (Line(f"RLOC {address.ip} in {network}", bold=True) for address in interface.addresses)


def _locators(node: Node) -> dict[IPAddress, Locator]:
    """The RLOCs of an xTR's own locator-sets; of the first, where they differ."""
    assert node.lisp is not None
    found: dict[IPAddress, Locator] = {}
    locator_sets = [one.locators for one in node.lisp.database] + [one.locators for one in node.lisp.dynamic_eids]
    for locator in chain.from_iterable(locator_sets):
        found.setdefault(locator.address, locator)
    return found


def _core_lines(topology: Topology) -> tuple[Line, ...]:
    """What the core routes, and what it knows of EIDs: the aggregates of the PITRs and nothing else."""
    lines = [Line("the core", 12.5, bold=True)]
    lines += [Line(f"routes RLOCs: {prefix}", 10) for prefix in topology.rloc_space]
    announcers = [node for node in topology.lisp_routers if node.lisp and Role.PITR in node.lisp.roles]
    if announcers:
        to = ", ".join(node.name for node in announcers)
        aggregates = dict.fromkeys(str(prefix.network) for prefix in topology.eid_aggregates)
        lines += [Line(f"{prefix} to {to}", 10) for prefix in aggregates]
    else:
        lines.append(Line("no route to any EID", 10))
    return tuple(lines)


def _site_lines(site: Site) -> tuple[Line, ...]:
    lines = [Line(site.name, 12.5, bold=True)]
    lines += [Line(f"EID-prefix {text}", 10.5) for text in _by_network(site.eid_prefixes)]
    lines += [Line(f"dynamic-EIDs in {text}", 10.5) for text in _by_network(site.dynamic_eids)]
    if site.via:
        lines.append(Line(f"reached via {', then '.join(site.via)}", 10.5))
    if not site.is_lisp:
        lines += [Line(f"no LISP · {subnet}", 10.5) for subnet in site.subnets]
    return tuple(lines)


def _by_network(prefixes: tuple[EidPrefix, ...]) -> list[str]:
    """Each prefix once, with the instances that it is in."""
    instances: dict[str, list[int]] = {}
    for prefix in prefixes:
        instances.setdefault(str(prefix.network), []).append(prefix.instance_id)
    return [text if ids == [0] else f"{text} in {_instances(sorted(ids))}" for text, ids in instances.items()]


def _instances(ids: list[int]) -> str:
    """Instance-IDs in words: "instance 7", "instances 1-10, 20"."""
    runs: list[list[int]] = []
    for number in ids:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"instance{'s' if len(ids) > 1 else ''} {text}"


def _wire(topology: Topology, link: Link) -> Wire:
    ends = [_end(topology, *end) for end in (link.a, link.b)]
    a, b = (topology[name] for name, _ in (link.a, link.b))
    mtu = min(one.mtu for one in ends)
    networks = [name for end in ends for name, used in topology[end.node].networks.items() if used == end.name]
    terms = [
        *networks,
        f"{link.bandwidth:g} Mbit/s" if link.bandwidth is not None else "",
        f"{link.delay:g} ms" if link.delay else "",
        f"{link.loss:g} % loss" if link.loss else "",
        f"MTU {mtu}" if mtu != 1500 else "",
    ]
    label = label_of(*terms)
    hint = " — ".join(_interface(one) for one in ends)
    return Wire(a.name, b.name, label, hint, core=a.site == b.site == "core" and a.lisp is b.lisp is None)


def label_of(*terms: str) -> tuple[Line, ...]:
    """The label of a link: what is not empty, two on a line."""
    said = [term for term in terms if term]
    return tuple(Line(" · ".join(said[start : start + 2]), 9.5) for start in range(0, len(said), 2))


def _end(topology: Topology, node: str, name: str) -> Interface:
    [interface] = [one for one in topology[node].interfaces if one.name == name]
    return interface


def _interface(one: Interface) -> str:
    """An interface with its addresses: "xtr1 core1 10.0.7.2/30"."""
    return " ".join([one.node, one.name, *map(str, one.addresses)])


def _interfaces(node: Node) -> str:
    """All interfaces of a node, a line each."""
    return "\n".join([node.name, *(" ".join([one.name, *map(str, one.addresses)]) for one in node.interfaces)])
