"""The ICMP errors that arrive at the node's RLOCs (requirements C35, D19)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from nodes.dataplane.icmp_errors import read_error
from nodes.lisp.eid import IPAddress
from nodes.lisp.inputs import TooBig, Unreachable

_BATCH = 32
_LARGEST = 2048  # bytes: an error quotes no more than fits 576 or 1280 bytes
_ICMP_FILTER = 1  # option of the levels SOL_RAW and IPPROTO_ICMPV6: a bit for each type that is kept away
_SOL_RAW = 255
_V4_UNREACHABLE, _V6_UNREACHABLE, _V6_TOO_BIG = 3, 1, 2
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50


class IcmpErrors:
    """Raw sockets that take destination unreachable and packet too big, for each IP version of the RLOCs."""

    def __init__(self, rlocs: Collection[IPAddress]) -> None:
        """Open them in the caller's network namespace."""
        self._own = frozenset(rlocs)
        versions: set[int] = {rloc.version for rloc in self._own}
        self._sockets = {version: _open(version) for version in sorted(versions)}

    def move(self, rlocs: Collection[IPAddress]) -> None:
        """Take what is sent to these RLOCs from now on, and to no others."""
        self._own = frozenset(rlocs)

    @property
    def readers(self) -> Mapping[int, Callable[[], Iterator[Unreachable | TooBig]]]:
        """For each descriptor, what gives the errors about LISP packets of ours that have arrived on it."""
        return {
            opened.fileno(): (lambda version=version: self._receive(version))  # type: ignore[misc]
            for version, opened in self._sockets.items()
        }

    def close(self) -> None:
        """Close the sockets."""
        for opened in self._sockets.values():
            opened.close()

    def _receive(self, version: int) -> Iterator[Unreachable | TooBig]:
        for _ in range(_BATCH):
            try:
                data, ancillary, _, _ = self._sockets[version].recvmsg(_LARGEST, 64)
            except BlockingIOError:
                return
            except OSError:  # an error about the socket itself: nothing was received
                continue
            # A host reaches its gateway's address, but no RLOC (requirement S01): what it sends there is not believed.
            if version == 4:
                start = (data[0] & 15) * 4 if data else 0
                destination: IPAddress | None = IPv4Address(data[16:20]) if 20 <= start <= len(data) else None
                message = data[start:]
            else:
                found = [value for _, kind, value in ancillary if kind == _IPV6_PKTINFO]
                destination, message = (IPv6Address(found[0][:16]) if found else None), data
            if destination in self._own and (error := read_error(version, message, self._own)):
                yield error


def _open(version: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    wanted = (_V4_UNREACHABLE,) if version == 4 else (_V6_UNREACHABLE, _V6_TOO_BIG)
    words = [~sum(1 << kind for kind in wanted) & 0xFFFFFFFF, *([0xFFFFFFFF] * (0 if version == 4 else 7))]
    opened.setsockopt(_SOL_RAW if version == 4 else protocol, _ICMP_FILTER, struct.pack(f"={len(words)}I", *words))
    if version == 6:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    return opened
