"""Checksums that a host left to a network card, and that no card was there for."""

from __future__ import annotations

from nodes.dataplane.packet import ANY_FRAGMENT, TCP, UDP
from nodes.lisp.checksum import checksum

_FIELD = {TCP: 16, UDP: 6}
"""Where the checksum stands in a transport header."""


def finish(packet: bytearray, start: int, end: int) -> None:
    """Complete the TCP or UDP checksum of the packet from ``start`` to ``end``, if it is not complete.

    The kernel leaves the sum of the pseudo-header in the field, for a card to add the rest (CHECKSUM_PARTIAL in its
    include/linux/skbuff.h). One complete checksum in 65 536 looks the same; completed again it is what it was.
    """
    if packet[start] >> 4 == 4:
        if (packet[start + 6] << 8 | packet[start + 7]) & ANY_FRAGMENT:
            return
        protocol, addresses = packet[start + 9], packet[start + 12 : start + 20]
        body = start + (packet[start] & 15) * 4
    else:
        protocol, addresses = packet[start + 6], packet[start + 8 : start + 40]
        body = start + 40
    at = body + _FIELD.get(protocol, 0)
    if at == body or at + 2 > end:
        return
    held = packet[at] << 8 | packet[at + 1]
    # RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1: the pseudo-header; in one's complement, 65 535 is 0.
    if (int.from_bytes(addresses, "big") + protocol + end - body - held) % 0xFFFF:
        return
    complete = checksum(bytes(packet[body:end]))
    # RFC 768: in UDP 0 says that there is none.
    packet[at : at + 2] = (complete or 0xFFFF if protocol == UDP else complete).to_bytes(2, "big")
