"""Who waits on the control socket for an answer that takes the engine some time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nodes.daemon.control import Client

_MOST = 1000


@dataclass(frozen=True, slots=True)
class _Waiter:
    client: Client
    until: float


class Waiters:
    """Clients by the token of their question; times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: dict[int, _Waiter] = {}
        self._tokens = 0

    def add(self, client: Client, seconds: float) -> int:
        """Let a client wait; returns the token of its question.

        Raises:
            ValueError: Too many wait already.
        """
        if len(self._waiting) >= _MOST:
            raise ValueError(f"{_MOST} queries wait for an answer already")
        self._tokens += 1
        self._waiting[self._tokens] = _Waiter(client, time.monotonic() + seconds)
        return self._tokens

    def answer(self, token: int, result: Mapping[str, Any] | None, error: str) -> None:
        """Give the answer to whoever waits for it still."""
        waiter = self._waiting.pop(token, None)
        if waiter is None:
            return
        if result is None:
            waiter.client.fail(error)
        else:
            waiter.client.succeed(dict(result))

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do."""
        return min((waiter.until for waiter in self._waiting.values()), default=None)

    def expire(self) -> None:
        """Tell those whose time is over."""
        now = time.monotonic()
        for token in [token for token, waiter in self._waiting.items() if waiter.until <= now]:
            self.answer(token, None, "no Map-Reply within the time given")
