"""One direction of a delay line: frames leave in the order in which they were sent into it. No clock, no sockets."""

from __future__ import annotations

from collections import deque

MAX_BYTES = 64 << 20
"""What waits at most in one direction: half a second at 1 Gbit/s. What comes on top is dropped and counted."""


class Line:
    """A queue whose frames leave ``delay`` nanoseconds after they came.

    Attributes:
        delay: Nanoseconds.
        dropped: Frames that found the line full.
    """

    def __init__(self, delay: int, max_bytes: int = MAX_BYTES) -> None:
        self.delay = delay
        self.dropped = 0
        self._room = max_bytes
        self._frames: deque[tuple[int, bytes]] = deque()

    def put(self, frame: bytes, arrived: int) -> None:
        """Take a frame that arrived at a moment in nanoseconds; it leaves before those that arrived later.

        They need not be told in their order. Each processor has a queue of its own for what is sent on a veth, so what
        one sends may be told before what another one sent earlier: the one that hears an ARP reply sends what waited
        for it, and the sender, whom that wakes, goes on with the next on another. On a cable nothing overtakes.
        """
        if len(frame) > self._room:
            self.dropped += 1
            return
        self._room -= len(frame)
        leaves, frames = arrived + self.delay, self._frames
        later = []
        while frames and frames[-1][0] > leaves:
            later.append(frames.pop())
        frames.append((leaves, frame))
        frames.extend(reversed(later))

    def due(self, now: int) -> list[bytes]:
        """The frames whose time has come; they are the line's no more."""
        frames = self._frames
        leaving = []
        while frames and frames[0][0] <= now:
            leaving.append(frames.popleft()[1])
        self._room += sum(map(len, leaving))
        return leaving

    @property
    def deadline(self) -> int | None:
        """When the next frame is due, or None when none waits."""
        return self._frames[0][0] if self._frames else None
