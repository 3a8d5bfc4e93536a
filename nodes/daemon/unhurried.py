"""Messages that nobody waits for: they go a moment later, all together, so that what is urgent has the processors."""

from __future__ import annotations

from collections.abc import Callable

from nodes.lisp.effects import Send

PAUSE = 0.01
"""Seconds that they wait: when a host has moved, everybody who is told has the news by then. A Map-Notify is repeated
after 3 s (RFC 9301 section 5.7), so its acknowledgement is early enough."""


class Unhurried:
    """Holds messages back for a moment, in their order."""

    def __init__(self, send: Callable[[Send], None], clock: Callable[[], float]) -> None:
        """Hold nothing yet.

        Args:
            send: Sends a message.
            clock: The time in seconds.
        """
        self._send, self._clock = send, clock
        self._held: list[Send] = []
        self._due: float | None = None

    def hold(self, message: Send) -> None:
        """Send this one in a moment."""
        self._held.append(message)
        if self._due is None:
            self._due = self._clock() + PAUSE

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do, on the clock."""
        return self._due

    def expire(self) -> None:
        """Send what is held, if it is time."""
        if self._due is not None and self._due <= self._clock():
            self.release()

    def release(self) -> None:
        """Send all that is held."""
        held, self._held, self._due = self._held, [], None
        for message in held:
            self._send(message)
