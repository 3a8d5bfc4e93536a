"""Mistakes in a file that people write, collected: one clear line each, with file and line number."""

from __future__ import annotations

from collections.abc import Iterable


class TopologyError(Exception):
    """A topology, or another file that people write, cannot be used.

    Attributes:
        problems: One text per mistake, ``file:line: what is wrong, what is allowed``, in the order of the lines.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
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
        self._found.setdefault((line, f"{what}, {allowed}"))

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            TopologyError: There is at least one mistake.
        """
        if self._found:
            ordered = sorted(self._found, key=lambda item: item[0])
            raise TopologyError(f"{self.shown}:{line}: {text}" for line, text in ordered)


def one_of(words: Iterable[str], given: str = "") -> str:
    """The phrase that lists what is allowed, with the nearest word if ``given`` looks like a slip of the pen."""
    known = list(words)
    if not known:
        return "allowed is nothing here"
    near = nearest(given, known)
    hint = f" (did you mean '{near}'?)" if near else ""
    listed = known if len(known) <= _LISTED else [*known[:_LISTED], f"and {len(known) - _LISTED} more"]
    return f"allowed {'is' if len(known) == 1 else 'are'} {', '.join(listed)}{hint}"


def nearest(given: str, known: list[str]) -> str:
    """The word that was probably meant, or ""."""
    import difflib  # needed only where there is a mistake

    return next(iter(difflib.get_close_matches(given, known, n=1)), "") if given else ""


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 host", "2 hosts"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_LISTED = 20
