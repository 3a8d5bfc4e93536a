"""A world, resolved: every node, interface, address, route and link of a topology, as frozen values.

``testbed.load`` reads a topology file into a :class:`Topology`; everything else only reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

from nodes.lisp.config import NodeConfig
from nodes.lisp.eid import EidPrefix, IPAddress, IPNetwork

IPInterface = IPv4Interface | IPv6Interface


class NodeKind(StrEnum):
    """Which Mininet node class a node becomes (``nodes/kinds``)."""

    HOST = "host"
    FABRIC = "fabric"  # a Linux bridge: the switch inside a data centre
    ROUTER = "router"  # a plain IP router: the core, or the edge of a non-LISP site
    LISP_ROUTER = "lisp-router"  # any node that runs the LISP daemon
    MOBILE_NODE = "mobile-node"  # a host that is its own xTR


class Side(StrEnum):
    """What an interface of a LISP router faces."""

    SITE = "site"
    CORE = "core"


class Routing(StrEnum):
    """How the plain routers learn their routes."""

    STATIC = "static"
    OSPF_BGP = "ospf-bgp"  # BIRD: OSPF for the RLOC space, BGP towards non-LISP sites and PITRs


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a link. Its name is the name of the node at the other end ("core1"; a second link: "core1-2").

    Attributes:
        name: The interface name inside its node, at most 15 characters.
        node: The node it belongs to.
        peer: The node at the other end and ``peer_interface`` the interface there.
        mac: Its MAC address, "02:...".
        addresses: Its addresses with prefix lengths; empty on a fabric.
        side: For LISP routers, what it faces; otherwise None.
        instance_id: For the site side of a LISP router, the instance-ID of the hosts behind it.
        mtu: Bytes.
    """

    name: str
    node: str
    peer: str
    peer_interface: str
    mac: str
    addresses: tuple[IPInterface, ...] = ()
    side: Side | None = None
    instance_id: int = 0
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Route:
    """A static route. Without ``via`` the destination is unreachable (the RFC's Null0).

    Of several routes of one prefix, the first whose link is up is used.
    """

    prefix: IPNetwork
    via: IPAddress | None


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """A BGP session of a routing daemon: the neighbour's address and AS number.

    It carries the routes of its own address family, so neighbours with both have two sessions. Each end names the other
    by the address that the session is to use: on the link between different ASes, a loopback address inside one.
    """

    address: IPAddress
    asn: int


@dataclass(frozen=True, slots=True)
class RoutingDaemon:
    """What BIRD does on a node (``routing: ospf-bgp``).

    Attributes:
        router_id: Its router ID.
        asn: Its AS number.
        ospf: The interfaces that speak OSPF (v2 for IPv4, v3 for IPv6), point to point.
        stubs: Interfaces whose subnets OSPF tells, but where it does not speak.
        bgp: Its BGP sessions: between core routers from loopback to loopback (iBGP), to others across the link (eBGP).
        announced: The prefixes it originates into BGP: a non-LISP site's subnets, a PITR's aggregates.
        loopbacks: Addresses of the router as a whole, at most one a family, told by OSPF: BGP sessions inside the AS
            end there, because no single link takes them down.
        learned: The prefixes that OSPF and BGP bring: once all are in the kernel's table, it has converged.
    """

    router_id: IPv4Address
    asn: int
    ospf: tuple[str, ...] = ()
    stubs: tuple[str, ...] = ()
    bgp: tuple[BgpPeer, ...] = ()
    announced: tuple[IPNetwork, ...] = ()
    loopbacks: tuple[IPAddress, ...] = ()
    learned: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the lab.

    Attributes:
        name: Unique in the lab, at most 13 characters.
        kind: Which machine it is.
        site: The site it stands in, or "core".
        interfaces: In the order of the file's links.
        routes: Static routes of its main table.
        routing: What BIRD does here, or None where all routes are static.
        lisp: The daemon's configuration; only for LISP routers.
        implementation: What runs there as a LISP router, a name or a driver file; "" for our own daemon.
        eids: The addresses that a mobile node keeps wherever it is.
        networks: A mobile node's access networks, each with the interface that leads there; it starts at the first.
    """

    name: str
    kind: NodeKind
    site: str
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    routing: RoutingDaemon | None = None
    lisp: NodeConfig | None = None
    implementation: str = ""
    eids: tuple[IPAddress, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)

    def link_to(self, peer: str) -> Interface:
        """The (first) interface of this node towards ``peer``.

        Raises:
            KeyError: There is no such link.
        """
        for interface in self.interfaces:
            if interface.peer == peer:
                return interface
        raise KeyError(
            f"{self.name} has no link to {peer}; it has links to {', '.join(i.peer for i in self.interfaces)}"
        )

    @property
    def address(self) -> IPAddress:
        """Its first address: a host's EID, a router's first interface address."""
        for address in self.addresses:
            return address
        raise KeyError(f"{self.name} has no address")

    @property
    def addresses(self) -> Iterator[IPAddress]:
        """Its addresses: a mobile node's EIDs, then those of its interfaces."""
        yield from self.eids
        yield from (address.ip for interface in self.interfaces for address in interface.addresses)

    def address_of(self, version: int) -> IPAddress:
        """Its first address of one IP version, 4 or 6.

        Raises:
            KeyError: It has none.
        """
        for address in self.addresses:
            if address.version == version:
                return address
        raise KeyError(f"{self.name} has no IPv{version} address")


@dataclass(frozen=True, slots=True)
class Link:
    """A cable between two interfaces, each named by (node, interface).

    Attributes:
        a: One end and ``b`` the other.
        bandwidth: Mbit/s each way, None for as much as there is.
        delay: Milliseconds each way.
        loss: Per cent of the packets lost each way.
    """

    a: tuple[str, str]
    b: tuple[str, str]
    bandwidth: float | None = None
    delay: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """A place with hosts.

    Attributes:
        name: Its name.
        eid_prefixes: Its EID-prefixes; empty for a non-LISP site.
        subnets: The subnets of its hosts.
        dynamic_eids: The prefixes in which hosts are found by what they send, each registered as a host EID.
        via: The RTRs that packets from other LISP sites pass on their way to its hosts, the first one first.
    """

    name: str
    eid_prefixes: tuple[EidPrefix, ...]
    subnets: tuple[IPNetwork, ...]
    dynamic_eids: tuple[EidPrefix, ...] = ()
    via: tuple[str, ...] = ()

    @property
    def is_lisp(self) -> bool:
        """Whether its hosts have EIDs."""
        return bool(self.eid_prefixes or self.dynamic_eids)


class Path(StrEnum):
    """How packets get from one host to another."""

    LOCAL = "local"  # inside one site; never seen in the core
    ENCAPSULATED = "encapsulated"  # LISP, from xTR to xTR
    REENCAPSULATED = "reencapsulated"  # LISP, from xTR to xTR by way of RTRs
    PROXIED = "proxied"  # through the PxTR: LISP on one side, native on the other
    NATIVE = "native"  # across the core without a LISP header
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the topology says of one ordered pair of hosts, for one IP version.

    Attributes:
        source: The host that asks.
        destination: The host that is asked.
        path: How packets get there.
        version: The IP version, 4 or 6.
        instance_id: The instance-ID that both are in.
    """

    source: str
    destination: str
    path: Path
    version: int = 4
    instance_id: int = 0


@dataclass(frozen=True)
class Topology:
    """A whole world, resolved.

    Attributes:
        name: The topology's name.
        title: One line that says what it shows.
        nodes: All machines, by name, in the file's order.
        links: All cables.
        sites: All sites, by name.
        rloc_space: The prefixes of the RLOC space.
        eid_aggregates: The aggregates that cover all EIDs.
        expectations: One per ordered pair of hosts of one instance and IP version that both have.
        time_scale: How much faster than real time the daemons' clocks run.
        routing: How the plain routers learn their routes.
        source: The text of the resolved topology, a valid topology file itself.
    """

    name: str
    title: str
    nodes: dict[str, Node]
    links: tuple[Link, ...]
    sites: dict[str, Site]
    rloc_space: tuple[IPNetwork, ...]
    eid_aggregates: tuple[EidPrefix, ...]
    expectations: tuple[Expectation, ...]
    time_scale: float = 1.0
    routing: Routing = Routing.STATIC
    source: str = field(default="", repr=False)

    @cached_property
    def hosts(self) -> tuple[Node, ...]:
        """The hosts, mobile nodes among them, in order."""
        kinds = (NodeKind.HOST, NodeKind.MOBILE_NODE)
        return tuple(node for node in self.nodes.values() if node.kind in kinds)

    @cached_property
    def lisp_routers(self) -> tuple[Node, ...]:
        """The nodes that run a LISP daemon, in order."""
        return tuple(node for node in self.nodes.values() if node.lisp is not None)

    @cached_property
    def core(self) -> tuple[Node, ...]:
        """The core routers: what is to know nothing of LISP but the PxTR's aggregates."""
        return tuple(n for n in self.nodes.values() if n.kind is NodeKind.ROUTER and n.site == "core")

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]
