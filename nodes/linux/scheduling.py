"""Who runs first: a process that has little to do goes before those that have much (sched(7))."""

from __future__ import annotations

import os
from contextlib import suppress

_NETWORK, _OTHERS = 2, 1


def go_first(*, network: bool = True) -> None:
    """Run as soon as there is something to do, before every process that has not asked for this.

    Where that is not allowed, in a container say, everything stays as it is.

    Args:
        network: Whether the process is one of what a network is made of: of those that asked, they go first.
    """
    with suppress(PermissionError):
        # What this process starts later does not inherit it.
        priority = os.sched_param(_NETWORK if network else _OTHERS)
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, priority)


def go_in_turn() -> None:
    """Share the processors with all others."""
    with suppress(PermissionError):
        # To take the flag back, more would have to be allowed than to go in turn.
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))


class Precedence:
    """Goes first while there is little to do at a time, and in turn while there is much.

    A router of its own would have a processor of its own: what it hears it answers at once, whatever hosts and other
    routers do meanwhile. A lab's routers share a few processors with all of them, and one that forwards a flood in
    Python would keep every other process from them.
    """

    def __init__(self, longest: float = 0.02, rest: float = 0.001) -> None:
        """Begin with going in turn.

        Args:
            longest: Seconds of work without a rest after which it goes in turn.
            rest: Seconds of waiting that are a rest.
        """
        self._longest, self._rest = longest, rest
        self._since: float | None = None

    def waited(self, before: float, after: float) -> None:
        """There was nothing to do from one moment to another, both of one monotonic clock, in seconds."""
        if after - before >= self._rest:
            if self._since is None:
                go_first()
            self._since = after
        elif self._since is not None and after - self._since > self._longest:
            go_in_turn()
            self._since = None
