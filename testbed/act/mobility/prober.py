"""Send and receive probes at an even pace. A script, run without site-packages.

    python -I -S prober.py ROOT < PLAN

PLAN is one line of JSON with ``interval_ns``, ``groups``, ``flows``: [[from, to], …], ``streams``: [[one, other], …]
and the file ``result``. Flows and streams are descriptors of non-blocking sockets, each in the namespace of its node:
those of flows are bound, those of streams connected. It says "ready" in a line on its standard output, sends until its
standard input ends, and writes what it saw into ``result``; ``testbed.act.mobility.probes`` reads it.

Each interval is a turn. In each turn the flows of one of the groups get a datagram each (where there is one group, all
of them), and each stream a chunk every twenty turns in either direction. What a stream carries is known at every
position: 64-bit numbers that count on. When a datagram arrived, the kernel says; so they are taken a hundred at a time.
"""

from __future__ import annotations

import gc
import json
import select
import signal
import socket
import sys
import time
from array import array
from typing import Any, BinaryIO

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])

from nodes.linux.scheduling import go_first, go_in_turn
from nodes.linux.timer import be_punctual
from testbed.act.mobility.inbox import DATAGRAM, Inbox, open_for

_MARK = 0x4D4F5645 << 32
_SECOND = 1_000_000_000
_LAST_NS = _SECOND // 2  # how long datagrams may be under way at the end
_STREAM_NS = 10 * _SECOND  # and bytes, which TCP may have to send again
_GIVEN_UP_NS = 3_000_000
_CHUNK_WORDS = 64
_CHUNK = 8 * _CHUNK_WORDS
_ONES = sum(1 << 64 * word for word in range(_CHUNK_WORDS))
_STEPS = sum(word << 64 * word for word in range(_CHUNK_WORDS))
"""Chunks as one number: of ones, and of words that count from nought."""
_ORDERS_TURNS, _STREAM_TURNS, _READ_TURNS = 10, 20, 100
_ROOM = 1 << 13


class Flow:
    """Datagrams from one socket to another, which is its peer.

    Attributes:
        sent: When each was sent (monotonic nanoseconds).
        numbers: Which arrived, in the order of arrival, and ``arrived``: when (monotonic nanoseconds).
    """

    def __init__(self, number: int, source: socket.socket, destination: socket.socket) -> None:
        self._head = _MARK | number
        self._sendto, self._destination = source.sendto, destination
        open_for(destination)
        self._to = destination.getsockname()
        self.sent, self.numbers, self.arrived = array("q"), array("q"), array("q")

    def send(self) -> None:
        """Send the next one; one that the kernel refuses is one that is lost."""
        datagram = DATAGRAM.pack(self._head, len(self.sent))
        self.sent.append(time.monotonic_ns())
        try:
            self._sendto(datagram, self._to)
        except OSError:
            return

    def receive(self, inbox: Inbox) -> None:
        """Take what has arrived."""
        to_monotonic = _to_monotonic()
        more = True
        while more:
            numbers, times, more = inbox.take(self._destination, self._head, len(self.sent))
            self.numbers.extend(numbers)
            self.arrived.extend(array("q", [at + to_monotonic for at in times]))


def _to_monotonic() -> int:
    """What the monotonic clock is ahead of the other: of a few looks at both the one that took the least time."""
    looks = ((time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(3))
    before, then, after = min(looks, key=lambda look: look[2] - look[0])
    return (before + after) // 2 - then


class Stream:
    """Bytes from one end of a TCP connection to the other.

    Attributes:
        sent: How many the kernel took, and ``received``: how many arrived.
        wrong: How many of those were not what was sent.
        lost: What ended the connection before its time, or "".
        progress: When how many had arrived: monotonic nanoseconds and bytes, in turn.
    """

    def __init__(self, number: int, source: socket.socket, destination: socket.socket) -> None:
        self._tag = (number + 1) << 48
        self._source, self._destination = source, destination
        self.sent = self.received = self.wrong = 0
        self.lost = ""
        self.progress = array("q")

    def _content(self, start: int, length: int) -> bytes:
        """What stands from a position on."""
        chunks = range(start // _CHUNK, (start + length - 1) // _CHUNK + 1)
        return b"".join(map(self._chunk, chunks))[start % _CHUNK :][:length]

    def _chunk(self, number: int) -> bytes:
        return ((self._tag + number * _CHUNK_WORDS) * _ONES + _STEPS).to_bytes(_CHUNK, "little")

    def send(self) -> None:
        """Send a chunk, or as much of it as there is room for."""
        if not self.lost:
            try:
                self.sent += self._source.send(self._content(self.sent, _CHUNK))
            except BlockingIOError:
                pass
            except OSError as error:
                self.lost = str(error.strerror)

    def receive(self) -> None:
        """Take and check what has arrived."""
        while not self.lost:
            try:
                data = self._destination.recv(_ROOM)
            except BlockingIOError:
                return
            except OSError as error:
                self.lost = str(error.strerror)
                return
            if not data:
                self.lost = "ended by its peer"
                return
            expected = self._content(self.received, len(data))
            if data != expected:
                self.wrong += sum(a != b for a, b in zip(data, expected, strict=True))
            self.received += len(data)
            self.progress.extend((time.monotonic_ns(), self.received))
            if len(data) < _ROOM:
                return


def main() -> None:
    """Carry out the plan on the standard input; a Ctrl-C is for whoever gave it, who then ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as orders:
        plan = json.loads(orders.readline())
    flows = [Flow(number, *_sockets(pair)) for number, pair in enumerate(plan["flows"])]
    ends = [_sockets(pair) for pair in plan["streams"]]
    ways = [way for one, other in ends for way in ((one, other), (other, one))]
    streams = [Stream(number, *way) for number, way in enumerate(ways)]
    be_punctual()
    gc.disable()
    print("ready", flush=True)
    inbox = Inbox()
    # A gap is to be the network's, not that of a process that has no turn. What is measured goes before it.
    go_first(network=False)
    late = _pace(plan["interval_ns"], plan["groups"], flows, streams, inbox)
    go_in_turn()
    _finish(flows, streams, inbox)
    with open(plan["result"], "wb") as file:
        _write(file, late, flows, streams)


def _sockets(pair: list[int]) -> tuple[socket.socket, socket.socket]:
    one, other = (socket.socket(fileno=descriptor) for descriptor in pair)
    return one, other


def _pace(interval: int, groups: int, flows: list[Flow], streams: list[Stream], inbox: Inbox) -> array[int]:
    """Send at the pace until the standard input ends; returns how late turns were, in nanoseconds.

    What has arrived is taken a few flows at a time: the kernel has noted when it came. Turns that are missed by more
    than a moment are left out: what was sent in one go to make up for them would be no even pace.
    """
    orders = select.poll()
    orders.register(sys.stdin.fileno(), select.POLLIN)
    lateness = array("q")
    due = time.monotonic_ns()
    turn = 0
    while True:
        due += interval
        early = due - time.monotonic_ns()
        if early > 0:
            time.sleep(early / _SECOND)  # the pace
        late = time.monotonic_ns() - due
        lateness.append(late)
        if late > _GIVEN_UP_NS:
            due += late // interval * interval
        for flow in flows[turn % groups :: groups]:
            flow.send()
        for flow in flows[turn % _READ_TURNS :: _READ_TURNS]:
            flow.receive(inbox)
        for stream in streams[turn % _STREAM_TURNS :: _STREAM_TURNS]:
            stream.receive()
            stream.send()
        turn += 1
        if turn % _ORDERS_TURNS == 0 and orders.poll(0):
            return lateness


def _finish(flows: list[Flow], streams: list[Stream], inbox: Inbox) -> None:
    """Take what is still under way."""
    began = time.monotonic_ns()
    while True:
        for flow in flows:
            flow.receive(inbox)
        for stream in streams:
            stream.receive()
        passed = time.monotonic_ns() - began
        pending = [one for one in streams if not one.lost and one.received < one.sent]
        if passed > _LAST_NS and (not pending or passed > _STREAM_NS):
            break
        time.sleep(0.01)
    for stream in pending:
        stream.lost = f"{stream.sent - stream.received} bytes did not arrive within {_STREAM_NS // _SECOND} s"


def _write(file: BinaryIO, late: array[int], flows: list[Flow], streams: list[Stream]) -> None:
    """One line of JSON that tells how many numbers follow of each, then those: 64 bits each."""
    arrays = [late]
    told: dict[str, Any] = {"late": len(late), "flows": [], "streams": []}
    for flow in flows:
        arrays += (flow.sent, flow.numbers, flow.arrived)
        told["flows"].append([len(flow.sent), len(flow.numbers)])
    for stream in streams:
        arrays.append(stream.progress)
        told["streams"].append([stream.sent, stream.received, stream.wrong, stream.lost, len(stream.progress)])
    file.write(json.dumps(told).encode() + b"\n")
    for one in arrays:
        one.tofile(file)


if __name__ == "__main__":
    main()
