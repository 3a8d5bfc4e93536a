"""What else a file can say: routing daemons, link properties, tenants, dynamic EIDs, whom a site asks."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from nodes.lisp.config import Gateway, NodeConfig
from nodes.lisp.eid import EidPrefix
from testbed.language.defaults import DEFAULT_GATEWAY_MAC
from testbed.load import TopologyError, loads
from testbed.model import NodeKind, Routing, Side, Topology
from tests.topology.mistakes import BASE

ROUTED = """\
routing: ospf-bgp
address-space: {rloc: [10.0.0.0/16, 2001:db8:10c::/48], eid: [192.168.0.0/16, 2001:db8:e1d::/48]}
core: {routers: [core1, core2, core3], links: [[core1, core2], [core2, core3]]}
mapping-system:
  ms: {roles: msmr, links: core1}
proxies:
  pxtr: {links: core3}
sites:
  dc1: {key: secret, routers: {xtr1: {links: core1}}, hosts: h1}
  plain: {lisp: false, subnets: 203.0.113.0/24, routers: {edge: {links: core2}}, hosts: client}
"""


def config(topology: Topology, name: str) -> NodeConfig:
    found = topology[name].lisp
    assert found is not None
    return found


def test_who_runs_a_routing_daemon() -> None:
    """S02: LISP routers have a default route and nothing else; only a PITR speaks BGP beside it."""
    topology = loads(ROUTED)
    assert topology.routing is Routing.OSPF_BGP
    assert [n.name for n in topology.nodes.values() if n.routing] == ["core1", "core2", "core3", "pxtr", "edge"]
    for name in ("core1", "core2", "core3", "edge"):
        assert topology[name].routes == ()
    for name in ("xtr1", "ms", "pxtr"):
        assert [str(one.prefix) for one in topology[name].routes] == ["0.0.0.0/0", "::/0"]


def test_the_core_speaks_ospf_inside_and_bgp_outside() -> None:
    """M13, M15, S01: what the core learns of EIDs is the aggregates, by BGP from the PITR."""
    topology = loads(ROUTED)
    core2, pxtr, edge = (topology[name].routing for name in ("core2", "pxtr", "edge"))
    assert core2 is not None
    assert pxtr is not None
    assert edge is not None
    assert (core2.ospf, core2.stubs) == (("core1", "core3"), ("edge",))
    assert core2.loopbacks == (ip_address("10.0.255.2"), ip_address("2001:db8:10c:ffff::2"))
    assert core2.router_id == core2.loopbacks[0]
    inside = {peer.address for peer in core2.bgp if peer.asn == core2.asn}
    assert inside == {one for name in ("core1", "core3") for one in (topology[name].routing or core2).loopbacks}
    (outside,) = {peer.asn for peer in core2.bgp} - {core2.asn}
    assert outside == edge.asn != pxtr.asn
    assert [peer.address for peer in edge.bgp] == [one.ip for one in topology["core2"].link_to("edge").addresses]
    assert edge.announced == (ip_network("203.0.113.0/24"),)
    assert pxtr.announced == (ip_network("192.168.0.0/16"), ip_network("2001:db8:e1d::/48"))
    assert pxtr.learned == ()
    assert edge.learned == pxtr.announced


def test_what_a_core_router_has_to_learn() -> None:
    topology = loads(ROUTED)
    core1 = topology["core1"].routing
    assert core1 is not None
    connected = {one.network for interface in topology["core1"].interfaces for one in interface.addresses}
    everything = {
        address.network for node in topology.core for interface in node.interfaces for address in interface.addresses
    }
    loopbacks = {
        ip_network(one) for n in topology.core if n.routing and n.name != "core1" for one in n.routing.loopbacks
    }
    announced = {one for n in topology.nodes.values() if n.routing for one in n.routing.announced}
    assert set(core1.learned) == (everything - connected) | loopbacks | announced


def test_as_numbers_may_be_given() -> None:
    text = ROUTED.replace("core: {", "core: {asn: 4200000000, ").replace("{edge: {links", "{edge: {asn: 65001, links")
    topology = loads(text)
    numbers = [node.routing.asn for node in topology.nodes.values() if node.routing]
    assert numbers == [4200000000, 4200000000, 4200000000, 65002, 65001]
    assert loads(topology.source) == topology


def test_loopbacks_have_a_block_of_their_own() -> None:
    small = loads(ROUTED.replace("10.0.0.0/16", "10.0.0.0/25"))
    assert [str(n.routing.loopbacks[0]) for n in small.core if n.routing] == [f"10.0.0.{120 + n}" for n in (1, 2, 3)]
    addresses = [a.ip for n in small.nodes.values() for i in n.interfaces for a in i.addresses]
    assert not {one for n in small.core if n.routing for one in n.routing.loopbacks} & set(addresses)
    given = loads(ROUTED.replace("[core1, core2, core3]", "{core1: {loopback: 10.0.9.9}, core2: {}, core3: {}}"))
    assert given["core1"].routing is not None
    assert str(given["core1"].routing.loopbacks[0]) == "10.0.9.9"
    for topology in (small, given):
        assert loads(topology.source) == topology


def test_link_properties_reach_both_ends() -> None:
    text = ROUTED.replace(
        "[[core1, core2], [core2, core3]]",
        "[{between: [core1, core2], bandwidth: 100, delay: 2.5, loss: 0.1, mtu: 1400}, [core2, core3]]",
    ).replace(
        "{links: core1}}, hosts: h1", "{links: {core1: {delay: 7}}, cable: {loss: 1}}}, hosts: {h1: {bandwidth: 10}}"
    )
    topology = loads(text)
    by_ends = {frozenset((one.a[0], one.b[0])): one for one in topology.links}
    first = by_ends[frozenset(("core1", "core2"))]
    assert (first.bandwidth, first.delay, first.loss) == (100, 2.5, 0.1)
    assert topology["core1"].link_to("core2").mtu == topology["core2"].link_to("core1").mtu == 1400
    assert by_ends[frozenset(("core1", "xtr1"))].delay == 7
    last = by_ends[frozenset(("xtr1", "h1"))]
    assert (last.bandwidth, last.loss) == (10, 1)
    assert (by_ends[frozenset(("core2", "core3"))].bandwidth, topology["core3"].link_to("core2").mtu) == (None, 1500)
    # The inner MTU follows from the narrowest link that a tunnel may cross.
    assert {one.lisp.core_mtu for one in topology.lisp_routers if one.lisp} == {1400}
    assert loads(topology.source) == topology


TENANTS = """\
address-space: {rloc: 10.0.0.0/16, eid: 192.168.0.0/16}
core: {routers: core1}
mapping-system: {msmr: {links: core1}}
sites:
  dc1:
    key: secret
    routers: {xtr1: {links: core1}}
    tenants:
      red: {instance-id: 7, eid-prefixes: 192.168.1.0/24, hosts: r1}
      blue: {instance-id: 8, eid-prefixes: 192.168.1.0/24, fabric: swb, hosts: [b1, b2]}
  dc2:
    instance-id: 7
    eid-prefixes: 192.168.2.0/24
    key: secret
    routers: {xtr2: {links: core1}}
    hosts: r2
"""


def test_no_node_is_named_as_a_tun_device() -> None:
    with pytest.raises(TopologyError, match="'lisp7' is reserved"):
        loads(TENANTS.replace("hosts: r1", "hosts: lisp7"))


def test_tenants_repeat_prefixes_and_addresses() -> None:
    """S13, D20: only the instance-ID tells them apart."""
    topology = loads(TENANTS)
    xtr = config(topology, "xtr1")
    assert [one.prefix for one in xtr.database] == [
        EidPrefix.of("192.168.1.0/24", 7),
        EidPrefix.of("192.168.1.0/24", 8),
    ]
    assert (xtr.site_interfaces, xtr.site_instances) == (("r1", "swb"), (7, 8))
    assert topology["r1"].address == topology["b1"].address
    sides = [one for one in topology["xtr1"].interfaces if one.side is Side.SITE]
    assert sides[0].addresses == sides[1].addresses
    assert [one.instance_id for one in sides] == [7, 8]
    assert {(one.source, one.destination) for one in topology.expectations} == {
        ("r1", "r2"),
        ("r2", "r1"),
        ("b1", "b2"),
        ("b2", "b1"),
    }
    assert topology["swb"].kind is NodeKind.FABRIC
    assert config(topology, "xtr2").site_instances == (7,)
    assert {one.prefix for one in config(topology, "msmr").delegations} == {
        prefix for site in topology.sites.values() for prefix in site.eid_prefixes
    }
    assert loads(topology.source) == topology


STRETCHED = """\
address-space: {rloc: 10.0.0.0/16, eid: 192.168.0.0/16}
core: {routers: core1}
mapping-system: {msmr: {links: core1}}
sites:
  dc1: {dynamic-eids: 192.168.9.0/24, key: secret, routers: {xtr1: {links: core1}}, hosts: p1}
  dc2:
    dynamic-eids: 192.168.9.0/24
    key: secret
    nbr-proxy-reply: 3
    routers: {xtr2: {links: core1, address: 192.168.9.253/24}}
    hosts: p2
  branch: {eid-prefixes: 192.168.1.0/24, key: other, routers: {xtr3: {links: core1}}, hosts: b1}
"""


def test_sites_share_a_dynamic_prefix() -> None:
    """S06, X02, X12: one subnet in two places; the Map-Server takes each host from either."""
    topology = loads(STRETCHED)
    prefix = EidPrefix.of("192.168.9.0/24")
    first, second = config(topology, "xtr1"), config(topology, "xtr2")
    assert (first.database, [one.prefix for one in first.dynamic_eids]) == ((), [prefix])
    assert [one.address for one in second.dynamic_eids[0].locators] == list(second.rlocs)
    assert [one.dynamic_eids[0].proxy_reply_requests for one in (first, second)] == [1, 3]
    stretched, branch = config(topology, "msmr").sites
    assert stretched.name == "dc1+dc2"
    assert [(one.prefix, one.accept_more_specifics) for one in stretched.prefixes] == [(prefix, True)]
    assert len(stretched.keys) == 1
    assert [one.accept_more_specifics for one in branch.prefixes] == [False]
    assert str(topology["xtr2"].link_to("p2").addresses[0]) == "192.168.9.253/24"
    addresses = [topology[one].address for one in ("p1", "p2")] + [topology["xtr1"].link_to("p1").addresses[0].ip]
    assert len(set(addresses)) == 3
    assert all(site.is_lisp for site in topology.sites.values())
    assert [one.prefix for one in config(topology, "msmr").delegations].count(prefix) == 1
    assert loads(topology.source) == topology


SHARED_GATEWAY = (
    STRETCHED.replace("eid: 192.168.0.0/16", "eid: [192.168.0.0/16, 2001:db8:e1d::/48]")
    .replace("dynamic-eids: 192.168.9.0/24", "dynamic-eids: [192.168.9.0/24, 2001:db8:e1d:9::/64], gateway: GATEWAY")
    .replace("64], gateway: GATEWAY\n", "64]\n    gateway: GATEWAY\n")
    .replace("GATEWAY", "[192.168.9.254, 2001:db8:e1d:9::fe]")
    .replace("eid-prefixes: 192.168.1.0/24", "eid-prefixes: [192.168.1.0/24, 2001:db8:e1d:1::/64]")
)


def test_sites_share_a_gateway() -> None:
    """X11: one address of each IP version and one MAC address in both, beside the routers' own addresses."""
    topology = loads(SHARED_GATEWAY)
    addresses = (ip_interface("192.168.9.254/24"), ip_interface("2001:db8:e1d:9::fe/64"))
    expected = {name: Gateway(host, addresses, DEFAULT_GATEWAY_MAC) for name, host in (("xtr1", "p1"), ("xtr2", "p2"))}
    assert {name: config(topology, name).gateways for name in expected} == {n: (one,) for n, one in expected.items()}
    for host in ("p1", "p2"):
        assert [one.via for one in topology[host].routes] == [one.ip for one in addresses]
    own = [
        str(one.ip) for name, host in (("xtr1", "p1"), ("xtr2", "p2")) for one in topology[name].link_to(host).addresses
    ]
    assert own == ["192.168.9.1", "2001:db8:e1d:9::1", "192.168.9.253", "2001:db8:e1d:9::2"]
    found = {one.prefix.version: one.routers for one in config(topology, "xtr1").dynamic_eids}
    assert found[4] == {ip_address(one) for one in ("192.168.9.1", "192.168.9.253", "192.168.9.254")}
    assert config(topology, "xtr3").gateways == ()
    assert NodeConfig.from_json(config(topology, "xtr1").to_json()) == config(topology, "xtr1")
    assert loads(topology.source) == topology


def test_gateways_that_differ_are_each_others_too() -> None:
    """S06: a host that moves sends by the gateway that it had; what has no gateway sends by its router."""
    topology = loads(STRETCHED)
    (first,), (second,) = (config(topology, name).gateways for name in ("xtr1", "xtr2"))
    assert first == Gateway("p1", foreign=(ip_interface("192.168.9.253/24"),))
    assert second == Gateway("p2", foreign=(ip_interface("192.168.9.1/24"),))
    text = STRETCHED.replace(
        "    nbr-proxy", '    gateway: 192.168.9.254\n    gateway-mac: "02:00:5e:00:00:07"\n    nbr-proxy'
    )
    (first,), (second,) = (config(loads(text), name).gateways for name in ("xtr1", "xtr2"))
    assert first == Gateway("p1", foreign=(ip_interface("192.168.9.254/24"),))
    assert second == Gateway(
        "p2", (ip_interface("192.168.9.254/24"),), "02:00:5e:00:00:07", first.foreign[:0] + second.foreign
    )
    assert second.foreign == (ip_interface("192.168.9.1/24"),)


def test_a_guest_finds_the_gateway_of_its_home() -> None:
    """X11: a site that takes hosts of another subnet has their gateway, and no route to that subnet."""
    topology = loads(GUESTS)
    home, foreign = config(topology, "xtr1"), config(topology, "xtr2")
    assert home.gateways == (Gateway("h1", (ip_interface("192.168.1.254/24"),), DEFAULT_GATEWAY_MAC),)
    assert foreign.gateways == (
        Gateway("h2", (ip_interface("192.168.2.254/24"),), DEFAULT_GATEWAY_MAC, (ip_interface("192.168.1.254/24"),)),
    )
    assert [str(one) for one in topology["xtr2"].link_to("h2").addresses] == ["192.168.2.1/24"]
    assert loads(topology.source) == topology


GUESTS = """\
address-space: {rloc: 10.0.0.0/16, eid: 192.168.0.0/16}
core: {routers: core1}
mapping-system: {msmr: {links: core1}}
sites:
  home:
    eid-prefixes: 192.168.1.0/24
    gateway: 192.168.1.254
    key: secret
    routers: {xtr1: {links: core1}}
    hosts: h1
  foreign:
    eid-prefixes: 192.168.2.0/24
    dynamic-eids: 192.168.1.0/24
    subnets: 192.168.2.0/24
    gateway: 192.168.2.254
    key: other
    routers: {xtr2: {links: core1}}
    hosts: h2
"""


CHOICES = """\
address-space: {rloc: 10.0.0.0/16, eid: 192.168.0.0/16}
core: {routers: core1}
mapping-system:
  ms1: {roles: map-server, links: core1}
  ms2: {roles: map-server, links: core1}
  mr1: {roles: map-resolver, links: core1}
  mr2: {roles: map-resolver, links: core1}
proxies:
  p1: {links: core1, map-resolvers: mr2}
  p2: {links: core1}
sites:
  a: {map-servers: ms2, map-resolvers: [mr2, mr1], petrs: p2, key: k, routers: {xa: {links: core1}}, hosts: ha}
  b: {key: k, routers: {xb: {links: {core1: {weight: 75}, other: {to: core1, weight: 25}}}}, hosts: hb}
"""


def test_sites_choose_whom_they_speak_to() -> None:
    topology = loads(CHOICES)
    ms1, ms2, mr1, mr2, p1, p2 = (config(topology, one).rlocs[0] for one in ("ms1", "ms2", "mr1", "mr2", "p1", "p2"))
    a, b = config(topology, "xa"), config(topology, "xb")
    assert ([one.address for one in a.map_servers], a.map_resolvers, a.petrs) == ([ms2], (mr2, mr1), (p2,))
    assert ([one.address for one in b.map_servers], b.map_resolvers, b.petrs) == ([ms1, ms2], (mr1, mr2), (p1, p2))
    assert config(topology, "p1").map_resolvers == (mr2,)
    assert [[one.name for one in config(topology, ms).sites] for ms in ("ms1", "ms2")] == [["b"], ["a", "b"]]
    (prefix,) = topology.sites["a"].eid_prefixes
    assert [one.map_server for one in config(topology, "mr1").delegations if one.prefix == prefix] == [ms2]
    assert loads(topology.source) == topology


def test_two_links_to_the_same_core_router() -> None:
    topology = loads(CHOICES)
    xtr = config(topology, "xb")
    assert xtr.core_interfaces == ("core1", "core1-2")
    assert [one.weight for one in xtr.database[0].locators] == [75, 25]
    assert topology["core1"].link_to("xb").peer_interface == "core1"


def test_a_dynamic_prefix_may_lie_inside_a_home_site() -> None:
    text = STRETCHED.replace(
        "  branch:", "  home: {eid-prefixes: 192.168.8.0/23, key: x, routers: {xh: {links: core1}}}\n  branch:"
    )
    assert [len(site.dynamic_eids) for site in loads(text).sites.values()] == [1, 1, 0, 0]
    with pytest.raises(
        TopologyError, match=r"dynamic-eids 192.168.9.0/24 of site dc1 covers 192.168.9.0/25 of site home"
    ):
        loads(text.replace("192.168.8.0/23", "192.168.9.0/25"))


def test_the_data_plane_is_the_nodes_or_else_the_files() -> None:
    def planes(text: str) -> dict[str, str]:
        return {node.name: node.lisp.dataplane.value for node in loads(text).lisp_routers if node.lisp}

    assert set(planes(BASE).values()) == {"auto"}
    text = BASE.replace("title:", "dataplane: ebpf\ntitle:").replace("xtr2: {", "xtr2: {dataplane: python, ")
    expected = dict.fromkeys(planes(BASE), "ebpf") | {"xtr2": "python"}
    assert planes(text) == expected
    resolved = loads(text).source
    assert planes(resolved) == expected
    assert loads(resolved).source == resolved


def test_reachability_is_the_nodes_or_else_the_files() -> None:
    def told(text: str) -> dict[str, tuple[float, bool, bool]]:
        configs = {node.name: node.lisp for node in loads(text).lisp_routers if node.lisp}
        return {name: (one.probing, one.path_mtu_discovery, one.locator_status_bits) for name, one in configs.items()}

    assert set(told(BASE).values()) == {(10.0, False, False)}
    of_all = "probing: 1.5\npath-mtu-discovery: true\nlocator-status-bits: true\ntitle:"
    of_one = "xtr2: {probing: 0, path-mtu-discovery: false, locator-status-bits: false, "
    text = BASE.replace("title:", of_all).replace("xtr2: {", of_one)
    expected = dict.fromkeys(told(BASE), (1.5, True, True)) | {"xtr2": (0, False, False)}
    assert told(text) == expected
    resolved = loads(text).source
    assert told(resolved) == expected
    assert loads(resolved).source == resolved


def test_who_subscribes_is_known_to_the_mapping_system_and_to_nobody_else() -> None:
    def configs(text: str) -> dict[str, NodeConfig]:
        return {node.name: node.lisp for node in loads(text).lisp_routers if node.lisp}

    assert not any(one.subscribers or one.subscription_keys for one in configs(BASE).values())
    text = BASE.replace("title:", "pubsub: true\ntitle:").replace("xtr2: {", "xtr2: {pubsub: false, ")
    found = configs(text)
    assert {name for name, one in found.items() if one.subscription_keys} == {"xtr1", "pxtr"}
    keys = [one.subscription_keys for one in found.values() if one.subscription_keys]
    assert len(set(keys)) == 2
    for name in ("ms", "mr"):
        known = {one.xtr_id: one for one in found[name].subscribers}
        assert set(known) == {found["xtr1"].xtr_id, found["pxtr"].xtr_id}
        one = known[found["xtr1"].xtr_id]
        assert one.site_id == found["xtr1"].site_id
        assert [network.network_address for network in one.rlocs] == list(found["xtr1"].rlocs)
        # A Map-Resolver signs nothing.
        assert one.keys == (found["xtr1"].subscription_keys if name == "ms" else ())
    assert found["ms"].subscription_resolvers == found["mr"].rlocs
    assert not found["xtr1"].subscribers
    resolved = loads(text).source
    assert configs(resolved) == found
    assert loads(resolved).source == resolved
    assert NodeConfig.from_json(found["ms"].to_json()) == found["ms"]
