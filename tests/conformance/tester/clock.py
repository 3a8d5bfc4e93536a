"""The protocol's seconds: how long they take in a lab, and how exactly they can be judged there.

In some worlds the routers' clocks run faster (``time-scale``); ``conformance --long`` boots the same worlds in real
time. A test says seconds of the protocol here, and nowhere else, and holds in both.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Event, Thread
from typing import TypeVar

from testbed.lab import Lab
from testbed.model import Topology
from testbed.observe.capture import Frame
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen

T = TypeVar("T")

EARLY_S = 0.01
"""How early, in real seconds: from the moment that a timer begins, it takes its message that long to be captured."""
SCALED_LATE_S = 0.15
"""How late, in real seconds, a loaded machine may be where clocks run faster: many seconds of the protocol."""
LATE_S, LATE_SHARE = 0.5, 0.02
"""The same in real time: half a second, or two per cent of the time where that is more."""
PATIENCE_S = 15.0
"""How much longer, in real seconds, something is waited for before it counts as missing."""


def at_pace(topology: Topology, scale: float) -> Topology:
    """A topology whose routers' clocks run so many times as fast, whatever its file says."""
    nodes = {
        name: replace(node, lisp=replace(node.lisp, time_scale=scale)) if node.lisp else node
        for name, node in topology.nodes.items()
    }
    source = re.sub(r"^time-scale: .*$", f"time-scale: {scale:g}", topology.source, flags=re.MULTILINE)
    return replace(topology, nodes=nodes, time_scale=scale, source=source)


@dataclass(frozen=True, slots=True)
class Clock:
    """Judges times in one lab.

    Attributes:
        scale: How many seconds of the protocol one real second has.
    """

    scale: float

    @classmethod
    def of(cls, lab: Lab) -> Clock:
        """The clock of a lab's routers."""
        return cls(lab.topology.time_scale)

    def real(self, seconds: float) -> float:
        """So many seconds of the protocol, in real ones."""
        return seconds / self.scale

    def limit(self, seconds: float) -> float:
        """Real seconds after which what should take so many seconds of the protocol counts as missing."""
        return 1.25 * self.real(seconds) + PATIENCE_S

    def late(self, seconds: float) -> float:
        """How late, in real seconds, what should take so many seconds of the protocol may be."""
        return SCALED_LATE_S if self.scale > 1 else max(LATE_S, LATE_SHARE * seconds)

    def after(self, first: Seen, seconds: float, seen: Sequence[Seen]) -> list[Seen]:
        """Those that came more than so many seconds of the protocol later: no retransmission that was on its way."""
        return [one for one in seen if one.frame.time_ns > first.frame.time_ns + 1e9 * self.real(seconds)]

    def assert_between(self, first: Seen, then: Seen, least: float, most: float, late: float = 0.0) -> None:
        """So many seconds of the protocol lie between two messages, as captured: not less, hardly more.

        Args:
            first: The earlier one.
            then: The later one.
            least: Seconds of the protocol.
            most: Seconds of the protocol; ``math.inf`` where nothing says how late it may come.
            late: Real seconds by which the test itself may be late.
        """
        found = (then.frame.time_ns - first.frame.time_ns) / 1e9
        wanted = f"{found * self.scale:.2f} s of the protocol; {least:g} to {most:g} are right"
        assert found >= self.real(least) - EARLY_S, wanted
        assert found <= self.real(most) + self.late(most) + late, wanted

    def ended(self, still: Callable[[], bool], what: str, within: float) -> tuple[int, int]:
        """Ask until something is over: the moments between which it ended, in nanoseconds, as captures have them.

        However long the answers take: it was not over when the last question was put that was answered with yes.
        """
        last_yes = time.time_ns()

        def over() -> bool:
            nonlocal last_yes
            asked = time.time_ns()
            if still():
                last_yes = asked
                return False
            return True

        self.eventually(over, what, within)
        return last_yes, time.time_ns()

    def assert_ended(self, first: Seen, ended: tuple[int, int], seconds: float) -> None:
        """What :meth:`ended` has seen was over so many seconds of the protocol after a message."""
        least, most = ((one - first.frame.time_ns) / 1e9 for one in ended)
        wanted = f"{least * self.scale:.2f} to {most * self.scale:.2f} s of the protocol; {seconds:g} are right"
        assert most >= self.real(seconds) - EARLY_S, wanted
        assert least <= self.real(seconds) + self.late(seconds), wanted

    def assert_prompted(self, first: Seen, then: Seen, seconds: float, prompts: Iterable[Frame]) -> None:
        """A message came so many seconds of the protocol after another, or on the first prompt after that.

        Args:
            first: The earlier message.
            then: The later one.
            seconds: Seconds of the protocol during which nothing causes it.
            prompts: What may cause it, as it arrived at the router; the test's own may come late.
        """
        due = first.frame.time_ns + round(1e9 * self.real(seconds))
        prompted = max(due, min((one.time_ns for one in prompts if one.time_ns >= due), default=due))
        early, late = (due - then.frame.time_ns) / 1e9, (then.frame.time_ns - prompted) / 1e9
        wanted = f"{early:.3f} s before {seconds:g} s of the protocol had passed, {late:.3f} s after a prompt"
        assert early <= EARLY_S, wanted
        assert late <= self.late(seconds), wanted

    def assert_spaced(self, seen: Sequence[Seen], wanted: Sequence[float]) -> None:
        """The messages are so many seconds of the protocol apart, one after the other."""
        assert len(seen) > len(wanted), f"{len(seen)} messages"
        for (first, then), seconds in zip(pairwise(seen), wanted, strict=False):
            self.assert_between(first, then, seconds, seconds)

    def eventually(self, found: Callable[[], T], what: str, within: float) -> T:
        """Ask until there is an answer, for so many seconds of the protocol; in real time not so often."""
        return eventually(found, what, self.limit(within), pause=self.pause)

    @property
    def pause(self) -> float:
        """Real seconds between two questions."""
        return 0.01 if self.scale > 1 else 0.1

    @contextmanager
    def every(self, seconds: float, work: Callable[[], None]) -> Iterator[None]:
        """Meanwhile do this in the background, again and again, so many seconds of the protocol apart."""
        over = Event()
        failed: list[BaseException] = []

        def run() -> None:
            turn = time.monotonic()
            try:
                while not over.wait(max(0.0, turn - time.monotonic())):
                    work()
                    turn += self.real(seconds)
            except BaseException as error:
                failed.append(error)

        thread = Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failed:
            raise failed[0]
