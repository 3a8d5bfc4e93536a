"""TCP super-packets of nearly 64 KiB, which a LISP header makes too long for one length field (RFC 791: 16 bits)."""

from __future__ import annotations

import random
import socket
import struct

import pytest

from testbed.act.echo import internet_checksum
from tests.conformance.data_plane.pair import CORE_MTU, Pair, Seen
from tests.conformance.tester import packets
from tests.conformance.tester.packets import Ip

TCP, SEGMENT = 6, 1300
ACK = 0x5010
MOST = 0xFFFF - 56
"""The longest that the programs take: with the longest outer header its length is just a 16-bit number."""
LENGTHS = (40000, 65000, MOST - 14, MOST - 1, MOST, MOST + 1, MOST + 14, 65521)
"""Of the whole inner packet; beyond the last one a veth device cuts it by itself."""
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_NEEDS_CHECKSUM, _GSO = 1, {4: 1, 6: 4}


@pytest.mark.order
@pytest.mark.requirement("D15", "D16")
def test_nothing_is_lost_of_a_super_packet(pair: Pair) -> None:
    """The fast path takes what it can name the length of; the rest is cut at the TUN device, in software."""
    headers = {4: 20, 6: 40}[pair.inner] + 20
    body = random.Random(pair.inner).randbytes(sum(length - headers for length in LENGTHS))
    segments = {length: -(-(length - headers) // SEGMENT) for length in LENGTHS}
    fast = sum(count for length, count in segments.items() if length <= MOST)
    with (
        Seen(pair.lab, [pair.there, "core1"]) as seen,
        pair.fast(pair.itr, "encapsulated", fast),
        pair.fast(pair.etr, "decapsulated", sum(segments.values())),
    ):
        at = 0
        for length in LENGTHS:
            leave(pair, at, body[at : (at := at + length - headers)])
        seen.until(lambda: sum(map(len, stream(seen, pair.there).values())) >= len(body), "every byte at the host")
        arrived = stream(seen, pair.there)
        outers = [one for one in map(packets.tunnelled, seen.packets("core1", pair.itr)) if one]
    assert b"".join(arrived[start] for start in sorted(arrived)) == body
    assert [sum(map(len, list(arrived.values())[:number])) for number in range(len(arrived))] == sorted(arrived)
    assert all(checksum_is_right(one) for one in tcp_of(seen, pair.there))
    whole = {one.inner.length for one in outers if one.inner.length > CORE_MTU}
    assert whole >= {40000, 65000} if pair.dataplane == "ebpf" else whole == set()
    assert all(one.udp_length == len(one.outer.payload) == 16 + one.inner.length for one in outers)


def leave(pair: Pair, at: int, body: bytes) -> None:
    """A TCP segment as long as a host hands it over: who cuts it, also finishes its checksum."""
    sender, router = pair.lab[pair.here].link_to(pair.itr), pair.lab[pair.itr].link_to(pair.here)
    tcp = struct.pack("!HHIIHHHH", 5000, 5001, at, 1, ACK, 1000, 0, 0) + body
    pseudo = pair.source.packed + pair.target.packed + struct.pack("!II", len(tcp), TCP)
    partial = ~internet_checksum(pseudo) & 0xFFFF
    tcp = tcp[:16] + struct.pack("!H", partial) + tcp[18:]
    packet = packets.ip(pair.source, pair.target, tcp, protocol=TCP)
    start = 14 + len(packet) - len(tcp)
    how = struct.pack("=BBHHHH", _NEEDS_CHECKSUM, _GSO[pair.inner], start + 20, SEGMENT, start, 16)
    ethernet = bytes.fromhex((router.mac + sender.mac).replace(":", "")) + {4: b"\x08\x00", 6: b"\x86\xdd"}[pair.inner]
    with pair.lab.socket(pair.here, socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        opened.bind((sender.name, 0))
        opened.send(how + ethernet + packet)


def tcp_of(seen: Seen, node: str) -> list[Ip]:
    """The TCP packets of the test that arrived at a host."""
    return [one for one in seen.packets(node) if one.protocol == TCP and one.ports == (5000, 5001)]


def checksum_is_right(one: Ip) -> bool:
    """Whether TCP's is, or still says what it is to be made of: veth devices pass that on, and hosts know."""
    pseudo = one.source.packed + one.destination.packed + struct.pack("!II", len(one.payload), TCP)
    to_be_made = ~internet_checksum(pseudo) & 0xFFFF
    found = int.from_bytes(one.payload[16:18], "big")
    return found == to_be_made or internet_checksum(pseudo + one.payload + bytes(len(one.payload) % 2)) == 0


def stream(seen: Seen, node: str) -> dict[int, bytes]:
    """What arrived at a host, by sequence number, in the order in which it came."""
    return {int.from_bytes(one.payload[4:8], "big"): one.payload[20:] for one in tcp_of(seen, node)}
