"""The daemon's event loop: descriptors, one deadline, and signals that stop it."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable, Iterable

_LONGEST_WAIT = 3600.0
"""Seconds; a mapping may end in centuries, and epoll counts milliseconds in 32 bits."""

Ready = Callable[[int], None]
"""Called with the events (EVENT_READ, EVENT_WRITE) of its descriptor."""


class Loop:
    """Waits for descriptors to become ready and calls their owners, one at a time."""

    def __init__(self) -> None:
        """Make a loop with nothing to wait for."""
        self._selector = selectors.EpollSelector()
        self._stopped = False
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def add(self, descriptor: int, ready: Ready) -> None:
        """Call ``ready`` when ``descriptor`` can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ, ready)

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events on a descriptor."""
        key = self._selector.get_key(descriptor)
        if key.events != events:
            self._selector.modify(descriptor, events, key.data)

    def remove(self, descriptor: int) -> None:
        """Wait for a descriptor no longer."""
        self._selector.unregister(descriptor)

    def stop_on(self, signals: Iterable[int]) -> None:
        """Stop when one of these signals comes."""
        inner, outer = socket.socketpair()
        inner.setblocking(False)
        outer.setblocking(False)
        self._wakeup = (inner, outer)
        signal.set_wakeup_fd(outer.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda _number, _frame: self.stop())
        self.add(inner.fileno(), lambda _events: self.stop())

    def stop(self) -> None:
        """Let :meth:`run` return."""
        self._stopped = True

    def run(self, timeout: Callable[[], float | None], turn: Callable[[], None]) -> None:
        """Serve until stopped.

        Args:
            timeout: Seconds to wait at most, None for ever; asked before each wait.
            turn: Called after each wait, when the ready descriptors have been served. A long wait is cut in pieces:
                there may be nothing to do yet.
        """
        while not self._stopped:
            longest = timeout()
            for key, events in self._selector.select(None if longest is None else min(longest, _LONGEST_WAIT)):
                key.data(events)
            turn()

    def close(self) -> None:
        """Release what the loop itself holds."""
        self._selector.close()
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            for end in self._wakeup:
                end.close()
