"""The shapes of what a topology file holds, and how each is read into rows that know their lines.

A table of the language is a dataclass (a :class:`Row`) whose fields are declared with :func:`item`: the declaration is
all there is to a key, so the reader, the messages and any documentation of the language come from one place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from inspect import get_annotations
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from testbed.language.document import Mapping, Scalar, Sequence, Value
from testbed.language.problems import Problems
from testbed.language.scalars import NAME, ScalarShape, Wrong, described
from testbed.words import counted, nearest, one_of

T = TypeVar("T")
R = TypeVar("R", bound="Row")


@dataclass(frozen=True, slots=True)
class At(Generic[T]):
    """A value and the line it was read from."""

    value: T
    line: int

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A table of the file, read.

    Attributes:
        line: Where it begins.
        broken: The fields in which a mistake was found; what follows from them is not checked again.
    """

    KIND: ClassVar[str] = "topology"

    line: int = 1
    broken: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class NamedRow(Row):
    """A table that stands under a name."""

    name: str = ""


class Shape(Protocol):
    """How a part of the file is read; mistakes go to ``problems``, what remains is returned."""

    def read_into(self, value: Value, label: str, problems: Problems) -> Any:
        """The value of the field called ``label``, or None if there is nothing usable."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key of a table: how it is read, what it means, whether it may be left out."""

    name: str
    field: str
    shape: Shape
    doc: str
    required: bool


def item(shape: Shape, doc: str, *, required: bool = False, default: Any = None) -> Any:
    """Declare a field of a :class:`Row` as a key of the file; ``eid_prefixes`` is written ``eid-prefixes``."""
    return field(default=default, metadata={"shape": shape, "doc": doc, "required": required})


_KEYS: dict[type[Row], dict[str, Key]] = {}


def keys_of(row: type[Row]) -> dict[str, Key]:
    """The keys of a table, by the name that the file uses."""
    if row not in _KEYS:
        # What a table declares itself comes before what it has in common with others.
        declared = dict.fromkeys(name for table in row.__mro__ for name in get_annotations(table))
        by_name = {one.name: one for one in fields(row) if one.metadata}
        _KEYS[row] = {
            name: Key(name, field_name, one.metadata["shape"], one.metadata["doc"], one.metadata["required"])
            for field_name in declared
            if (one := by_name.get(field_name)) and (name := field_name.rstrip("_").replace("_", "-"))
        }
    return _KEYS[row]


@dataclass(frozen=True, slots=True)
class One:
    """A single value."""

    of: ScalarShape

    def read_into(self, value: Value, label: str, problems: Problems) -> At[Any] | None:
        """Read it."""
        try:
            return At(self.of.read(value), value.line)
        except Wrong as wrong:
            problems.add(value.line, f"{label}: {wrong.what}", wrong.allowed)
            return None


@dataclass(frozen=True, slots=True)
class Many:
    """A list of single values; one value alone is a list of one.

    Attributes:
        of: Their kind.
        exactly: How many there must be, or 0 for one or more.
    """

    of: ScalarShape
    exactly: int = 0

    def read_into(self, value: Value, label: str, problems: Problems) -> tuple[At[Any], ...]:
        """Read it."""
        items = value.items if isinstance(value, Sequence) else [value]
        if not items or (self.exactly and len(items) != self.exactly):
            what = f"{label}: has {counted(len(items), 'value')}"
            problems.add(value.line, what, f"allowed {f'are {self.exactly}' if self.exactly else 'is one or more'}")
            return ()
        read = (One(self.of).read_into(item, label, problems) for item in items)
        return tuple(item for item in read if item is not None)


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """A mapping with known keys.

    Attributes:
        row: What it is read into.
        short: The key that a value which is no mapping stands for, or "" if there is no such short form.
    """

    row: type[R]
    short: str = ""

    def read_into(self, value: Value, label: str, problems: Problems) -> R | None:
        """Read it."""
        return self.read_row(value, label, problems, value.line)

    def read_row(self, value: Value, label: str, problems: Problems, line: int, **given: Any) -> R | None:
        """Read it as the row that begins in ``line`` and has the fields ``given`` already."""
        known = keys_of(self.row)
        if not isinstance(value, Mapping) and self.short:
            value = Mapping(value.line, [(Scalar(value.line, self.short, "str"), value)])
        if not isinstance(value, Mapping):
            if not (isinstance(value, Scalar) and value.kind == "null"):
                problems.add(
                    value.line, f"{label}: is {described(value)}", f"allowed is a mapping of {', '.join(known)}"
                )
                return None
            value = Mapping(line)
        seen: dict[str, int] = {}
        broken: set[str] = set()
        for name, inner in value.pairs:
            text = name.text if isinstance(name, Scalar) else described(name)
            found = known.get(text)
            if found is None:
                problems.add(name.line, f"unknown key '{text}' in {label}", one_of(known, text))
                # What was probably meant counts as given, or it would be missed as well.
                broken |= {known[meant].field for meant in [nearest(text, list(known))] if meant}
            elif text in seen:
                problems.add(
                    name.line, f"key '{text}' of {label} is given twice", f"allowed is once (line {seen[text]})"
                )
            else:
                seen[text] = name.line
                before = len(problems)
                result = found.shape.read_into(inner, f"{text} of {label}" if label != "the file" else text, problems)
                if len(problems) > before:
                    broken.add(found.field)
                if result is not None:
                    given[found.field] = result
        for one in known.values():
            if one.required and one.name not in seen and one.field not in broken:
                problems.add(line, f"{label} has no {one.name}", f"needed: {one.doc[0].lower()}{one.doc[1:]}")
                broken.add(one.field)
        return self.row(line=line, broken=frozenset(broken), **given)


@dataclass(frozen=True, slots=True)
class Named(Generic[R]):
    """Things with names: a name, a list of names, or a mapping from names to tables.

    Attributes:
        row: What each is read into, a :class:`NamedRow`.
    """

    row: type[R]

    def read_into(self, value: Value, label: str, problems: Problems) -> tuple[R, ...]:
        """Read them; a name that comes twice is a mistake."""
        empty = Scalar(value.line, "", "null")
        if isinstance(value, Mapping):
            pairs = value.pairs
        else:
            pairs = [(item, empty) for item in (value.items if isinstance(value, Sequence) else [value])]
        if not pairs:
            problems.add(value.line, f"{label}: is empty", f"allowed are one or more {self.row.KIND} names")
        rows: dict[str, R] = {}
        for name, item in pairs:
            try:
                text = NAME.read(name)
            except Wrong as wrong:
                problems.add(name.line, f"{label}: {wrong.what}", wrong.allowed)
                continue
            if text in rows:
                what = f"{label}: '{text}' is given twice"
                problems.add(name.line, what, f"allowed is each name once (line {rows[text].line})")
                continue
            row = Table(self.row).read_row(item, f"{self.row.KIND} {text}", problems, name.line, name=text)
            if row is not None:
                rows[text] = row
        return tuple(rows.values())


@dataclass(frozen=True, slots=True)
class Listed(Generic[R]):
    """A list of tables."""

    of: Table[R]

    def read_into(self, value: Value, label: str, problems: Problems) -> tuple[R, ...]:
        """Read them."""
        if not isinstance(value, Sequence):
            problems.add(value.line, f"{label}: is {described(value)}", f"allowed is a list of {self.of.row.KIND}s")
            return ()
        read = (self.of.read_into(item, self.of.row.KIND, problems) for item in value.items)
        return tuple(row for row in read if row is not None)
