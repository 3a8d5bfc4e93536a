"""Small worlds made by hand, for tests of the lab that need no topology file."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from testbed.model import Interface, Link, Node, NodeKind, Route, Site, Topology

_MAC = "02:00:00:00:00:{:02x}"


def plain_world(hosts: int = 2) -> Topology:
    """Hosts h1, h2, ... of 192.0.2.0/24 on the switch ``fabric``, and ``far`` (198.51.100.2) behind ``router``."""
    names = [f"h{number}" for number in range(1, hosts + 1)]
    nodes = {
        name: Node(
            name,
            NodeKind.HOST,
            "site",
            (Interface("fabric", name, "fabric", name, _MAC.format(number), (ip_interface(f"192.0.2.{number}/24"),)),),
            (Route(ip_network("0.0.0.0/0"), ip_address("192.0.2.254")),),
        )
        for number, name in enumerate(names, 1)
    }
    ports = tuple(
        Interface(name, "fabric", name, "fabric", _MAC.format(0x20 + number))
        for number, name in enumerate([*names, "router"])
    )
    nodes["fabric"] = Node("fabric", NodeKind.FABRIC, "site", ports)
    nodes["router"] = Node(
        "router",
        NodeKind.ROUTER,
        "core",
        (
            Interface("fabric", "router", "fabric", "router", _MAC.format(0x40), (ip_interface("192.0.2.254/24"),)),
            Interface("far", "router", "far", "router", _MAC.format(0x41), (ip_interface("198.51.100.1/24"),)),
        ),
    )
    nodes["far"] = Node(
        "far",
        NodeKind.HOST,
        "far",
        (Interface("router", "far", "router", "far", _MAC.format(0x42), (ip_interface("198.51.100.2/24"),)),),
        (Route(ip_network("0.0.0.0/0"), ip_address("198.51.100.1")),),
    )
    links = [Link((name, "fabric"), ("fabric", name)) for name in [*names, "router"]]
    return Topology(
        name="plain",
        title="Hosts, a switch and a router without LISP",
        nodes=nodes,
        links=(*links, Link(("router", "far"), ("far", "router"))),
        sites={"site": Site("site", (), (ip_network("192.0.2.0/24"),))},
        rloc_space=(),
        eid_aggregates=(),
        expectations=(),
        source="name: plain\n",
    )


def pairs_world(links: dict[str, dict[str, float]]) -> Topology:
    """Pairs of hosts, each joined by a link with the given properties: 10.0.N.1 and 10.0.N.2."""
    nodes, cables = {}, []
    for number, (name, properties) in enumerate(links.items()):
        ends = f"{name}-a", f"{name}-b"
        given = dict(properties)
        mtu = int(given.pop("mtu", 1500))
        for side, (node, peer) in enumerate((ends, ends[::-1]), 1):
            address = (ip_interface(f"10.0.{number}.{side}/24"),)
            mac = f"02:00:00:00:{number:02x}:{side:02x}"
            interface = Interface(peer, node, peer, node, mac, address, mtu=mtu)
            nodes[node] = Node(node, NodeKind.HOST, name, (interface,))
        cables.append(Link((ends[0], ends[1]), (ends[1], ends[0]), **given))
    return Topology("pairs", "Pairs of hosts", nodes, tuple(cables), {}, (), (), (), source="name: pairs\n")


def bridged_world(links: dict[str, dict[str, float]]) -> Topology:
    """Hosts of the site ``left`` with links of the given properties; its fabric is bridged to that of ``right``.

    192.0.2.N and 2001:db8::N, from 1 on in the order of ``links``; ``far`` is 192.0.2.254 at ``right``, and the site
    ``nowhere`` has no fabric.
    """
    nodes: dict[str, Node] = {}
    cables: list[Link] = []
    ports: dict[str, list[Interface]] = {"sw1": [], "sw2": []}
    hosts = [(name, "left", "sw1", number, given) for number, (name, given) in enumerate(links.items(), 1)]
    for name, site, fabric, number, given in [*hosts, ("far", "right", "sw2", 254, {})]:
        addresses = (ip_interface(f"192.0.2.{number}/24"), ip_interface(f"2001:db8::{number:x}/64"))
        end = Interface(fabric, name, fabric, name, _MAC.format(number), addresses)
        nodes[name] = Node(name, NodeKind.HOST, site, (end,))
        ports[fabric].append(Interface(name, fabric, name, fabric, f"02:00:00:00:01:{number:02x}"))
        cables.append(Link((name, fabric), (fabric, name), **given))
    for number, (one, other) in enumerate((("sw1", "sw2"), ("sw2", "sw1"))):
        ports[one].append(Interface(other, one, other, one, f"02:00:00:00:02:{number:02x}"))
    cables.append(Link(("sw1", "sw2"), ("sw2", "sw1")))
    nodes["sw1"] = Node("sw1", NodeKind.FABRIC, "left", tuple(ports["sw1"]))
    nodes["sw2"] = Node("sw2", NodeKind.FABRIC, "right", tuple(ports["sw2"]))
    nodes["router"] = Node("router", NodeKind.ROUTER, "left")
    sites = {name: Site(name, (), ()) for name in ("left", "right", "nowhere")}
    return Topology("bridged", "Two bridged sites", nodes, tuple(cables), sites, (), (), (), source="name: bridged\n")
