"""Taking turns among several who know the same, so that one that is dead does not stop anybody for long."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")

MOST_QUESTIONS = 4096


class Turns:
    """Whose turn it is, question by question: the same question again goes to the next one."""

    def __init__(self, most: int = MOST_QUESTIONS) -> None:
        """Remember so many questions at most; the oldest is forgotten first."""
        self._most = most
        self._last: dict[Hashable, int] = {}
        self._first = 0

    def choose(self, question: Hashable, among: Sequence[T]) -> T:
        """The next of ``among`` for this question; new questions begin with each in turn: all share the work."""
        if len(among) == 1:
            return among[0]
        turn = self._last.pop(question, None)
        if turn is None:
            turn = self._first = self._first + 1
            if len(self._last) >= self._most:
                del self._last[next(iter(self._last))]
        self._last[question] = turn + 1
        return among[turn % len(among)]
