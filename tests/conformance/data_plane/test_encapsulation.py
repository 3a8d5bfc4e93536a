"""What an ITR puts around a host's packet (RFC 9300 section 5.3), seen on its link into the core."""

from __future__ import annotations

import struct
from itertools import product
from pathlib import Path

import pytest

from tests.conformance.clause import clause
from tests.conformance.data_plane.pair import Pair
from tests.conformance.tester import packets
from tests.conformance.tester.packets import DATA, DONT_FRAGMENT, Tunnelled
from tests.conformance.tester.traffic import SINK
from tests.conformance.tester.watch import dissect

DYNAMIC_PORTS = 49152


def encapsulated(pair: Pair, *sent: bytes) -> list[Tunnelled]:
    """Packets of the near host as the core sees them, in that order; all of them by the fast path."""
    with pair.watch("core1", exact=True) as seen, pair.fast(pair.itr, "encapsulated", len(sent)):
        pair.leave(*sent)
        return seen.all_of(len(sent), lambda: seen.data("core1", pair.itr), "LISP packets")


@pytest.mark.requirement("D01", "D02", "D04", "D06", "D08", "D10", "D15")
def test_flows_are_told_apart_by_their_source_port(pair: Pair) -> None:
    """50 flows from more than 20 ports, all to 4341; checksum and LISP header are zero."""
    found = encapsulated(pair, *(pair.datagram(flow, port=20000 + flow) for flow in range(50)))
    assert {(one.outer.source, one.outer.destination) for one in found} == {(pair.rloc(pair.itr), pair.rloc(pair.etr))}
    assert {one.outer.ports[1] for one in found} == {DATA}
    with clause("D02"):
        assert len({one.source_port for one in found}) > 20
        assert min(one.source_port for one in found) >= DYNAMIC_PORTS
    with clause("D04"):
        assert {one.checksum for one in found} == {0}
    for header in {one.header for one in found}:
        with clause("D06"):  # N and V
            assert header[0] & 0x90 != 0x90
        with clause("D08"):  # what is reserved: a bit of the flags, and what no flag announces
            assert not header[0] & 0x04
            assert header[0] & 0x90 or not any(header[1:4])
            assert header[0] & 0x48 or not any(header[4:])
        with clause("D10"):  # N, L, E, V
            assert not header[0] & 0xF0


@pytest.mark.order
@pytest.mark.requirement("D02", "D22")
def test_one_flow_has_one_source_port_and_keeps_its_order(pair: Pair) -> None:
    """Whatever else differs between the packets of one 5-tuple."""
    sent = [pair.datagram("x" * number, ttl=20 + number, tos=4 * number) for number in range(1, 41)]
    found = encapsulated(pair, *sent)
    with clause("D02"):
        assert len({one.source_port for one in found}) == 1
    with clause("D22"):
        assert len({one.outer.destination for one in found}) == 1
        assert [one.inner.ttl for one in found] == list(range(20, 60))


@pytest.mark.requirement("D22")
def test_fragments_go_by_their_addresses_alone(pair: Pair) -> None:
    """Those with ports and those without keep to one way, whatever flow they are of."""
    whole = [pair.datagram("fragment " * 8, port=20000 + flow) for flow in range(8)]
    sent = [piece for number, one in enumerate(whole) for piece in packets.fragments(one, 32, number)]
    assert len(sent) == 24
    with pair.watch("core1") as seen, pair.fast(pair.itr, "encapsulated", 24):
        pair.leave(*sent)
        found = seen.all_of(24, lambda: fragments_of(seen.packets("core1", pair.itr)), "LISP packets with fragments")
    assert len({one.source_port for one in found}) == 1


def fragments_of(seen: list[packets.Ip]) -> list[Tunnelled]:
    """The LISP packets around fragments."""
    found = [packets.tunnelled(one) for one in seen]
    return [one for one in found if one and one.inner.is_fragment]


@pytest.mark.requirement("D11", "D12", "D13")
def test_ttl_dscp_and_ecn_are_those_of_the_inner_header(pair: Pair) -> None:
    """TTL after the router's own hop; RFC 6040 section 4.1: ECN copied, CE too."""
    wanted = list(product((2, 33, 64, 255), (0, 10, 46, 63), range(4)))
    sent = [pair.datagram(number, ttl=ttl, tos=dscp << 2 | ecn) for number, (ttl, dscp, ecn) in enumerate(wanted)]
    for one, (ttl, dscp, ecn) in zip(encapsulated(pair, *sent), wanted, strict=True):
        with clause("D11"):
            assert (one.outer.ttl, one.inner.ttl) == (ttl - 1, ttl - 1)
        with clause("D12"):
            assert (one.outer.tos >> 2, one.inner.tos >> 2) == (dscp, dscp)
        with clause("D13"):
            assert (one.outer.tos & 3, one.inner.tos & 3) == (ecn, ecn)


@pytest.mark.requirement("D11")
def test_the_inner_packet_is_the_hosts(pair: Pair) -> None:
    """One hop less, and nothing else of it is different; every length fits."""
    sent = [
        pair.datagram("y" * size, tos=0xB8) for size in (1, 2, 3, 4, 700, pair.most - 28 - 20 * (pair.inner == 6) - 7)
    ]
    for one, before in zip(encapsulated(pair, *sent), map(packets.Ip, sent), strict=True):
        assert one.inner.payload == before.payload
        assert (one.inner.source, one.inner.destination, one.inner.tos) == (before.source, before.destination, 0xB8)
        assert one.inner.ttl == before.ttl - 1
        assert one.inner.checksum_is_right
        assert one.inner.length == before.length
        assert one.udp_length == 16 + before.length
        assert one.outer.length == one.outer.header_length + 16 + before.length


@pytest.mark.requirement("D18")
def test_the_outer_packet_is_not_to_be_fragmented(pair: Pair) -> None:
    """DF over IPv4, whatever the inner packet says; over IPv6 the flow label names the flow (RFC 6438)."""
    fields = [{"fragment": DONT_FRAGMENT}, {}] if pair.inner == 4 else [{}]
    for one in encapsulated(pair, *(pair.datagram(number, **some) for number, some in enumerate(fields))):
        if pair.outer == 4:
            assert one.outer.word(6) == DONT_FRAGMENT
            assert one.outer.header_length == 20
            assert one.outer.checksum_is_right
        else:
            assert int.from_bytes(one.outer.packet[1:4], "big") & 0xFFFFF == one.source_port


@pytest.mark.requirement("D01", "D04", "D08", "D10")
def test_an_outsider_finds_every_checksum_and_length_right(pair: Pair, tmp_path: Path) -> None:
    """Tshark reads the packets, none malformed; checksums are absent or right; no instance-ID."""
    with pair.watch("core1", "core3", exact=True) as seen:
        pair.leave(*(pair.datagram("z" * size, port=20000 + size) for size in range(1, 1400, 100)))
        seen.all_of(14, lambda: seen.data("core1", pair.itr), "LISP packets")
        seen.until(lambda: len(seen.data("core3", "core2")) == 14, "14 LISP packets at the third hop")
        seen.write(tmp_path / "core.pcap")
    address = {4: "ip", 6: "ipv6"}
    fields = ["udp.checksum.status", "ip.checksum.status", "_ws.malformed", "frame.protocols", "lisp-data.flags"]
    rows = dissect(
        tmp_path / "core.pcap", *fields, only=f"{address[pair.outer]}.dst == {pair.rloc(pair.etr)} && lisp-data"
    )
    assert len(rows) == 28
    for udp, header, malformed, protocols, flags in rows:
        # Outside not present (3), or, over IPv6, against RFC 8200 (4), from which RFC 6935 frees tunnels; inside good.
        with clause("D04"):
            assert udp == {4: "3,1", 6: "4,1"}[pair.outer]
        assert set(header.split(",")) <= {"1", ""}
        assert not malformed
        layers = ":".join((address[pair.outer], "udp", "lisp-data", address[pair.inner], "udp"))
        assert layers in protocols.replace("ethertype:", "")
        with clause("D08"):
            assert not int(flags, 16) & 0x07
        with clause("D10"):
            assert not int(flags, 16) & 0xF0


def test_a_packet_at_the_end_of_its_life_is_not_encapsulated(pair: Pair) -> None:
    """The router is a hop; the host is told, as any router would."""
    with pair.watch("core1", pair.here) as seen:
        pair.leave(pair.datagram("dying", ttl=1), pair.datagram("living", ttl=2))
        (one,) = seen.all_of(1, lambda: seen.data("core1", pair.itr), "LISP packet")
        assert one.inner.text == b"packet living"
        told = packets.ICMP if pair.inner == 4 else packets.ICMPV6
        wanted = {4: (11, 0), 6: (3, 0)}[pair.inner]
        seen.until(
            lambda: wanted in [tuple(found.payload[:2]) for found in seen.packets(pair.here) if found.protocol == told],
            "the host is told that the TTL has ended",
        )


@pytest.mark.requirement("D15")
def test_protocols_without_ports_and_options_go_through(pair: Pair) -> None:
    """An unknown protocol, extension headers of IPv6, options of IPv4: all of it arrives unchanged."""
    odd = [packets.ip(pair.source, pair.target, b"packet of protocol 253", protocol=253)]
    body = packets.udp(pair.source, pair.target, (7, SINK), b"packet with options")
    if pair.inner == 4:
        odd.append(packets.ip(pair.source, pair.target, body, options=b"\x01\x01\x01\x00"))
    else:
        padding = struct.pack("!BBBBI", packets.UDP, 0, 1, 4, 0)  # one PadN option of four bytes
        odd.append(packets.ip(pair.source, pair.target, padding + body, protocol=60))
    with pair.watch(pair.there) as seen:
        pair.leave(*odd)
        found = seen.all_of(
            2,
            lambda: [one for one in seen.packets(pair.there) if b"packet " in one.payload and one.protocol != 1],
            "packets",
        )
    for before in map(packets.Ip, odd):
        assert before.payload in [one.payload for one in found]
        assert before.packet[20:24] in [one.packet[20:24] for one in found]


@pytest.mark.requirement("D01", "D11", "D15")
def test_the_way_back_is_a_tunnel_of_its_own(pair: Pair) -> None:
    """From the far host; each router on the way is a hop, for the outer and for the inner packet."""
    with pair.watch("core1", "core2", "core3", pair.here) as seen:
        sent = packets.datagram(pair.target, pair.source, (SINK, 7777), b"packet back", ttl=60)
        pair.answer(sent)
        found = seen.until(lambda: seen.arrived(pair.here, "back"), "the packet at the near host")
        assert found is not None
        hops = [seen.data(*place)[0] for place in (("core3", pair.etr), ("core2", "core3"), ("core1", "core2"))]
    with clause("D11"):
        assert [(one.outer.ttl, one.inner.ttl) for one in hops] == [(59, 59), (58, 59), (57, 59)]
        # At its own RLOC the near router takes the outer TTL, 56, and forwards.
        assert found.ttl == 55
    assert found.payload == packets.Ip(sent).payload
    assert {one.outer.destination for one in hops} == {pair.rloc(pair.itr)}
