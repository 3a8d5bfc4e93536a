"""Kernel time stamps of what arrives at sockets.

The kernel stamps packets only while a socket wants it (SO_TIMESTAMPNS), and begins some time after the first one has
said so. Until then a packet gets the time at which it is read: what waited is said to have come late, and all at once.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("=qq")
_ANCILLARY = 64
_LONGEST_S = 5.0
_PAUSE_S = 0.0002


def want(receiver: socket.socket) -> None:
    """Have the kernel note when each packet comes to a socket; see :func:`at_once` for since when it does."""
    receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def read(ancillary: bytes) -> int:
    """The time that came with a packet, nanoseconds since the epoch."""
    seconds, nanoseconds = _TIMESPEC.unpack(ancillary)
    return int(seconds * 1_000_000_000 + nanoseconds)


@contextmanager
def at_once(open_socket: Callable[[int, int, int], socket.socket]) -> Iterator[None]:
    """What comes to sockets that want stamps, and are opened in this block, is stamped from the first packet on.

    Somebody sends himself datagrams, by the loopback interface, until one has come before it was read.

    Args:
        open_socket: Opens a socket of a family, kind and protocol where that interface is up: inside any node.

    Raises:
        TimeoutError: The kernel stamps nothing.
    """
    with open_socket(socket.AF_INET, socket.SOCK_DGRAM, 0) as itself:
        itself.bind(("127.0.0.1", 0))
        want(itself)
        deadline = time.monotonic() + _LONGEST_S
        while not _stamped(itself):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the kernel stamps no packets, not within {_LONGEST_S:g} s")
            time.sleep(_PAUSE_S)  # nothing tells when the kernel has begun
        yield


def _stamped(itself: socket.socket) -> bool:
    """Whether a datagram to itself has the time at which it came, not that at which it was read."""
    itself.sendto(b"", itself.getsockname())
    sent = time.time_ns()
    _, ancillary, _, _ = itself.recvmsg(1, _ANCILLARY)
    return read(ancillary[0][2]) <= sent
