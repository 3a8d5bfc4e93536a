"""The verdicts as people read them in a terminal of a hundred columns: a table for each chapter, then the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from testbed.observe.tables import draw
from tests.conformance.catalogue import DATA_PATHS, FAMILIES, Cell, Verdict
from tests.conformance.instrument.verdicts import Row

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.NOT_TESTED: "yellow"}
_MARKS = {Verdict.PASS: "+", Verdict.FAIL: "X", Verdict.NOT_TESTED: ".", Verdict.NOT_APPLICABLE: "o"}
_WIDTHS = (3, 10, 15, 6, 5, 5, 36)
_REASON_COLUMNS = 96
_REASON_LINES = 4
_REASONS_EACH = 4

LEGEND = (
    f"Cells: {', '.join(f'{mark} {verdict}' for verdict, mark in _MARKS.items())}. Where a data path has four, they are"
    f"\nEIDs over RLOCs: {', '.join(FAMILIES)}. other: as the test's world has it."
)


def print_matrix(rows: Sequence[Row]) -> None:
    """Print all of it."""
    for chapter, group in groupby(rows, lambda row: row.requirement.chapter):
        draw(_table(list(group)), f"\n{chapter}")
    print(f"\n{LEGEND}")
    for row in rows:
        if row.verdict is Verdict.FAIL:
            print(f"\n{row.requirement.id} fails: {row.requirement.text}")
            for reason in row.reasons[:_REASONS_EACH]:
                print(_told(reason))
            if more := row.reasons[_REASONS_EACH:]:
                print(f"  and {len(more)} more")


def _table(rows: Sequence[Row]) -> Table:
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=True)
    titles = ("ID", "Level", "Verdict", *DATA_PATHS, "other", "What is asked")
    for title, width in zip(titles, _WIDTHS, strict=True):
        drawn.add_column(title, no_wrap=True, width=width)
    for row in rows:
        one = row.requirement
        drawn.add_row(
            one.id,
            one.level,
            Text(row.verdict, style=_STYLES.get(row.verdict, "dim")),
            *(_marks(row.cells, path) for path in (*DATA_PATHS, "")),
            _cut(one.text, _WIDTHS[-1]),
        )
    return drawn


def _marks(cells: Mapping[Cell, Verdict], path: str) -> Text:
    """The marks of one data path: those of the four pairs where there are any, then that of no particular pair."""
    families = [cells.get(Cell(path, one)) for one in FAMILIES]
    marks = [*(families if any(families) else ()), *([alone] if (alone := cells.get(Cell(path))) else ())]
    drawn = Text()
    for verdict in marks:
        drawn.append(_MARKS[verdict] if verdict else " ", style=_STYLES.get(verdict, "dim") if verdict else "")
    return drawn


def _told(reason: str) -> str:
    """A test's name, and below it its reason, which may be long: the JSON has all of it."""
    name, _, why = reason.partition(": ")
    lines = wrap(why, _REASON_COLUMNS, max_lines=_REASON_LINES, placeholder=" …")
    return "\n".join([f"  {name}", *(f"    {line}" for line in lines)])


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "…"
