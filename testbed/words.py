"""Words for people in one line: what somebody typed, told back so that a terminal shows it, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[\w.:/@%+=,~-]+")
_LONGEST = 100
_LISTED = 20


def echoed(word: object) -> str:
    """A word that somebody typed, as a message repeats it: what is not plain is in quotes, what is long is cut."""
    text = shortened(str(word), _LONGEST)
    return text if _PLAIN.fullmatch(text.replace("…", "")) and text.isprintable() else repr(text)


def printable(text: str) -> str:
    """A text without anything that a terminal would act on: such characters as Python writes them."""
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shortened(text: str, most: int) -> str:
    """A text of at most ``most`` characters: what is too much is taken out of its middle."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 1]}…{text[-end:]}"


def one_of(words: Iterable[str], given: str = "", what: str = "", most: int = _LISTED) -> str:
    """The phrase that lists what is allowed, with the nearest word if ``given`` looks like a slip of the pen.

    Args:
        words: What is allowed.
        given: What was said instead.
        what: What these are, such as "nodes": "nodes are h1, h2"; by default "allowed are h1, h2".
        most: How many are named of very many.
    """
    known = list(words)
    if not known:
        return f"there are no {what}" if what else "allowed is nothing here"
    near = nearest(given, known)
    hint = f" (did you mean '{near}'?)" if near and near != given else ""
    head = f"{what} are" if what else f"allowed {'is' if len(known) == 1 else 'are'}"
    return f"{head} {listed(known, most)}{hint}"


def listed(words: list[str], most: int = _LISTED) -> str:
    """Words with commas between them, the first of very many."""
    return ", ".join(words if len(words) <= most else [*words[:most], f"and {len(words) - most} more"])


def nearest(given: str, known: list[str]) -> str:
    """The word that was probably meant, or ""."""
    import difflib  # needed only where there is a mistake

    given = given[:_LONGEST]  # of a very long word it would take its time
    return next(iter(difflib.get_close_matches(given, known, n=1)), "") if given else ""


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 host", "2 hosts"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
