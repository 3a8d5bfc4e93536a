"""Many datagrams received by one call (recvmmsg(2)): numbers and times go from array to array, none is looked at alone.

``struct mmsghdr`` and what hangs on it are as 64-bit Linux has them. Datagrams stay on one machine: what is a number in
them has the machine's order of octets.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from array import array

from testbed.observe import stamps

AT_ONCE = 256
DATAGRAM = struct.Struct("@qq")
"""What a flow's datagrams begin with, and the number of this one."""

_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 8 << 20
_SECOND = 1_000_000_000
_HEADER = struct.Struct("@PIPQPQi4xI4x")
"""An address and its length, pieces and how many, ancillary data and their length, flags; then how many octets came."""
_PIECE = struct.Struct("@PQ")
_STAMP_OCTETS = 32  # struct cmsghdr with a struct timespec
_WORD = 8

_recvmmsg = ctypes.CDLL(None).recvmmsg


def open_for(receiver: socket.socket) -> None:
    """Have the kernel note when each datagram comes to a socket, and keep them for some time."""
    stamps.want(receiver)
    receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)


class Inbox:
    """Room for what a call brings; one serves any number of sockets in turn."""

    def __init__(self) -> None:
        self._content = array("q", bytes(AT_ONCE * DATAGRAM.size))
        self._stamps = array("q", bytes(AT_ONCE * _STAMP_OCTETS))
        self._pieces = array("q")
        content, _ = self._content.buffer_info()
        for number in range(AT_ONCE):
            self._pieces.frombytes(_PIECE.pack(content + number * DATAGRAM.size, DATAGRAM.size))
        self._as_ours = array("q")
        pieces, _ = self._pieces.buffer_info()
        stamps, _ = self._stamps.buffer_info()
        for number in range(AT_ONCE):
            stamp = stamps + number * _STAMP_OCTETS
            self._as_ours.frombytes(
                _HEADER.pack(0, 0, pieces + number * _PIECE.size, 1, stamp, _STAMP_OCTETS, 0, DATAGRAM.size)
            )
        self._headers = self._as_ours[:]
        self._address = ctypes.c_void_p(self._headers.buffer_info()[0])

    def take(self, receiver: socket.socket, head: int, below: int) -> tuple[array[int], list[int], bool]:
        """Take up to :data:`AT_ONCE` datagrams that have come to a socket; any error is as if none had.

        Args:
            receiver: The socket, opened by :func:`open_for`.
            head: What datagrams begin with that are meant; others are passed over.
            below: What their numbers are below.

        Returns:
            Their numbers in the order of arrival, when each came (nanoseconds since the epoch), and whether there may
            be more.
        """
        count = _recvmmsg(receiver.fileno(), self._address, AT_ONCE, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return array("q"), [], False
        numbers = self._content[1 : 2 * count : 2]
        times = [
            seconds * _SECOND + nanoseconds
            for seconds, nanoseconds in zip(
                self._stamps[2 : 4 * count : 4], self._stamps[3 : 4 * count : 4], strict=True
            )
        ]
        words = _HEADER.size // _WORD * count
        whole = self._headers[:words] == self._as_ours[:words] and self._content[: 2 * count : 2].count(head) == count
        if not (whole and min(numbers) >= 0 and max(numbers) < below):
            ours = [one for one in range(count) if self._is_ours(one, head, below)]
            numbers, times = array("q", (numbers[one] for one in ours)), [times[one] for one in ours]
            self._headers[:] = self._as_ours
        return numbers, times, count == AT_ONCE

    def _is_ours(self, place: int, head: int, below: int) -> bool:
        words = _HEADER.size // _WORD
        header = slice(place * words, (place + 1) * words)
        found, number = self._content[2 * place : 2 * place + 2]
        return self._headers[header] == self._as_ours[header] and found == head and 0 <= number < below
