"""YAML text to a tree of values that know their lines.

The tree is built from parser events, without recursion and with a bound on depth: the C composer of PyYAML overruns its
stack on a file of brackets, and the safe constructor forgets line numbers and repeated keys.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.language.problems import Problems, TopologyError

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 16
MAX_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Scalar:
    """A single value.

    Attributes:
        line: Its line, counted from 1.
        text: As written, without quotes.
        kind: What YAML takes it for: "str", "int", "float", "bool", "null", "timestamp" …
        block: Whether its text stands below its line, as after "|".
    """

    line: int
    text: str
    kind: str
    block: bool = False


@dataclass(slots=True)
class Sequence:
    """A list."""

    line: int
    items: list[Value] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """A mapping, its pairs in the order of the file, repeated keys included."""

    line: int
    pairs: list[tuple[Value, Value]] = field(default_factory=list)


Value = Scalar | Sequence | Mapping


def read(path: Path, shown: str, allowed: str) -> bytes:
    """The bytes of a file, at most one more than are allowed.

    Args:
        path: The file.
        shown: The file as messages name it.
        allowed: What may be named instead, for a file that is not there.

    Raises:
        TopologyError: It cannot be read.
    """
    try:
        # Non-blocking: a pipe without a writer is refused below instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise TopologyError([f"{shown}: no such file, {allowed}"]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TopologyError([f"{shown}: cannot be read ({reason}), allowed is a readable file"]) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise TopologyError([f"{shown}: is not a regular file, {allowed}"])
        return os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def decode(data: bytes, problems: Problems) -> str:
    """The text of a file.

    Raises:
        TopologyError: It is empty, too long or not text.
    """
    if len(data) > MAX_BYTES:
        problems.add(1, "the file is too long", f"allowed are {MAX_BYTES // 1024} KiB")
        problems.raise_any()
    try:
        text = data.decode("utf-8-sig")
        bad = next((at for at, char in enumerate(text) if char < " " and char not in "\n\r\t"), -1)
        line = text.count("\n", 0, bad) + 1
    except UnicodeDecodeError as error:
        text, bad, line = "", error.start, data.count(b"\n", 0, error.start) + 1
    if bad >= 0:
        problems.add(line, "this is not a text file", "allowed is YAML in UTF-8")
        problems.raise_any()
    if not text.strip():
        problems.add(1, "the file is empty", f"allowed is {problems.holds}")
        problems.raise_any()
    return text


def parse(text: str, problems: Problems) -> Value:
    """The tree of a YAML text.

    Raises:
        TopologyError: It is not YAML, or more than one document.
    """
    # Imported here: commands that read no topology need not pay for it.
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return _tree(loader, problems)
    except yaml.YAMLError as error:
        _syntax(error, text, problems)
        problems.raise_any()
        raise
    finally:
        loader.dispose()


def _tree(loader: Any, problems: Problems) -> Value:
    import yaml

    root: Sequence = Sequence(1)
    stack: list[Value] = [root]
    keys: list[Value] = []  # the key that waits for its value, for each open mapping
    waiting: list[bool] = [False]
    anchors: dict[str, Value] = {}
    named: list[str | None] = [None]  # the anchor of each open list or mapping

    def place(value: Value) -> None:
        top = stack[-1]
        if isinstance(top, Sequence):
            top.items.append(value)
        elif isinstance(top, Mapping):
            if waiting[-1]:
                top.pairs.append((keys.pop(), value))
            else:
                keys.append(value)
            waiting[-1] = not waiting[-1]

    while True:
        event = loader.get_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if anchor not in anchors:
                problems.add(
                    line,
                    f"no value is anchored as '{anchor}' above",
                    "allowed is text, in quotes if it begins with *",
                )
                problems.raise_any()
            place(anchors[anchor])
        elif isinstance(event, yaml.ScalarEvent):
            tag = event.tag
            if tag is None or tag == "!":
                tag = loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            scalar = Scalar(line, event.value, tag.rpartition(":")[2], event.style in ("|", ">"))
            if event.anchor:
                anchors[event.anchor] = scalar
            place(scalar)
        elif isinstance(event, yaml.CollectionStartEvent):
            opened: Value = Sequence(line) if isinstance(event, yaml.SequenceStartEvent) else Mapping(line)
            place(opened)
            stack.append(opened)
            waiting.append(False)
            named.append(event.anchor)
            if len(stack) > MAX_DEPTH:
                problems.add(line, "lists and mappings are nested too deeply", f"allowed are {MAX_DEPTH} levels")
                problems.raise_any()
        elif isinstance(event, yaml.CollectionEndEvent):
            closed, called = stack.pop(), named.pop()
            waiting.pop()
            # An anchor is known only once its value is complete, so that no value can contain itself.
            if called:
                anchors[called] = closed
        elif isinstance(event, yaml.DocumentStartEvent) and root.items:
            problems.add(line, "a second document begins", "allowed is one document in a file")
            problems.raise_any()
        elif isinstance(event, yaml.StreamEndEvent):
            break
    if not root.items or (isinstance(root.items[0], Scalar) and root.items[0].kind == "null"):
        problems.add(1, "the file is empty", f"allowed is {problems.holds}")
        problems.raise_any()
    return root.items[0]


def _syntax(error: yaml.YAMLError, text: str, problems: Problems) -> None:
    """One line for what the parser has to say."""
    mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not know
        at = int(getattr(error, "position", 0))
        problems.add(text.count("\n", 0, at) + 1, "this is not a text file", "allowed is YAML in UTF-8")
        return
    lines = text.splitlines()
    here = lines[mark.line] if mark.line < len(lines) else ""
    line = min(mark.line + 1, max(len(lines), 1))
    if "\t" in here[: len(here) - len(here.lstrip())] or here[mark.column : mark.column + 1] == "\t":
        problems.add(line, "a tab stands in the indentation", "allowed are spaces")
        return
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    start: Any = getattr(error, "context_mark", None)
    what = f"YAML syntax: {': '.join(part for part in parts if part)}"
    if start is not None and start.line != mark.line:
        # What is never closed is found at the end of the file, but the mistake is where it begins.
        line, found = (start.line + 1, line)
        what += f" (up to line {found})"
    problems.add(line, what, "allowed is well-formed YAML")
