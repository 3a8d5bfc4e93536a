"""Deadlines by key: what the engine's parts wait for. The clock is the caller's."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK = 64


class Timers(Generic[K]):
    """At most one deadline per key; the earliest is found at once. Memory stays in proportion to the keys."""

    __slots__ = ("_heap", "_order", "_when")

    def __init__(self) -> None:
        self._when: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = count()  # equal deadlines fire in the order in which they were set; keys are never compared

    def set(self, key: K, when: float) -> None:
        """Let ``key`` be due at ``when``, instead of any earlier arrangement."""
        order = next(self._order)
        self._when[key] = (when, order)
        if len(self._heap) > 2 * len(self._when) + _SLACK:
            self._heap = [(at, nth, one) for one, (at, nth) in self._when.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (when, order, key))

    def cancel(self, key: K) -> None:
        """Forget ``key``; nothing happens if it has no deadline."""
        self._when.pop(key, None)

    def get(self, key: K) -> float | None:
        """When ``key`` is due, or None."""
        found = self._when.get(key)
        return found[0] if found else None

    def first(self) -> tuple[float, K] | None:
        """The earliest deadline and its key, or None."""
        while self._heap:
            when, order, key = self._heap[0]
            if self._when.get(key) == (when, order):
                return when, key
            heappop(self._heap)
        return None

    def deadline(self) -> float | None:
        """The earliest deadline, or None."""
        first = self.first()
        return first[0] if first else None

    def due(self, now: float) -> list[K]:
        """Take out the keys whose deadline has come, earliest first."""
        keys = []
        while (first := self.first()) and first[0] <= now:
            heappop(self._heap)
            del self._when[first[1]]
            keys.append(first[1])
        return keys

    def __len__(self) -> int:
        return len(self._when)

    def __contains__(self, key: object) -> bool:
        return key in self._when
