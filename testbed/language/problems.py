"""Mistakes in a file that people write, collected: one clear line each, with file and line number."""

from __future__ import annotations

from collections.abc import Iterable

from testbed.words import printable, shortened

_LONGEST = 300
"""Characters of what is wrong; what is allowed is our own words."""


class TopologyError(Exception):
    """A topology, or another file that people write, cannot be used.

    Attributes:
        problems: One text per mistake, ``file:line: what is wrong, what is allowed``, in the order of the lines.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(printable(one) for one in problems)
        super().__init__("\n".join(self.problems))


class Problems:
    """The mistakes found in one file so far.

    Args:
        shown: The file as messages name it.
        holds: What such a file holds, for one that is empty.
    """

    def __init__(self, shown: str, holds: str = "a topology with at least core and sites") -> None:
        self.shown = shown
        self.holds = holds
        self._found: dict[tuple[int, str], None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, what: str, allowed: str) -> None:
        """Note a mistake; the same one is noted once.

        Args:
            line: Where, counted from 1.
            what: What is wrong.
            allowed: What is allowed there, a phrase such as "allowed is true or false".
        """
        self._found.setdefault((line, f"{shortened(what, _LONGEST)}, {allowed}"))

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            TopologyError: There is at least one mistake.
        """
        if self._found:
            ordered = sorted(self._found, key=lambda item: item[0])
            raise TopologyError(f"{self.shown}:{line}: {text}" for line, text in ordered)
