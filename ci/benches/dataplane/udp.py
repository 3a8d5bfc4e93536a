"""UDP as fast as one CPU can send it, counted where it arrives without anybody reading it.

A veth pair hands a packet on within the system call that sent it: the sender's CPU carries it through every router on
the way. So a sender that costs little (``sendmmsg``, 64 datagrams a call) is one that reaches the network's limit, and
a socket that nobody reads counts what arrives without loss: what does not fit into its buffer is counted as dropped.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ci.benches.dataplane.cpus import pinned
from testbed.lab import Lab, LabError

WARM_UP, WINDOW = 0.2, 1.0
"""Seconds: until queues and caches are as they stay, and of what is counted."""

_BATCH = 64
_SO_MEMINFO, _SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 55, 32, 33
_DROPS = 8  # the ninth number of SO_MEMINFO
_LITTLE_LOSS = 0.01
_BETWEEN = 1.4
_QUIET_SECONDS, _PATIENCE_SECONDS = 0.05, 3.0


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [("header", _Header), ("sent", ctypes.c_uint)]


class Sender:
    """Sends datagrams of one size from a socket, to one address or to many in turn."""

    def __init__(self, sock: socket.socket, size: int, to: Sequence[tuple[str, int]]) -> None:
        """Prepare the batches.

        Args:
            sock: A UDP socket of IPv4; it becomes this object's own, and never waits.
            size: Bytes of payload.
            to: Addresses and ports. One is connected to; of several each datagram goes to the next.
        """
        self._socket = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 8 << 20)
        self._libc = ctypes.CDLL(None, use_errno=True)
        payload = ctypes.create_string_buffer(size)
        vector = _Vector(ctypes.cast(payload, ctypes.c_void_p), size)
        names = []
        if len(to) == 1:
            sock.connect(to[0])
        else:
            packed = [struct.pack("=H2s4s8x", socket.AF_INET, struct.pack("!H", p), socket.inet_aton(a)) for a, p in to]
            names = [ctypes.create_string_buffer(one, 16) for one in packed]
        self._batches = []
        for start in range(0, max(1, len(to) - _BATCH + 1), _BATCH):
            batch = (_Message * _BATCH)()
            for number, message in enumerate(batch):
                header = message.header
                header.vectors, header.vector_count = ctypes.pointer(vector), 1
                if names:
                    name = names[(start + number) % len(names)]
                    header.name, header.name_length = ctypes.cast(name, ctypes.c_void_p), 16
            self._batches.append(batch)
        self._kept = payload, names  # what the messages point at
        self._next = 0

    def send(self, count: int = _BATCH) -> int:
        """Send at most ``count`` datagrams of the next batch; returns how many the kernel took."""
        batch = self._batches[self._next]
        self._next = (self._next + 1) % len(self._batches)
        return max(0, int(self._libc.sendmmsg(self._socket.fileno(), batch, min(count, _BATCH), 0)))


class Counter:
    """A UDP socket that nobody reads: it says how many datagrams came, taken in or dropped for want of room."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self._socket = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least there is
        sock.bind((address, 0))
        self.port = int(sock.getsockname()[1])
        self._read = 0

    @property
    def arrived(self) -> int:
        """Datagrams that came so far."""
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(1)
                self._read += 1
        numbers = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        return self._read + int(struct.unpack_from("=I", numbers, 4 * _DROPS)[0])


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a run gave, in packets a second.

    Attributes:
        sent: What the sender's kernel took.
        arrived: What the receiver's kernel counted at its socket.
        offered: What the sender was told to send; None for as much as it can.
    """

    sent: float
    arrived: float
    offered: float | None = None


class Flow:
    """Datagrams from one node to another: first the load is found at which most arrive, then that is measured again.

    First as much as one CPU can send. If some of that is lost, a path that has to share CPUs with the sender may
    deliver more when it is offered less: a half, a quarter, ... until nothing is lost or no more could arrive; then a
    little more and a little less than what was best.

    Attributes:
        trials: What was tried, and gave what.
        best: The best of them.
    """

    def __init__(
        self, lab: Lab, source: str, destination: str, size: int, cpu: int, addresses: Sequence[str] = ()
    ) -> None:
        """Find the load.

        Args:
            lab: The lab.
            source: The node that sends.
            destination: The node that counts, at an IPv4 address.
            size: Bytes of payload.
            cpu: Where the sender runs: it carries the packets through the routers.
            addresses: Where to; the destination's first IPv4 address if left out.

        Raises:
            LabError: Nothing arrives.
        """
        self._cpu = cpu
        self._here, self._there = lab.socket(source), lab.socket(destination)
        own = str(lab[destination].address_of(4))
        self._counter = Counter(self._there, "0.0.0.0" if addresses else own)
        self._sender = Sender(self._here, size, [(one, self._counter.port) for one in addresses or [own]])
        with pinned(cpu):
            self.trials = list(self._try())
        self.best = max(self.trials, key=lambda one: one.arrived)
        if not self.best.arrived:
            self.close()
            raise LabError(f"nothing arrives from {source} at {destination} in {lab.name}")

    def rate(self, warm_up: float, window: float) -> float:
        """Thousands of packets a second that arrive, at the load that was best."""
        with pinned(self._cpu):
            return _run(self._sender, self._counter, self.best.offered, warm_up, window).arrived / 1000

    def close(self) -> None:
        """Close the sockets."""
        self._here.close()
        self._there.close()

    def _try(self) -> Iterator[Delivered]:
        trials = [_run(self._sender, self._counter, None)]
        yield trials[0]
        offered = trials[0].sent
        while trials[-1].arrived < trials[-1].sent * (1 - _LITTLE_LOSS):
            offered /= 2
            if offered < max(one.arrived for one in trials):
                break
            _await_quiet(self._counter)
            trials.append(_run(self._sender, self._counter, offered))
            yield trials[-1]
        best = max(trials, key=lambda one: one.arrived)
        for factor in (_BETWEEN, 1 / _BETWEEN) if len(trials) > 1 else ():
            if best.sent * factor > best.arrived:
                _await_quiet(self._counter)
                yield _run(self._sender, self._counter, best.sent * factor)


def _await_quiet(counter: Counter) -> None:
    """Wait until what is still queued on the way has come, or it is clear that there is no end to it.

    Raises:
        LabError: There is none.
    """
    deadline, before = time.monotonic() + _PATIENCE_SECONDS, -1
    while (now := counter.arrived) != before:
        if time.monotonic() > deadline:
            raise LabError("datagrams still arrive long after the last was sent")
        before = now
        time.sleep(_QUIET_SECONDS)  # what is measured is that nothing comes in this time


def _run(
    sender: Sender, counter: Counter, rate: float | None, warm_up: float = WARM_UP, window: float = WINDOW
) -> Delivered:
    """Send for the time of a run, ``rate`` packets a second or as many as there can be, and count in the window."""
    _send(sender, rate, warm_up)
    arrived, began = counter.arrived, time.monotonic()
    sent = _send(sender, rate, window)
    took = time.monotonic() - began
    return Delivered(sent / took, (counter.arrived - arrived) / took, rate)


def _send(sender: Sender, rate: float | None, seconds: float) -> int:
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        if rate is None:
            sent += sender.send()
        elif (due := int(rate * passed) - sent) > 0:
            sent += sender.send(due)
        else:
            os.sched_yield()
    return sent
