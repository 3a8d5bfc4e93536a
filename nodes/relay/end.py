"""A packet socket at one half of a cut link, and when each frame came in by it."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

from nodes.relay.line import Line

_ETH_P_ALL = 3
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 263, 6, 20, 23
_BUFFER = 8 << 20
_MAX_FRAME = 1 << 17
_ANCILLARY = socket.CMSG_SPACE(16)
_TIMESPEC = struct.Struct("=qq")
_BATCH = 64
_OLDEST = 1_000_000_000  # a stamp older than a second is not a frame that waited for us: somebody has set the clock


class End:
    """One interface of the relay.

    Attributes:
        name: The interface.
        line: Where the frames go that come in here.
    """

    def __init__(self, name: str, line: Line) -> None:
        """Open the interface, in the caller's network namespace."""
        self.name = name
        self.line = line
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        self._socket.bind((name, _ETH_P_ALL))
        self._since = 0

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._socket.fileno()

    def receive(self) -> None:
        """Put what has come in on the line: a batch at most, so that frames of other links are not late.

        The kernel's stamp says when a frame was sent into the link, however late it is read, and in which order.
        """
        put, receive = self.line.put, self._socket.recvmsg
        since = self._compare_clocks()
        with suppress(OSError):  # nothing more, or the interface is down
            for _ in range(_BATCH):
                frame, ancillary, _, _ = receive(_MAX_FRAME, _ANCILLARY)
                seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2]) if ancillary else (0, 0)
                stamp = seconds * 1_000_000_000 + nanoseconds + since
                now = time.monotonic_ns()
                put(frame, stamp if now - _OLDEST < stamp < now else now)

    def _compare_clocks(self) -> int:
        """What makes a stamp, which is of the clock on the wall, a moment of the monotonic clock when it is added.

        It changes only where it cannot be right, not with what passes between readings: what came first stays first.
        """
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        self._since = min(max(self._since, before - wall), after - wall)
        return self._since

    def send(self, frame: bytes) -> None:
        """Send a frame; an interface that is down or full loses it, as a cable would."""
        with suppress(OSError):
            self._socket.send(frame)

    def lost(self) -> int:
        """How many frames the kernel has dropped since the last time, because we did not read fast enough."""
        _packets, drops = struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        return int(drops)
