"""The worlds of the bench: ``mobility`` with PubSub or without, a core that delays, 200 hosts; and a bridged LAN."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

from testbed.load import SHIPPED, loads
from testbed.model import Interface, Link, Node, NodeKind, Site, Topology

MOBILE = "mobile"
CORRESPONDENTS = ("near1", "near2", "b1", "client")
HOME, AWAY = "dc1", "dc2"
UPLINK_DELAY_MS = 10.0
CROWD = tuple(f"m{number}" for number in range(1, 201))

_SHIPPED_HOST = "      mobile: {address: [192.168.7.10/24, 2001:db8:e1d:7::10/64]}\n"


def lisp_world(*, pubsub: bool, delayed: bool = False, crowd: bool = False) -> Topology:
    """The shipped world ``mobility``.

    Args:
        pubsub: Whether ITRs and PITRs subscribe to what they resolve (RFC 9437).
        delayed: Whether each link between the core and what is not the core delays by 10 ms: any two sites are 20 ms
            apart.
        crowd: Whether there are 200 hosts that can move, instead of one; their IPv6 addresses are allocated.
    """
    text = (SHIPPED / "mobility.yaml").read_text(encoding="utf-8")
    if not pubsub:
        text = text.replace("\npubsub: true", "\npubsub: false")
    if crowd:
        hosts = (f"      {name}: {{address: 192.168.7.{20 + number}/24}}\n" for number, name in enumerate(CROWD, 1))
        text = text.replace(_SHIPPED_HOST, "".join(hosts))
    topology = loads(text, name=f"bench-{'pubsub' if pubsub else 'smr'}")
    if delayed:
        core = {node.name for node in topology.core}
        cables = tuple(
            replace(one, delay=UPLINK_DELAY_MS) if len({one.a[0], one.b[0]} & core) == 1 else one
            for one in topology.links
        )
        topology = replace(topology, links=cables)
    return topology


def bridged_world() -> Topology:
    """The same hosts on two switches that are bridged: no router is between any two of them."""
    ports: dict[str, list[Interface]] = {"sw1": [], "sw2": []}
    nodes: dict[str, Node] = {}
    cables = [Link(("sw1", "sw2"), ("sw2", "sw1"))]
    places = ((MOBILE, HOME, "sw1"), ("near1", HOME, "sw1"), ("near2", AWAY, "sw2"), ("b1", HOME, "sw1"))
    for number, (name, site, fabric) in enumerate((*places, ("client", AWAY, "sw2")), 1):
        addresses = (ip_interface(f"192.168.7.{number}/24"), ip_interface(f"2001:db8:e1d:7::{number}/64"))
        end = Interface(fabric, name, fabric, name, f"02:00:00:00:00:{number:02x}", addresses)
        nodes[name] = Node(name, NodeKind.HOST, site, (end,))
        ports[fabric].append(Interface(name, fabric, name, fabric, f"02:00:00:00:01:{number:02x}"))
        cables.append(Link((name, fabric), (fabric, name)))
    for number, (one, other, site) in enumerate((("sw1", "sw2", HOME), ("sw2", "sw1", AWAY))):
        trunk = Interface(other, one, other, one, f"02:00:00:00:02:{number:02x}")
        nodes[one] = Node(one, NodeKind.FABRIC, site, (*ports[one], trunk))
    sites = {name: Site(name, (), ()) for name in (HOME, AWAY)}
    title = "The same hosts in one bridged LAN"
    return Topology("bench-bridged", title, nodes, tuple(cables), sites, (), (), (), source="name: bench-bridged\n")
