"""The daemon's event loop: descriptors, one deadline, and signals that stop it."""

from __future__ import annotations

import itertools
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from nodes.linux.scheduling import Precedence

_BATCH = 16
"""Descriptors that are served before the kernel is asked again."""

_LONGEST_WAIT = 3600.0
"""Seconds; a mapping may end in centuries, and epoll counts milliseconds in 32 bits."""

Ready = Callable[[int], None]
"""Called with the events (EVENT_READ, EVENT_WRITE) of its descriptor."""


class Loop:
    """Waits for descriptors to become ready and calls their owners, one at a time."""

    def __init__(self, precedence: Precedence | None = None) -> None:
        """Make a loop with nothing to wait for.

        Args:
            precedence: Told of each wait, if the process is to go before others.
        """
        self._precedence = precedence
        # Without the class of ``selectors`` around it: a router that was asleep wakes up sooner.
        self._epoll = select.epoll()
        self._owners: dict[int, tuple[int, Ready]] = {}
        self._places: dict[int, int] = {}
        self._numbers = itertools.count()
        self._stopped = False
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def add(self, descriptor: int, ready: Ready) -> None:
        """Call ``ready`` when ``descriptor`` can be read; of several at the same time those that were added first."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._places[descriptor] = next(self._numbers)
        self._owners[descriptor] = selectors.EVENT_READ, ready

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events on a descriptor."""
        before, ready = self._owners[descriptor]
        if before != events:
            wanted = select.EPOLLIN if events & selectors.EVENT_READ else 0
            wanted |= select.EPOLLOUT if events & selectors.EVENT_WRITE else 0
            self._epoll.modify(descriptor, wanted)
            self._owners[descriptor] = events, ready

    def remove(self, descriptor: int) -> None:
        """Wait for a descriptor no longer."""
        del self._owners[descriptor], self._places[descriptor]
        with suppress(OSError):  # it is closed already
            self._epoll.unregister(descriptor)

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
            longest = None if longest is None else min(longest, _LONGEST_WAIT)
            before = time.monotonic()
            ready = sorted(self._epoll.poll(longest, _BATCH), key=self._place)
            if self._precedence is not None:
                self._precedence.waited(before, time.monotonic())
            for descriptor, events in ready:
                self._serve(descriptor, events)
            turn()

    def close(self) -> None:
        """Release what the loop itself holds."""
        self._epoll.close()
        if self._wakeup is not None:
            signal.set_wakeup_fd(-1)
            for end in self._wakeup:
                end.close()

    def _place(self, ready: tuple[int, int]) -> int:
        return self._places.get(ready[0], 0)  # its owner may be gone

    def _serve(self, descriptor: int, events: int) -> None:
        wanted, ready = self._owners.get(descriptor, (0, None))
        if ready is None:  # its owner went while another descriptor was served
            return
        # What is an error, or the other end's end, shows when it is read or written.
        happened = selectors.EVENT_READ if events & ~select.EPOLLOUT else 0
        happened |= selectors.EVENT_WRITE if events & ~select.EPOLLIN else 0
        ready(happened & wanted)
