"""What a router tells the neighbours of hosts: their MAC addresses, as fast as the kernel takes that (X11)."""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable

from nodes.daemon.neighbour_socket import NeighbourSocket
from nodes.lisp.eid import IPAddress
from nodes.lisp.rate_limit import RateLimit

ANNOUNCEMENTS, EACH = 1024, 0.001
"""What the neighbours of hosts are told: as much at once, then one frame in a millisecond."""

PAUSE = 0.002
"""Seconds until the kernel is asked again to take a frame. Where hundreds of hosts move at once, the queue of what a
switch has to hand out is full, and empty again after milliseconds."""

_Announcement = tuple[NeighbourSocket, IPAddress, bytes | None, IPAddress]


class Announcer:
    """Announces MAC addresses on the site interfaces, in the order in which it was asked to."""

    def __init__(self, counters: Counter[str], now: Callable[[], float]) -> None:
        """Announce nothing yet; what is announced, and refused, is counted in ``counters``. ``now`` is a clock."""
        self._counters, self._now = counters, now
        self._limit: RateLimit[None] = RateLimit(ANNOUNCEMENTS, EACH)
        self._waiting: deque[_Announcement] = deque()
        self._again: float | None = None

    def announce(self, port: NeighbourSocket, address: IPAddress, mac: bytes | None, source: IPAddress) -> None:
        """Tell everybody on a site interface that a neighbour has this MAC address now.

        Args:
            port: The site interface.
            address: The neighbour's address.
            mac: Its MAC address; None is the router's.
            source: The router's address there.
        """
        if not self._limit.allows(None, self._now()) or len(self._waiting) >= ANNOUNCEMENTS:
            self._counters["announcements-refused"] += 1
            return
        self._waiting.append((port, address, mac, source))
        if self._again is None:
            self._send()

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do, or None."""
        return self._again

    def expire(self) -> None:
        """Go on with what the kernel did not take."""
        if self._again is not None and self._now() >= self._again:
            self._send()

    def _send(self) -> None:
        self._again = None
        while self._waiting:
            port, address, mac, source = self._waiting[0]
            try:
                port.announce(address, mac, source)
                self._counters["hosts-announced"] += 1
            except OSError as error:
                if error.errno in (errno.ENOBUFS, errno.EAGAIN):
                    self._again = self._now() + PAUSE
                    return
                # The interface is down: nobody is there.
            self._waiting.popleft()
