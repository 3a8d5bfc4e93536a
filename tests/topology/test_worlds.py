"""The shipped worlds, resolved: addresses, routes, daemon configurations, expectations."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path as FilePath

import pytest

from nodes.lisp.config import Algorithm, NodeConfig, Role
from nodes.lisp.eid import EidPrefix, IPNetwork
from testbed.load import SHIPPED, load, loads, shipped
from testbed.model import Node, NodeKind, Path, Side, Topology
from tests.topology.mistakes import BASE


@pytest.fixture(scope="module")
def two_dc() -> Topology:
    return load("two-dc-static")


def config(node: Node) -> NodeConfig:
    assert node.lisp is not None
    return node.lisp


def path(topology: Topology, source: str, destination: str, version: int = 4) -> Path:
    wanted = (source, destination, version)
    (found,) = [e.path for e in topology.expectations if (e.source, e.destination, e.version) == wanted]
    return found


def next_hop(topology: Topology, node: Node, address: str) -> str | None:
    """The node that ``node`` hands a packet for ``address`` to; itself if the address is on a link of its own."""
    target = ip_address(address)
    for interface in node.interfaces:
        if any(target in one.network for one in interface.addresses):
            return node.name
    best = max((r for r in node.routes if target in r.prefix), key=lambda r: r.prefix.prefixlen, default=None)
    if best is None or best.via is None:
        return None
    for other in topology.nodes.values():
        if any(best.via == one.ip for interface in other.interfaces for one in interface.addresses):
            return other.name
    raise AssertionError(f"{node.name}: {best.via} is nobody's address")


def overlap(a: IPNetwork, b: IPNetwork) -> bool:
    return a.version == b.version and a.overlaps(b)


def walk(topology: Topology, start: str, address: str) -> list[str]:
    """The nodes a packet passes, as the routes have it, up to the first LISP router."""
    here, passed = start, [start]
    while (there := next_hop(topology, topology[here], address)) not in (None, here):
        assert there is not None
        passed.append(there)
        here = there
        assert len(passed) < 20, f"a loop: {passed}"
        if topology[here].lisp is not None:
            break
    return passed


@pytest.mark.parametrize("name", shipped())
def test_resolved_text_is_the_same_topology(name: str) -> None:
    topology = load(name)
    again = loads(topology.source)
    assert again == topology
    assert again.source == topology.source


def test_resolved_text_of_everything_the_language_has() -> None:
    text = BASE.replace("title: A base to spoil", 'name: "1.5"\ntitle: "a: b # \\"c\\""\ntime-scale: 2.5')
    text = text.replace(
        "key: dc2-secret",
        'key: {secret: "a: \\u00e9 \\\\", id: 7, algorithm: hmac-sha-1-96}\n'
        "    other-keys: [{secret: next, id: 8}]\n    ttl-minutes: 5",
    )
    text = text.replace(
        "hosts: h3", 'hosts: {"3": {address: 192.168.2.9/24}, "no": }\n    fabric: "y"\n    use-petr: false'
    )
    text += "expect:\n  - {from: dc1, to: client, path: unreachable}\n"
    topology = loads(text)
    assert loads(topology.source) == topology
    assert topology.name == "1.5"
    assert [node.name for node in topology.hosts] == ["h1", "h2", "3", "no", "client"]
    key = config(topology["xtr2"]).map_servers[0].key
    assert (key.key_id, key.algorithm, key.secret) == (7, Algorithm.HMAC_SHA_1_96, "a: é \\")
    (other,) = config(topology["xtr2"]).map_servers[0].other_keys
    assert (other.key_id, other.algorithm, other.secret) == (8, Algorithm.HMAC_SHA_256_128_HKDF_SHA256, "next")
    assert {key, other} <= {one for site in config(topology["ms"]).sites for one in site.keys}


def test_the_same_file_gives_the_same_world() -> None:
    assert load("two-dc") == load("two-dc")


def test_what_is_added_at_the_end_moves_nothing() -> None:
    before, after = loads(BASE), loads(BASE.replace("    hosts: client", "    fabric: sw9\n    hosts: [client, other]"))
    for name in ("xtr1", "h1", "h2", "h3", "edge", "pxtr"):
        assert before[name].address == after[name].address


def test_given_addresses_are_kept_and_never_given_again() -> None:
    text = BASE.replace("h1: {address: 192.168.1.21/24}", "h1: {address: 192.168.1.1/24}")
    text = text.replace("links: core1}\n  mr", "links: {core1: {address: 10.0.0.9/30}}}\n  mr")
    topology = loads(text)
    assert str(topology["h1"].address) == "192.168.1.1"
    assert str(topology["xtr1"].link_to("sw1").addresses[0]) == "192.168.1.2/24"
    assert str(topology["ms"].address) == "10.0.0.9"
    assert str(topology["core1"].link_to("ms").addresses[0]) == "10.0.0.10/30"
    addresses = [a.ip for n in topology.nodes.values() for i in n.interfaces for a in i.addresses]
    assert len(addresses) == len(set(addresses))


@pytest.mark.parametrize("name", shipped())
def test_names_macs_and_addresses_are_unique_and_fit(name: str) -> None:
    topology = load(name)
    macs = [i.mac for n in topology.nodes.values() for i in n.interfaces]
    addresses = [(i.instance_id, a.ip) for n in topology.nodes.values() for i in n.interfaces for a in i.addresses]
    assert len(macs) == len(set(macs))
    if not any(i.instance_id for n in topology.nodes.values() for i in n.interfaces):
        assert len(addresses) == len(set(addresses))
    for node in topology.nodes.values():
        names = [interface.name for interface in node.interfaces]
        assert len(names) == len(set(names))
        assert all(len(one) <= 15 for one in names)
    for link in topology.links:
        a, b = (next(i for i in topology[n].interfaces if i.name == name) for n, name in (link.a, link.b))
        assert (a.peer, a.peer_interface, b.peer, b.peer_interface) == (b.node, b.name, a.node, a.name)


def test_two_data_centres(two_dc: Topology) -> None:
    kinds = {kind: [n.name for n in two_dc.nodes.values() if n.kind is kind] for kind in NodeKind}
    assert kinds[NodeKind.HOST] == ["h1", "h2", "h3", "h4", "h5", "h6", "b1", "client"]
    assert kinds[NodeKind.FABRIC] == ["sw1", "sw2"]
    assert kinds[NodeKind.ROUTER] == ["core1", "core2", "core3", "core4", "edge"]
    assert kinds[NodeKind.LISP_ROUTER] == ["ms", "mr", "pxtr", "xtr1", "xtr2", "xtr3"]
    assert [node.name for node in two_dc.core] == ["core1", "core2", "core3", "core4"]
    assert [name for name, site in two_dc.sites.items() if not site.is_lisp] == ["internet"]


@pytest.mark.parametrize("name", shipped())
def test_core_routers_know_no_eid_but_the_aggregates(name: str) -> None:
    """S01, M13, M15: and those lead to the PxTR."""
    topology = load(name)
    aggregates = {one.network for one in topology.eid_aggregates}
    proxies = [n.name for n in topology.lisp_routers if Role.PITR in config(n).roles]
    assert topology.core
    for router in topology.core:
        if router.routing:
            announced = {one for n in topology.nodes.values() if n.routing and n.lisp for one in n.routing.announced}
            learned = {one for one in router.routing.learned if any(overlap(one, each) for each in aggregates)}
            assert learned == announced == (aggregates if proxies else set())
            continue
        versions = {rloc.version for rloc in topology.rloc_space}
        aggregates = {one for one in aggregates if one.version in versions}
        eid_routes = [r for r in router.routes if any(overlap(r.prefix, one) for one in aggregates)]
        assert {r.prefix for r in eid_routes} == (aggregates if proxies else set())
        assert not any(overlap(one, a.network) for one in aggregates for i in router.interfaces for a in i.addresses)
        for host in topology.hosts:
            if topology.sites[host.site].is_lisp and host.address.version in versions:
                passed = walk(topology, router.name, str(host.address))
                assert passed[-1] in proxies if proxies else passed == [router.name]


@pytest.mark.parametrize("name", shipped())
def test_lisp_routers_have_only_a_default_route(name: str) -> None:
    """S02: a more specific route would switch encapsulation off for what it covers."""
    topology = load(name)
    for node in topology.lisp_routers:
        if node.kind is NodeKind.MOBILE_NODE:  # its networks give it those
            assert not node.routes
            continue
        ends = [(one.peer, one.peer_interface) for one in node.interfaces if one.side is Side.CORE]
        beyond = [
            one for peer, name in ends for i in topology[peer].interfaces if i.name == name for one in i.addresses
        ]
        assert [r.via for r in node.routes] == [one.ip for one in beyond]
        assert {r.prefix for r in node.routes} <= {ip_network("0.0.0.0/0"), ip_network("::/0")}


@pytest.mark.parametrize("name", shipped())
def test_routers_answer_the_first_neighbour_request_for_a_far_host(name: str) -> None:
    """A host asks again after a second: the first ping between data centres would take as long on either side."""
    found = [one for node in load(name).lisp_routers if node.lisp for one in node.lisp.dynamic_eids]
    assert {one.proxy_reply_requests for one in found} <= {0}
    assert bool(found) == (name in {"mobility", "stretched-subnet"})


def test_every_rloc_reaches_every_rloc(two_dc: Topology) -> None:
    for source in two_dc.lisp_routers:
        for destination in two_dc.lisp_routers:
            for rloc in config(destination).rlocs:
                passed = walk(two_dc, source.name, str(rloc))
                assert source is destination or two_dc[passed[-1]].link_to(destination.name)
                assert all(two_dc[one] in two_dc.core for one in passed[1:])


def test_the_non_lisp_site_is_reached_natively(two_dc: Topology) -> None:
    assert walk(two_dc, "core2", str(two_dc["client"].address))[-1] == "edge"
    assert walk(two_dc, "client", str(two_dc["h1"].address)) == ["client", "edge", "core4", "pxtr"]


def test_hosts_of_a_site_leave_through_their_gateway(two_dc: Topology) -> None:
    for host, gateway in (("h1", "xtr1"), ("h6", "xtr2"), ("b1", "xtr3"), ("client", "edge")):
        assert next_hop(two_dc, two_dc[host], "198.51.100.1") == gateway


def test_daemons_are_told_the_whole_world(two_dc: Topology) -> None:
    """S09: Map-Resolver and Map-Server are separate nodes."""
    xtr, ms, mr, pxtr = (config(two_dc[name]) for name in ("xtr1", "ms", "mr", "pxtr"))
    assert xtr.roles == {Role.ITR, Role.ETR}
    assert [str(one.prefix) for one in xtr.database] == ["192.168.1.0/24"]
    assert [one.address for one in xtr.database[0].locators] == list(xtr.rlocs)
    assert xtr.map_resolvers == mr.rlocs
    assert tuple(one.address for one in xtr.map_servers) == ms.rlocs
    assert xtr.petrs == pxtr.rlocs
    assert (xtr.core_interfaces, xtr.site_interfaces) == (("core1",), ("sw1",))
    assert [one.name for one in ms.sites] == ["dc1", "dc2", "branch"]
    assert {str(one.prefix): one.map_server for one in mr.delegations} == {
        f"192.168.{n}.0/24": ms.rlocs[0] for n in (1, 2, 3)
    }
    assert pxtr.roles == {Role.PITR, Role.PETR}
    assert pxtr.map_resolvers == mr.rlocs
    assert (pxtr.database, pxtr.petrs, pxtr.site_interfaces) == ((), (), ())
    assert [one.proxy_reply for n in ("xtr1", "xtr2") for one in config(two_dc[n]).map_servers] == [False, True]
    for node in two_dc.lisp_routers:
        assert config(node).eid_aggregates == (EidPrefix.of("192.168.0.0/16"),)
        assert config(node).rloc_space == two_dc.rloc_space == (ip_network("10.0.0.0/16"),)
        assert NodeConfig.from_json(config(node).to_json()) == config(node)
    ids = [config(node).xtr_id for node in two_dc.lisp_routers if Role.ETR in config(node).roles]
    assert len(ids) == len(set(ids)) == 3


def test_keys_are_shared_and_never_shown(two_dc: Topology) -> None:
    """C39: the ETR and its Map-Server name the same secret and algorithm."""
    keys = {site.name: site.keys for site in config(two_dc["ms"]).sites}
    assert keys["dc1"] == (config(two_dc["xtr1"]).map_servers[0].key,)
    assert keys["dc1"] != keys["dc2"]
    assert "dc1-secret" not in repr(two_dc)


def test_expectations_of_two_data_centres(two_dc: Topology) -> None:
    hosts = two_dc.hosts
    assert len(two_dc.expectations) == len(hosts) * (len(hosts) - 1)
    for source, destination, expected in (
        ("h1", "h3", Path.LOCAL),
        ("h1", "h4", Path.ENCAPSULATED),
        ("h4", "b1", Path.ENCAPSULATED),
        ("h1", "client", Path.PROXIED),
        ("client", "b1", Path.PROXIED),
    ):
        assert path(two_dc, source, destination) is expected


WITHOUT_PROXY = BASE.replace("proxies:\n  pxtr: {roles: pxtr, links: core2}\n", "")


@pytest.mark.parametrize(
    ("text", "there", "back"),
    [
        (BASE, Path.PROXIED, Path.PROXIED),
        (WITHOUT_PROXY, Path.UNREACHABLE, Path.UNREACHABLE),
        (BASE.replace("roles: pxtr", "roles: petr"), Path.UNREACHABLE, Path.UNREACHABLE),
        (BASE.replace("roles: pxtr", "roles: pitr"), Path.NATIVE, Path.PROXIED),
        (BASE.replace("key: dc1-secret", "key: dc1-secret\n    use-petr: false"), Path.NATIVE, Path.PROXIED),
        (BASE + "expect:\n  - {from: dc1, to: internet, path: unreachable}\n", Path.UNREACHABLE, Path.PROXIED),
    ],
    ids=["pxtr", "none", "petr", "pitr", "use-petr: false", "expect"],
)
def test_expectation_follows_the_proxies(text: str, there: Path, back: Path) -> None:
    topology = loads(text)
    assert (path(topology, "h1", "client"), path(topology, "client", "h1")) == (there, back)


def test_two_non_lisp_sites_talk_natively() -> None:
    other = "  far: {lisp: false, subnets: 198.51.100.0/24, routers: {far1: {links: core2}}, hosts: c2}\n"
    assert path(loads(BASE + other), "client", "c2") is Path.NATIVE


def test_multihomed_site() -> None:
    """S05, S11, C16: two core links are two RLOCs, with priorities and weights."""
    topology = loads(BASE)
    xtr = config(topology["xtr1"])
    assert xtr.core_interfaces == ("core1", "core2")
    assert xtr.rlocs == tuple(topology["xtr1"].link_to(one).addresses[0].ip for one in ("core1", "core2"))
    assert [(one.address, one.priority, one.weight) for one in xtr.database[0].locators] == [
        (xtr.rlocs[0], 1, 75),
        (xtr.rlocs[1], 1, 25),
    ]
    first, second = topology["xtr1"].routes
    assert first.via == topology["core1"].link_to("xtr1").addresses[0].ip
    assert second.via == topology["core2"].link_to("xtr1").addresses[0].ip


def test_two_xtrs_in_a_site_register_one_locator_set() -> None:
    text = BASE.replace(
        "      xtr2: {roles: xtr, links: core2}",
        "      xtr2: {links: core2}\n      xtr3: {links: core1}\n    fabric: sw2",
    )
    topology = loads(text)
    first, second = config(topology["xtr2"]), config(topology["xtr3"])
    assert first.database == second.database
    assert [one.address for one in first.database[0].locators] == [*first.rlocs, *second.rlocs]
    assert first.xtr_id != second.xtr_id
    assert first.site_id == second.site_id != 0


def test_one_router_in_all_roles() -> None:
    """S07: xTR, Map-Server, Map-Resolver, PITR and PETR at once."""
    text = BASE[: BASE.index("mapping-system")] + BASE[BASE.index("sites:") :]
    topology = loads(text.replace("roles: xtr\n", "roles: [xtr, msmr, pxtr]\n"))
    everything = config(topology["xtr1"])
    assert everything.roles == set(Role) - {Role.RTR}
    assert everything.petrs == ()
    assert everything.map_resolvers == everything.rlocs[:1]
    assert config(topology["xtr2"]).petrs == everything.rlocs[:1]
    assert path(topology, "h3", "client") is path(topology, "client", "h3") is Path.PROXIED
    # The only PITR and PETR is the site's own: nobody to tunnel to.
    assert path(topology, "h1", "client") is path(topology, "client", "h1") is Path.NATIVE


def test_sites_without_prefixes_get_their_own() -> None:
    text = BASE.replace("    eid-prefixes: 192.168.1.0/24\n", "").replace("    eid-prefixes: 192.168.2.0/24\n", "")
    topology = loads(text.replace("{address: 192.168.1.21/24}", ""))
    assert [str(one) for site in topology.sites.values() for one in site.eid_prefixes] == [
        "192.168.0.0/24",
        "192.168.1.0/24",
    ]


def test_several_links_between_two_core_routers() -> None:
    topology = loads(BASE.replace("    - [core1, core2]\n", "    - [core1, core2]\n    - [core1, core2]\n"))
    assert [i.name for i in topology["core1"].interfaces][:2] == ["core2", "core2-2"]
    assert loads(topology.source) == topology


def test_file_of_the_callers_directory(tmp_path: FilePath) -> None:
    (tmp_path / "mine.yaml").write_text(BASE, encoding="utf-8")
    assert load("mine.yaml", cwd=tmp_path).name == "mine"
    assert load(tmp_path / "mine.yaml").name == "mine"
    assert load("two-dc", cwd=tmp_path) == load(SHIPPED / "two-dc.yaml")


def test_hundreds_of_sites() -> None:
    sites = "".join(
        f"  s{n}:\n    key: secret-{n}\n    routers: {{x{n}: {{links: core{n % 2 + 1}}}}}\n    hosts: p{n}\n"
        for n in range(300)
    )
    topology = loads(BASE[: BASE.index("  dc1:")].replace("192.168.0.0/16", "172.16.0.0/12") + sites)
    assert len(topology.hosts) == 300
    assert len({one for site in topology.sites.values() for one in site.eid_prefixes}) == 300
    assert loads(topology.source) == topology
