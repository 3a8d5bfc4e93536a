"""What ICMP errors say about the LISP packets of this node: which RLOC was not reached, or takes smaller packets only.

An error quotes the beginning of the packet that it is about (RFC 792, RFC 4443 section 3). Anybody can write one: it
counts only if the quote can be the beginning of a LISP packet of ours. That a locator is meant, the engine checks.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address

from nodes.dataplane.packet import UDP
from nodes.lisp.effects import CONTROL_PORT, DATA_PORT
from nodes.lisp.eid import IPAddress
from nodes.lisp.inputs import TooBig, Unreachable

_V4_UNREACHABLE, _V6_UNREACHABLE, _V6_TOO_BIG = 3, 1, 2
_V4_FRAGMENTATION_NEEDED = 4
_V4_CODES = frozenset({0, 1, 3})
"""Network, host and port unreachable (RFC 792): what RFC 9301 section 7 names."""
_V6_CODES = frozenset({0, 3, 4})
"""No route, address and port unreachable (RFC 4443 section 3.1)."""
_FRAGMENT_OFFSET = 0x1FFF

_ICMP = struct.Struct("!BBHHH")
_V4 = struct.Struct("!BBHHHBBH4s4s")
_V6 = struct.Struct("!IHBB16s16s")


def read_error(version: int, message: bytes, own: Collection[IPAddress]) -> Unreachable | TooBig | None:
    """What an ICMP message means for this node.

    Args:
        version: The IP version that it came by, 4 or 6.
        message: The message without its IP header.
        own: The node's RLOCs.

    Returns:
        The engine's input, or None for a message that is no such error, or not about a LISP packet of ours.
    """
    if len(message) < _ICMP.size:
        return None
    kind, code, _, high, low = _ICMP.unpack_from(message)
    quoted = message[_ICMP.size :]
    if version == 4:
        mtu = low if (kind, code) == (_V4_UNREACHABLE, _V4_FRAGMENTATION_NEEDED) else None
        unreachable = kind == _V4_UNREACHABLE and code in _V4_CODES
    else:
        mtu = high << 16 | low if kind == _V6_TOO_BIG else None
        unreachable = kind == _V6_UNREACHABLE and code in _V6_CODES
    if mtu is None and not unreachable:
        return None
    destination = _destination_of_ours(version, quoted, own)
    if destination is None:
        return None
    return Unreachable(destination) if mtu is None else TooBig(destination, mtu)


def _destination_of_ours(version: int, quoted: bytes, own: Collection[IPAddress]) -> IPAddress | None:
    """Where a quoted packet was going, if it can be a LISP packet from one of our RLOCs."""
    source: IPAddress
    destination: IPAddress
    if version == 4:
        if len(quoted) < _V4.size:
            return None
        first, _, _, _, fragment, _, protocol, _, from_, to = _V4.unpack_from(quoted)
        start = (first & 15) * 4
        if first >> 4 != 4 or start < _V4.size or fragment & _FRAGMENT_OFFSET:
            return None
        source, destination = IPv4Address(from_), IPv4Address(to)
    else:
        if len(quoted) < _V6.size:
            return None
        word, _, protocol, _, from_, to = _V6.unpack_from(quoted)
        start = _V6.size
        if word >> 28 != 6:
            return None
        source, destination = IPv6Address(from_), IPv6Address(to)
    if protocol != UDP or source not in own or len(quoted) < start + 4:
        return None
    port = int.from_bytes(quoted[start + 2 : start + 4], "big")
    return destination if port in (DATA_PORT, CONTROL_PORT) else None
