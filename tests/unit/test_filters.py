"""The kernel's verdict on frames: the programs run in it, on a pair of local sockets."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from testbed.observe import filters
from tests.conformance.tester import packets

FOUR = ip_address("192.0.2.1"), ip_address("192.0.2.2")
SIX = ip_address("2001:db8::1"), ip_address("2001:db8::2")
PORT, OCTETS = 4342, 64


def taken(*frames: bytes, program: Sequence[filters.Instruction] = filters.udp_port(PORT, OCTETS)) -> list[bytes]:
    """What of the frames gets through."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        filters.attach(right, program)
        right.setblocking(False)
        for one in frames:
            left.send(one)
        found = []
        try:
            while True:
                found.append(right.recv(2000))
        except BlockingIOError:
            return found


def frame(packet: bytes) -> bytes:
    return bytes(12) + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet


@pytest.mark.parametrize("ends", [FOUR, SIX], ids=["v4", "v6"])
def test_a_port_is_taken_and_no_other(ends: tuple[packets.IPAddress, packets.IPAddress]) -> None:
    """As source and as destination port; cut to size."""
    pairs = [(PORT, 7), (7, PORT), (PORT, PORT), (7, 8), (PORT - 1, PORT + 1)]
    found = taken(*(frame(packets.datagram(*ends, ports, bytes(40))) for ports in pairs))
    at = 34 if ends is FOUR else 54
    assert [struct.unpack_from("!HH", one, at) for one in found] == pairs[:3]
    assert {len(one) for one in found} == {OCTETS}


def test_options_are_skipped_and_later_fragments_left() -> None:
    whole = packets.datagram(*FOUR, (PORT, 7), bytes(64))
    first, later = packets.fragments(whole, 48)
    with_options = packets.ip(*FOUR, packets.Ip(whole).payload, options=b"\x01" * 8)
    assert taken(frame(later), frame(first), frame(with_options)) == [
        frame(first)[:OCTETS],
        frame(with_options)[:OCTETS],
    ]


@pytest.mark.parametrize("ends", [FOUR, SIX], ids=["v4", "v6"])
def test_other_protocols_are_left(ends: tuple[packets.IPAddress, packets.IPAddress]) -> None:
    tcp = packets.ip(*ends, struct.pack("!HH", PORT, PORT) + bytes(16), protocol=6)
    assert taken(frame(tcp), bytes(12) + b"\x08\x06" + struct.pack("!HH", PORT, PORT) * 12, b"") == []


def test_frames_from_a_mac_address_are_taken_and_no_others() -> None:
    mac, other = bytes.fromhex("020000000a0b"), bytes.fromhex("020000000a0c")
    frames = [mac + other, other + mac, mac[:4] + other[4:] + mac[4:] + other[:4], bytes(6) + b"\x03" + mac[1:]]
    found = taken(*(one + bytes(60) for one in frames), program=filters.from_mac(mac, OCTETS))
    assert found == [(other + mac + bytes(60))[:OCTETS]]
