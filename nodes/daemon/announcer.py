"""What a router says to hosts of a site unasked, as fast as the kernel takes that: MAC addresses, and questions."""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

from nodes.daemon.neighbour_socket import NeighbourSocket
from nodes.lisp.eid import IPAddress
from nodes.lisp.rate_limit import RateLimit

ANNOUNCEMENTS, EACH = 1024, 0.001
"""What the neighbours of hosts are told: as much at once, then one frame in a millisecond."""

QUESTIONS = 1024
"""How many questions wait, of those that strangers can cause as well; there is room for as many announcements."""

PAUSE = 0.002
"""Seconds until the kernel is asked again to take a frame. Where hundreds of hosts move at once, the queue of what a
switch has to hand out is full, and empty again after milliseconds."""

PATIENCE = 1.0
"""Seconds after which an interface that takes nothing is taken for one that is down, and what waits is lost. A host
that is looked for has no more time than that to answer either."""


class Announcer:
    """Speaks on a site interface, in the order in which it was asked to (requirements X01, X05 and X11).

    Each interface has one of its own: where the queue of one is full, the hosts of another are told at once.
    """

    def __init__(self, port: NeighbourSocket, counters: Counter[str], now: Callable[[], float]) -> None:
        """Say nothing yet.

        Args:
            port: The site interface.
            counters: Where what is announced, and refused, is counted.
            now: A clock.
        """
        self._port, self._counters, self._now = port, counters, now
        self._limit: RateLimit[None] = RateLimit(ANNOUNCEMENTS, EACH)
        self._waiting: deque[Callable[[], None]] = deque()
        self._again: float | None = None
        self._full_since: float | None = None

    def announce(self, address: IPAddress, mac: bytes | None, source: IPAddress) -> None:
        """Tell everybody there that a neighbour has this MAC address now.

        Args:
            address: The neighbour's address.
            mac: Its MAC address; None is the router's.
            source: The router's address there.
        """
        if self._limit.allows(None, self._now()) and len(self._waiting) < QUESTIONS + ANNOUNCEMENTS:
            self._say(partial(self._announce, address, mac, source))
        else:
            self._counters["announcements-refused"] += 1

    def ask(self, wanted: IPAddress, own: IPAddress) -> None:
        """Ask everybody there for a host, once: where it is goes by whether it answers.

        Args:
            wanted: The host's address.
            own: The router's address there.
        """
        if len(self._waiting) < QUESTIONS:
            self._say(partial(self._port.ask, wanted, own))
        else:
            self._counters["questions-refused"] += 1

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do, or None."""
        return self._again

    def expire(self) -> None:
        """Go on with what the kernel did not take."""
        if self._again is not None and self._now() >= self._again:
            self._send()

    def _say(self, say: Callable[[], None]) -> None:
        self._waiting.append(say)
        if self._again is None:
            self._send()

    def _announce(self, address: IPAddress, mac: bytes | None, source: IPAddress) -> None:
        self._port.announce(address, mac, source)
        self._counters["hosts-announced"] += 1

    def _send(self) -> None:
        self._again, now = None, self._now()
        while self._waiting:
            try:
                self._waiting[0]()
                self._full_since = None
            except OSError as error:
                if error.errno in (errno.ENOBUFS, errno.EAGAIN):
                    self._full_since = now if self._full_since is None else self._full_since
                    if now - self._full_since < PATIENCE:
                        self._again = now + PAUSE
                        return
                # The interface is down: nobody is there.
            self._waiting.popleft()
        self._full_since = None
