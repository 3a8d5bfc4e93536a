"""What the data path tells the control plane again and again, told sparingly."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_EVERY = 1.0


class Throttle(Generic[T]):
    """Gives each thing at most once a second. Bounded: what comes while too many are remembered is not told."""

    def __init__(self, most: int, every: float = _EVERY) -> None:
        """Set the bounds: how many things are remembered, and seconds between two words on the same."""
        self._most, self._every = most, every
        self._told: dict[T, float] = {}
        self._new: list[T] = []

    def note(self, thing: T, now: float) -> None:
        """It happened."""
        last = self._told.get(thing)
        if last is not None and now - last < self._every:
            return
        if last is None and len(self._told) >= self._most:
            self._told = {one: then for one, then in self._told.items() if now - then < self._every}
            if len(self._told) >= self._most:
                return
        self._told[thing] = now
        self._new.append(thing)

    def forget(self, thing: T) -> None:
        """It is news when it happens next."""
        self._told.pop(thing, None)

    def take(self) -> list[T]:
        """What is new since the last call."""
        taken, self._new = self._new, []
        return taken
