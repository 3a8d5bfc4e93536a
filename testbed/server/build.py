"""From a resolved topology to a running Mininet network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from nodes.kinds.base import Machine
from nodes.kinds.delay_lines import DelayLines
from nodes.kinds.fabric import Fabric
from nodes.kinds.host import Host
from nodes.kinds.impairment import Impairment, by_netem
from nodes.kinds.link import VethLink
from nodes.kinds.lisp_router import LispRouter
from nodes.kinds.mobile_node import Attachment, MobileNode
from nodes.kinds.router import Router
from nodes.kinds.stock import Mininet
from testbed.model import Interface, Link, Node, NodeKind, Topology

_KINDS: dict[NodeKind, type[Machine]] = {
    NodeKind.HOST: Host,
    NodeKind.FABRIC: Fabric,
    NodeKind.ROUTER: Router,
    NodeKind.LISP_ROUTER: LispRouter,
    NodeKind.MOBILE_NODE: MobileNode,
}


class Network(Mininet):
    """Mininet's network with routers beside hosts and switches, and without a controller.

    Attributes:
        routers: The routers, LISP or not; ``hosts`` are hosts only, so that ``pingAll`` means what it says.
    """

    def __init__(self) -> None:
        self.routers: list[Machine] = []
        super().__init__(switch=Fabric, host=Host, link=VethLink, intf=None, controller=None, build=False)

    def add_router(self, name: str, cls: type[Machine] = Router, **params: Any) -> Machine:
        """Add a router, as ``addHost`` adds a host."""
        router = cls(name, **params)
        self.routers.append(router)
        self.nameToNode[name] = router
        return router

    def start(self) -> None:
        """Start the switches."""
        for switch in self.switches:
            switch.start()

    def announce(self) -> None:
        """Have the hosts say who they are; frames must pass on every link by now."""
        for host in self.hosts:
            host.announce()

    def stop(self) -> None:
        """Let everything go."""
        super().stop()
        for router in self.routers:
            router.terminate()

    def __iter__(self) -> Iterator[str]:
        for node in chain(self.hosts, self.switches, self.routers):
            yield node.name

    def __len__(self) -> int:
        return len(self.hosts) + len(self.switches) + len(self.routers)


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """How the links of a lab become what they are to be on this kernel.

    Attributes:
        netem: Whether netem makes delay and loss.
        delay_lines: Where links with a delay lead through; None where netem delays them or none has a delay.
        words: What was chosen for delays and for losses, where there are any: "delays: 2 links by netem".
    """

    netem: bool = False
    delay_lines: DelayLines | None = None
    words: tuple[str, ...] = ()


NOTHING_PLANNED = LinkPlan()


def plan_links(topology: Topology) -> LinkPlan:
    """Try what this kernel has, and choose.

    Raises:
        LinkError: This kernel cannot make the links of ``topology``.
    """
    netem = by_netem(_impairment(link) for link in topology.links)
    delayed, lossy = sum(link.delay > 0 for link in topology.links), sum(link.loss > 0 for link in topology.links)
    words = []
    if delayed:
        words.append(f"delays: {delayed} links {'by netem' if netem else 'through a relay, for want of netem'}")
    if lossy:
        other = "by a classifier at the receiving end, for want of netem"
        words.append(f"losses: {lossy} links {'by netem' if netem else other}")
    return LinkPlan(netem, DelayLines() if delayed and not netem else None, tuple(words))


def _impairment(link: Link) -> Impairment:
    return Impairment(link.bandwidth, link.delay, link.loss)


def build(topology: Topology, plan: LinkPlan = NOTHING_PLANNED) -> Network:
    """Make every machine, cable, address and static route of ``topology``, all up.

    Args:
        topology: The world.
        plan: What :func:`plan_links` returned for it; needed where a link has a delay or a loss.

    Raises:
        LinkError: A link did not become what it is to be.
        NetlinkError: The kernel refused something; the text says what.
    """
    network = Network()
    for node in topology.nodes.values():
        kind = _KINDS[node.kind]
        routes = tuple((route.prefix, route.via) for route in node.routes)
        ipv6 = any(address.version == 6 for address in node.addresses)
        if kind is Host:
            network.addHost(node.name, cls=kind, ip=None, routes=routes, ipv6=ipv6)
        elif kind is Fabric:
            network.addSwitch(node.name, cls=kind)
        elif kind is MobileNode:
            found = _attachments(topology, node)
            network.add_router(node.name, kind, ipv6=ipv6, loopbacks=node.eids, attachments=found)
        else:
            loopbacks = node.routing.loopbacks if node.routing else ()
            network.add_router(node.name, kind, routes=routes, ipv6=ipv6, loopbacks=loopbacks)
    interfaces = {(one.node, one.name): one for node in topology.nodes.values() for one in node.interfaces}
    for link in topology.links:
        ends = (interfaces[one] for one in (link.a, link.b))
        # A mobile node's addresses are those of the network where it is.
        a, b = (replace(one, addresses=()) if topology[one.node].networks else one for one in ends)
        _connect(network, a, b, _impairment(link), plan)
    network.start()
    for node in network.values():
        node.add_routes()
    network.built = True
    return network


def _attachments(topology: Topology, node: Node) -> dict[str, Attachment]:
    """What each access network gives a mobile node, by the interface that leads there, the first one first."""
    found = {}
    for name in node.networks.values():
        [own] = [one for one in node.interfaces if one.name == name]
        [peer] = [one for one in topology[own.peer].interfaces if one.name == own.peer_interface]
        found[name] = Attachment(own.addresses, tuple(address.ip for address in peer.addresses))
    return found


def _connect(network: Network, a: Interface, b: Interface, impairment: Impairment, plan: LinkPlan) -> None:
    network.addLink(
        a.node,
        b.node,
        intfName1=a.name,
        intfName2=b.name,
        addr1=a.mac,
        addr2=b.mac,
        impairment=impairment,
        delay_lines=plan.delay_lines,
        netem=plan.netem,
        params1={"addresses": a.addresses, "mtu": a.mtu},
        params2={"addresses": b.addresses, "mtu": b.mtu},
    )
