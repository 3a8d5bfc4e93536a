"""Encapsulated Control Messages and the headers inside them (RFC 9301 section 5.8)."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from nodes.lisp.eid import IPAddress
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire import EncapsulatedControlMessage, InnerControl, decode

MESSAGE = b"\x10a message of odd length"
IPV4 = InnerControl(IPv4Address("198.51.100.1"), 40000, IPv4Address("192.0.2.9"), 4342, MESSAGE)
IPV6 = InnerControl(IPv6Address("2001:db8::1"), 40000, IPv6Address("2001:db8:e::9"), 4342, MESSAGE)
BOTH = pytest.mark.parametrize("inner", [IPV4, IPV6], ids=["ipv4", "ipv6"])


def _wrap(inner: InnerControl) -> EncapsulatedControlMessage:
    return EncapsulatedControlMessage.wrap(
        inner.message, inner.source, inner.source_port, inner.destination, inner.destination_port
    )


def _udp_offset(inner: InnerControl) -> int:
    return 20 if inner.source.version == 4 else 40


def _word_sum(data: bytes) -> int:
    """RFC 1071 word by word, as slow as it is plain."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _pseudo_header(source: IPAddress, destination: IPAddress, length: int) -> bytes:
    layout = "!BBH" if source.version == 4 else "!I3xB"
    fields = (0, 17, length) if source.version == 4 else (length, 17)
    return source.packed + destination.packed + struct.pack(layout, *fields)


@BOTH
def test_round_trip(inner: InnerControl) -> None:
    outer = _wrap(inner)
    assert outer.encode()[:4] == bytes.fromhex("80000000")
    assert decode(outer.encode()) == outer
    assert outer.unwrap() == inner


@BOTH
def test_inner_headers(inner: InnerControl) -> None:
    """C29: lengths, TTL, ports, and checksums that the plain algorithm of RFC 1071 confirms."""
    packet = EncapsulatedControlMessage.wrap(MESSAGE, inner.source, 40000, inner.destination, ttl=33).inner
    udp = packet[_udp_offset(inner) :]
    assert struct.unpack_from("!HHH", udp) == (40000, 4342, len(udp))
    assert _word_sum(_pseudo_header(inner.source, inner.destination, len(udp)) + udp) == 0xFFFF
    if inner.source.version == 4:
        assert packet[0] == 0x45
        assert int.from_bytes(packet[2:4], "big") == len(packet)
        assert packet[8:10] == bytes([33, 17])
        assert _word_sum(packet[:20]) == 0xFFFF
    else:
        assert packet[:4] == bytes.fromhex("60000000")
        assert int.from_bytes(packet[4:6], "big") == len(udp)
        assert packet[6:8] == bytes([17, 33])


@BOTH
def test_checksum_is_never_zero(inner: InnerControl) -> None:
    """C02, C29: where the sum comes out as zero, 0xffff is sent (RFC 768)."""
    blank = replace(inner, message=b"\x10\x00\x00\x00")
    offset = _udp_offset(inner)
    checksum = int.from_bytes(blank.encode()[offset + 6 : offset + 8], "big")
    chosen = replace(blank, message=b"\x10\x00" + checksum.to_bytes(2, "big"))
    assert chosen.encode()[offset + 6 : offset + 8] == b"\xff\xff"
    assert InnerControl.decode(chosen.encode()) == chosen


@BOTH
def test_zero_checksum_is_refused(inner: InnerControl) -> None:
    """C29: the inner checksum is non-zero."""
    packet = bytearray(inner.encode())
    offset = _udp_offset(inner)
    packet[offset + 6 : offset + 8] = bytes(2)
    with pytest.raises(DecodeError, match="UDP Checksum: is zero"):
        InnerControl.decode(bytes(packet))


@BOTH
def test_any_changed_bit_of_the_datagram_is_noticed(inner: InnerControl) -> None:
    """C02: a wrong checksum drops the message."""
    packet = inner.encode()
    for position in range(_udp_offset(inner), len(packet)):
        changed = packet[:position] + bytes([packet[position] ^ 0x04]) + packet[position + 1 :]
        with pytest.raises(DecodeError):
            InnerControl.decode(changed)


@BOTH
def test_every_truncation_and_extension_is_refused(inner: InnerControl) -> None:
    packet = inner.encode()
    for size in range(len(packet)):
        with pytest.raises(DecodeError):
            InnerControl.decode(packet[:size])
    with pytest.raises(DecodeError, match="Length"):
        InnerControl.decode(packet + b"\0")


def _ipv4_with(position: int, value: bytes) -> bytes:
    """The IPv4 packet with some header bytes changed and the header checksum right again."""
    header = bytearray(IPV4.encode()[:20])
    header[position : position + len(value)] = value
    header[10:12] = bytes(2)
    header[10:12] = (0xFFFF - _word_sum(bytes(header))).to_bytes(2, "big")
    return bytes(header) + IPV4.encode()[20:]


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (b"", "Version: is None"),
        (_ipv4_with(0, b"\x55"), "Version: is 5"),
        (_ipv4_with(0, b"\x44"), "IHL: is 16 bytes"),
        (_ipv4_with(2, b"\x00\x10"), "Total Length: is 16"),
        (_ipv4_with(6, b"\x20\x00"), "fragment"),
        (_ipv4_with(6, b"\x00\x01"), "fragment"),
        (_ipv4_with(9, b"\x06"), "Protocol: is 6, not UDP"),
        (_ipv4_with(8, b"\x01")[:10] + b"\x12\x34" + IPV4.encode()[12:], "Header Checksum: is wrong"),
        (IPV6.encode()[:6] + b"\x00" + IPV6.encode()[7:], "Next Header: is 0, not UDP"),
    ],
)
def test_bad_headers(packet: bytes, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        InnerControl.decode(packet)


def test_ipv4_options_are_skipped() -> None:
    datagram = IPV4.encode()[20:]
    header = bytearray(IPV4.encode()[:20]) + b"\x01\x01\x01\x00"
    header[0] = 0x46
    header[2:4] = (len(header) + len(datagram)).to_bytes(2, "big")
    header[10:12] = bytes(2)
    header[10:12] = (0xFFFF - _word_sum(bytes(header))).to_bytes(2, "big")
    assert InnerControl.decode(bytes(header) + datagram) == IPV4


@pytest.mark.parametrize("ports", [(4341, 4342), (4342, 4341)])
def test_data_port_is_refused(ports: tuple[int, int]) -> None:
    """C29: 4341 is never the port of a control message, neither sent nor received."""
    with pytest.raises(ValueError, match="4341"):
        replace(IPV4, source_port=ports[0], destination_port=ports[1]).encode()
    packet = replace(IPV4, source_port=4340 if ports[0] == 4341 else 4343, destination_port=4342).encode()
    # One's complement sums do not mind two 16-bit words that change by opposite amounts.
    words = {(4341, 4342): (4341, 4341), (4342, 4341): (4344, 4341)}[ports]
    forged = packet[:20] + struct.pack("!HH", *words) + packet[24:]
    with pytest.raises(DecodeError, match="is 4341, the data port"):
        InnerControl.decode(forged)


def test_families_must_agree() -> None:
    with pytest.raises(ValueError, match="different families"):
        replace(IPV4, destination=IPV6.destination).encode()


@pytest.mark.parametrize(
    ("flag", "first_byte"), [("security", 0x88), ("ddt", 0x84), ("to_etr", 0x82), ("to_map_server", 0x81)]
)
def test_flags(flag: str, first_byte: int) -> None:
    changes: dict[str, Any] = {flag: True}
    outer = replace(_wrap(IPV4), **changes)
    assert outer.encode()[:4] == bytes([first_byte, 0, 0, 0])
    assert decode(outer.encode()) == outer


def test_reserved_bits() -> None:
    """C04: ignored on receipt."""
    outer = _wrap(IPV4)
    assert decode(b"\x80\xff\xff\xff" + outer.inner) == outer


def test_lisp_sec_is_not_understood() -> None:
    with pytest.raises(DecodeError, match="LISP-SEC"):
        replace(_wrap(IPV4), security=True).unwrap()
