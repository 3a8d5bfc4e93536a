"""The sockets of the data path: raw sockets that send whole IP packets and ICMP, UDP 4341 that receives."""

from __future__ import annotations

import socket
from collections.abc import Callable

from nodes.lisp.effects import DATA_PORT
from nodes.lisp.eid import IPAddress

_IP_TTL, _IP_TOS, _IP_RECVTTL, _IP_RECVTOS = 2, 1, 12, 13
_IPV6_HOPLIMIT, _IPV6_TCLASS, _IPV6_RECVHOPLIMIT, _IPV6_RECVTCLASS = 52, 67, 51, 66
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78  # an RLOC whose link is down for now is an RLOC all the same
_UDP_NO_CHECK6_RX = 102
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_BUFFER = 4 << 20  # bytes: a burst of a few thousand packets
_NONBLOCKING = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC

_BLOCK_ALL_ICMP = {4: (255, 1, b"\xff" * 4), 6: (socket.IPPROTO_ICMPV6, 1, b"\xff" * 32)}


def _families(versions: frozenset[int]) -> list[tuple[int, int]]:
    return [(version, socket.AF_INET if version == 4 else socket.AF_INET6) for version in sorted(versions)]


def tos_and_ttl(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """The outer DSCP and ECN byte and the outer TTL out of a packet's control messages."""
    tos = ttl = 0
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP:
            if kind == _IP_TTL:
                ttl = value[0] | value[3]  # an int in host order: one of its ends holds the byte
            elif kind == _IP_TOS:
                tos = value[0]
        elif kind == _IPV6_HOPLIMIT:
            ttl = value[0] | value[3]
        elif kind == _IPV6_TCLASS:
            tos = value[0] | value[3]
    return tos, ttl


def open_data_port(rloc: IPAddress) -> socket.socket:
    """The UDP socket on port 4341 of one RLOC; each packet brings its TTL, DSCP and ECN (see :func:`tos_and_ttl`).

    The node's other addresses take no LISP packets: what a host sends to its gateway would get past the refusal of
    requirement S01.

    A zero UDP checksum is taken (requirement D03); one that is wrong the kernel drops in silence (D05).
    """
    family = socket.AF_INET if rloc.version == 4 else socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_DGRAM | _NONBLOCKING)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    if rloc.version == 4:
        opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        opened.setsockopt(socket.IPPROTO_UDP, _UDP_NO_CHECK6_RX, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVTCLASS, 1)
    opened.bind((str(rloc), DATA_PORT))
    return opened


class Sender:
    """Sends encapsulated packets and ICMP errors from the caller's network namespace."""

    def __init__(self, versions: frozenset[int]) -> None:
        """Open the raw sockets for these IP versions."""
        self._raw: dict[int, socket.socket] = {}
        self._icmp: dict[int, socket.socket] = {}
        for version, family in _families(versions):
            # IPPROTO_RAW: the packet brings its own IP header.
            self._raw[version] = socket.socket(family, socket.SOCK_RAW | _NONBLOCKING, socket.IPPROTO_RAW)
            self._raw[version].setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
            protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
            self._icmp[version] = socket.socket(family, socket.SOCK_RAW | _NONBLOCKING, protocol)
            # It only sends: filter out every type, or whatever arrives would be copied to it.
            self._icmp[version].setsockopt(*_BLOCK_ALL_ICMP[version])

    def to(self, locator: IPAddress) -> Callable[[bytes], int]:
        """A function that sends a whole outer packet towards a locator; it raises OSError."""
        sendto, address = self._raw[locator.version].sendto, (str(locator), 0)
        return lambda packet: sendto(packet, address)

    def icmp(self, message: bytes, destination: IPAddress, mark: int = 0) -> None:
        """Send an ICMP message by the policy rules for a mark; the kernel writes the IP header. Raises OSError."""
        opened = self._icmp[destination.version]
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        opened.sendto(message, (str(destination), 0))

    def close(self) -> None:
        """Close the sockets."""
        for opened in (*self._raw.values(), *self._icmp.values()):
            opened.close()
