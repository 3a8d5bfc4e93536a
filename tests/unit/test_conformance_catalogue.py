"""The catalogue is in order, and every test's mark names a row of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.catalogue import (
    DATA_PATHS,
    FAMILIES,
    CatalogueError,
    Cell,
    binding,
    load,
    named,
)
from tests.conformance.instrument.marks import IN_MEMORY, LABS, TESTS

CHAPTERS = {"D": 35, "C": 40, "M": 24, "X": 18, "S": 16}


def marked(*rooms: str) -> Iterator[tuple[str, str]]:
    """Every test with each ID of its marks, out of the source."""
    for room in rooms:
        for file in sorted((TESTS / room).rglob("test_*.py")):
            name = file.relative_to(TESTS)
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.FunctionDef):
                    continue
                for call in node.decorator_list:
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.requirement":
                        yield from ((f"{name}::{node.name}", ast.literal_eval(one)) for one in call.args)


def test_every_row_is_there_in_order_without_gaps() -> None:
    wanted = [f"{chapter}{number:02}" for chapter, last in CHAPTERS.items() for number in range(1, last + 1)]
    assert list(load()) == wanted


def test_rows_say_what_is_asked_and_where_it_is_said() -> None:
    for one in load().values():
        assert one.text.endswith("."), one.id
        assert "  " not in one.text, one.id
        assert one.binds, one.id
        # What an RFC says, it says in a section.
        assert one.section or one.level == "documented" or not one.verified, one.id


def test_every_mark_names_a_row() -> None:
    catalogue = load()
    assert [(test, one) for test, one in marked(*LABS, *IN_MEMORY) if one not in catalogue] == []


def test_no_mark_names_a_row_twice() -> None:
    found = list(marked(*LABS, *IN_MEMORY))
    assert sorted(found) == sorted(set(found))


def test_what_has_a_test_is_not_called_not_implemented() -> None:
    """Nor the other way round: a verdict of that name hides no outcome."""
    catalogue = load()
    assert [(test, one) for test, one in marked(*LABS) if catalogue[one].not_implemented] == []


def test_marks_stand_nowhere_else() -> None:
    """Where the instrument does not look, a mark would be a claim that nobody hears."""
    rooms = {file.relative_to(TESTS).parts[0] for file in TESTS.rglob("test_*.py")}
    assert list(marked(*sorted(rooms - {*LABS, *IN_MEMORY}))) == []


def test_cells_are_the_combinations_that_a_row_needs() -> None:
    catalogue = load()
    assert set(catalogue["D01"].cells) == {Cell(path, family) for path in DATA_PATHS for family in FAMILIES}
    assert {one.family for one in catalogue["D17"].cells} == {"v4-over-v4", "v4-over-v6"}
    assert catalogue["D14"].cells == (Cell("python"), Cell("ebpf"))
    assert catalogue["C19"].cells == (Cell(),)


def test_names_are_taken_in_any_order_and_case() -> None:
    assert named(load(), ["c19", "D02", "C19"]) == ["D02", "C19"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("C91", "there is no requirement C91; requirements are D01, "),
        ("d2", "(did you mean 'D02'?)"),
        ("nonsense", "there is no requirement NONSENSE; requirements are D01, "),
    ],
)
def test_an_unknown_name_gets_a_hint(wrong: str, says: str) -> None:
    with pytest.raises(CatalogueError) as refused:
        named(load(), [wrong])
    assert says in str(refused.value)


def test_roles() -> None:
    catalogue = load()
    assert set(binding(catalogue, "map-server")) >= {"C19", "M03"}
    assert "D01" not in binding(catalogue, "map-server")
    with pytest.raises(CatalogueError, match=r"there is no role mapserver; roles are .* \(did you mean 'map-server'"):
        binding(catalogue, "mapserver")


ROW = "title: T\nrequirements:\n  - {id: A01, source: RFC 1, level: MUST, binds: [itr], text: A.}\n"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("MUST", "must", "a.yaml: A01: must is no level; allowed are MUST, SHOULD, described, documented"),
        ("[itr]", "[itr, xtr]", "a.yaml: A01: xtr is no role"),
        ("text:", "says:", "a.yaml: A01: no text"),
        ("text:", "cells: [family], families: [v5-over-v4], text:", "v5-over-v4 is no family"),
        ("text:", "cells: [colour], text:", "colour is no cell"),
        ("text:", "colour: red, text:", "colour is no key"),
        ("text: A.}", "text: A.}\n  - {id: A01, source: RFC 1, level: MUST, binds: [itr], text: A.}", "two of that ID"),
    ],
)
def test_a_row_out_of_order_is_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "a.yaml").write_text(ROW.replace(old, new))
    with pytest.raises(CatalogueError) as refused:
        load(tmp_path)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
