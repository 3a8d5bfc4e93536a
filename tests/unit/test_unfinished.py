"""Checksums that hosts leave to a network card are completed; all others stay as they are."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address

import pytest

from nodes.dataplane.packet import TCP, UDP
from nodes.dataplane.unfinished import finish
from nodes.lisp.checksum import checksum
from tests.unit.data_path import ip_packet

ENDS = {4: ("192.168.2.1", "192.168.1.7"), 6: ("2001:db8:2::1", "2001:db8:1::7")}
FIELD = {TCP: 16, UDP: 6}


def with_checksum(version: int, protocol: int, body: bytes, value: int) -> bytes:
    at = FIELD[protocol]
    return ip_packet(*ENDS[version], protocol, body[:at] + value.to_bytes(2, "big") + body[at + 2 :])


def pseudo_header(version: int, protocol: int, length: int) -> bytes:
    addresses = b"".join(ip_address(one).packed for one in ENDS[version])
    return addresses + struct.pack("!II", length, protocol)


def finished(packet: bytes) -> bytes:
    """With something before and behind it, as in the daemon's buffer."""
    buffer = bytearray(b"12345678" + packet + b"rest")
    finish(buffer, 8, 8 + len(packet))
    assert (buffer[:8], buffer[8 + len(packet) :]) == (b"12345678", b"rest")
    return bytes(buffer[8 : 8 + len(packet)])


@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("protocol", FIELD)
def test_an_unfinished_checksum_becomes_the_right_one(version: int, protocol: int) -> None:
    chance = random.Random(version * protocol)
    for length in (20, 21, 500, 1401):
        at = FIELD[protocol]
        body = chance.randbytes(length)
        body = body[:at] + bytes(2) + body[at + 2 :]
        pseudo = pseudo_header(version, protocol, length)
        right = checksum(pseudo + body)
        complete = with_checksum(version, protocol, body, right)
        assert finished(with_checksum(version, protocol, body, 0xFFFF - checksum(pseudo))) == complete
        assert finished(complete) == complete
        wrong = with_checksum(version, protocol, body, right ^ 0x1234)
        assert finished(wrong) == wrong


def test_a_sum_of_zero_is_sent_as_its_complement_in_udp() -> None:
    """RFC 768: 0 would say that there is none."""
    body = bytes(8)
    body += (checksum(pseudo_header(4, UDP, 10) + body)).to_bytes(2, "big")
    pseudo = 0xFFFF - checksum(pseudo_header(4, UDP, len(body)))
    assert finished(with_checksum(4, UDP, body, pseudo)) == with_checksum(4, UDP, body, 0xFFFF)


def test_a_fragment_stays_as_it_is() -> None:
    body = bytes(20)
    packet = bytearray(with_checksum(4, UDP, body, 0xFFFF - checksum(pseudo_header(4, UDP, 20))))
    packet[6] = 0x20
    assert finished(bytes(packet)) == packet


@pytest.mark.parametrize(("protocol", "length"), [(TCP, 17), (UDP, 7), (1, 64), (47, 64)])
def test_what_has_no_such_checksum_stays_as_it_is(protocol: int, length: int) -> None:
    packet = ip_packet(*ENDS[6], protocol, bytes(range(length)))
    assert finished(packet) == packet
