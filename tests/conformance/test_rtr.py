"""An RTR between sites of different address families, and what Explicit Locator Paths look like to tshark.

Between west and north all RLOCs are IPv4; from west to east packets come in over IPv4 and go on over IPv6.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.lab import Lab
from testbed.observe.decoder import Packet, decode
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import PATIENCE_S
from tests.conformance.tester.daemons import frozen, map_cache
from tests.conformance.tester.places import rloc, uplink
from tests.conformance.tester.traffic import SINK, inject, received, sink
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Watch, dissect

NOT_ECT, ECT_1, ECT_0, CE = range(4)
EF = 46 << 2
TIME_EXCEEDED, UNREACHABLE = 11, 3
HOST_UNREACHABLE, TOO_BIG = 1, 4


@pytest.fixture(scope="module")
def warm(dataplane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab by each data path, with every mapping that the tests need in the map-caches."""
    name = f"rtr-{dataplane}-{os.getpid()}"
    run_dir = tmp_path_factory.mktemp("rtr") / name
    with Lab("mixed-families", name=name, run_dir=run_dir, dataplane=dataplane) as lab:
        for there in ("h2", "h3"):
            assert lab.run("h1", ["ping", "-c", "1", "-W", "10", str(lab[there].address)]).returncode == 0
        yield lab


def to_north(lab: Lab, text: str = "inner", *, outer_ttl: int = 64, outer_tos: int = 0, **inner: int) -> bytes:
    """What xtr1 sends the RTR with a datagram from h1 to h3 in it."""
    datagram = packets.datagram(lab["h1"].address, lab["h3"].address, (7777, SINK), text.encode(), **inner)
    return packets.lisp(rloc(lab, "xtr1"), rloc(lab, "rtr"), datagram, ttl=outer_ttl, tos=outer_tos)


def carried(watch: Watch) -> list[Packet]:
    """The packets that the RTR sent on."""
    found = [decode(frame.data) for frame in watch.frames if frame.interface == "rtr"]
    return [one for one in found if one is not None and one.lisp is not None]


def exchange(lab: Lab, *sent: bytes) -> tuple[list[Packet], dict[bytes, packets.Datagram]]:
    """Give the RTR packets: what it sends on, and what h3 receives, by its text; "last" comes behind all of them."""
    with sink(lab, "h3"), Watch(lab, [uplink(lab, "rtr"), "h3"], exact=True) as watch:
        inject(lab, uplink(lab, "rtr"), *sent, to_north(lab, "last"))

        def received() -> dict[bytes, packets.Datagram]:
            return {one.payload: one for _, one in watch.datagrams(SINK, "h3")}

        watch.until(lambda: b"last" in received(), "the last packet at h3")
        watch.drain()  # the core was looked at before h3
        return carried(watch), received()


def errors(watch: Watch, node: str) -> list[tuple[int, int, int]]:
    """The ICMP errors that arrived at a host: type, code and next-hop MTU."""
    found = []
    for frame in watch.frames:
        ip = frame.data[14:]
        if frame.node == node and frame.data[12:14] == b"\x08\x00" and ip[9] == 1 and ip[20] in (3, 11):
            kind, code, _, _, mtu = struct.unpack_from("!BBHHH", ip, 20)
            found.append((kind, code, mtu))
    return found


@pytest.mark.requirement("D04", "D08", "D11", "D12", "D28")
def test_one_header_goes_and_another_comes(warm: Lab) -> None:
    """Never two LISP headers; TTL falls by one, the DSCP that was seen outside goes on."""
    (first, _), received = exchange(warm, to_north(warm, ttl=40, outer_ttl=50, outer_tos=EF))
    assert [(str(one.source), str(one.destination)) for one in first.headers] == [
        (str(rloc(warm, "rtr")), str(rloc(warm, "xtr3"))),
        (str(warm["h1"].address), str(warm["h3"].address)),
    ]
    assert first.lisp is not None
    with clause("D04"):
        assert first.lisp.checksum == 0
    with clause("D08"):
        assert first.lisp.flags == 0
    inner = received[b"inner"]
    with clause("D11"):
        assert [one.ttl for one in first.headers] == [39, 39]
        # One hop of the core before xtr3, which forwards as well.
        assert inner.ttl == 39 - 1 - 1
    with clause("D12"):
        assert [one.traffic_class for one in first.headers] == [EF, EF]
        assert inner.tos == EF


@pytest.mark.requirement("D14")
@pytest.mark.parametrize(
    ("inner", "outer", "then"),
    [
        (NOT_ECT, NOT_ECT, NOT_ECT),
        (NOT_ECT, ECT_0, NOT_ECT),
        (NOT_ECT, CE, None),
        (ECT_0, NOT_ECT, ECT_0),
        (ECT_0, ECT_1, ECT_1),
        (ECT_0, CE, CE),
        (ECT_1, ECT_0, ECT_1),
        (CE, NOT_ECT, CE),
    ],
)
def test_ecn_is_that_of_decapsulation_and_encapsulation(warm: Lab, inner: int, outer: int, then: int | None) -> None:
    """Congestion that was met before the RTR is known behind it, outside and at the host, or ends the packet."""
    sent_on, received = exchange(warm, to_north(warm, tos=inner, outer_tos=outer))
    fields = [[one.traffic_class & 3 for one in packet.headers] for packet in sent_on[:-1]]
    assert fields == ([] if then is None else [[then, then]])
    assert [one.tos & 3 for text, one in received.items() if text == b"inner"] == ([] if then is None else [then])


@pytest.mark.requirement("D11")
def test_a_packet_whose_ttl_ends_at_the_rtr(warm: Lab) -> None:
    """Its sender is told, through the tunnels: ICMP time exceeded."""
    with Watch(warm, ["h1", "h3"]) as watch:
        inject(warm, uplink(warm, "rtr"), to_north(warm, ttl=1))
        watch.until(lambda: errors(watch, "h1"), "an ICMP error at h1")
        assert [one[:2] for one in errors(watch, "h1")] == [(TIME_EXCEEDED, 0)]
        assert watch.datagrams(SINK, "h3") == []


@pytest.mark.requirement("D16")
def test_the_next_tunnel_is_narrower(warm: Lab) -> None:
    """From IPv4 to IPv6 the header grows by 20 bytes; the RTR says what fits, and that gets through."""
    target = str(warm["h2"].address)

    def ping(length: int) -> int:
        command = ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(length - 28), target]
        return warm.run("h1", command).returncode

    with Watch(warm, ["h1"]) as watch:
        assert ping(1500 - 56 + 1) != 0
        watch.until(lambda: errors(watch, "h1"), "an ICMP error at h1")
        assert errors(watch, "h1") == [(UNREACHABLE, TOO_BIG, 1500 - 56)]
    assert ping(1500 - 56) == 0


@pytest.mark.requirement("M24")
def test_an_eid_that_nobody_registered(warm: Lab) -> None:
    """Inside the aggregates, an RTR forwards nothing natively: its sender is told."""
    nobody = "192.168.99.9"
    inner = packets.datagram(warm["h1"].address, nobody, (7777, SINK), b"nobody")
    packet = packets.lisp(rloc(warm, "xtr1"), rloc(warm, "rtr"), inner)
    with Watch(warm, ["h1", uplink(warm, "rtr")]) as watch:
        inject(warm, uplink(warm, "rtr"), packet)
        watch.until(lambda: errors(watch, "h1"), "an ICMP error at h1")
        assert errors(watch, "h1")[0][:2] == (UNREACHABLE, HOST_UNREACHABLE)
        assert watch.datagrams(SINK) == []


@pytest.mark.requirement("S01")
def test_strangers_get_nothing_through(warm: Lab) -> None:
    """To a destination outside the aggregates: nothing goes on, whoever sends it."""
    h1 = warm["h1"].address
    for source, destination in (("203.0.113.7", "203.0.113.9"), (h1, "203.0.113.7"), (h1, rloc(warm, "xtr3"))):
        inner = packets.datagram(source, destination, (7777, SINK), b"stray")
        sent_on, received = exchange(warm, packets.lisp(rloc(warm, "xtr1"), rloc(warm, "rtr"), inner))
        assert len(sent_on) == 1
        assert set(received) == {b"last"}


@pytest.mark.requirement("D28")
def test_it_counts_what_it_carries(warm: Lab, dataplane: str) -> None:
    """And on the fast path the daemon sees nothing of it, within a family and from one to the other."""

    def counted() -> list[int]:
        data = warm.show("rtr", "statistics")["data"]
        return [data["reencapsulated_packets"], data.get("reencapsulated_fast_packets", 0)]

    def all_fast() -> bool:
        before = counted()
        assert warm.run("h1", ["ping", "-c", "1", "-W", "10", str(warm["h2"].address)]).returncode == 0
        exchange(warm)
        return counted()[1] - before[1] == 3

    if dataplane == "ebpf":
        eventually(all_fast, "new mappings open: by then nothing waits in the daemon that came before them")
    before = counted()
    exchange(warm, to_north(warm))
    eventually(lambda: counted()[0] == before[0] + 2, "two packets more")
    done = warm.run("h1", ["ping", "-n", "-c", "5", "-i", "0.01", "-W", "2", str(warm["h2"].address)])
    assert " 0% packet loss" in done.stdout, done.stdout
    eventually(lambda: counted()[0] == before[0] + 12, "ten packets more, there and back")
    assert counted()[1] - before[1] == (12 if dataplane == "ebpf" else 0)


def test_tables_show_paths(warm: Lab) -> None:
    """Behind one another the hops of a path, in the map-cache of who sends and of who carries."""
    east = str(warm.topology.sites["east"].eid_prefixes[0].network)
    paths = [f"{own} > {rloc(warm, 'xtr2')}" for own in warm["rtr"].lisp.rlocs]  # type: ignore[union-attr]
    for node in ("xtr1", "rtr"):
        row = map_cache(warm, node)[east]
        assert ([one["rloc"] for one in row["locators"]], row["action"]) == (paths, "encapsulate")


def test_tshark_reads_the_path(warm: Lab, tmp_path: Path) -> None:
    """An Explicit Locator Path in a Map-Reply, with the bits of its hops."""
    asker, eid = rloc(warm, "xtr1"), warm["h2"].address
    with Watch(warm, ["xtr1"]) as watch, warm.socket("xtr1", socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((str(asker), 0))
        ecm = wire.ecm(asker, opened.getsockname()[1], eid, wire.map_request(7, [eid], [asker]))
        opened.sendto(ecm, (str(rloc(warm, "msmr")), wire.CONTROL))
        watch.until(lambda: [one for _, one in watch.datagrams(node="xtr1") if one.payload[0] >> 4 == 2], "a Map-Reply")
        watch.write(tmp_path / "reply.pcap")
    hop = "lisp.lcaf.elp_hop"
    fields = (f"{hop}.ipv4", f"{hop}.ipv6", f"{hop}.flags.probe", "lisp.lcaf_elp_hop.flags.strict", "_ws.malformed")
    rows = dissect(tmp_path / "reply.pcap", *fields, only="lisp.type == 2")
    four, six = warm["rtr"].lisp.rlocs  # type: ignore[union-attr]
    end = rloc(warm, "xtr2")
    assert rows == [[str(four), f"{end},{six},{end}", "1,1,1,1", "1,1,1,1", ""]]


@pytest.fixture
def cold(warm: Lab) -> Lab:
    """The RTR knows no mapping; the sites do."""
    warm.restart("rtr")
    assert {row["source"] for row in warm.show("rtr", "map-cache")} == {"default"}
    return warm


@pytest.mark.order
@pytest.mark.requirement("D22")
def test_packets_wait_at_the_rtr_for_their_mapping(cold: Lab, dataplane: str) -> None:
    """None is lost or overtaken; with the programs, the first packet behind them takes the fast path."""

    def numbered(first: int, last: int) -> list[bytes]:
        return [to_north(cold, f"{number:04}") for number in range(first, last)]

    with sink(cold, "h3") as there:
        with frozen(cold, "msmr"):
            inject(cold, uplink(cold, "rtr"), *numbered(0, 500))
            eventually(lambda: cold.show("rtr", "statistics")["held"]["now"] == 500, "500 held packets")
        inject(cold, uplink(cold, "rtr"), *numbered(500, 1000))
        assert [int(one) for one in received(there, 1000, PATIENCE_S)] == list(range(1000))
        before = cold.show("rtr", "statistics")["data"].get("reencapsulated_fast_packets", 0)
        inject(cold, uplink(cold, "rtr"), *numbered(1000, 1010))
        assert [int(one) for one in received(there, 10, PATIENCE_S)] == list(range(1000, 1010))
    after = cold.show("rtr", "statistics")["data"].get("reencapsulated_fast_packets", 0)
    assert after - before == (10 if dataplane == "ebpf" else 0)


@pytest.mark.requirement("D15", "D22")
def test_tcp_while_the_rtr_is_cold(warm: Lab) -> None:
    """Super-packets are cut on their way to the daemon: none is refused, and the bytes arrive in order."""
    with ExitStack() as opened:
        ear, mouth = (
            opened.enter_context(warm.socket(one, socket.AF_INET, socket.SOCK_STREAM)) for one in ("h3", "h1")
        )
        ear.bind((str(warm["h3"].address), 0))
        ear.listen()
        mouth.connect(ear.getsockname())
        far = opened.enter_context(ear.accept()[0])
        far.settimeout(10)
        warm.restart("rtr")
        whole = random.Random(3).randbytes(100_000)
        with Watch(warm, ["h3"]) as watch:
            mouth.sendall(whole)
            arrived = b""
            while len(arrived) < len(whole):
                arrived += far.recv(1 << 20)
            watch.drain()
        assert arrived == whole
    shown = warm.show("rtr", "statistics")
    assert "too big" not in shown["drops"]
    assert shown["held"]["ever"] > 1
    starts = [one.data[38:42] for one in watch.frames if one.data[12:14] == b"\x08\x00" and one.data[23] == 6]
    first_ones = list(dict.fromkeys(starts))  # TCP may have sent some again, while nobody answered
    assert len(first_ones) > 1
    assert first_ones == sorted(first_ones)
