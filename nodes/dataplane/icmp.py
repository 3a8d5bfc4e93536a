"""ICMP errors about packets that the data path drops (RFC 792, RFC 1812 section 4.3.2, RFC 4443)."""

from __future__ import annotations

import struct

from nodes.dataplane.decision import Drop, Unreachable
from nodes.dataplane.packet import ICMP, ICMPV6, Packet
from nodes.lisp.checksum import checksum
from nodes.lisp.eid import IPAddress

_V4 = {
    Unreachable.NETWORK: (3, 0),
    Unreachable.HOST: (3, 1),
    Unreachable.TOO_BIG: (3, 4),
    Unreachable.PROHIBITED: (3, 13),
    Unreachable.TTL: (11, 0),
}
"""ICMP type and code (RFC 792)."""
_V6 = {
    Unreachable.NETWORK: (1, 0),
    Unreachable.HOST: (1, 3),
    Unreachable.PROHIBITED: (1, 1),
    Unreachable.TOO_BIG: (2, 0),
    Unreachable.TTL: (3, 0),
}
"""ICMPv6 type and code (RFC 4443)."""
_V4_QUERIES = frozenset({0, 8, 9, 10, 13, 14, 15, 16, 17, 18})
_V4_MOST, _V6_MOST = 576 - 28, 1280 - 48


def may_be_told(packet: Packet, data: bytes) -> bool:
    """Whether an ICMP error may be sent about a packet: not about errors, later fragments or group addresses."""
    if packet.later_fragment or packet.source.is_multicast or packet.source.is_unspecified:
        return False
    if packet.destination.is_multicast:
        return False
    kind = data[packet.header_length] if len(data) > packet.header_length else 0
    if packet.protocol == ICMP and packet.version == 4:
        return kind in _V4_QUERIES
    return not (packet.protocol == ICMPV6 and kind < 128)


def error_message(verdict: Drop, packet: Packet, data: bytes) -> bytes:
    """The ICMP message that tells the sender why its packet was dropped.

    Returns:
        The message without an IP header; the ICMPv6 checksum is left to the kernel, which chooses the source address.
    """
    reason = verdict.icmp or Unreachable.HOST
    if packet.version == 4:
        message = struct.pack("!BBHHH", *_V4[reason], 0, 0, verdict.mtu) + data[:_V4_MOST]
        return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    return struct.pack("!BBHI", *_V6[reason], 0, verdict.mtu) + data[:_V6_MOST]


def error_packet(verdict: Drop, packet: Packet, data: bytes, source: IPAddress) -> bytes:
    """The whole IP packet around :func:`error_message`, for errors that travel inside a LISP header.

    Args:
        verdict: Why the packet was dropped.
        packet: Its headers.
        data: The dropped packet.
        source: Source address of the error, of the packet's IP version.
    """
    message = error_message(verdict, packet, data)
    addresses = source.packed + packet.source.packed
    if packet.version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, ICMP, 0) + addresses
        return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + message
    pseudo_header = addresses + struct.pack("!II", len(message), ICMPV6)
    message = message[:2] + checksum(pseudo_header + message).to_bytes(2, "big") + message[4:]
    return struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, 64) + addresses + message


class Budget:
    """A token bucket: at most ``rate`` messages a second, ``burst`` at once (RFC 1812 section 4.3.2.8)."""

    def __init__(self, rate: float = 100.0, burst: float = 50.0) -> None:
        """Start full."""
        self._rate, self._burst = rate, burst
        self._tokens, self._last = burst, 0.0

    def take(self, now: float) -> bool:
        """Whether one more message may be sent at ``now`` (seconds)."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
