"""Start of the relay: ``python -S -m nodes.relay REPORT``, in its network namespace.

It reads the links from its standard input, ``[[one half, other half, milliseconds], ...]``, and writes JSON lines to
the REPORT descriptor: ``{"event": "ready"}`` when frames pass, ``{"event": "overrun", "half": .., "frames": ..}`` when
it could not keep up. Its end closes that descriptor.
"""

from __future__ import annotations

import gc
import heapq
import json
import os
import select
import sys
import time

from nodes.linux.namespaces import name_process
from nodes.linux.scheduling import go_first
from nodes.linux.timer import Timer, be_punctual
from nodes.relay.carrier import Carrier
from nodes.relay.end import End
from nodes.relay.line import Line

_SECOND = 1_000_000_000


class Relay:
    """Passes frames between the halves of every link."""

    def __init__(self, links: list[tuple[str, str, float]], report: int) -> None:
        """Open the interfaces.

        Args:
            links: The names of the two halves and the delay in milliseconds of each.
            report: Descriptor for the JSON lines.
        """
        self._report = report
        self._timer = Timer()
        self._carrier = Carrier([(one, other) for one, other, _ in links])
        self._ends: list[End] = []
        self._across: dict[End, End] = {}
        for one, other, delay in links:
            a, b = (End(half, Line(round(delay * 1e6))) for half in (one, other))
            self._ends += (a, b)
            self._across |= {a: b, b: a}
        # The ends whose lines have frames, the one that is due next first; the number settles ties.
        self._waiting: list[tuple[int, int, End]] = []
        self._judged = time.monotonic_ns()

    def run(self) -> None:
        """Pass frames for ever."""
        by_descriptor = {end.fileno(): end for end in self._ends}
        ready = select.epoll()
        for descriptor in (self._timer.fileno(), self._carrier.fileno(), *by_descriptor):
            ready.register(descriptor, select.EPOLLIN)
        self._say(event="ready")
        while True:
            for descriptor, _ in ready.poll():
                if end := by_descriptor.get(descriptor):
                    awaited = end.line.deadline
                    end.receive()
                    if end.line.deadline != awaited:
                        self._await(end, awaited)
                elif descriptor == self._timer.fileno():
                    self._timer.clear()
                else:
                    self._carrier.settle()
            self._pass_on()

    def _await(self, end: End, instead: int | None = None) -> None:
        """Remember when the next frame of an end's line is due, if it has one, instead of what was remembered."""
        if instead is not None:
            self._waiting.remove((instead, end.fileno(), end))
            heapq.heapify(self._waiting)
        if end.line.deadline is not None:
            heapq.heappush(self._waiting, (end.line.deadline, end.fileno(), end))

    def _pass_on(self) -> None:
        """Send what is due and set the timer for what is next."""
        now = time.monotonic_ns()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, end = heapq.heappop(self._waiting)
            send = self._across[end].send
            for frame in end.line.due(now):
                send(frame)
            self._await(end)
        if self._waiting:
            self._timer.set(self._waiting[0][0])
        if now - self._judged > _SECOND:
            self._judged = now
            self._confess()

    def _confess(self) -> None:
        """Say which frames were lost here."""
        for end in self._ends:
            if lost := end.lost() + end.line.dropped:
                end.line.dropped = 0
                self._say(event="overrun", half=end.name, frames=lost)

    def _say(self, **fields: object) -> None:
        os.write(self._report, json.dumps(fields).encode() + b"\n")


def main() -> None:
    """Serve until killed."""
    name_process("delay-relay")
    be_punctual()
    go_first()  # as a cable, it waits for no other process
    relay = Relay(json.load(sys.stdin), int(sys.argv[1]))
    gc.freeze()
    gc.disable()  # no cycles are made, and a collection would make frames late
    relay.run()


if __name__ == "__main__":
    main()
