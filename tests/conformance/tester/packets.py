"""IPv4 and IPv6 packets and what is inside LISP headers, written and read by hand for tests of the data plane.

As in :mod:`tests.conformance.tester.wire`, nothing here comes from ``nodes``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from testbed.act.echo import internet_checksum

DATA = 4341
FRAGMENT, UDP, ICMP, ICMPV6 = 44, 17, 1, 58
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000
NOT_ECT, ECT_1, ECT_0, CE = range(4)

IPAddress = IPv4Address | IPv6Address
Address = IPAddress | str
"""What every function here takes for an address."""


# Writing


def ip(
    source: Address,
    destination: Address,
    payload: bytes,
    *,
    protocol: int = UDP,
    ttl: int = 64,
    tos: int = 0,
    fragment: int = 0,
    identification: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IP packet with right lengths and checksum.

    Args:
        source: Its source address, and ``destination`` of the same IP version.
        destination: Its destination address.
        payload: What is behind the header.
        protocol: The number of the payload's protocol.
        ttl: TTL or hop limit.
        tos: DSCP and ECN: the traffic class.
        fragment: IPv4: flags and fragment offset.
        identification: IPv4: whose fragment it is.
        options: IPv4: a multiple of four bytes.
    """
    addresses = _packed(source, destination)
    if len(addresses) == 32:
        return struct.pack("!IHBB", 6 << 28 | tos << 20, len(payload), protocol, ttl) + addresses + payload
    size = 20 + len(options)
    fields = (0x40 | size // 4, tos, size + len(payload), identification, fragment, ttl, protocol, 0)
    header = struct.pack("!BBHHHBBH", *fields) + addresses + options
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + payload


def _packed(source: Address, destination: Address) -> bytes:
    return ip_address(str(source)).packed + ip_address(str(destination)).packed


def transport(source: Address, destination: Address, protocol: int, body: bytes, at: int) -> bytes:
    """A transport header and its payload with the right checksum ``at`` that place, which is zero in ``body``."""
    pseudo = _packed(source, destination) + struct.pack("!II", len(body), protocol)
    right = internet_checksum(pseudo + body + bytes(len(body) % 2)) or 0xFFFF
    return body[:at] + struct.pack("!H", right) + body[at + 2 :]


def udp(
    source: Address, destination: Address, ports: tuple[int, int], text: bytes, checksum: int | None = None
) -> bytes:
    """A UDP datagram; its checksum is the right one unless another is given."""
    body = struct.pack("!HHHH", *ports, 8 + len(text), checksum or 0) + text
    return transport(source, destination, UDP, body, 6) if checksum is None else body


def datagram(
    source: Address,
    destination: Address,
    ports: tuple[int, int],
    text: bytes,
    *,
    checksum: int | None = None,
    **fields: Any,
) -> bytes:
    """An IP packet with a UDP datagram; ``checksum`` is that of :func:`udp`, other keywords are those of :func:`ip`."""
    return ip(source, destination, udp(source, destination, ports, text, checksum), **fields)


def lisp(
    source: Address,
    destination: Address,
    inner: bytes,
    *,
    first: int = 0,
    second: int = 0,
    checksum: int | None = 0,
    port: int = 61000,
    **fields: Any,
) -> bytes:
    """A LISP data packet; ``first`` and ``second`` are the words of the LISP header (RFC 9300 section 5.3)."""
    body = struct.pack("!II", first, second) + inner
    return ip(source, destination, udp(source, destination, (port, DATA), body, checksum), **fields)


def fragments(packet: bytes, size: int, identification: int = 1) -> list[bytes]:
    """An IP packet without options in fragments of ``size`` bytes of payload, a multiple of eight (RFC 791, 8200)."""
    whole = Ip(packet)
    pieces = []
    for at in range(0, len(whole.payload), size):
        part, more = whole.payload[at : at + size], at + size < len(whole.payload)
        fields: dict[str, Any] = {"protocol": whole.protocol, "ttl": whole.ttl, "tos": whole.tos}
        if whole.version == 4:
            fields |= {"fragment": MORE_FRAGMENTS * more | at // 8, "identification": identification}
        else:
            part = struct.pack("!BBHI", whole.protocol, 0, at | more, identification) + part
            fields["protocol"] = FRAGMENT
        pieces.append(ip(whole.source, whole.destination, part, **fields))
    return pieces


def put(packet: bytes, at: int, *values: int) -> bytes:
    """The packet with other bytes at that place."""
    return packet[:at] + bytes(values) + packet[at + len(values) :]


# Reading


@dataclass(frozen=True)
class Ip:
    """An IP packet: its bytes from the IP header on, and what they say."""

    packet: bytes

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.packet[0] >> 4

    @property
    def source(self) -> IPAddress:
        """The source address."""
        return IPv4Address(self.packet[12:16]) if self.version == 4 else IPv6Address(self.packet[8:24])

    @property
    def destination(self) -> IPAddress:
        """The destination address."""
        return IPv4Address(self.packet[16:20]) if self.version == 4 else IPv6Address(self.packet[24:40])

    @property
    def protocol(self) -> int:
        """The protocol of the payload."""
        return self.packet[9 if self.version == 4 else 6]

    @property
    def ttl(self) -> int:
        """TTL or hop limit."""
        return self.packet[8 if self.version == 4 else 7]

    @property
    def tos(self) -> int:
        """DSCP and ECN."""
        return self.packet[1] if self.version == 4 else self.word(0) >> 4 & 0xFF

    @property
    def header_length(self) -> int:
        """Where the payload begins."""
        return (self.packet[0] & 15) * 4 if self.version == 4 else 40

    @property
    def length(self) -> int:
        """What the header says how long it is."""
        return self.word(2) if self.version == 4 else 40 + self.word(4)

    @property
    def payload(self) -> bytes:
        """What is behind the header, up to the length that it gives."""
        return self.packet[self.header_length : self.length]

    @property
    def is_fragment(self) -> bool:
        """Whether it is one piece of several."""
        return bool(self.word(6) & 0x3FFF) if self.version == 4 else self.protocol == FRAGMENT

    @property
    def text(self) -> bytes:
        """The payload of the UDP datagram in it; nothing if it is not a whole one."""
        return b"" if self.protocol != UDP or self.is_fragment else self.payload[8:]

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of the UDP or TCP header behind it."""
        return int.from_bytes(self.payload[:2], "big"), int.from_bytes(self.payload[2:4], "big")

    @property
    def checksum_is_right(self) -> bool:
        """Whether the checksum of the header is, if it has one."""
        return self.version == 6 or internet_checksum(self.packet[: self.header_length]) == 0

    def word(self, at: int) -> int:
        """16 bits of the header."""
        return int.from_bytes(self.packet[at : at + 2], "big")


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram with the IP header's fields that matter, and the bytes of the IP packet."""

    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    checksum: int
    payload: bytes
    ttl: int
    tos: int
    packet: bytes

    @property
    def checksum_is_right(self) -> bool:
        """Whether the UDP checksum is there and right."""
        ports = (self.source_port, self.destination_port)
        return udp(self.source, self.destination, ports, self.payload)[6:8] == struct.pack("!H", self.checksum)


@dataclass(frozen=True)
class Tunnelled:
    """A LISP data packet: outer and inner packet, and what is between them."""

    outer: Ip

    @cached_property
    def inner(self) -> Ip:
        """The packet inside, as long as the outer header leaves it."""
        return Ip(self.outer.payload[16:])

    @property
    def source_port(self) -> int:
        """The outer source port."""
        return self.outer.ports[0]

    @property
    def udp_length(self) -> int:
        """What the outer UDP header says how long the datagram is."""
        return int.from_bytes(self.outer.payload[4:6], "big")

    @property
    def checksum(self) -> int:
        """The outer UDP checksum."""
        return int.from_bytes(self.outer.payload[6:8], "big")

    @property
    def header(self) -> bytes:
        """The LISP header."""
        return self.outer.payload[8:16]


def read(frame: bytes) -> Ip | None:
    """The IP packet in an Ethernet frame, or None."""
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[12:14])
    return Ip(frame[14:]) if version and len(frame) >= 54 - 20 * (version == 4) else None


def read_datagram(packet: bytes) -> Datagram | None:
    """The UDP datagram in an IP packet, or None if there is none, not a whole one, or one behind IP options."""
    whole = Ip(packet)
    if len(packet) < 20 or whole.version not in (4, 6) or len(packet) < whole.header_length + 8:
        return None
    if whole.protocol != UDP or whole.is_fragment or whole.header_length not in (20, 40):
        return None
    source_port, destination_port, size, checksum = struct.unpack("!4H", whole.payload[:8])
    return Datagram(
        whole.source,
        whole.destination,
        source_port,
        destination_port,
        checksum,
        whole.payload[8:size],
        whole.ttl,
        whole.tos,
        packet[: whole.length],
    )


def read_frame(frame: bytes) -> Datagram | None:
    """The UDP datagram in an Ethernet frame, or None."""
    whole = read(frame)
    return read_datagram(whole.packet) if whole else None


def tunnelled(packet: Ip | None) -> Tunnelled | None:
    """The LISP data packet that it is, or None."""
    if packet is None or packet.protocol != UDP or packet.is_fragment or packet.ports[1] != DATA:
        return None
    return Tunnelled(packet) if len(packet.payload) >= 16 + 20 else None
