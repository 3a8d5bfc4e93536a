"""LISP packets that are none: cut short, contradictory, garbage. Each is dropped and counted; the next one arrives."""

from __future__ import annotations

import random
import struct
from collections import Counter

from tests.conformance.data_plane.pair import BEHIND, MARK, Pair
from tests.conformance.tester import packets
from tests.conformance.tester.packets import Ip, put

MALFORMED = "malformed"


def dropped(pair: Pair, *sent: bytes) -> Counter[str]:
    """What the far router counts for packets of which nothing may reach a host; those behind them do."""
    before = pair.drops(pair.etr)
    watched = [pair.there, pair.here, "core3"]
    with pair.watch(*watched) as seen:
        pair.arrive(*sent)
        pair.all_arrived(seen)
        assert [text for node in watched for text in seen.texts(node)] == []
        others = [one for one in seen.packets(pair.there, pair.etr) if not told_by_neighbours(one)]
        assert len(others) == len(BEHIND)
    return pair.drops(pair.etr) - before


def told_by_neighbours(packet: Ip) -> bool:
    """Neighbour Discovery and the like, which a router says of its own accord."""
    return packet.version == 6 and (packet.protocol == packets.ICMPV6 and packet.payload[0] >= 130)


def kernel_drops(pair: Pair) -> int:
    """What the far router's kernel refused before anybody could see it: bad lengths and checksums of outer headers."""
    files = ("snmp", "netstat", "snmp6")
    lines = pair.lab.run(pair.etr, ["cat", *(f"/proc/net/{one}" for one in files)]).stdout.splitlines()
    tables = [one.split() for one in lines if ":" in one]
    found = dict(one.split() for one in lines if ":" not in one)
    for names, values in zip(tables[::2], tables[1::2], strict=True):
        found |= {names[0].rstrip(":") + name: value for name, value in zip(names[1:], values[1:], strict=True)}
    counted = ("InHdrErrors", "ExtInTruncatedPkts", "InTruncatedPkts")
    names = ["UdpInErrors", "Udp6InErrors", *(ip + one for ip in ("Ip", "Ip6") for one in counted)]
    return sum(int(found.get(name, 0)) for name in names)


def test_an_inner_packet_cut_short_anywhere(pair: Pair) -> None:
    """Whatever is missing: of the LISP header, of the inner IP header, of what its length promises."""
    whole = struct.pack("!II", 0, 0) + pair.datagram("short")
    outer = Ip(pair.tunnel(b"")), (61000, packets.DATA)
    sent = [
        packets.datagram(outer[0].source, outer[0].destination, outer[1], whole[:length])
        for length in range(len(whole))
    ]
    assert dropped(pair, *sent) == {MALFORMED: len(sent)}


def test_an_outer_packet_cut_short_anywhere(pair: Pair) -> None:
    """Frames that end before their outer headers say: the kernel counts them, or the router does."""
    whole = pair.tunnel(pair.datagram("short"))
    sent = [whole[:length] for length in range(20 if pair.outer == 4 else 40, len(whole))]
    before = kernel_drops(pair)
    counted = dropped(pair, *sent)
    assert set(counted) <= {MALFORMED}
    assert counted[MALFORMED] + kernel_drops(pair) - before == len(sent)


def test_an_outer_udp_length_that_cannot_be(pair: Pair) -> None:
    """Less than its own header, than the inner packet, or more than there is."""
    whole = pair.tunnel(pair.datagram("length"))
    at = Ip(whole).header_length + 4
    # Over IPv6, RFC 2675 gives 0 a meaning, and the kernel follows.
    wrong = [*([0] if pair.outer == 4 else []), 1, 7, 8, 9, 15, 16, 20, 35, 10000, 65535]
    before = kernel_drops(pair)
    counted = dropped(pair, *(put(whole, at, *length.to_bytes(2, "big")) for length in wrong))
    assert set(counted) <= {MALFORMED}
    assert counted[MALFORMED] + kernel_drops(pair) - before == len(wrong)


def test_an_inner_length_that_cannot_be(pair: Pair) -> None:
    """More than the outer packet holds; less than the inner header."""
    inner = pair.datagram("length")
    at = 2 if pair.inner == 4 else 4
    true = int.from_bytes(inner[at : at + 2], "big")
    wrong = [true + 1, true + 8, 1500, 0x8000, 0xFFFF, *([0, 1, 10, 19] if pair.inner == 4 else [])]
    assert dropped(pair, *(pair.tunnel(length_of(inner, value)) for value in wrong)) == {MALFORMED: len(wrong)}


def length_of(inner: bytes, length: int) -> bytes:
    """An inner packet with another length in its header, whose checksum is right."""
    if inner[0] >> 4 == 6:
        return put(inner, 4, *length.to_bytes(2, "big"))
    changed = put(inner, 2, *length.to_bytes(2, "big"))
    return put(changed, 10, *packets.internet_checksum(put(changed, 10, 0, 0)[:20]).to_bytes(2, "big"))


def test_what_is_behind_the_inner_packet_is_left_out(pair: Pair) -> None:
    """Bytes that the inner length does not count, as a link's padding is."""
    inner = pair.datagram("padded")
    with pair.watch(pair.there) as seen:
        pair.arrive(pair.tunnel(inner + b"packet padding" * 3), pair.tunnel(inner) + b"padding of the frame")
        found = seen.all_of(
            2, lambda: [one for one in seen.packets(pair.there) if one.text == b"packet padded"], "packets"
        )
    assert {len(one.packet) for one in found} == {len(inner)}


def test_a_version_that_nobody_knows(pair: Pair) -> None:
    """Also where the rest is a packet that was seen before."""
    inner = pair.datagram("version")
    sent = [put(inner, 0, version << 4 | inner[0] & 15) for version in range(16) if version not in (4, 6)]
    assert dropped(pair, *map(pair.tunnel, sent)) == {MALFORMED: 14}


def test_a_packet_of_one_version_under_the_name_of_the_other(pair: Pair) -> None:
    """Its lengths do not fit, or it is for nobody here."""
    inner = pair.datagram("version")
    counted = dropped(pair, pair.tunnel(put(inner, 0, (10 - pair.inner) << 4 | inner[0] & 15)))
    assert sum(counted.values()) == 1


def test_a_header_length_that_cannot_be(pair: Pair) -> None:
    """IPv4: shorter than a header, or longer than the packet; IPv6 has none, and extensions are the host's affair."""
    if pair.inner == 6:
        return
    inner = packets.ip(pair.source, pair.target, b"packet")
    sent = [checked(put(inner, 0, 0x40 | words)) for words in (0, 1, 4, 7, 10, 15)]
    assert dropped(pair, *map(pair.tunnel, sent)) == {MALFORMED: len(sent)}


def checked(inner: bytes) -> bytes:
    """With the header checksum that its header length asks for."""
    blank = put(inner, 10, 0, 0)
    size = (inner[0] & 15) * 4
    return put(blank, 10, *packets.internet_checksum(blank[:size] + bytes(size % 2)).to_bytes(2, "big"))


def test_a_wrong_checksum_of_the_inner_header(pair: Pair) -> None:
    """IPv4: as any router drops it (RFC 1812 section 5.2.2), also with options; ECN and TTL do not make it right."""
    if pair.inner == 6:
        return
    inner = pair.datagram("checksum", tos=0xB8)
    optional = packets.ip(pair.source, pair.target, b"packet", options=b"\x01" * 4)
    sent = [put(one, 10, one[10] ^ 0x5A) for one in (inner, optional)] + [put(inner, 15, inner[15] ^ 1)]
    sent.append(put(inner, 10, 0, 0))
    found = dropped(pair, *(pair.tunnel(one, ttl=30, tos=0x03) for one in sent))
    assert found == {MALFORMED: len(sent)}


def test_encrypted_packets(pair: Pair) -> None:
    """Keys that were never agreed on (KK)."""
    sent = [pair.tunnel(pair.datagram("encrypted"), first=number << 24) for number in (1, 2, 3)]
    assert dropped(pair, *sent) == {"encrypted": 3}


def test_a_packet_inside_a_packet_inside_a_packet(pair: Pair) -> None:
    """What comes out of a LISP header for the router itself is not taken out of another one."""
    twice = pair.tunnel(pair.tunnel(pair.datagram("twice")))
    assert dropped(pair, twice) == {"not an EID of this site": 1}


def test_destinations_that_are_no_hosts(pair: Pair) -> None:
    """Groups, the unspecified and the loopback address, as destination and as source."""
    bad = {
        4: ("224.0.0.5", "255.255.255.255", "127.0.0.1", "0.0.0.0"),
        6: ("ff02::1", "ff0e::1", "::1", "::", "fe80::1"),
    }
    sent = []
    for text in bad[pair.inner]:
        one = type(pair.source)(text)
        sent += [
            packets.datagram(pair.source, one, (1, 2), b"packet"),
            packets.datagram(one, pair.target, (1, 2), b"packet"),
        ]
    assert dropped(pair, *map(pair.tunnel, sent)) == {"not unicast": len(sent)}


def test_fragments_of_a_lisp_packet_that_never_gets_whole(pair: Pair) -> None:
    """Alone, twice the same, and beyond every length: the kernel keeps or drops them."""
    whole = pair.tunnel(pair.datagram("pieces " + "p" * 900))
    first, middle, last = packets.fragments(whole, 400, 900)
    at = 6 if pair.outer == 4 else 42
    far = put(first, at, 0x3F, 0xFF) if pair.outer == 4 else put(first, at, 0xFF, 0xF9)
    assert dropped(pair, last, middle, middle, far) == {}


def test_garbage(pair: Pair) -> None:
    """Random bytes behind the outer header, and behind the LISP header: each is counted under some reason."""
    chance = random.Random(4341)
    source, destination, ports = pair.rloc(pair.itr), pair.rloc(pair.etr), (61000, packets.DATA)
    bodies = [chance.randbytes(chance.choice((1, 8, 9, 20, 28, 40, 48, 100, 1400))) for _ in range(100)]
    bodies += [
        bytes(8) + chance.choice((b"\x45", b"\x60", b"\x4f", b"\x6f")) + chance.randbytes(80) for _ in range(100)
    ]
    counted = dropped(pair, *(packets.datagram(source, destination, ports, one) for one in bodies))
    assert sum(counted.values()) == len(bodies)
    assert set(counted) <= {MALFORMED, "encrypted", "not an EID of this site", "not unicast"}


def test_a_packet_with_one_byte_changed(pair: Pair) -> None:
    """Each byte of LISP and inner header: delivered or counted; but another host of the site is asked for in vain."""
    inner = pair.datagram("changed")
    whole = pair.tunnel(inner)
    begin = Ip(whole).header_length + 8
    places = set(range(begin, begin + 8 + len(inner) - len(MARK) - len("changed")))
    if pair.inner == 6:
        places -= set(range(begin + 8 + 32, begin + 8 + 40))
    changed = [put(whole, at, whole[at] ^ 0xFF) for at in sorted(places)]
    before = pair.drops(pair.etr)
    with pair.watch(pair.there, "core3") as seen:
        pair.arrive(*changed)
        pair.all_arrived(seen)
        here = [one for one in seen.packets(pair.there, pair.etr) if not told_by_neighbours(one)]
    assert {one.destination for one in here} == {pair.target}
    assert sum((pair.drops(pair.etr) - before).values()) + len(here) - len(BEHIND) == len(changed)
