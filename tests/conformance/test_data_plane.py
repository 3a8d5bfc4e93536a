"""The data plane of RFC 9300, seen in the core and at the hosts; packets that no router of ours sends are injected."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from testbed.lab import Lab
from testbed.observe.decoder import decode
from tests.conformance import wire
from tests.conformance.watch import SINK, Watch, facing, in_background, inject, received, rloc, sink, uplink

ECN_CE, ECT_0 = 0b11, 0b10


@pytest.fixture(scope="module")
def warm(lab: Lab) -> Lab:
    """The lab, with the mapping of h4's site in xtr1's map-cache and the other way round."""
    assert lab.run("h1", ["ping", "-c", "1", "-W", "2", str(lab["h4"].address)]).returncode == 0
    return lab


def to_h4(lab: Lab, text: str = "inner", ttl: int = 64, tos: int = 0) -> bytes:
    """An inner packet from h1 to h4."""
    return wire.datagram(lab["h1"].address, lab["h4"].address, (7777, SINK), text.encode(), ttl=ttl, tos=tos)


def tunnel(lab: Lab) -> tuple[object, object]:
    """The outer addresses of what xtr1 sends to xtr2."""
    return rloc(lab, "xtr1"), rloc(lab, "xtr2")


def arrived(watch: Watch, text: str) -> Callable[[], wire.Datagram | None]:
    """The datagram with that text at h4, once it is there."""
    return lambda: next((one for _, one in watch.datagrams(SINK, "h4") if one.payload == text.encode()), None)


def delivered(lab: Lab, packet: bytes, text: str = "inner") -> wire.Datagram:
    """Inject a LISP packet next to xtr2 and return what h4 receives."""
    with sink(lab, "h4"), Watch(lab, ["h4"]) as watch:
        inject(lab, uplink(lab, "xtr2"), packet)
        found = watch.until(arrived(watch, text), f"{text} at h4")
        assert found is not None
        return found


def test_flows_are_told_apart_by_their_outer_source_port(warm: Lab) -> None:
    """D01, D02, D04, D10: 50 flows leave from more than 20 ports, all to 4341, with checksum and flags zero."""
    h1, h4, core = warm["h1"].address, warm["h4"].address, uplink(warm, "xtr1")
    with sink(warm, "h4"), Watch(warm, [core]) as watch:
        inject(warm, "h1", *(wire.datagram(h1, h4, (20000 + flow, SINK), b"flow") for flow in range(50)))
        watch.until(lambda: len(watch.data()) >= 50, "50 LISP packets")
        packets = watch.data()
    assert {(outer.source, outer.destination) for outer, _ in packets} == {tunnel(warm)}
    assert {outer.destination_port for outer, _ in packets} == {wire.DATA}
    assert {outer.checksum for outer, _ in packets} == {0}
    assert {outer.payload[:8] for outer, _ in packets} == {bytes(8)}
    assert len({outer.source_port for outer, _ in packets}) > 20
    assert min(outer.source_port for outer, _ in packets) >= 1024


def test_one_flow_keeps_its_outer_source_port(warm: Lab) -> None:
    """D02, D22: packets of one 5-tuple, whatever else differs, leave from one port."""
    h1, h4, core = warm["h1"].address, warm["h4"].address, uplink(warm, "xtr1")
    with sink(warm, "h4"), Watch(warm, [core]) as watch:
        packets = [wire.datagram(h1, h4, (20000, SINK), b"x" * n, ttl=20 + n, tos=4 * n) for n in range(1, 31)]
        inject(warm, "h1", *packets)
        watch.until(lambda: len(watch.data()) >= 30, "30 LISP packets")
        assert len({outer.source_port for outer, _ in watch.data()}) == 1


def test_zero_udp_checksum_is_accepted(warm: Lab) -> None:
    """D03: so does an ETR with a right one."""
    assert delivered(warm, wire.lisp_data(tunnel(warm), to_h4(warm), checksum=0))
    assert delivered(warm, wire.lisp_data(tunnel(warm), to_h4(warm, "right"), checksum=None), "right")


def test_wrong_udp_checksum_is_no_cause_for_icmp(warm: Lab) -> None:
    """D05: dropped in silence, or taken; here dropped."""
    core = uplink(warm, "xtr2")
    with sink(warm, "h4"), Watch(warm, ["h4", core]) as watch:
        bad = wire.lisp_data(tunnel(warm), to_h4(warm, "bad"), checksum=0x1234)
        good = wire.lisp_data(tunnel(warm), to_h4(warm, "good"), checksum=None)
        inject(warm, core, bad, good)
        watch.until(arrived(watch, "good"), "the packet behind it at h4")
        assert not arrived(watch, "bad")()
        assert not icmp(watch)


@pytest.mark.parametrize("first", [1 << 24 + bit for bit in range(2, 8)] + [0xE0000000, 0xFC123456, 0xA4ABCDEF])
def test_header_bits_do_not_keep_a_packet_from_its_host(warm: Lab, first: int) -> None:
    """D06, D07, D08: reserved bits, N and V together, E without N; the I-bit names instance 0."""
    second = 0 if first & 1 << 27 else 0xFFFFFFFF
    assert delivered(warm, wire.lisp_data(tunnel(warm), to_h4(warm), first=first, second=second))


def test_packets_for_another_instance_are_not_delivered(warm: Lab) -> None:
    """D20: an inner destination counts in its own instance-ID only."""
    with sink(warm, "h4"), Watch(warm, ["h4"]) as watch:
        foreign = wire.lisp_data(tunnel(warm), to_h4(warm, "foreign"), first=1 << 27, second=5 << 8)
        inject(warm, uplink(warm, "xtr2"), foreign, wire.lisp_data(tunnel(warm), to_h4(warm, "own")))
        watch.until(arrived(watch, "own"), "the packet behind it at h4")
        assert not arrived(watch, "foreign")()


def test_ttl_and_dscp_go_into_the_outer_header(warm: Lab) -> None:
    """D11, D12, D18: ping with TTL 33 and DSCP EF; one hop less outside and inside, DF is set outside."""
    core, target = uplink(warm, "xtr1"), str(warm["h4"].address)
    with Watch(warm, [core, "h4"]) as watch:
        done = warm.run("h1", ["ping", "-c", "1", "-W", "2", "-t", "33", "-Q", "0xb8", target])
        assert done.returncode == 0, done.stdout
        watch.drain()
        seen = [(one, decode(one.data)) for one in watch.frames]
    requests = [(at, one) for at, one in seen if one and one.echo and one.echo.kind == "request"]
    (outside,) = [(at, one) for at, one in requests if at.node == core]
    assert [header.ttl for header in outside[1].headers] == [32, 32]
    assert [header.traffic_class for header in outside[1].headers] == [0xB8, 0xB8]
    assert outside[0].data[14 + 6] & 0x40
    (inside,) = [one for at, one in requests if at.node == "h4"]
    hops = len({"core1", "core2", "core3"})  # the shortest way round the ring
    # The outer TTL is the smaller one at xtr2, which then forwards like any router.
    assert [header.ttl for header in inside.headers] == [32 - hops - 1]


@pytest.mark.parametrize(("inner", "outer"), [(40, 20), (20, 40), (64, 64)])
def test_decapsulation_keeps_the_smaller_ttl(warm: Lab, inner: int, outer: int) -> None:
    """D11: the inner TTL becomes the outer one where that is smaller; then xtr2 forwards, one less."""
    found = delivered(warm, wire.lisp_data(tunnel(warm), to_h4(warm, ttl=inner), ttl=outer))
    assert found.ttl == min(inner, outer) - 1


@pytest.mark.parametrize("dscp", [0, 10, 46])
def test_dscp_changed_on_the_way_reaches_the_host(warm: Lab, dscp: int) -> None:
    """D12: the outer DSCP is copied back; the checksum of the inner header is right afterwards."""
    found = delivered(warm, wire.lisp_data(tunnel(warm), to_h4(warm, tos=46 << 2), tos=dscp << 2))
    assert found.tos == dscp << 2
    assert wire.internet_checksum(found.packet[:20]) == 0


def test_congestion_met_in_the_core_reaches_the_host(warm: Lab) -> None:
    """D13: CE on the outer header is CE for an ECN-capable inner packet, and the end of one that is not."""
    with sink(warm, "h4"), Watch(warm, ["h4"]) as watch:
        incapable = wire.lisp_data(tunnel(warm), to_h4(warm, "not-ect"), tos=ECN_CE)
        capable = wire.lisp_data(tunnel(warm), to_h4(warm, "ect", tos=ECT_0), tos=ECN_CE)
        inject(warm, uplink(warm, "xtr2"), incapable, capable)
        found = watch.until(arrived(watch, "ect"), "the ECN-capable packet at h4")
        assert found is not None
        assert found.tos == ECN_CE
        assert not arrived(watch, "not-ect")()


def test_only_the_sites_own_eids_are_delivered(warm: Lab) -> None:
    """S01: what comes out of a LISP header for an address outside the site goes nowhere."""
    core, outside = uplink(warm, "xtr2"), warm["client"].address
    with sink(warm, "h4"), Watch(warm, [core, "h4", "client"]) as watch:
        stray = wire.datagram(warm["h1"].address, outside, (7777, SINK), b"stray")
        for_rloc = wire.datagram(warm["h1"].address, facing(warm, core, "xtr2"), (7777, SINK), b"to an RLOC")
        packets = [wire.lisp_data(tunnel(warm), one) for one in (stray, for_rloc, to_h4(warm))]
        inject(warm, core, *packets)
        watch.until(arrived(watch, "inner"), "the packet behind them at h4")
        texts = Counter(one.payload for _, one in watch.datagrams(SINK))
    assert texts == {b"inner": 1}


def test_both_directions_of_a_tcp_session(warm: Lab) -> None:
    """D01, D22: bytes go there and back through the tunnel, all of them, in order."""
    body = bytes(range(256)) * 800
    with warm.socket("h4", socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("0.0.0.0", SINK))
        listener.listen()
        with warm.socket("h1", socket.AF_INET, socket.SOCK_STREAM) as there:
            there.connect((str(warm["h4"].address), SINK))
            back, _ = listener.accept()
            with back:
                for sender, receiver in ((there, back), (back, there)):
                    sending = in_background(partial(sender.sendall, body))
                    receiver.settimeout(5)
                    got = b""
                    while len(got) < len(body):
                        got += receiver.recv(65536)
                    sending.join()
                    assert got == body


def test_a_fragmented_datagram_arrives_whole(warm: Lab) -> None:
    """D17: a packet that may be fragmented is, before encapsulation; no outer packet is a fragment."""
    core, body = uplink(warm, "xtr1"), bytes(range(250)) * 10
    with sink(warm, "h4") as there, Watch(warm, [core]) as watch:
        with warm.socket("h1", socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: never DF
            here.sendto(body, (str(warm["h4"].address), SINK))
        assert received(there, 1, 2.0) == [body]
    packets = [(one, wire.read_frame(one.data)) for one in watch.frames]
    # The last words of earlier TCP sessions pass by as well.
    outers = [one for _, one in packets if one and one.destination_port == wire.DATA and one.payload[17] == wire.UDP]
    assert len(outers) >= 2
    assert all(len(one.packet) <= 1500 for one in outers)
    assert len({one.source_port for one in outers}) == 1


def icmp(watch: Watch) -> list[bytes]:
    """The ICMP messages that arrived at core routers."""
    return [one.data for one in watch.frames if one.node.startswith("core") and one.data[12:14] == b"\x08\x00"
            and one.data[23] == 1]  # fmt: skip
