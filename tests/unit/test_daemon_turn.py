"""One turn of the daemon's loop, with the parts around it replaced."""

from __future__ import annotations

import pathlib
from typing import Any

from nodes.daemon.daemon import Daemon
from nodes.daemon.jobs import Jobs
from nodes.daemon.journal import Journal
from nodes.daemon.unhurried import Unhurried
from nodes.daemon.waiters import Waiters
from nodes.lisp.effects import Effect, Unresolved
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.inputs import Input, Miss, Tick

FIRST, SECOND, THIRD = (host_prefix(f"192.168.2.{number}") for number in (1, 2, 3))


class Path:
    """A data path in which giving up one EID makes a miss for another: the ICMP error has a destination too."""

    def __init__(self) -> None:
        self.misses = [Miss(FIRST)]

    def take_misses(self) -> list[Miss]:
        taken, self.misses = self.misses, []
        return taken

    def unresolved(self, eid: EidPrefix) -> None:
        if eid == FIRST:
            self.misses.append(Miss(SECOND))
        if eid == THIRD:
            self.misses.append(Miss(THIRD))

    def deadline(self) -> None:
        return None

    def take_status_bits(self) -> list[Input]:
        return []

    def settle(self) -> None:
        """There is no fast path."""


class Engine:
    """An engine that resolves nothing, and gives up a third EID when time passes."""

    registered = True

    def __init__(self) -> None:
        self.told: list[Input] = []

    def effects(self, happened: Input, _now: float) -> list[Effect]:
        self.told.append(happened)
        if isinstance(happened, Tick):
            return [Unresolved(THIRD)]
        return [Unresolved(happened.eid)] if isinstance(happened, Miss) and happened.eid != THIRD else []

    def deadline(self) -> float:
        return 0.0


def test_misses_that_misses_and_ticks_make_are_handled_in_the_same_turn(tmp_path: pathlib.Path) -> None:
    """S04: otherwise they would wait for the next packet or deadline, which may be long in coming."""
    daemon: Any = Daemon.__new__(Daemon)
    daemon._path, daemon._engine = Path(), Engine()
    daemon._scale, daemon._registered, daemon._waiters, daemon._dynamic = 1.0, True, Waiters(), None
    daemon._jobs, daemon._unhurried = Jobs(), Unhurried(lambda _message: None, lambda: 0.0)
    daemon._journal = Journal(tmp_path / "log.jsonl", "xtr1")
    daemon._carry = {Unresolved: daemon._unresolved}
    daemon._turn()
    assert daemon._path.misses == []
    assert {one.eid for one in daemon._engine.told if isinstance(one, Miss)} == {FIRST, SECOND, THIRD}
