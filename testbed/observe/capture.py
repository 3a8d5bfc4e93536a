"""Packets seen at chosen nodes, merged on one time line and kept as a pcap file.

A capture looks at what *arrives* at a node: each packet is seen once per hop, in the order of the hops.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from testbed.observe import filters, stamps

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 32 << 20
_PCAP_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1
_SNAPSHOT = 65535
_STATISTICS, _AUXDATA = 6, 8  # PACKET_STATISTICS, PACKET_AUXDATA
_ANCILLARY = 128


class SocketMaker(Protocol):
    """Whoever can open a socket inside a node's network namespace: a :class:`testbed.lab.Lab`."""

    def socket(self, node: str, family: int, kind: int, protocol: int) -> socket.socket:
        """Open a socket in the namespace of ``node``."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that arrived.

    Attributes:
        time_ns: Kernel time stamp, nanoseconds since the epoch.
        node: Where it arrived, and ``interface`` on which interface.
        data: The frame, from its Ethernet header on; a capture may cut it short.
        length: How long it was, or 0 where nobody asked.
    """

    time_ns: int
    node: str
    interface: str
    data: bytes
    length: int = 0


class Capture:
    """Frames that arrive at some nodes, from ``with`` to its end; :attr:`frames` grows with each :meth:`drain`."""

    def __init__(
        self,
        lab: SocketMaker,
        nodes: Iterable[str],
        program: Sequence[filters.Instruction] = (),
        buffer: int = _RECEIVE_BUFFER,
    ) -> None:
        """Open a packet socket at each of ``nodes``.

        Args:
            lab: Where they are.
            nodes: Their names.
            program: What of the frames to take (:mod:`testbed.observe.filters`); all of all if empty.
            buffer: Bytes of frames that the kernel keeps of each node for the next :meth:`drain`.
        """
        self.lab = lab
        self.frames: list[Frame] = []
        self._sockets: dict[str, socket.socket] = {}
        with ExitStack() as meanwhile:
            for node in nodes:
                if not self._sockets:
                    meanwhile.enter_context(stamps.at_once(partial(lab.socket, node)))
                self._sockets[node] = _tap(lab, node, program, buffer)
        self.drain()
        self.frames.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def drain(self) -> list[Frame]:
        """Take what the kernel holds; return the new frames in the order of time."""
        now = time.time_ns()
        fresh = [frame for node, tap in self._sockets.items() for frame in _waiting(node, tap, now)]
        fresh.sort(key=lambda frame: frame.time_ns)
        self.frames.extend(fresh)
        return fresh

    def sample(self, one_in: int, octets: int) -> None:
        """From now on take one frame in ``one_in`` only, drawn by the kernel, and no more than its first ``octets``."""
        for tap in self._sockets.values():
            filters.attach(tap, filters.sample(one_in, octets))

    def lost(self) -> int:
        """How many frames the kernel had no room for since the last time."""
        taps = self._sockets.values()
        return sum(struct.unpack("=II", tap.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1] for tap in taps)

    def close(self) -> None:
        """Take the last frames and close the sockets."""
        self.drain()
        self.stop()

    def stop(self) -> None:
        """Close the sockets; what the kernel holds is lost."""
        for tap in self._sockets.values():
            tap.close()
        self._sockets.clear()

    def write(self, path: Path) -> None:
        """Keep the frames as a pcap file with nanosecond times."""
        with open(path, "wb") as file:
            file.write(struct.pack("=IHHiIII", _PCAP_MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAPSHOT, _LINKTYPE_ETHERNET))
            for frame in sorted(self.frames, key=lambda one: one.time_ns):
                seconds, nanoseconds = divmod(frame.time_ns, 1_000_000_000)
                file.write(struct.pack("=IIII", seconds, nanoseconds, len(frame.data), len(frame.data)))
                file.write(frame.data)


def _tap(lab: SocketMaker, node: str, program: Sequence[filters.Instruction], buffer: int) -> socket.socket:
    """A socket that gets every frame that arrives at a node, or those that a filter takes."""
    tap = lab.socket(node, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    tap.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    tap.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
    stamps.want(tap)
    if program:
        filters.attach(tap, program)
    tap.setblocking(False)
    return tap


def _waiting(node: str, tap: socket.socket, now: int) -> Iterator[Frame]:
    """Every frame that the kernel holds for one socket.

    One that came after ``now`` is the last: frames may come as fast as they are taken.
    """
    arrived = 0
    with suppress(BlockingIOError):
        while arrived <= now:
            data, ancillary, _flags, address = tap.recvmsg(_SNAPSHOT, _ANCILLARY)
            told = {level: octets for level, _kind, octets in ancillary}
            _status, length = struct.unpack_from("=II", told[_SOL_PACKET])
            arrived = stamps.read(told[socket.SOL_SOCKET])
            yield Frame(arrived, node, address[0], data, length)
