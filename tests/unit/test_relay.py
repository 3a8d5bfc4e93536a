"""The relay's delay line, without a clock; and what its carrier does, in a namespace of its own."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from nodes.linux import links, namespaces
from nodes.linux.netlink import Connection
from nodes.linux.timer import Timer
from nodes.relay import __main__ as program
from nodes.relay import end
from nodes.relay.carrier import Carrier
from nodes.relay.end import End
from nodes.relay.line import Line

SECOND = 1_000_000_000


def test_a_frame_leaves_when_its_time_has_come() -> None:
    line = Line(delay=100)
    assert (line.deadline, line.due(10**12)) == (None, [])
    line.put(b"first", 1000)
    line.put(b"second", 1000)
    line.put(b"third", 1050)
    assert line.deadline == 1100
    assert line.due(1099) == []
    assert line.due(1100) == [b"first", b"second"]
    assert line.deadline == 1150
    assert line.due(2000) == [b"third"]
    assert line.deadline is None


def test_a_full_line_drops_and_counts() -> None:
    line = Line(delay=100, max_bytes=10)
    for frame in (b"four", b"five.", b"six", b"1"):
        line.put(frame, 0)
    assert line.dropped == 1
    assert line.due(100) == [b"four", b"five.", b"1"]
    line.put(b"0123456789", 200)
    assert line.due(300) == [b"0123456789"]


def test_nothing_overtakes() -> None:
    """Frames that two processors sent are told in another order; those of one moment keep theirs."""
    line = Line(delay=100)
    for frame, arrived in ((b"1", 10), (b"6", 60), (b"2", 20), (b"3", 20), (b"5", 50), (b"4", 20)):
        line.put(frame, arrived)
    assert line.deadline == 110
    assert line.due(159) == [b"1", b"2", b"3", b"4", b"5"]
    line.put(b"too late to be in time", 5)
    assert line.due(160) == [b"too late to be in time", b"6"]


class Clocks:
    """In the place of the module ``time``: the wall is a second ahead, and each reading may come late.

    Attributes:
        now: Nanoseconds.
        late: How long it takes until the clock on the wall has been read.
    """

    def __init__(self) -> None:
        self.now = 5 * SECOND
        self.late = 0

    def monotonic_ns(self) -> int:
        return self.now

    def time_ns(self) -> int:
        self.now += self.late
        return self.now + SECOND


class Kernel:
    """In the place of a packet socket: frames with their stamps, to be read."""

    def __init__(self, *_kind: object) -> None:
        self.frames: list[tuple[bytes, int]] = []

    def setsockopt(self, *_option: object) -> None: ...

    def bind(self, _address: object) -> None: ...

    def recvmsg(self, _most: int, _ancillary: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        if not self.frames:
            raise BlockingIOError
        frame, stamp = self.frames.pop(0)
        return frame, [(0, 0, struct.pack("=qq", *divmod(stamp, SECOND)))], 0, None


def test_stamps_are_compared_as_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay is held up while it compares the clocks: what it reads then is not taken for older than it is."""
    clocks, kernel = Clocks(), Kernel()
    monkeypatch.setattr(end, "time", clocks)
    monkeypatch.setattr(socket, "socket", lambda *_kind: kernel)
    line = Line(delay=0)
    one = End("0a", line)
    for frame, moment, late in ((b"first", 4_900_000_000, 0), (b"second", 4_900_000_010, 3_000_000)):
        kernel.frames.append((frame, moment + SECOND))
        clocks.late = late
        one.receive()
    assert line.due(4_900_000_009) == [b"first"]
    assert line.due(4_900_000_010) == [b"second"]


def test_the_clock_on_the_wall_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stamp of before is not one to go by: the frame is taken to have come when it was read."""
    clocks, kernel = Clocks(), Kernel()
    monkeypatch.setattr(end, "time", clocks)
    monkeypatch.setattr(socket, "socket", lambda *_kind: kernel)
    line = Line(delay=0)
    one = End("0a", line)
    for stamp in (4_900_000_000 + SECOND, 4_950_000_000 - 9 * SECOND, 4_950_000_000 + 9 * SECOND):
        kernel.frames.append((b"frame", stamp))
        one.receive()
    assert len(line.due(4_999_999_999)) == 1
    assert len(line.due(5_000_000_000)) == 2


class Half:
    """In the place of an end: each time it is ready, it has the next of these frames.

    Attributes:
        told: The frames of each half, and when they came.
    """

    told: ClassVar[dict[str, list[tuple[bytes, int]]]]

    def __init__(self, name: str, line: Line) -> None:
        self.line = line
        self._told = self.told[name]
        self._ready = os.eventfd(len(self._told), os.EFD_SEMAPHORE)

    def fileno(self) -> int:
        return self._ready

    def receive(self) -> None:
        os.eventfd_read(self._ready)
        self.line.put(*self._told.pop(0))

    def send(self, frame: bytes) -> None:
        raise SentError(frame)


class SentError(Exception):
    """A frame has left: the way out of the relay's loop."""


class Silence:
    """In the place of the carrier: says after five seconds that nothing has left."""

    def __init__(self, _pairs: object) -> None:
        self._timer = Timer()
        self._timer.set(time.monotonic_ns() + 5 * SECOND)

    def fileno(self) -> int:
        return self._timer.fileno()

    def settle(self) -> None:
        raise TimeoutError("no frame has left within 5 s")


def test_a_frame_that_is_told_later_but_due_sooner_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic_ns()
    Half.told = {"0a": [(b"in an hour", now + 3600 * SECOND), (b"now", now)], "0b": []}
    monkeypatch.setattr(program, "End", Half)
    monkeypatch.setattr(program, "Carrier", Silence)
    with open(os.devnull, "wb") as report, pytest.raises(SentError, match="now"):
        program.Relay([("0a", "0b", 0.0)], report.fileno()).run()


@pytest.fixture
def halves() -> Iterator[tuple[Connection, Connection, Carrier]]:
    """Two machines' ends "one" and "two" in one namespace, and the relay's "0a" and "0b" in another."""
    with (
        namespaces.scratch_network() as machines,
        namespaces.scratch_network() as relay,
        Connection(machines) as theirs,
        Connection(relay) as ours,
    ):
        for end, half in (("one", "0a"), ("two", "0b")):
            links.add_veth(theirs, links.VethEnd(end, machines), links.VethEnd(half, relay))
        with namespaces.inside(relay):
            carrier = Carrier([("0a", "0b")])
        yield theirs, ours, carrier


def test_the_carrier_passes_through(halves: tuple[Connection, Connection, Carrier]) -> None:
    machines, relay, carrier = halves

    def set_up(name: str, up: bool) -> tuple[bool, bool]:
        links.set_up(machines, links.index_of(machines, name), up)
        carrier.settle()
        carrier.settle()
        return links.get(machines, "one").carrier, links.get(machines, "two").carrier

    assert set_up("one", True) == (True, True)
    assert set_up("one", False) == (False, False)
    assert set_up("two", False) == (False, False)
    assert set_up("one", True) == (False, False)
    assert set_up("two", True) == (True, True)
    assert links.get(relay, "0a").up
    assert links.get(relay, "0b").up
