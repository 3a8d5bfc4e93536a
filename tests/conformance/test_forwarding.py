"""What is encapsulated and what is not: RLOC and EID space, native routes, proxies (S01 to S03, M13, M14)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

import pytest

from testbed.act.echo import Pinger
from testbed.lab import Lab
from testbed.observe.decoder import Packet, decode
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.counters import drops
from tests.conformance.tester.daemons import map_cache, settled
from tests.conformance.tester.places import facing, rloc, uplink
from tests.conformance.tester.players import Attacker
from tests.conformance.tester.traffic import inject, sink
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Watch, inner_request
from tests.labs import missing_for

WORLDS = [
    pytest.param("static-python", marks=pytest.mark.data_path("python")),
    pytest.param("static-ebpf", marks=pytest.mark.data_path("ebpf")),
    "ospf-bgp-auto",
]


@pytest.fixture(scope="module", params=WORLDS)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The world two-dc-static by each data path, and the one where the PxTR announces the aggregates by BGP."""
    routing, dataplane = request.param.rsplit("-", 1)
    if missing := missing_for(dataplane):
        pytest.skip(missing)
    name = f"forwarding-{request.param}"
    directory = tmp_path_factory.mktemp(name)
    text = (Path(__file__).parents[2] / "topologies" / "two-dc-static.yaml").read_text()
    file = directory / f"{name}.yaml"
    file.write_text(text.replace("address-space:", f"routing: {routing}\naddress-space:", 1))
    with Lab(file, name=name, run_dir=directory / name, dataplane=dataplane) as booted:
        yield booted


def ip(lab: Lab, node: str, *words: Any) -> str:
    """Run the ip command in a node."""
    done = lab.run(node, ["ip", *map(str, words)])
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def set_in(lab: Lab, node: str, kind: str, *words: Any) -> Iterator[None]:
    """A route or rule of a node, for a while."""
    ip(lab, node, kind, "add", *words)
    try:
        yield
    finally:
        ip(lab, node, kind, "del", *words)


def answered(lab: Lab, source: str, target: Any, within: float = 10.0) -> str:
    """Ping: "" when a reply came, otherwise who refused it, or "nobody"."""
    with Pinger(lab) as pinger:
        echo = pinger.send(source, IPv4Address(str(target)))
        pinger.wait([echo], echo.sent + within)
        return "" if echo.rtt is not None else echo.refused_by or "nobody"


def requests(watch: Watch, node: str) -> list[Packet]:
    """The echo requests that arrived at a node."""
    watch.drain()
    found = [decode(one.data) for one in watch.frames if one.node == node]
    return [one for one in found if one and one.echo and one.echo.kind == "request"]


def is_inside(address: Any, prefixes: Any) -> bool:
    return any(address in prefix for prefix in prefixes)


@pytest.mark.requirement("M15", "S01")
def test_the_core_knows_no_eids_but_the_aggregates(lab: Lab) -> None:
    """Every core router's tables, and no route of a LISP site's more specific than the PxTR's aggregates."""
    aggregates = [one.network for one in lab.topology.eid_aggregates]
    for router in lab.topology.core:
        routes = json.loads(ip(lab, router.name, "-j", "route", "show", "table", "all"))
        prefixes = [ip_network(one["dst"]) for one in routes if one["dst"] != "default" and ":" not in one["dst"]]
        eids = {prefix for prefix in prefixes if any(prefix.overlaps(one) for one in aggregates)}
        assert eids == set(aggregates), router.name
        assert "default" not in [one["dst"] for one in routes if one.get("table", "main") == "main"]


def test_xtrs_know_a_default_route_and_their_site(lab: Lab) -> None:
    """Whatever is more specific would not be encapsulated."""
    for router in lab.topology.lisp_routers:
        routes = json.loads(ip(lab, router.name, "-j", "-4", "route"))
        connected = {one["dst"] for one in routes if one.get("protocol") == "kernel"}
        assert {one["dst"] for one in routes} - connected == {"default"}


@pytest.mark.requirement("S01")
def test_hosts_do_not_reach_rlocs(lab: Lab) -> None:
    """Refused at the xTR, its own RLOC and the core's addresses too, and nothing is seen in the core."""
    core = [router.name for router in lab.topology.core]
    targets = {one for router in lab.topology.lisp_routers if router.lisp for one in router.lisp.rlocs}
    targets |= {one.ip for router in lab.topology.core for face in router.interfaces for one in face.addresses}
    with Watch(lab, core) as watch, Pinger(lab) as pinger:
        echoes = [pinger.send(host, target) for host in ("h1", "h4", "b1") for target in sorted(targets)]
        pinger.wait(echoes, echoes[-1].sent + 0.5)
        # The kernel paces its ICMP errors: not each echo is refused aloud.
        assert [one for one in echoes if one.rtt is not None] == []
        assert [one for one in echoes if one.refused_by]
        assert [one for router in core for one in requests(watch, router)] == []


def tunnelled(lab: Lab, target: Any, within: float) -> list[bool]:
    """Whether the pings of h1, seen behind its xTR, have a LISP header; those without have one hop less."""
    core = uplink(lab, "xtr1")
    with Watch(lab, [core]) as watch:
        answered(lab, "h1", target, within=within)
        found = requests(watch, core)
    assert all(one.lisp is not None or one.headers[0].ttl == 63 for one in found)
    return [one.lisp is not None for one in found]


# The router hears of a route by a notification: what was sent before that goes as it did.


@pytest.mark.requirement("S02")
def test_a_specific_route_switches_encapsulation_off(lab: Lab) -> None:
    """While it is there packets leave without a LISP header; afterwards they are encapsulated again."""
    target, core = lab["h4"].address, uplink(lab, "xtr1")
    assert not answered(lab, "h1", target)
    for prefix in (f"{target}/32", ip_network(f"{target}/24", strict=False)):
        with set_in(lab, "xtr1", "route", prefix, "via", facing(lab, core, "xtr1")):
            eventually(lambda: tunnelled(lab, target, 0.2) == [False], "a ping without a LISP header")
    eventually(lambda: tunnelled(lab, target, 1.0) == [True], "a ping with a LISP header")
    assert not answered(lab, "h1", target)


@pytest.mark.requirement("S02")
@pytest.mark.parametrize("null0", ["unreachable", "blackhole", "prohibit"])
def test_a_null0_route_leaves_encapsulation_on(lab: Lab, null0: str) -> None:
    """Also below a specific route that leads somewhere."""
    target, core = lab["h4"].address, uplink(lab, "xtr1")
    wider = ip_network(f"{target}/25", strict=False)
    with (
        set_in(lab, "xtr1", "route", wider, "via", facing(lab, core, "xtr1")),
        set_in(lab, "xtr1", "route", null0, f"{target}/32"),
    ):
        eventually(lambda: tunnelled(lab, target, 1.0) == [True], "a ping with a LISP header")
        assert not answered(lab, "h1", target)


@pytest.mark.requirement("S03")
def test_sources_outside_the_eid_prefixes_go_natively(lab: Lab) -> None:
    """No LISP header, no Map-Request, one hop less."""
    stranger, core = IPv4Address("198.51.100.7"), uplink(lab, "xtr1")
    with Watch(lab, [core]) as watch:
        for target in (lab["client"].address, lab["h4"].address):
            inject(lab, "h1", packets.datagram(stranger, target, (7, 7), b"stranger", ttl=50))
        watch.until(lambda: len(watch.datagrams(7)) == 2, "two native packets")
        assert {(one.source, one.ttl) for _, one in watch.datagrams(7)} == {(stranger, 49)}
        assert not watch.datagrams(packets.DATA)
        assert not watch.control(wire.ECM)


@pytest.mark.requirement("M13", "S10")
def test_pitr_draws_and_encapsulates_what_comes_from_outside(lab: Lab) -> None:
    """Natively from the client's site to the PxTR, from there in a LISP header; it asks with the p-bit."""
    lab.restart("pxtr")
    with Watch(lab, ["mr", uplink(lab, "pxtr"), "pxtr", "xtr1"]) as watch:
        assert not answered(lab, "client", lab["h1"].address)
        (native,) = requests(watch, "pxtr")
        (packet,) = requests(watch, "xtr1")
        asked = [one for one in watch.control(wire.ECM, "mr") if one.outer.source == rloc(lab, "pxtr")]
    assert native.lisp is None
    assert packet.lisp is not None
    assert [(one.source, one.destination) for one in packet.headers] == [
        (rloc(lab, "pxtr"), rloc(lab, "xtr1")),
        (lab["client"].address, lab["h1"].address),
    ]
    (request,) = [inner_request(one) for one in asked]
    with clause("M13"):
        assert request.word == wire.MAP_REQUEST << 28 | wire.PITR | 1
    assert request.itr_rlocs == (rloc(lab, "pxtr"),)


@pytest.mark.requirement("M14", "S10")
def test_petr_forwards_natively_where_sources_are_checked(lab: Lab) -> None:
    """The core next to the xTR drops packets with EID sources; through the PETR they arrive all the same."""
    core, target = uplink(lab, "xtr1"), lab["client"].address
    packet = packets.datagram(lab["h1"].address, target, (7, 9999), b"without a tunnel")
    aggregate = lab.topology.eid_aggregates[0].network
    iif = ("iif", lab[core].link_to("xtr1").name)
    with (
        set_in(lab, core, "rule", "from", aggregate, *iif, "blackhole"),
        sink(lab, "client"),
        Watch(lab, [core, "pxtr", "client"]) as watch,
    ):
        inject(lab, "xtr1", packet)
        assert not answered(lab, "h1", target)
        (outer,) = requests(watch, "pxtr")
        (inner,) = requests(watch, "client")
        assert not watch.datagrams(9999, "client")
    assert outer.lisp is not None
    assert (outer.headers[0].source, outer.headers[0].destination) == (rloc(lab, "xtr1"), rloc(lab, "pxtr"))
    assert inner.lisp is None
    assert (inner.headers[0].source, inner.headers[0].destination) == (lab["h1"].address, target)


@pytest.mark.requirement("M14", "S01")
def test_petr_is_no_way_round_the_rules(lab: Lab) -> None:
    """From other sources, back into the aggregates, to RLOCs: dropped and counted."""
    core, client, h1, h4 = uplink(lab, "pxtr"), lab["client"].address, lab["h1"].address, lab["h4"].address
    free = next(one for one in lab.topology.eid_aggregates[0].network.hosts() if not is_inside(one, used(lab)))
    wrong = {
        "source outside the aggregates": (IPv4Address("198.51.100.7"), client),
        "destination inside the aggregates": (h1, h4),
        "destination is an RLOC": (h1, rloc(lab, "ms")),
    }
    before = drops(lab, "pxtr")
    with Watch(lab, [core, "client", "ms", "h4"]) as watch, sink(lab, "client"):
        for pair in (*wrong.values(), (h1, free), (h1, client)):
            inner = packets.datagram(*pair, (7777, 9999), b"round")
            inject(lab, core, packets.lisp(rloc(lab, "xtr1"), rloc(lab, "pxtr"), inner))

        def arrived() -> bool:
            return any(one.source == h1 for _, one in watch.datagrams(9999, "client"))

        watch.until(arrived, "the packet that is allowed")
        through = {(one.source, one.destination) for _, one in watch.datagrams(9999)}
    after = drops(lab, "pxtr")
    assert (h1, client) in through
    for reason, ends in wrong.items():
        with clause("S01" if reason == "destination is an RLOC" else "M14"):
            assert ends not in through
            assert before is None or (after or {}).get(reason, 0) - before[reason] == 1 + (ends == (h1, h4))
    with clause("M14"):
        assert (h1, free) not in through


def used(lab: Lab) -> list[Any]:
    """The EID-prefixes of the sites."""
    return [prefix.network for one in lab.topology.sites.values() for prefix in one.eid_prefixes]


@pytest.mark.requirement("M24")
def test_pitr_does_not_forward_natively_into_its_aggregates(lab: Lab) -> None:
    """An EID that nobody has: ICMP unreachable from the PxTR, which sees the packet once."""
    aggregate = lab.topology.eid_aggregates[0].network
    nobody = [one for one in aggregate.hosts() if not is_inside(one, used(lab))][-1]
    with Watch(lab, ["pxtr", uplink(lab, "pxtr")]) as watch:
        refused = answered(lab, "client", nobody)
        assert refused.startswith(str(rloc(lab, "pxtr")))
        assert len(requests(watch, "pxtr")) == 1
        assert len(requests(watch, uplink(lab, "pxtr"))) == 1
    assert any(ip_network(nobody).subnet_of(ip_network(eid)) and row["action"] == "natively-forward"
               for eid, row in map_cache(lab, "pxtr").items() if eid != str(aggregate))  # fmt: skip


@pytest.mark.requirement("M13")
def test_pitr_asks_for_nothing_outside_its_aggregates(lab: Lab) -> None:
    """By hand it may; for a stranger's packet that a misrouted core hands it, it does not."""
    core = uplink(lab, "pxtr")
    with Watch(lab, ["mr"]) as watch:
        ip(lab, core, "route", "add", "198.51.100.0/24", "via", rloc(lab, "pxtr"))
        try:
            inject(lab, core, packets.datagram(lab["client"].address, "198.51.100.9", (7, 7), b"stray", ttl=5))
            assert not answered(lab, "client", lab["h1"].address)
        finally:
            ip(lab, core, "route", "del", "198.51.100.0/24")
        asked = [one for one in watch.control(wire.ECM) if one.outer.source == rloc(lab, "pxtr")]
        assert IPv4Address("198.51.100.9") not in [one.message.inner.destination for one in asked if one.message.inner]


@pytest.mark.requirement("S01")
def test_hosts_do_not_speak_to_daemons(lab: Lab) -> None:
    """No Map-Request or LISP data packet of a host is taken, at an RLOC or at its gateway's own address."""
    request = wire.map_request(99, [lab["h1"].address], [lab["h1"].address])
    inner = packets.datagram(lab["h4"].address, lab["h2"].address, (7, 9999), b"forged")
    with Watch(lab, ["h1", "h2"]) as watch, sink(lab, "h2"):
        gateway = lab["xtr1"].link_to("sw1").addresses[0].ip
        for router in ("xtr1", "ms"):
            attacker = Attacker(lab, router, watch, at="h1")
            attacker.send(request)
            attacker.tunnel(inner)
        inject(lab, "h1", packets.datagram(lab["h1"].address, gateway, (4000, wire.CONTROL), request))
        inject(lab, "h1", packets.lisp(lab["h1"].address, gateway, inner))
        settled(lab, "xtr1")
        assert not answered(lab, "h1", lab["h2"].address)
        watch.drain()
        assert not watch.control(wire.MAP_REPLY)
        assert not watch.datagrams(9999)
