"""What still arrives for a host that left goes on to where it is now (requirement X06)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodes.dataplane.absences import Absence
from nodes.dataplane.decision import Deliver, Drop, Reencapsulate, Tables
from nodes.dataplane.decision_inbound import decide_inbound
from nodes.dataplane.holding import SECONDS
from nodes.dataplane.strangers import MOST_SOUGHT
from nodes.lisp.config import Role
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.wire.data_header import DataHeader
from tests.unit.data_path import OWN, XTR, ip_packet, locator, packet, tables
from tests.unit.test_transit import CE, ECT_0, EF, NOT_ECT, PEER, Arrivals, Bench, of

DYNAMIC = ("11.11.11.0/24", "2001:db8:11::/64")
HOST = {4: "11.11.11.11", 6: "2001:db8:11::11"}
BRANCH = {4: "192.168.9.9", 6: "2001:db8:9::9"}
THERE = {4: "10.0.2.1", 6: "2001:db8:0:2::1"}
ENCAPSULATE = Forwarding.ENCAPSULATE


def stretched(roles: frozenset[Role] = XTR) -> Tables:
    """The tables of an xTR of a stretched subnet, in which nobody is here."""
    made = tables(roles)
    for prefix in DYNAMIC:
        made.dynamic.set(EidPrefix.of(prefix), True)
    return made


def mapping(eid: str, *rlocs: str) -> ForwardingEntry:
    return ForwardingEntry(host_prefix(eid), ENCAPSULATE, tuple(locator(one) for one in rlocs))


def to_host(version: int = 4, **rest: object) -> bytes:
    return ip_packet(BRANCH[version], HOST[version], **rest)  # type: ignore[arg-type]


def destination(outer: bytes) -> str:
    return str(ip_address(outer[16:20] if outer[0] >> 4 == 4 else outer[24:40]))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(stretched(), monkeypatch)


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_it_goes_on_by_the_newer_mapping(bench: Bench, inner: int, outer: int) -> None:
    """X06, D11, D12, D15: TTL falls by one, the DSCP goes from header to header; and the daemon hears of it."""
    bench.path.install(mapping(HOST[inner], THERE[outer]))
    bench.arrive(to_host(inner, ttl=40), tos=EF, ttl=50)
    [(head, body)] = [of(one) for one in bench.network.sent]
    assert destination(head) == THERE[outer]
    assert body == to_host(inner, ttl=39, tos=EF)
    assert head[8 if outer == 4 else 7] == 39
    assert bench.path.absences.take() == [Absence(host_prefix(HOST[inner]), ip_address(PEER))]
    assert (bench.statistics.reencapsulated, bench.drops) == (1, {})


@pytest.mark.parametrize(("inside", "outside", "then"), [(ECT_0, CE, CE), (NOT_ECT, CE, None), (CE, NOT_ECT, CE)])
def test_ecn_is_that_of_decapsulation_and_encapsulation(
    bench: Bench, inside: int, outside: int, then: int | None
) -> None:
    """D14."""
    bench.path.install(mapping(HOST[4], THERE[4]))
    bench.arrive(to_host(tos=inside), tos=outside)
    seen = [(head[1] & 3, body[1] & 3) for head, body in map(of, bench.network.sent)]
    assert seen == ([] if then is None else [(then, then)])


def test_it_never_goes_back_to_where_it_came_from(bench: Bench) -> None:
    """Two routers that take each other for the host's; by none of their locators."""
    bench.path.install(mapping(HOST[4], PEER))
    bench.arrive(to_host())
    assert (bench.network.sent, bench.drops) == ([], {"mapping leads back to where it came from": 1})
    bench.path.install(mapping(HOST[4], THERE[4], THERE[6], PEER))
    for port in range(50):
        bench.arrive(to_host(body=struct.pack("!HHHH", port, 2222, 8, 0)))
    assert (bench.network.sent, bench.drops) == ([], {"mapping leads back to where it came from": 51})


def test_who_is_told_of_it_while_it_comes(bench: Bench) -> None:
    """X06: once a second, not only with the first packet."""
    bench.path.install(mapping(HOST[4], THERE[4]))
    for tenth in range(25):
        bench.path._context.clock = lambda now=tenth / 10: now  # type: ignore[misc]
        bench.arrive(to_host())
    assert len(bench.path.absences.take()) == 3
    assert len(bench.network.sent) == 25


def test_the_next_packet_goes_by_the_changed_mapping(bench: Bench) -> None:
    """X04, X06: delivered while the host is here, sent on from the moment that it is not, and where it is then."""
    bench.path.add_host(host_prefix(HOST[4]))
    bench.arrive(to_host())
    assert bench.network.sent == []
    bench.path.install(mapping(HOST[4], THERE[4]))
    bench.path.remove_host(host_prefix(HOST[4]))
    for rloc in (THERE[4], THERE[6], "10.0.5.1", THERE[4]):
        bench.path.install(mapping(HOST[4], rloc))
        bench.arrive(to_host())
        assert destination(bench.network.sent[-1]) == rloc
    bench.path.add_host(host_prefix(HOST[4]))
    bench.network.sent.clear()
    bench.arrive(to_host())
    assert bench.network.sent == []


def test_while_nobody_knows_where_it_is_it_waits_and_is_asked_for(bench: Bench) -> None:
    """A host whose silence withdrew it may show itself elsewhere at any moment: in order, and none back."""
    bodies = [struct.pack("!HHHH", 1000 + number, 2222, 8, 0) for number in range(3)]
    for body in bodies:
        bench.arrive(to_host(body=body, ttl=20))
    [miss] = bench.path.take_misses()
    assert (miss.eid, miss.source) == (host_prefix(HOST[4]), ip_address(BRANCH[4]))
    assert bench.network.sent == []
    bench.path.install(mapping(HOST[4], THERE[4]))
    assert [of(one)[1] for one in bench.network.sent] == [to_host(body=body, ttl=19) for body in bodies]
    bench.arrive(ip_packet(BRANCH[4], "11.11.11.12"))
    bench.path.install(mapping("11.11.11.12", PEER))
    assert bench.drops == {"mapping leads back to where it came from": 1}


def test_what_waited_and_what_came_behind_it_go_before_the_kernel_takes_over(bench: Bench) -> None:
    """D22: beside the programs, nothing that they send on overtakes what is still in the socket."""
    bodies = [struct.pack("!HHHH", 1000 + number, 2222, 8, 0) for number in range(4)]
    bench.arrive(to_host(body=bodies[0]))
    late = [(DataHeader().encode() + to_host(body=body), 0, 60) for body in bodies[1:]]
    bench.path._gates = {0: None}  # type: ignore[dict-item]
    bench.path._ports = {OWN[4]: Arrivals(*late)}  # type: ignore[dict-item]
    bench.path.install(mapping("11.11.11.12", THERE[4]))
    assert bench.network.sent == []
    bench.path.install(mapping(HOST[4], THERE[4]))
    assert [of(one)[1][20:] for one in bench.network.sent] == bodies


def test_what_hosts_of_the_site_send_goes_by_the_changed_mapping_too(bench: Bench) -> None:
    """X07: from the very next packet on."""
    bench.path.add_host(host_prefix("11.11.11.12"))
    for rloc in (THERE[4], THERE[6], "10.0.5.1", THERE[4]):
        bench.path.install(mapping(HOST[4], rloc))
        bench.path._outbound[0].handle(ip_packet("11.11.11.12", HOST[4]))
        assert destination(bench.network.sent[-1]) == rloc
    assert len(bench.network.sent) == 4


def test_what_waits_is_bounded(bench: Bench) -> None:
    """Anybody in the core can send to addresses that nobody has."""
    for number in range(1, 60):
        for low in range(1, 20):
            bench.arrive(ip_packet(BRANCH[6], f"2001:db8:11::{number:x}:{low:x}"))
    for _ in range(100):
        bench.arrive(ip_packet(BRANCH[6], "2001:db8:11::1:1"))
    held = bench.path.held[1]
    assert len(held) == len(bench.path.take_misses()) == 256
    assert held.in_all == 256 + 63


@pytest.mark.parametrize("version", [4, 6])
def test_a_host_that_the_mapping_system_says_is_here_is_sought_and_gets_what_waited(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """X01: a node that has started anew; at once, while the mapping is asked for, and again while packets come."""
    bench, (read_end, tun) = Bench(stretched(), monkeypatch), os.pipe()
    bench.path._transit[0]._site = tun
    host = host_prefix(HOST[version])
    bodies = [struct.pack("!HHHH", 1000 + number, 2222, 8, 0) for number in range(3)]
    bench.arrive(to_host(version, body=bodies[0], ttl=20))
    assert (bench.path.sought.take(), len(bench.path.take_misses())) == ([host], 1)
    bench.path.install(mapping(HOST[version], str(OWN[version])))
    bench.path._context.clock = lambda: 1.0
    for body in bodies[1:]:
        bench.arrive(to_host(version, body=body, ttl=20))
    assert (bench.path.sought.take(), bench.path.take_misses()) == ([host], [])
    bench.path.add_host(host)
    wanted = [to_host(version, body=body, ttl=20) for body in bodies]
    assert os.read(read_end, 4096) == b"".join(wanted)
    assert (bench.network.sent, bench.drops, bench.path.held[1].in_all) == ([], {}, 0)
    os.close(read_end), os.close(tun)


def test_one_that_is_elsewhere_or_does_not_answer_is_not_waited_for(bench: Bench) -> None:
    """Its next mapping decides; or its sender hears, in the end, that it cannot be reached."""
    bench.path.install(mapping(HOST[4], THERE[4]))
    bench.arrive(to_host())
    assert bench.path.sought.take() == []
    bench.path.install(mapping(HOST[4], str(OWN[4])))
    bench.arrive(to_host(ttl=20))
    assert bench.path.sought.take() == [host_prefix(HOST[4])]
    bench.path.install(mapping(HOST[4], THERE[4]))
    assert [of(one)[1] for one in bench.network.sent[1:]] == [to_host(ttl=19)]
    bench.path.install(mapping(HOST[4], str(OWN[4])))
    bench.path.install(mapping(BRANCH[4], PEER))
    bench.arrive(to_host())
    bench.path._context.clock = lambda: SECONDS
    bench.path.expire()
    error = of(bench.network.sent[-1])[1]
    assert (str(ip_address(error[16:20])), error[20:22]) == (BRANCH[4], b"\x03\x01")
    assert bench.drops == {"unresolved": 1}


def test_who_is_sought_is_bounded(bench: Bench) -> None:
    """Anybody in the core can send to addresses that nobody has."""
    for number in range(1, 2 * MOST_SOUGHT):
        bench.arrive(ip_packet(BRANCH[6], f"2001:db8:11::{number:x}"))
    assert len(bench.path.sought.take()) == MOST_SOUGHT
    assert bench.path.strangers.take() == []


def test_a_neighbour_of_a_host_that_was_forgotten_reaches_it(bench: Bench) -> None:
    """X01: what hosts of the site send by this router waits as well."""
    bench.path.add_host(host_prefix("11.11.11.12"))
    bench.path.install(mapping(HOST[4], str(OWN[4])))
    bench.path._outbound[0].handle(ip_packet("11.11.11.12", HOST[4]))
    assert (bench.path.sought.take(), bench.path.take_misses()) == ([host_prefix(HOST[4])], [])
    assert bench.path.held[0].in_all == 1


def ring(benches: dict[str, Bench], start: str, inner: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bytes]:
    """Carry a packet from router to router; gives how often it was carried, and what came to nobody of them."""
    arriving, before, ttl, hops = start, PEER, 64, 0
    while True:
        monkeypatch.setattr("tests.unit.test_transit.PEER", before)
        benches[arriving].arrive(inner, ttl=ttl)
        sent = benches[arriving].network.sent
        if not sent:
            return hops, b""
        head, inner = of(sent.pop())
        before, arriving, ttl, hops = arriving, destination(head), head[8], hops + 1
        if arriving not in benches:
            return hops, inner


@pytest.mark.parametrize("routers", [2, 3, 4])
def test_mappings_that_lead_round_end(monkeypatch: pytest.MonkeyPatch, routers: int) -> None:
    """Two drop it at once; more do when its TTL ends, and the sender hears of it (ICMP time exceeded)."""
    rlocs = [f"10.0.{number}.1" for number in range(20, 20 + routers)]
    benches = {}
    for number, rloc in enumerate(rlocs):
        made = Bench(replace(stretched(), own=frozenset({ip_address(rloc)})), monkeypatch)
        made.path.install(mapping(HOST[4], rlocs[(number + 1) % routers]))
        made.path.install(mapping(BRANCH[4], PEER))
        benches[rloc] = made
    hops, left = ring(benches, rlocs[0], to_host(ttl=9), monkeypatch)
    if routers == 2:
        assert (hops, left) == (1, b"")
    else:
        assert hops == 8 + 1
        assert (str(ip_address(left[16:20])), left[20]) == (BRANCH[4], 11)


def test_too_big_for_the_way_on_is_told_to_who_sent_it(bench: Bench) -> None:
    """D16: over IPv6, 20 bytes less fit; the answer goes by tunnel, as the sender is an EID."""
    bench.path.install(mapping(HOST[4], THERE[6]))
    bench.path.install(mapping(BRANCH[4], PEER))
    bench.arrive(to_host(body=bytes(1464 - 20), fragment=0x4000))
    [(head, error)] = [of(one) for one in bench.network.sent]
    assert (destination(head), str(ip_address(error[16:20]))) == (PEER, BRANCH[4])
    assert struct.unpack_from("!BB", error, 20) == (3, 4)
    assert struct.unpack_from("!H", error, 26) == (1444,)


def of_instance_7() -> Tables:
    made = tables(instance_id=7)
    made.dynamic.set(EidPrefix.of(DYNAMIC[0], 7), True)
    return made


def test_each_instance_stays_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """D20."""
    bench = Bench(of_instance_7(), monkeypatch)
    bench.path.install(ForwardingEntry(host_prefix(HOST[4], 7), ENCAPSULATE, (locator(THERE[4]),)))
    for instance_id in (7, 0):
        bench.arrive(to_host(), instance_id=instance_id)
    [sent] = bench.network.sent
    assert DataHeader.decode(sent[28:36]).instance_id == 7
    assert bench.drops == {"not an EID of this site": 1}


def forged() -> Tables:
    made = stretched()
    made.local.set(host_prefix(BRANCH[4]), True)
    return made


def at_home() -> Tables:
    made = stretched()
    made.local.set(EidPrefix.of(DYNAMIC[0]), True)
    return made


def away_from_home() -> Tables:
    made = at_home()
    made.map_cache.set(host_prefix(HOST[4]), mapping(HOST[4], THERE[4]))
    return made


def back_home() -> Tables:
    made = away_from_home()
    made.local.set(host_prefix(HOST[4]), True)
    return made


def registered_here() -> Tables:
    made = at_home()
    made.map_cache.set(host_prefix(HOST[4]), mapping(HOST[4], THERE[4], str(OWN[4])))
    return made


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (stretched, Reencapsulate(absent=True)),
        (lambda: stretched(frozenset({Role.ETR})), Drop("not an EID of this site")),  # it has no map-cache
        (forged, Drop("source is a host of this site")),
        (at_home, Deliver()),  # X10: its hosts are here, found or not
        (away_from_home, Reencapsulate(absent=True)),
        (back_home, Deliver()),
        (registered_here, Deliver()),
    ],
)
def test_which_packets_go_on(made: Callable[[], Tables], verdict: object) -> None:
    assert decide_inbound(packet(BRANCH[4], HOST[4]), 0, made()) == verdict
