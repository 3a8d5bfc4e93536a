"""Send and receive probes at an even pace. A script, run without site-packages.

    python -I -S prober.py ROOT < PLAN

PLAN is one line of JSON with ``interval_ns``, ``groups``, ``flows``: [[from, to], …], ``streams``: [[one, other], …]
and the file ``result``. Flows and streams are descriptors of non-blocking sockets, each in the namespace of its node:
those of flows are bound, those of streams connected. It says "ready" in a line on its standard output, sends until its
standard input ends, and writes what it saw into ``result``; ``testbed.act.mobility.probes`` reads it. Asked in
between, by a line on its standard input, it tells in a line how long each flow heard nothing at the longest since it
was last asked, in nanoseconds.

Each interval is a turn. In each turn the flows of one of the groups get a datagram each (where there is one group, all
of them), and each stream a chunk every ten turns in either direction. What a stream carries is known at every position:
64-bit numbers that count on. When a datagram arrived, the kernel says.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from array import array
from contextlib import suppress
from typing import Any, BinaryIO

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])

from nodes.linux.timer import be_punctual

_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33
_RECEIVE_BUFFER = 8 << 20
_DATAGRAM = struct.Struct("!IIQ")  # a mark, the flow's number, the datagram's number
_MARK = 0x4D4F5645
_STAMP = struct.Struct("=qq")
_SECOND = 1_000_000_000
_LAST_NS = _SECOND // 2  # how long datagrams may be under way at the end
_STREAM_NS = 10 * _SECOND  # and bytes, which TCP may have to send again
_GIVEN_UP_NS = 20_000_000
_CHUNK_WORDS = 64
_EVERY = 10


class Flow:
    """Datagrams from one socket to another, which is its peer.

    Attributes:
        sent: When each was sent (monotonic nanoseconds).
        numbers: Which arrived, in the order of arrival, and ``arrived``: when (monotonic nanoseconds).
    """

    def __init__(self, number: int, source: socket.socket, destination: socket.socket) -> None:
        self._number = number
        self._source, self._destination = source, destination
        destination.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        destination.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        self._to = destination.getsockname()
        self.sent, self.numbers, self.arrived = array("q"), array("q"), array("q")
        self._silence, self._latest = 0, time.monotonic_ns()

    def send(self) -> None:
        """Send the next one; one that the kernel refuses is one that is lost."""
        datagram = _DATAGRAM.pack(_MARK, self._number, len(self.sent))
        self.sent.append(time.monotonic_ns())
        with suppress(OSError):
            self._source.sendto(datagram, self._to)

    def receive(self) -> None:
        """Take what has arrived."""
        to_monotonic = time.monotonic_ns() - time.time_ns()
        try:
            while True:
                data, told, _, _ = self._destination.recvmsg(64, 64)
                if len(data) != _DATAGRAM.size:
                    continue
                mark, flow, number = _DATAGRAM.unpack(data)
                if mark == _MARK and flow == self._number and number < len(self.sent):
                    seconds, nanoseconds = _STAMP.unpack(told[0][2])
                    self.numbers.append(number)
                    at = seconds * _SECOND + nanoseconds + to_monotonic
                    self.arrived.append(at)
                    self._silence = max(self._silence, at - self._latest)
                    self._latest = at
        except OSError:  # nothing is left
            return

    def silence(self) -> int:
        """The longest time without an arrival since this was last asked, in nanoseconds; it may still last."""
        self.receive()
        longest = max(self._silence, time.monotonic_ns() - self._latest)
        self._silence = 0
        return longest


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
        first = start // 8
        words = array("Q", range(self._tag + first, self._tag + (start + length + 7) // 8))
        return words.tobytes()[start - 8 * first :][:length]

    def send(self) -> None:
        """Send a chunk, or as much of it as there is room for."""
        if not self.lost:
            try:
                self.sent += self._source.send(self._content(self.sent, 8 * _CHUNK_WORDS))
            except BlockingIOError:
                pass
            except OSError as error:
                self.lost = str(error.strerror)

    def receive(self) -> None:
        """Take and check what has arrived."""
        while not self.lost:
            try:
                data = self._destination.recv(65536)
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
    late = _pace(plan["interval_ns"], plan["groups"], flows, streams)
    _finish(flows, streams)
    with open(plan["result"], "wb") as file:
        _write(file, late, flows, streams)


def _sockets(pair: list[int]) -> tuple[socket.socket, socket.socket]:
    one, other = (socket.socket(fileno=descriptor) for descriptor in pair)
    return one, other


def _pace(interval: int, groups: int, flows: list[Flow], streams: list[Stream]) -> array[int]:
    """Send at the pace until the standard input ends, and tell who asks; returns how late turns were, in nanoseconds.

    What has arrived is taken a few flows at a time: the kernel has noted when it came. Turns that are missed by more
    than a moment are left out: what was sent in one go to make up for them would be no even pace.
    """
    asked = select.poll()
    asked.register(sys.stdin.fileno(), select.POLLIN)
    lateness = array("q")
    due = time.monotonic_ns()
    turn = 0
    while True:
        due += interval
        early = due - time.monotonic_ns()
        if early > 0:
            time.sleep(early / _SECOND)
        late = time.monotonic_ns() - due
        lateness.append(late)
        if late > _GIVEN_UP_NS:
            due += late // interval * interval
        for flow in flows[turn % groups :: groups]:
            flow.send()
        for flow in flows[turn % _EVERY :: _EVERY]:
            flow.receive()
        for stream in streams[turn % _EVERY :: _EVERY]:
            stream.receive()
            stream.send()
        turn += 1
        if turn % _EVERY == 0 and asked.poll(0):
            if not os.read(sys.stdin.fileno(), 64):
                return lateness
            print(json.dumps([flow.silence() for flow in flows]), flush=True)


def _finish(flows: list[Flow], streams: list[Stream]) -> None:
    """Take what is still under way."""
    began = time.monotonic_ns()
    while True:
        for flow in flows:
            flow.receive()
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
