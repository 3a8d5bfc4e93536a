"""The worlds of the bench: one LISP world on each data path, the same without LISP, and one with a core that delays."""

from __future__ import annotations

from dataclasses import replace

from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.lab import Lab, LabError
from testbed.load import loads
from testbed.model import Node, NodeKind, Route, Topology

PLAIN, EBPF, PYTHON = "plain", "ebpf", "python"
PATHS = (EBPF, PYTHON)

HOST_MTU = 1464
"""The MTU of the hosts' links, in every world: 1500, the core's, less the 36 bytes of a LISP header over IPv4 (RFC 9300
section 7.1). So TCP's segments are of one size everywhere, and nobody is told that a packet was too big."""

FRESH = 150
"""EID-prefixes behind xtr3, each a mapping of its own: a first ping finds one that nobody asked for before."""

DELAY_MS = 50

_SPEED = """
name: {name}
title: What the bench measures in, on the data path {path}
dataplane: {path}
address-space:
  rloc: [10.0.0.0/16, 2001:db8:10c::/48]
  eid: [192.168.0.0/16, 172.16.0.0/12, 2001:db8:e1d::/48]
core:
  routers: [core1, core2]
  links: [[core1, core2]]
mapping-system:
  ms: {{roles: map-server, links: core1}}
  mr: {{roles: map-resolver, links: core1}}
proxies:
  pxtr: {{roles: pxtr, links: [core1, core2]}}
sites:
  site1:
    eid-prefixes: [192.168.1.0/24, 2001:db8:e1d:1::/64]
    locators: ipv4
    key: site1-secret
    routers: {{xtr1: {{links: core1}}}}
    hosts: {{h1: {{mtu: {mtu}}}}}
  site2:
    eid-prefixes: [192.168.2.0/24, 172.20.0.0/14, 2001:db8:e1d:2::/64]
    locators: ipv4
    key: site2-secret
    routers: {{xtr2: {{links: core1}}}}
    hosts: {{h2: {{mtu: {mtu}}}}}
  site3:
    eid-prefixes: [{fresh}]
    locators: ipv4
    key: site3-secret
    routers: {{xtr3: {{links: core1}}}}
    hosts: {{h3: {{mtu: {mtu}}}}}
  outside:
    lisp: false
    subnets: [203.0.113.0/24]
    routers: {{edge: {{links: core2}}}}
    hosts: {{client: {{mtu: {mtu}}}}}
"""

_COLD = """
name: {name}
title: A core that delays, on the data path {path}
dataplane: {path}
address-space:
  rloc: 10.0.0.0/16
  eid: 172.16.0.0/12
core:
  routers: [core1, core2]
  links: [{{between: [core1, core2], delay: {delay}}}]
mapping-system:
  ms: {{roles: map-server, links: core1}}
  mr: {{roles: map-resolver, links: core1}}
sites:
  site1:
    eid-prefixes: 172.16.255.0/24
    key: site1-secret
    routers: {{xtr1: {{links: core1}}}}
    hosts: {{h1: {{mtu: {mtu}}}}}
  site2:
    eid-prefixes: [{fresh}]
    key: site2-secret
    routers: {{xtr2: {{links: core2}}}}
    hosts: {{h2: {{mtu: {mtu}}}}}
"""


def speed_world(path: str) -> Topology:
    """Two sites over one core router, a PxTR between that and another core router, and a non-LISP site behind it.

    Args:
        path: ``ebpf`` or ``python``, the data path of the LISP routers, or ``plain``: no LISP at all.
    """
    topology = _through_the_proxy(_load(_SPEED, f"bench-{path}", EBPF if path == PLAIN else path, FRESH))
    return _without_lisp(topology) if path == PLAIN else topology


def cold_world(path: str, fresh: int) -> Topology:
    """Two sites with a delay between them, the second with ``fresh`` EID-prefixes."""
    return _load(_COLD, f"bench-cold-{path}", path, fresh)


def add_fresh_addresses(lab: Lab, host: str, fresh: int) -> None:
    """Give ``host`` its address in each of the fresh EID-prefixes: a topology gives a host one of each IP version.

    Raises:
        LabError: The kernel refused.
    """
    batch = "".join(f"address add {fresh_address(number)}/32 dev lo\n" for number in range(fresh))
    done = lab.run(host, ["ip", "-batch", "-"], stdin=batch)
    if done.returncode:
        raise LabError(f"{host} cannot have more addresses: {done.stderr.strip()}")


def fresh_address(number: int) -> str:
    """An address in the fresh EID-prefix of that number."""
    return f"172.16.{number}.9"


def _load(text: str, name: str, path: str, fresh: int) -> Topology:
    prefixes = ", ".join(f"172.16.{number}.0/24" for number in range(fresh))
    filled = text.format(name=name, path=path, mtu=HOST_MTU, delay=DELAY_MS, fresh=prefixes)
    return loads(filled, name=name, shown=f"the bench's world {name}")


def _through_the_proxy(topology: Topology) -> Topology:
    """The PxTR stands between the two cores, so it knows the non-LISP site behind core2 from its own link there.

    Without that route what it decapsulates would go back to core1 and from there to core2; and plain routing could not
    be made to take the same way, because core1 would see the same packet twice.
    """
    pxtr = topology["pxtr"]
    outside = topology.sites["outside"].subnets
    via = _address(topology["core2"], "pxtr", 4)
    return _with_routes(topology, {"pxtr": tuple(Route(prefix, via) for prefix in outside)} if pxtr else {})


def _without_lisp(topology: Topology) -> Topology:
    """The same machines, links, addresses, MTUs and offloads, forwarded by the kernel alone, over the same hops.

    LISP routers become plain ones; the core learns what LISP hid from it: the EID-prefixes of each site behind its
    router, and at core1 that non-LISP addresses are behind the PxTR, where a PETR would have decapsulated them.
    """
    core1: list[Route] = []
    for name, router in (("site1", "xtr1"), ("site2", "xtr2")):
        core1 += [Route(one, _address(topology[router], "core1", one.version)) for one in topology.sites[name].subnets]
    outside = topology.sites["outside"].subnets
    core1 += [Route(prefix, _address(topology["pxtr"], "core1", 4)) for prefix in outside]
    nodes = {
        node.name: replace(
            node,
            kind=NodeKind.ROUTER if node.lisp is not None else node.kind,
            lisp=None,
            interfaces=tuple(replace(one, side=None) for one in node.interfaces),
        )
        for node in topology.nodes.values()
    }
    return _with_routes(replace(topology, nodes=nodes), {"core1": tuple(core1)})


def _with_routes(topology: Topology, more: dict[str, tuple[Route, ...]]) -> Topology:
    """A topology with more static routes; of two for one prefix the new one replaces the old."""
    nodes = dict(topology.nodes)
    for name, routes in more.items():
        given: set[IPNetwork] = {route.prefix for route in routes}
        kept = tuple(route for route in nodes[name].routes if route.prefix not in given)
        nodes[name] = replace(nodes[name], routes=routes + kept)
    return replace(topology, nodes=nodes)


def _address(node: Node, peer: str, version: int) -> IPAddress:
    """A node's address of one IP version on its link to ``peer``."""
    for address in node.link_to(peer).addresses:
        if address.version == version:
            return address.ip
    raise LabError(f"{node.name} has no IPv{version} address towards {peer}")
