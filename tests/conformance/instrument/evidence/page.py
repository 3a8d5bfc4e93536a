"""The page of a run: every verdict, and behind it what is asked, the tests that judged it and their packets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from testbed.observe.report import pack, render
from tests.conformance.catalogue import DATA_PATHS, FAMILIES, ROLES, Cell, Verdict
from tests.conformance.instrument.evidence.workup import Workup
from tests.conformance.instrument.verdicts import Evidence, Row, counts

_TEMPLATE = Path(__file__).parent / "templates" / "conformance.html"
_MOST_PACKED = 8 << 20
"""Characters of evidence on the page; when it would be more, tests show fewer packets."""
_FEWER = (24, 12, 6, 3)


@dataclass(frozen=True, slots=True)
class Case:
    """A test with its parameters.

    Attributes:
        number: By which the page finds its evidence.
        test: The test.
        label: Its parameters.
        outcome: passed, failed, skipped or "not run", for the requirement that it is shown under.
        reason: Why, if it did not pass.
        seconds: How long it took.
        bundle: In which packed text its evidence is, or "".
    """

    number: int
    test: Evidence
    label: str
    outcome: str
    reason: str
    seconds: float
    bundle: str


@dataclass(frozen=True, slots=True)
class Function:
    """A test function: what it says of itself, and its cases."""

    name: str
    file: str
    doc: str
    cases: Sequence[Case]


def page(rows: Sequence[Row], tests: Mapping[str, Evidence], worked: Workup, facts: Mapping[str, str]) -> str:
    """The HTML of the page.

    Args:
        rows: The verdicts.
        tests: Every test that was chosen, by its name.
        worked: What became of their packets.
        facts: What stands at the head, by name.
    """
    bundles = _bundles(worked.stories)
    where = {test: name for name, stories in bundles.items() for test in stories}
    numbers = {test: number for number, test in enumerate(tests)}
    shown = {row.requirement.id: list(_functions(row, tests, worked, where, numbers)) for row in rows}
    packed = _packed({name: {str(numbers[t]): one for t, one in some.items()} for name, some in bundles.items()})
    chapters = [(title, list(group)) for title, group in groupby(rows, lambda row: row.requirement.chapter)]
    return render(
        _TEMPLATE,
        [_TEMPLATE.with_name("conformance.css")],
        chapters=chapters,
        counts={name: number for name, number in counts(rows).items() if number},
        total=len(rows),
        roles=[role for role in ROLES if any(role in row.requirement.binds for row in rows)],
        facts=facts,
        functions=shown,
        packed=packed,
        families=FAMILIES,
        cell=lambda row, path, family: row.cells.get(Cell(path, family)),
        grid=_grid,
        search=_words,
        verdicts=list(Verdict),
        now=datetime.now().astimezone(),
    )


def _bundles(stories: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The stories by the file of their tests: what is alike is packed together."""
    files = sorted({test.partition("::")[0] for test in stories})
    return {
        f"evidence-{number}": {test: one for test, one in stories.items() if test.partition("::")[0] == file}
        for number, file in enumerate(files)
    }


def _packed(bundles: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The bundles packed, with fewer packets if need be."""
    packed = {name: pack(some) for name, some in bundles.items()}
    for most in _FEWER:
        if sum(map(len, packed.values())) <= _MOST_PACKED:
            break
        packed = {name: pack({key: _shorter(one, most) for key, one in some.items()}) for name, some in bundles.items()}
    return packed


def _shorter(story: Mapping[str, Any], most: int) -> dict[str, Any]:
    packets = story["packets"]
    if len(packets) <= most:
        return dict(story)
    kept = [*packets[: most - most // 3], *packets[len(packets) - most // 3 :]]
    cut = sum(one["count"] for one in packets) - sum(one["count"] for one in kept)
    return {**story, "packets": kept, "left_out": story["left_out"] + cut}


def _functions(
    row: Row,
    tests: Mapping[str, Evidence],
    worked: Workup,
    where: Mapping[str, str],
    numbers: Mapping[str, int],
) -> Iterator[Function]:
    """The test functions that judge a row, those that failed first."""
    identifier = row.requirement.id
    mine = [one for one in tests.values() if identifier in one.requirements]
    found = []
    for whole, group in groupby(sorted(mine, key=_function), _function):
        file, _, name = whole.partition("::")
        cases, doc = [], ""
        for one in group:
            entry = worked.entries.get(one.name, {})
            doc = doc or entry.get("doc", "")
            outcome, reason = one.about(identifier)
            seconds = (entry["end_ns"] - entry["begin_ns"]) / 1e9 if entry else 0.0
            label = one.name.removeprefix(whole).strip("[]")
            bundle = where.get(one.name, "")
            cases.append(Case(numbers[one.name], one, label, outcome or "not run", reason, seconds, bundle))
        found.append(Function(name, file, doc, cases))
    yield from sorted(found, key=lambda one: all(case.outcome != "failed" for case in one.cases))


def _function(test: Evidence) -> str:
    return test.name.partition("[")[0]


def _grid(row: Row) -> list[tuple[str, list[tuple[str, Verdict | None]]]]:
    """The cells of a row in short: for each data path that it has, its families or the one of no family."""
    found = []
    for path in (*DATA_PATHS, ""):
        cells = [(one, row.cells.get(Cell(path, one))) for one in FAMILIES]
        cells = cells if any(verdict for _, verdict in cells) else []
        if alone := row.cells.get(Cell(path)):
            cells.append(("", alone))
        if cells:
            found.append((path, cells))
    return found


def _words(row: Row, functions: Iterable[Function]) -> str:
    """What a search looks through."""
    one = row.requirement
    tests = " ".join(f"{each.name} {each.doc}" for each in functions)
    words = f"{one.id} {one.text} {one.source} {one.section} {one.level} {' '.join(one.binds)} {row.verdict} {tests}"
    return " ".join(words.lower().split())
