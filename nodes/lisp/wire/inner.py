"""The IP and UDP headers inside an Encapsulated Control Message (RFC 9301 section 5.8)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nodes.lisp.checksum import checksum
from nodes.lisp.effects import DATA_PORT
from nodes.lisp.eid import IPAddress
from nodes.lisp.wire.cursor import Cursor, Layout, fit

_UDP = 17
_UDP_HEADER = 8
_IPV4_HEADER = 20
_IPV4 = struct.Struct("!BBHHHBBH8s")
_IPV6 = Layout(
    ("I", "Version, Traffic Class and Flow Label"),
    ("H", "Payload Length"),
    ("B", "Next Header"),
    ("B", "Hop Limit"),
    ("16s", "Source Address"),
    ("16s", "Destination Address"),
)
_UDP_FIELDS = struct.Struct("!HHHH")
_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS_OR_OFFSET = 0x3FFF


@dataclass(frozen=True, slots=True)
class InnerControl:
    """A control message and the headers it had inside its Encapsulated Control Message.

    Attributes:
        source: The inner source address.
        source_port: The port a Map-Reply goes to (requirement C01).
        destination: The inner destination address; for a Map-Request, an EID.
        destination_port: 4342 but for a Map-Reply.
        message: The control message.
    """

    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int
    message: bytes

    def encode(self, ttl: int = 64) -> bytes:
        """The inner packet, from its IP header on. The checksum is never zero (RFC 9301 section 5.8).

        Raises:
            ValueError: The address families differ, a port is the data port 4341, or the message is too long.
        """
        source, destination = self.source, self.destination
        if source.version != destination.version:
            raise ValueError(f"inner addresses {source} and {destination} are of different families")
        # RFC 9301 section 5.8: port 4341 MUST NOT be assigned to either port.
        if DATA_PORT in (self.source_port, self.destination_port):
            raise ValueError(f"port {DATA_PORT} carries data, never a control message")
        length = fit(_UDP_HEADER + len(self.message), 16, "UDP Length")
        ports = struct.pack("!HHH", self.source_port, self.destination_port, length)
        addresses = source.packed + destination.packed
        # RFC 768, RFC 8200 section 8.1: a checksum that comes out as 0 is sent as all ones.
        summed = checksum(_pseudo_header(addresses, length) + ports + self.message) or 0xFFFF
        datagram = ports + struct.pack("!H", summed) + self.message
        if source.version == 6:
            return struct.pack("!IHBB", 6 << 28, length, _UDP, ttl) + addresses + datagram
        total = fit(_IPV4_HEADER + length, 16, "Total Length")
        start = struct.pack("!BBHHHBB", 0x45, 0, total, 0, _DONT_FRAGMENT, ttl, _UDP)
        return start + struct.pack("!H", checksum(start + b"\0\0" + addresses)) + addresses + datagram

    @classmethod
    def decode(cls, packet: bytes) -> InnerControl:
        """Read an inner packet, from its IP header on.

        Raises:
            DecodeError: A length or checksum is wrong, the UDP checksum is zero, it is a fragment, no UDP, or a port
                is 4341.
        """
        cursor = Cursor(packet, "Encapsulated-Control-Message, inner packet")
        version = packet[0] >> 4 if packet else None
        source: IPAddress
        destination: IPAddress
        if version == 4:
            addresses = _decode_ipv4(cursor, packet)
            source, destination = IPv4Address(addresses[:4]), IPv4Address(addresses[4:])
        elif version == 6:
            addresses = _decode_ipv6(cursor)
            source, destination = IPv6Address(addresses[:16]), IPv6Address(addresses[16:])
        else:
            raise cursor.error(f"is {version}, allowed are 4 and 6", "Version")
        datagram = cursor.take_all()
        cursor = Cursor(datagram, "Encapsulated-Control-Message, inner UDP")
        source_port, destination_port, length, given = _UDP_FIELDS.unpack(cursor.take(_UDP_HEADER, "UDP header"))
        if length != len(datagram):
            raise cursor.error(f"is {length}, the IP packet holds {len(datagram)} bytes", "UDP Length")
        # RFC 9301 section 5.8: the checksum MUST be non-zero.
        if not given:
            raise cursor.error("is zero", "UDP Checksum")
        if checksum(_pseudo_header(addresses, length) + datagram):
            raise cursor.error("is wrong", "UDP Checksum")
        # RFC 9301 section 5.8: port 4341 MUST NOT be assigned to either port.
        if DATA_PORT in (source_port, destination_port):
            raise cursor.error(f"is {DATA_PORT}, the data port", "ports")
        return cls(source, source_port, destination, destination_port, cursor.take_all())


def _decode_ipv4(cursor: Cursor, packet: bytes) -> bytes:
    """Read and check an IPv4 header (RFC 791); returns both addresses, the cursor behind the header and its options."""
    fields = _IPV4.unpack(cursor.take(_IPV4_HEADER, "IPv4 header"))
    version_and_ihl, _tos, total_length, _identification, fragment, _ttl, protocol, _checksum, addresses = fields
    header_length = (version_and_ihl & 0xF) * 4
    if header_length < _IPV4_HEADER:
        raise cursor.error(f"is {header_length} bytes, at least {_IPV4_HEADER} are needed", "IHL")
    if header_length > _IPV4_HEADER:
        cursor.take(header_length - _IPV4_HEADER, "Options")
    if total_length != len(packet):
        raise cursor.error(f"is {total_length}, the message holds {len(packet)} bytes", "Total Length")
    if fragment & _MORE_FRAGMENTS_OR_OFFSET:
        raise cursor.error("the packet is a fragment", "Flags and Fragment Offset")
    if protocol != _UDP:
        raise cursor.error(f"is {protocol}, not UDP", "Protocol")
    if checksum(packet[:header_length]):
        raise cursor.error("is wrong", "Header Checksum")
    return bytes(addresses)


def _decode_ipv6(cursor: Cursor) -> bytes:
    """Read and check an IPv6 header (RFC 8200); returns both addresses, the cursor behind the header."""
    _, payload_length, next_header, _, source, destination = cursor.read(_IPV6)
    if payload_length != cursor.left:
        raise cursor.error(f"is {payload_length}, the message holds {cursor.left} bytes", "Payload Length")
    if next_header != _UDP:
        raise cursor.error(f"is {next_header}, not UDP", "Next Header")
    return bytes(source + destination)


def _pseudo_header(addresses: bytes, length: int) -> bytes:
    """What a UDP checksum covers beside the datagram: source and destination, length, protocol."""
    # The IPv4 and IPv6 pseudo-headers differ in layout only where zeros stand, so their sums agree.
    return addresses + struct.pack("!II", length, _UDP)
