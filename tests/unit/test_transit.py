"""An RTR takes packets out of one LISP header and puts them into another (RFC 9300 section 3)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodes.dataplane import python_path
from nodes.dataplane.decision import Deliver, Drop, Native, Reencapsulate, Tables, Unreachable
from nodes.dataplane.decision_inbound import decide_inbound
from nodes.dataplane.python_path import PythonPath
from nodes.lisp.checksum import checksum
from nodes.lisp.config import Role
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.wire.data_header import DataHeader
from tests.unit.data_path import OWN, PXTR, XTR, by_family, install, ip_packet, locator, packet, tables

RTR = frozenset({Role.RTR})
PEER = "10.0.7.1"
NOT_ECT, ECT_1, ECT_0, CE = range(4)
EF = 0xB8
"""A DSCP, in the place that it has in the DSCP and ECN byte."""


class Network:
    """What left the node, instead of sockets."""

    def __init__(self, _versions: frozenset[int]) -> None:
        self.sent: list[bytes] = []
        self.icmp_sent: list[bytes] = []

    def to(self, _locator: IPAddress) -> Callable[[bytes], None]:
        return self.sent.append

    def icmp(self, message: bytes, _destination: IPAddress, _mark: int = 0) -> None:
        self.icmp_sent.append(message)


class Arrivals:
    """The UDP socket of an RLOC, with LISP packets in it."""

    def __init__(self, *arrived: tuple[bytes, int, int]) -> None:
        self.arrived = list(arrived)

    def recvmsg_into(
        self, buffers: list[bytearray], _size: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        if not self.arrived:
            raise BlockingIOError
        data, tos, ttl = self.arrived.pop(0)
        buffers[0][: len(data)] = data
        ancillary = [(socket.IPPROTO_IP, 2, struct.pack("=i", ttl)), (socket.IPPROTO_IP, 1, bytes([tos]))]
        return len(data), ancillary, 0, (PEER, 50_000)


class Bench:
    """A router's data path with a list for a network; it reads what arrives at an RLOC."""

    def __init__(self, made: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network = Network(frozenset())
        monkeypatch.setattr(python_path, "Sender", lambda _: self.network)
        monkeypatch.setattr(python_path, "open_data_port", lambda rloc: rloc)
        self.tables = made
        self.path = PythonPath(made, {0: -1}, by_family, lambda: 0.0, frozenset({4, 6}))
        self.statistics = self.path.statistics

    def arrive(self, inner: bytes, *, tos: int = 0, ttl: int = 60, instance_id: int = 0) -> None:
        """One packet inside a LISP header."""
        data = DataHeader(instance_id=instance_id or None).encode() + inner
        self.path._inbound.read(Arrivals((data, tos, ttl)))  # type: ignore[arg-type]

    @property
    def drops(self) -> dict[str, int]:
        return dict(self.statistics.drops)


def of(outer: bytes) -> tuple[bytes, bytes]:
    """What is sent apart: the outer IP header, and the inner packet."""
    length = 20 if outer[0] >> 4 == 4 else 40
    assert outer[length + 2 : length + 4] == (4341).to_bytes(2, "big")
    return outer[:length], outer[length + 16 :]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """An RTR that knows 192.168.2.0/24 behind 10.0.2.1, and the sender's site behind an IPv6 RLOC."""
    made = tables(RTR)
    install(made, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    install(made, "192.168.1.0/24", Forwarding.ENCAPSULATE, locator("2001:db8:0:7::1"))
    return Bench(made, monkeypatch)


def request(**rest: object) -> bytes:
    return ip_packet("192.168.1.11", "192.168.2.22", **rest)  # type: ignore[arg-type]


def test_it_puts_a_packet_into_another_header(bench: Bench) -> None:
    """D28, D12: one LISP header before, one behind; TTL falls by one, the DSCP goes from header to header."""
    bench.arrive(request(ttl=40), tos=EF, ttl=50)
    [(outer, inner)] = [of(one) for one in bench.network.sent]
    assert (ip_address(outer[12:16]), ip_address(outer[16:20])) == (OWN[4], ip_address("10.0.2.1"))
    assert inner == request(ttl=39, tos=EF)
    assert (outer[1], outer[8]) == (EF, 39)
    assert checksum(inner[:20]) == 0
    statistics = bench.statistics
    assert (statistics.decapsulated, statistics.reencapsulated, statistics.encapsulated) == (1, 1, 1)
    assert statistics.forwarded_natively == 0


def test_it_carries_ipv6_between_families(bench: Bench) -> None:
    """D15: IPv6 EIDs, in over IPv4, out over IPv6."""
    install(bench.tables, "2001:db8:2::/64", Forwarding.ENCAPSULATE, locator("2001:db8:0:9::9"))
    bench.arrive(ip_packet("2001:db8:1::1", "2001:db8:2::2", ttl=64), ttl=30)
    [(outer, inner)] = [of(one) for one in bench.network.sent]
    assert (ip_address(outer[8:24]), ip_address(outer[24:40])) == (OWN[6], ip_address("2001:db8:0:9::9"))
    assert (outer[7], inner[7]) == (29, 29)


# RFC 6040 section 4.2: what is inside after decapsulation; encapsulation copies it to the new outer header.
ECN = [
    (NOT_ECT, NOT_ECT, NOT_ECT),
    (NOT_ECT, ECT_1, NOT_ECT),
    (NOT_ECT, ECT_0, NOT_ECT),
    (NOT_ECT, CE, None),
    (ECT_0, NOT_ECT, ECT_0),
    (ECT_0, ECT_1, ECT_1),
    (ECT_0, ECT_0, ECT_0),
    (ECT_0, CE, CE),
    (ECT_1, NOT_ECT, ECT_1),
    (ECT_1, ECT_1, ECT_1),
    (ECT_1, ECT_0, ECT_1),
    (ECT_1, CE, CE),
    (CE, NOT_ECT, CE),
    (CE, ECT_1, CE),
    (CE, ECT_0, CE),
    (CE, CE, CE),
]


@pytest.mark.parametrize(("inner", "outer", "then"), ECN)
def test_ecn_is_that_of_decapsulation_and_encapsulation(bench: Bench, inner: int, outer: int, then: int | None) -> None:
    """D14: all of RFC 6040's table."""
    bench.arrive(request(tos=inner), tos=outer)
    seen = [(head[1] & 3, packet[1] & 3) for head, packet in map(of, bench.network.sent)]
    assert seen == ([] if then is None else [(then, then)])
    if then is None:
        assert bench.drops == {"congestion experienced, inner packet not ECN-capable": 1}


@pytest.mark.parametrize(("inner_ttl", "outer_ttl", "left"), [(64, 2, 1), (2, 64, 1), (3, 2, 1), (255, 255, 254)])
def test_the_smaller_ttl_counts(bench: Bench, inner_ttl: int, outer_ttl: int, left: int) -> None:
    """D11: of inner and outer, and one less for this hop."""
    bench.arrive(request(ttl=inner_ttl), ttl=outer_ttl)
    [(outer, inner)] = [of(one) for one in bench.network.sent]
    assert (outer[8], inner[8]) == (left, left)


@pytest.mark.parametrize(("inner_ttl", "outer_ttl"), [(1, 64), (64, 1), (0, 64)])
def test_a_packet_whose_ttl_ends_here_is_answered_through_a_tunnel(
    bench: Bench, inner_ttl: int, outer_ttl: int
) -> None:
    """D11: ICMP time exceeded to the inner source, which is an EID: inside a LISP header."""
    bench.arrive(request(ttl=inner_ttl), ttl=outer_ttl)
    [(outer, error)] = [of(one) for one in bench.network.sent]
    assert ip_address(outer[24:40]) == ip_address("2001:db8:0:7::1")
    assert (ip_address(error[12:16]), ip_address(error[16:20])) == (OWN[4], ip_address("192.168.1.11"))
    assert (error[9], error[20], error[21]) == (1, 11, 0)
    assert error[28:40] == request(ttl=min(inner_ttl, outer_ttl))[:12]
    assert (bench.drops, bench.statistics.icmp_sent) == ({"TTL exceeded": 1}, 1)


def test_time_exceeded_of_ipv6(bench: Bench) -> None:
    install(bench.tables, "2001:db8:1::/64", Forwarding.ENCAPSULATE, locator("10.0.7.1"))
    bench.arrive(ip_packet("2001:db8:1::1", "2001:db8:2::2", ttl=1))
    [(_, error)] = [of(one) for one in bench.network.sent]
    assert (error[6], error[40], error[41]) == (58, 3, 0)


def test_a_mapping_that_leads_round_ends(bench: Bench) -> None:
    """Two RTRs that send each other a packet: as often as its TTL allows."""
    bench.arrive(request(ttl=8), ttl=8)
    rounds = 0
    while bench.network.sent:
        outer, inner = of(bench.network.sent.pop())
        if inner[9] == 1 and inner[20] == 11:
            break
        rounds += 1
        bench.arrive(inner, ttl=outer[8])
    assert rounds == 7
    assert bench.drops == {"TTL exceeded": 1}


@pytest.mark.parametrize(
    ("forwarding", "reason", "drop"),
    [
        (Forwarding.DROP, "no-usable-locator", "map-cache: no-usable-locator"),
        (Forwarding.NATIVE, "", "unregistered EID"),
    ],
)
def test_what_has_no_way_on_is_dropped_and_answered(
    bench: Bench, forwarding: Forwarding, reason: str, drop: str
) -> None:
    """A path that names this RTR last; an EID that nobody registered: never natively."""
    install(bench.tables, "192.168.2.0/24", forwarding, reason=reason)
    bench.arrive(request())
    assert bench.drops == {drop: 1}
    [(_, error)] = [of(one) for one in bench.network.sent]
    assert (error[20], error[21]) == (3, 1)


def test_a_mapping_to_the_node_itself_is_dropped(bench: Bench) -> None:
    install(bench.tables, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator(str(OWN[4])))
    bench.arrive(request())
    assert bench.drops == {"mapping leads to this node": 1}


def test_packets_wait_for_their_mapping_and_leave_in_order(bench: Bench) -> None:
    """S04: as at an ITR."""
    bodies = [struct.pack("!HHHH", 1000 + number, 2222, 8, 0) for number in range(3)]
    for body in bodies:
        bench.arrive(ip_packet("192.168.1.11", "192.168.3.33", body=body, ttl=20))
    assert bench.network.sent == []
    [miss] = bench.path.take_misses()
    assert (miss.eid, miss.source) == (EidPrefix.of("192.168.3.33/32"), ip_address("192.168.1.11"))
    assert [one.in_all for one in bench.path.held] == [0, 3]
    prefix = EidPrefix.of("192.168.3.0/24")
    bench.path.install(ForwardingEntry(prefix, Forwarding.ENCAPSULATE, (locator("10.0.3.1"),)))
    assert [of(one)[1] for one in bench.network.sent] == [
        ip_packet("192.168.1.11", "192.168.3.33", body=body, ttl=19) for body in bodies
    ]


def test_packets_that_nobody_answers_for_are_given_up(bench: Bench) -> None:
    bench.arrive(ip_packet("192.168.1.11", "192.168.3.33"))
    bench.path.unresolved(EidPrefix.of("192.168.3.33/32"))
    assert bench.drops == {"unresolved": 1}
    assert [one.in_all for one in bench.path.held] == [0, 0]
    [(_, error)] = [of(one) for one in bench.network.sent]
    assert (error[20], error[21]) == (3, 1)


def test_too_big_for_the_next_tunnel(bench: Bench) -> None:
    """D16, D17: by the MTU of the way on. DF: fragmentation needed, to the inner source; without it, in pieces."""
    bench.path.set_path_mtu(ip_address("10.0.2.1"), 1000)
    body = bytes(1100)
    bench.arrive(request(body=body, fragment=0x4000))
    [(_, error)] = [of(one) for one in bench.network.sent]
    assert struct.unpack_from("!BBHHH", error, 20)[::4] == (3, 1000 - 36)
    assert error[21] == 4
    bench.network.sent.clear()
    bench.arrive(request(body=body))
    pieces = [of(one) for one in bench.network.sent]
    assert len(pieces) == 2
    assert all(len(outer) + 16 + len(inner) <= 1000 for outer, inner in pieces)
    assert {inner[8] for _, inner in pieces} == {59}


def test_each_instance_stays_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """D20: the instance-ID goes from header to header, and the mapping is that instance's."""
    made = tables(RTR, instance_id=7)
    for aggregate in ("192.168.0.0/16", "2001:db8::/32"):
        made.aggregates.set(EidPrefix.of(aggregate, 7), True)
    install(made, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"), instance_id=7)
    install(made, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.3.1"))
    bench = Bench(replace(made, proxied=(0, 7)), monkeypatch)
    for instance_id in (7, 0, 8):
        bench.arrive(request(), instance_id=instance_id)
    first, second = bench.network.sent
    assert [ip_address(one[16:20]) for one in (first, second)] == [ip_address("10.0.2.1"), ip_address("10.0.3.1")]
    assert DataHeader.decode(first[28:36]).instance_id == 7
    assert DataHeader.decode(second[28:36]).instance_id is None
    assert bench.drops == {"not an EID of this site": 1}


@pytest.mark.parametrize(
    ("source", "destination", "verdict"),
    [
        ("192.168.2.22", "192.168.3.33", Reencapsulate()),
        ("192.168.2.22", "192.168.1.11", Deliver()),  # an EID of this site
        ("203.0.113.1", "192.168.3.33", Reencapsulate()),  # from a PITR (RFC 6832 section 5)
        ("203.0.113.1", "203.0.114.1", Drop("source outside the aggregates")),
        ("10.0.77.1", "192.168.3.33", Reencapsulate()),  # an ICMP error of another router on the way
        ("192.168.2.22", "203.0.113.1", Native()),
        ("192.168.2.22", "10.0.77.1", Drop("destination is an RLOC", Unreachable.PROHIBITED)),
        ("192.168.2.22", "224.0.0.5", Drop("not unicast")),
    ],
)
def test_beside_other_roles(source: str, destination: str, verdict: object) -> None:
    assert decide_inbound(packet(source, destination), 0, tables(RTR | XTR | PXTR)) == verdict


def test_a_source_without_an_eid_is_of_instance_0_alone() -> None:
    """D20: in an instance its address would mean somebody else; what another router says of an error does go on."""
    made = tables(RTR, instance_id=7)
    made.aggregates.set(EidPrefix.of("192.168.0.0/16", 7), True)
    assert decide_inbound(packet("203.0.113.1", "192.168.3.33"), 7, made) == Drop("not an EID of this site")
    assert decide_inbound(packet("10.0.77.1", "192.168.3.33"), 7, made) == Reencapsulate()


def test_other_routers_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is no RTR sends nothing on."""
    bench = Bench(tables(XTR), monkeypatch)
    install(bench.tables, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    bench.arrive(ip_packet("192.168.3.33", "192.168.2.22"))
    assert (bench.network.sent, bench.drops) == ([], {"not an EID of this site": 1})
