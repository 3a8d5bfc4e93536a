"""An independent reader of packets seen in the core: the judge of the routers under test.

It shares no code with ``nodes`` on purpose: a mistake in our encoder must not be excused by the same mistake here.
It reads just what a verdict needs: addresses, ports, the LISP data header (RFC 9300 section 5) and ICMP echo.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

LISP_DATA_PORT = 4341

_ETHERTYPE_IPV4 = 0x0800
_ETHERTYPE_IPV6 = 0x86DD
_ETHERNET_HEADER = 14
_TCP = 6
_UDP = 17
_ICMP = 1
_ICMPV6 = 58
_ECHO_TYPES = {(_ICMP, 8): "request", (_ICMP, 0): "reply", (_ICMPV6, 128): "request", (_ICMPV6, 129): "reply"}


@dataclass(frozen=True, slots=True)
class Header:
    """An IP header.

    Attributes:
        source: Source address.
        destination: Destination address.
        protocol: The transport protocol number.
        ttl: TTL or hop limit.
        traffic_class: The TOS or traffic class octet: DSCP and ECN.
    """

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    ttl: int
    traffic_class: int


@dataclass(frozen=True, slots=True)
class LispHeader:
    """The LISP data header and the outer UDP header in front of it (RFC 9300 section 5.3).

    Attributes:
        source_port: Outer UDP source port, the flow's entropy.
        checksum: Outer UDP checksum.
        flags: The first octet: N, L, E, V, I, R, K, K.
        instance_id: The 24-bit instance-ID, or 0 when the I-bit is clear.
    """

    source_port: int
    checksum: int
    flags: int
    instance_id: int


@dataclass(frozen=True, slots=True)
class Echo:
    """An ICMP echo message: ``kind`` is "request" or "reply"."""

    kind: str
    identifier: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame, read.

    Attributes:
        headers: IP headers, outermost first: one for a native packet, two for a LISP data packet.
        lisp: The LISP header between the first two, if there is one.
        echo: The innermost ICMP echo message, if it is one.
        ports: Source and destination port of the innermost TCP or UDP header, if it is one.
    """

    headers: tuple[Header, ...]
    lisp: LispHeader | None
    echo: Echo | None
    ports: tuple[int, int] | None = None


def decode(frame: bytes) -> Packet | None:
    """Read an Ethernet frame; None when it is not IP, is cut short, or is a later fragment: nothing to judge."""
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype not in (_ETHERTYPE_IPV4, _ETHERTYPE_IPV6):
        return None
    first = _ip(frame, _ETHERNET_HEADER)
    if first is None:
        return None
    header, at = first
    if header.protocol == _UDP and len(frame) >= at + 16:
        source_port, destination_port, _length, checksum = struct.unpack_from("!4H", frame, at)
        if destination_port == LISP_DATA_PORT:
            flags = frame[at + 8]
            instance_id = int.from_bytes(frame[at + 12 : at + 15], "big") if flags & 0x08 else 0
            lisp = LispHeader(source_port, checksum, flags, instance_id)
            inner = _ip(frame, at + 16)
            if inner is None:
                return Packet((header,), lisp, None)
            return Packet((header, inner[0]), lisp, _echo(frame, *inner), _ports(frame, *inner))
    return Packet((header,), None, _echo(frame, header, at), _ports(frame, header, at))


def _ip(frame: bytes, at: int) -> tuple[Header, int] | None:
    """Read the IP header at ``at``; return it and where its payload starts."""
    if len(frame) < at + 20:
        return None
    version = frame[at] >> 4
    if version == 4:
        if int.from_bytes(frame[at + 6 : at + 8], "big") & 0x1FFF:
            return None
        source, destination = IPv4Address(frame[at + 12 : at + 16]), IPv4Address(frame[at + 16 : at + 20])
        return Header(source, destination, frame[at + 9], frame[at + 8], frame[at + 1]), at + (frame[at] & 0xF) * 4
    if version == 6 and len(frame) >= at + 40:
        traffic_class = (int.from_bytes(frame[at : at + 2], "big") >> 4) & 0xFF
        sender, target = IPv6Address(frame[at + 8 : at + 24]), IPv6Address(frame[at + 24 : at + 40])
        return Header(sender, target, frame[at + 6], frame[at + 7], traffic_class), at + 40
    return None


def _echo(frame: bytes, header: Header, at: int) -> Echo | None:
    """Read the ICMP echo message at ``at``, if there is one."""
    if len(frame) < at + 8:
        return None
    kind = _ECHO_TYPES.get((header.protocol, frame[at]))
    if kind is None:
        return None
    identifier, sequence = struct.unpack_from("!HH", frame, at + 4)
    return Echo(kind, identifier, sequence)


def _ports(frame: bytes, header: Header, at: int) -> tuple[int, int] | None:
    """Read the ports of the TCP or UDP header at ``at``, if there is one."""
    if header.protocol not in (_TCP, _UDP) or len(frame) < at + 4:
        return None
    source, destination = struct.unpack_from("!HH", frame, at)
    return source, destination
