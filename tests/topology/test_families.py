"""IPv4 and IPv6 side by side: links, hosts, gateways, routes, locators and expectations have both."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from testbed.load import loads
from testbed.model import Path, Topology

DUAL = """\
address-space: {rloc: [10.0.0.0/16, 2001:db8:10c::/48], eid: [192.168.0.0/16, 2001:db8:e1d::/48]}
core: {routers: [core1, core2], links: [[core1, core2]]}
mapping-system:
  ms: {roles: msmr, links: core1}
proxies:
  pxtr: {links: core2}
sites:
  dc1:
    key: secret
    routers: {xtr1: {links: [core1, core2]}}
    fabric: sw1
    hosts: [h1, h2]
  dc2:
    eid-prefixes: 192.168.7.0/24
    key: secret
    locators: ipv6
    routers: {xtr2: {links: core2}}
    hosts: h3
  plain:
    lisp: false
    subnets: [203.0.113.0/24, 2001:db8:113::/64]
    routers: {edge: {links: core1}}
    hosts: client
"""


def judged(topology: Topology, source: str, destination: str) -> dict[int, Path]:
    pair = (source, destination)
    return {one.version: one.path for one in topology.expectations if (one.source, one.destination) == pair}


def test_every_link_has_a_subnet_of_each_version() -> None:
    topology = loads(DUAL)
    for name in ("core1", "core2", "ms", "pxtr"):
        for interface in topology[name].interfaces:
            assert [one.version for one in interface.addresses] == [4, 6]
    assert [str(one) for one in topology["core1"].link_to("core2").addresses] == ["10.0.0.1/30", "2001:db8:10c::1/64"]
    assert [str(one) for one in topology["ms"].link_to("core1").addresses] == ["10.0.1.2/30", "2001:db8:10c:1::2/64"]


def test_sites_have_prefixes_hosts_and_gateways_of_each_version_that_they_want() -> None:
    topology = loads(DUAL)
    assert [str(one) for one in topology.sites["dc1"].eid_prefixes] == ["192.168.0.0/24", "2001:db8:e1d::/64"]
    assert [str(one) for one in topology["h2"].interfaces[0].addresses] == ["192.168.0.12/24", "2001:db8:e1d::12/64"]
    assert {(str(one.prefix), str(one.via)) for one in topology["h2"].routes} == {
        ("0.0.0.0/0", "192.168.0.1"),
        ("::/0", "2001:db8:e1d::1"),
    }
    assert [str(one) for one in topology["h3"].interfaces[0].addresses] == ["192.168.7.11/24"]
    assert topology["h2"].address == topology["h2"].address_of(4) == ip_address("192.168.0.12")
    assert topology["h2"].address_of(6) == ip_address("2001:db8:e1d::12")


def test_rlocs_are_grouped_by_version_in_the_order_of_the_core_interfaces() -> None:
    """S05: the daemon finds the interface of an RLOC by its place."""
    topology = loads(DUAL)
    xtr = topology["xtr1"].lisp
    assert xtr is not None
    assert xtr.core_interfaces == ("core1", "core2")
    by_interface = [topology["xtr1"].link_to(one).addresses for one in xtr.core_interfaces]
    assert xtr.rlocs == tuple(addresses[family].ip for family in (0, 1) for addresses in by_interface)
    assert {one.address for one in xtr.database[0].locators} == set(xtr.rlocs)


def test_a_site_chooses_the_versions_of_its_locators() -> None:
    """S12: here IPv4 EIDs behind an IPv6 RLOC, beside sites that have both."""
    xtr = loads(DUAL)["xtr2"].lisp
    assert xtr is not None
    assert len(xtr.rlocs) == 2
    assert [one.address.version for one in xtr.database[0].locators] == [6]


def test_the_core_has_routes_of_each_version() -> None:
    core1 = loads(DUAL)["core1"]
    routes = {str(one.prefix): one.via for one in core1.routes}
    assert {"203.0.113.0/24", "2001:db8:113::/64", "192.168.0.0/16", "2001:db8:e1d::/48"} <= set(routes)
    assert all(one.via is not None and one.via.version == one.prefix.version for one in core1.routes)


def test_each_version_is_expected_on_its_own() -> None:
    topology = loads(DUAL + "expect:\n  - {from: client, to: h1, path: unreachable, version: ipv6}\n")
    assert judged(topology, "h1", "h2") == {4: Path.LOCAL, 6: Path.LOCAL}
    assert judged(topology, "h1", "h3") == {4: Path.ENCAPSULATED}
    assert judged(topology, "h1", "client") == {4: Path.PROXIED, 6: Path.PROXIED}
    assert judged(topology, "client", "h1") == {4: Path.PROXIED, 6: Path.UNREACHABLE}


def test_what_the_core_does_not_route_reaches_no_non_lisp_site() -> None:
    """S12: islands reach each other, but a proxy cannot hand IPv6 to an IPv4 core."""
    topology = loads(DUAL.replace("rloc: [10.0.0.0/16, 2001:db8:10c::/48]", "rloc: 10.0.0.0/16"))
    assert judged(topology, "h1", "client") == {4: Path.PROXIED, 6: Path.UNREACHABLE}
    assert not any(one.prefix.version == 6 for one in (*topology["core1"].routes, *topology["xtr1"].routes))
    assert any(one.prefix.version == 6 for one in topology["h1"].routes)


def test_given_addresses_of_one_version_leave_the_other_to_be_allotted() -> None:
    text = DUAL.replace("{links: [core1, core2]}", "{links: {core1: {address: 2001:db8:10c:99::2/64}, core2: {}}}")
    topology = loads(text.replace("hosts: [h1, h2]", "hosts: {h1: {address: 2001:db8:e1d::77/64}, h2: {}}"))
    own, peer = topology["xtr1"].link_to("core1"), topology["core1"].link_to("xtr1")
    assert [str(one) for one in own.addresses] == ["10.0.3.2/30", "2001:db8:10c:99::2/64"]
    assert str(peer.addresses[1]) == "2001:db8:10c:99::1/64"
    assert [str(one) for one in topology["h1"].interfaces[0].addresses] == ["192.168.0.11/24", "2001:db8:e1d::77/64"]
    assert loads(topology.source) == topology


def test_a_narrow_ipv6_space_gives_links_that_follow_one_another() -> None:
    topology = loads(DUAL.replace("2001:db8:10c::/48", "2001:db8:10c::/120"))
    networks = [
        i.addresses[1].network for i in topology["core1"].interfaces if len(i.addresses) == 2 and i.side is None
    ]
    assert all(one.subnet_of(ip_network("2001:db8:10c::/120")) for one in networks if one.prefixlen == 126)
    assert sum(one.prefixlen == 126 for one in networks) == len(networks)


RTRS = """\
address-space: {rloc: [10.0.0.0/16, 2001:db8:10c::/48], eid: 192.168.0.0/16}
core: {routers: [core1, core2], links: [[core1, core2]]}
mapping-system: {ms: {roles: msmr, links: core1}}
proxies:
  both: {roles: rtr, links: [core1, core2]}
  four: {roles: rtr, links: core1, versions: ipv4}
  pxtr: {links: core2}
sites:
  old: {key: secret, routers: {xtr1: {links: core1, versions: ipv4}}, hosts: h1}
  new: {key: secret, via: [four, both], routers: {xtr2: {links: core2, versions: ipv6}}, hosts: h2}
  dual: {key: secret, via: both, proxy-reply: false, routers: {xtr3: {links: core2}}, hosts: h3}
  plain: {lisp: false, subnets: 203.0.113.0/24, routers: {edge: {links: core1}}, hosts: client}
"""


def ways(topology: Topology, xtr: str) -> list[list[str]]:
    """The locators of an xTR: the RTRs on the way, by name, and its own RLOC."""
    lisp = topology[xtr].lisp
    assert lisp is not None
    names = {rloc: f"{one.name}/{rloc.version}" for one in topology.lisp_routers if one.lisp for rloc in one.lisp.rlocs}
    return [[names[hop] for hop in (*one.via, one.address)] for one in lisp.database[0].locators]


def test_nodes_have_the_versions_that_they_want() -> None:
    topology = loads(RTRS)
    found = {node.name: [one.version for one in node.lisp.rlocs] for node in topology.lisp_routers if node.lisp}
    assert found == {
        "ms": [4, 6],
        "both": [4, 4, 6, 6],
        "four": [4],
        "pxtr": [4, 6],
        "xtr1": [4],
        "xtr2": [6],
        "xtr3": [4, 6],
    }
    assert [one.version for one in topology["core1"].link_to("xtr1").addresses] == [4]
    assert {route.prefix.version for route in topology["xtr2"].routes} == {6}
    assert loads(topology.source).source == topology.source


def test_each_is_spoken_to_in_a_version_that_it_has() -> None:
    topology = loads(RTRS)
    for name, version in (("xtr1", 4), ("xtr2", 6), ("four", 4)):
        lisp = topology[name].lisp
        assert lisp is not None
        spoken_to = [*lisp.map_resolvers, *(one.address for one in lisp.map_servers), *lisp.petrs]
        assert {one.version for one in spoken_to} == {version}


def test_paths_lead_through_each_rtr_to_each_rloc_of_the_site() -> None:
    """RFC 8060 section 4.6: a way for each IP version of who begins it; within it every RTR reaches the next hop."""
    topology = loads(RTRS)
    assert ways(topology, "xtr1") == [["xtr1/4"]]
    assert ways(topology, "xtr2") == [["four/4", "both/4", "xtr2/6"]]
    assert ways(topology, "xtr3") == [
        ["both/4", "xtr3/4"],
        ["both/6", "xtr3/4"],
        ["both/4", "xtr3/6"],
        ["both/6", "xtr3/6"],
    ]


def test_map_servers_answer_for_sites_behind_rtrs_unless_the_file_says_otherwise() -> None:
    """M08: the ETR may have no RLOC of the family of who asks."""
    topology = loads(RTRS)
    answered = {
        one.name: one.lisp.map_servers[0].proxy_reply
        for one in topology.lisp_routers
        if one.lisp and one.lisp.map_servers
    }
    assert answered == {"xtr1": False, "xtr2": True, "xtr3": False}


def test_what_hosts_behind_rtrs_see_of_each_other() -> None:
    topology = loads(RTRS)
    # From new, the RLOC of old is of the other family: no answer comes back, so neither gets through.
    assert judged(topology, "h1", "h2") == judged(topology, "h2", "h1") == {4: Path.UNREACHABLE}
    assert judged(topology, "h1", "h3") == {4: Path.REENCAPSULATED}
    assert judged(topology, "h3", "h1") == {4: Path.ENCAPSULATED}
    # The first RTR of new has only IPv4: dual can enter there.
    assert judged(topology, "h3", "h2") == judged(topology, "h2", "h3") == {4: Path.REENCAPSULATED}
    # The PITR sends through the RTR, the PETR needs none.
    assert judged(topology, "client", "h3") == judged(topology, "h3", "client") == {4: Path.PROXIED}


def test_an_rtr_carries_every_instance_and_as_a_proxy_only_one() -> None:
    """D20."""
    text = RTRS.replace(
        "sites:\n", "sites:\n  tenant: {key: secret, instance-id: 7, routers: {xtr4: {links: core1}}, hosts: h4}\n"
    )
    for roles, expected in (("rtr", [0, 7]), ("[rtr, pxtr]", [0])):
        lisp = loads(text.replace("both: {roles: rtr", f"both: {{roles: {roles}"))["both"].lisp
        assert lisp is not None
        assert [one.instance_id for one in lisp.eid_aggregates] == expected
