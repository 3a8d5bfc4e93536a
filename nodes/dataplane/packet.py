"""What the data path reads in a host's packet, and the little it rewrites."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nodes.lisp.checksum import checksum
from nodes.lisp.eid import IPAddress
from nodes.lisp.errors import DecodeError

ICMP, TCP, UDP, IPV6_FRAGMENT, ICMPV6 = 1, 6, 17, 44, 58
PROTOCOLS_WITH_PORTS = frozenset({TCP, UDP, 33, 132, 136})  # and DCCP, SCTP, UDP-Lite: ports in the first four bytes
NOT_FIRST_FRAGMENT, ANY_FRAGMENT, DONT_FRAGMENT = 0x1FFF, 0x3FFF, 0x4000
_MORE_FRAGMENTS = 0x2000
_HASH_START = 0x4C495350  # "LISP"

_V4 = struct.Struct("!BBHHHBBH4s4s")
_V6 = struct.Struct("!IHBB16s16s")


@dataclass(frozen=True, slots=True)
class Packet:
    """The header fields of an IPv4 or IPv6 packet that forwarding depends on.

    Attributes:
        source: Source address.
        destination: Destination address.
        protocol: The protocol after the IP header; for IPv6 the first Next Header.
        ports: Source and destination port as one 32-bit number; 0 for fragments and protocols without ports.
        length: Length of the packet in bytes, by its header.
        header_length: Where the payload starts, in bytes.
        dont_fragment: Whether routers may not fragment it: DF is set, or it is IPv6 (requirement D16).
        fragment: Whether it is a fragment, the first one included.
        later_fragment: Whether it is a fragment other than the first.
    """

    source: IPAddress
    destination: IPAddress
    protocol: int
    ports: int
    length: int
    header_length: int
    dont_fragment: bool
    fragment: bool = False
    later_fragment: bool = False

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.source.version

    def flow_hash(self) -> int:
        """A 32-bit hash of the 5-tuple, the same for every packet of a flow (RFC 9300 section 5.3).

        Fragments carry no ports but in the first: all of them hash on the addresses alone, so they stay together.

        The kernel's programs have the same function (bpf/flow.h): a flow keeps its locator and its source port when it
        changes from one path to the other.
        """
        words = [*_words(self.source), *_words(self.destination)]
        if not self.fragment:
            words += (self.protocol, self.ports)
        value = _HASH_START
        for word in words:
            value = (value ^ word) * 0x9E3779B1 & 0xFFFFFFFF
            value ^= value >> 16
        value = (value ^ value >> 13) * 0x85EBCA6B & 0xFFFFFFFF
        return value ^ value >> 16


def _words(address: IPAddress) -> tuple[int, ...]:
    return struct.unpack("!4I" if address.version == 6 else "!I", address.packed)


def parse(data: bytes | bytearray | memoryview) -> Packet:
    """Read a packet's headers.

    Raises:
        DecodeError: It is not a whole IPv4 or IPv6 packet.
    """
    version = data[0] >> 4 if data else 0
    if version == 4:
        return _parse_v4(data)
    if version == 6:
        return _parse_v6(data)
    raise DecodeError(f"IP version is {version}, 4 and 6 are known" if data else "is empty", "inner packet")


def _parse_v4(data: bytes | bytearray | memoryview) -> Packet:
    if len(data) < 20:
        raise DecodeError(f"IPv4 header needs 20 bytes, {len(data)} are left", "inner packet")
    first, _, length, _, fragment, _, protocol, _, source, destination = _V4.unpack_from(data)
    header_length = (first & 15) * 4
    if not 20 <= header_length <= length <= len(data):
        raise DecodeError(
            f"IPv4 header length {header_length} and total length {length} do not fit {len(data)} bytes", "inner packet"
        )
    is_fragment = bool(fragment & ANY_FRAGMENT)
    ports = 0
    if protocol in PROTOCOLS_WITH_PORTS and not is_fragment and length >= header_length + 4:
        ports = int.from_bytes(data[header_length : header_length + 4], "big")
    return Packet(
        source=IPv4Address(source),
        destination=IPv4Address(destination),
        protocol=protocol,
        ports=ports,
        length=length,
        header_length=header_length,
        dont_fragment=bool(fragment & DONT_FRAGMENT),
        fragment=is_fragment,
        later_fragment=bool(fragment & NOT_FIRST_FRAGMENT),
    )


def _parse_v6(data: bytes | bytearray | memoryview) -> Packet:
    if len(data) < 40:
        raise DecodeError(f"IPv6 header needs 40 bytes, {len(data)} are left", "inner packet")
    _, payload, protocol, _, source, destination = _V6.unpack_from(data)
    if 40 + payload > len(data):
        raise DecodeError(f"IPv6 payload length {payload} does not fit {len(data)} bytes", "inner packet")
    ports = 0
    if protocol in PROTOCOLS_WITH_PORTS and payload >= 4:
        ports = int.from_bytes(data[40:44], "big")
    later = protocol == IPV6_FRAGMENT and payload >= 4 and int.from_bytes(data[42:44], "big") & 0xFFF8 != 0
    return Packet(
        source=IPv6Address(source),
        destination=IPv6Address(destination),
        protocol=protocol,
        ports=ports,
        length=40 + payload,
        header_length=40,
        dont_fragment=True,
        fragment=protocol == IPV6_FRAGMENT,
        later_fragment=later,
    )


def set_tos_and_ttl(packet: bytearray, start: int, tos: int, ttl: int) -> None:
    """Write the DSCP and ECN byte and the TTL or Hop Limit of the packet at ``start``, checksum included (RFC 1624)."""
    if packet[start] >> 4 == 6:
        packet[start] = 0x60 | tos >> 4
        packet[start + 1] = (tos & 15) << 4 | packet[start + 1] & 15
        packet[start + 7] = ttl
        return
    total = (packet[start + 10] << 8 | packet[start + 11]) + packet[start + 1] - tos + (packet[start + 8] - ttl << 8)
    while not 0 <= total <= 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    packet[start + 1] = tos
    packet[start + 8] = ttl
    packet[start + 10] = total >> 8
    packet[start + 11] = total & 0xFF


def fragments(packet: bytes, mtu: int) -> list[bytes]:
    """An IPv4 packet without DF in pieces of at most ``mtu`` bytes (RFC 791 section 3.2).

    Options stay on the first piece only. A packet that fits comes back alone.
    """
    if len(packet) <= mtu:
        return [packet]
    first, tos, _, name, where, ttl, protocol, _, source, destination = _V4.unpack_from(packet)
    start = (first & 15) * 4
    offset, more = (where & NOT_FIRST_FRAGMENT) * 8, where & _MORE_FRAGMENTS
    pieces = []
    header_length = start
    while start < len(packet):
        options = packet[20:header_length]
        room = (mtu - header_length) // 8 * 8
        body = packet[start : start + room]
        start += len(body)
        flag = _MORE_FRAGMENTS if start < len(packet) else more
        fields = (0x40 | header_length // 4, tos, header_length + len(body), name, flag | offset // 8, ttl, protocol)
        header = _V4.pack(*fields, 0, source, destination) + options
        header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
        pieces.append(header + body)
        offset += len(body)
        header_length = 20
    return pieces
