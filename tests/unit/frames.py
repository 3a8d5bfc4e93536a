"""Ethernet frames as the core would see them, written by hand: the judge is tested without the code that it judges."""

from __future__ import annotations

import struct
from ipaddress import ip_address


def ethernet(payload: bytes) -> bytes:
    """A frame around an IP packet."""
    ethertype = 0x0800 if payload[0] >> 4 == 4 else 0x86DD
    return bytes(12) + struct.pack("!H", ethertype) + payload


def ip_packet(source: str, destination: str, protocol: int, payload: bytes, *, ttl: int = 64, tos: int = 0) -> bytes:
    """An IPv4 or IPv6 packet (header checksum zero: the judge leaves that to tshark)."""
    first, second = ip_address(source), ip_address(destination)
    if first.version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(payload), 0, 0, ttl, protocol, 0)
    else:
        header = struct.pack("!IHBB", 6 << 28 | tos << 20, len(payload), protocol, ttl)
    return header + first.packed + second.packed + payload


def echo_request(source: str, destination: str, identifier: int, sequence: int) -> bytes:
    """An ICMP or ICMPv6 echo request."""
    six = ":" in source
    message = struct.pack("!BBHHH", 128 if six else 8, 0, 0, identifier, sequence) + b"payload"
    return ip_packet(source, destination, 58 if six else 1, message)


def lisp_data(outer: tuple[str, str], inner: bytes, *, flags: int = 0, instance_id: int = 0) -> bytes:
    """A LISP data packet (RFC 9300 section 5.1) around ``inner``."""
    header = struct.pack("!B3xI", flags, instance_id << 8)
    udp = struct.pack("!HHHH", 61000, 4341, 8 + len(header) + len(inner), 0)
    return ip_packet(*outer, 17, udp + header + inner)
