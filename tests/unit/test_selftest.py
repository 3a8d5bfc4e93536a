"""Seeded defects: each can be seeded in the sources as they are; what is not caught, or fails beside it, is told."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from testbed.lab import InputError
from tests.conformance.catalogue import Cell, load
from tests.conformance.instrument.command import conformance
from tests.conformance.instrument.verdicts import Evidence
from tests.conformance.selftest import command, router
from tests.conformance.selftest.defect import ROOT, Defect, DefectError, Edit, OnLink
from tests.conformance.selftest.defects import DEFECTS
from tests.conformance.selftest.judgement import Found, compared, report

CATALOGUE = load()
DEFECT = DEFECTS["C19"]


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_a_defect_can_be_seeded(defect: Defect) -> None:
    """What it replaces is there once; where it is not any more, the defect has to follow the source."""
    assert not CATALOGUE[defect.requirement].not_implemented
    texts: dict[str, str] = {}
    for edit in defect.how:
        if isinstance(edit, Edit):
            text = edit.apply(texts.get(edit.file) or (ROOT / edit.file).read_text())
            texts[edit.file] = text
            if not edit.is_program:
                compile(text, edit.file, "exec")


def test_there_are_defects_of_each_kind() -> None:
    chapters = Counter(one[0] for one in DEFECTS)
    assert sum(chapters.values()) >= 40
    assert set(chapters) == set("DCMXS")
    assert sum(any(isinstance(how, OnLink) for how in one.how) for one in DEFECTS.values()) >= 3
    assert sum(len({isinstance(how, Edit) and how.is_program for how in one.how}) == 2 for one in DEFECTS.values()) >= 3


def test_a_module_is_changed_as_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seeded_module.py").write_text("ANSWER = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "seeded_module", raising=False)
    router.seed(Defect("C19", "it says 41", (Edit("seeded_module.py", "42", "41"),)), {})
    import seeded_module  # type: ignore[import-not-found]

    assert seeded_module.ANSWER == 41
    assert (tmp_path / "seeded_module.py").read_text() == "ANSWER = 42\n"


@pytest.mark.parametrize("text", ["nothing of it", "twice twice"])
def test_what_is_not_there_once_is_an_error(text: str) -> None:
    with pytest.raises(DefectError, match=r"nodes/x.py: 'twice' is there [02] times; a defect needs it once"):
        Edit("nodes/x.py", "twice", "once").apply(text)


def test(name: str, outcome: str, *requirements: str) -> Evidence:
    return Evidence(name, requirements, Cell(), outcome, "why")


test.__test__ = False  # type: ignore[attr-defined]
SOUND = [test("a", "passed", "C19"), test("b", "passed", "C38"), test("c", "failed", "M01"), test("d", "passed", "C01")]


@pytest.mark.parametrize(
    ("outcomes", "caught", "wrongly", "reasons"),
    [
        ({"a": "failed"}, True, [], ["a: why"]),
        ({}, False, [], ["no test sees it"]),
        ({"a": "failed", "b": "failed"}, True, ["C38"], ["a: why"]),
        ({"b": "failed"}, False, ["C38"], ["no test sees it"]),
    ],
)
def test_verdicts_with_and_without_the_defect(
    outcomes: dict[str, str], caught: bool, wrongly: list[str], reasons: list[str]
) -> None:
    """What fails without it too says nothing; tests that were not run neither."""
    tests = [test(one.name, outcomes.get(one.name, one.outcome), *one.requirements) for one in SOUND[:3]]
    found = compared(DEFECT, CATALOGUE, SOUND, tests)
    assert (found.caught, list(found.wrongly_failed), found.reasons, found.tests) == (caught, wrongly, reasons, 3)


def test_a_requirement_that_fails_anyway_catches_nothing() -> None:
    failing = [test("a", "failed", "C19")]
    found = compared(DEFECT, CATALOGUE, failing, failing)
    assert (found.caught, found.reasons) == (False, ["fails without the defect too: a: why"])
    assert compared(DEFECT, CATALOGUE, [], failing).caught is False


def test_another_row_fails_wrongly_only_if_it_does_again() -> None:
    both = [test("a", "failed", "C19"), test("b", "failed", "C38")]
    once = [test("a", "failed", "C19"), test("b", "passed", "C38")]
    assert list(compared(DEFECT, CATALOGUE, SOUND, both, both).wrongly_failed) == ["C38"]
    assert dict(compared(DEFECT, CATALOGUE, SOUND, both, once).wrongly_failed) == {}


def test_the_report_counts() -> None:
    rows = [
        Found(DEFECT, True),
        Found(DEFECTS["C01"], False, {"C02": ["x"], "C03": ["y"]}, ["no test sees it"], 7, 1.5),
    ]
    document = report(rows, 60, interrupted=False)
    assert (document["seeded"], document["caught"], document["wrongly_failed"]) == (2, 1, 2)
    assert document["defects"][1]["wrongly_failed"] == {"C02": ["x"], "C03": ["y"]}


@pytest.mark.parametrize(
    ("outcomes", "crash", "status"),
    [
        ({"a": "failed"}, False, 0),
        ({"a": "passed"}, False, 1),
        ({"a": "failed", "b": "failed"}, False, 1),
        ({"a": "failed"}, True, 1),
    ],
    ids=["caught", "not caught", "another row fails", "the router crashes"],
)
def test_the_exit_status(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcomes: dict[str, str],
    crash: bool,
    status: int,
) -> None:
    """1 when a defect is not caught, or not by its own row alone; a crash is caught by every test."""
    monkeypatch.setattr(router, "CACHE", tmp_path)
    (tmp_path / "C19").mkdir()

    class Trials(command.Trials):
        def places(self) -> dict[str, set[str]]:
            return {"C19": {"tests/conformance/test_registration.py"}}

        def _run(self, defect: str, *_: Any) -> list[Evidence]:
            with_it = outcomes if defect else {}
            if defect and crash:
                router.crash_of(defect).write_text("ZeroDivisionError")
            return [test(one.name, with_it.get(one.name, one.outcome), *one.requirements) for one in SOUND]

    monkeypatch.setattr(command, "Trials", Trials)
    results = tmp_path / "selftest.json"
    assert command.selftest(only=["C19"], every=False, json_file=str(results)) == status
    document = json.loads(results.read_text())
    assert document["seeded"] == 1
    assert (document["caught"] == 1 and document["wrongly_failed"] == 0) == (status == 0)
    out = capsys.readouterr().out
    assert f"1 seeded, {document['caught']} caught, {document['wrongly_failed']} wrongly failed" in out
    not_caught = crash or outcomes["a"] != "failed"
    assert ("C19 is not caught" in out, "C38 fails as well" in out) == (not_caught, "b" in outcomes)
    assert ("a router with it crashes: ZeroDivisionError" in out) == crash


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"only": ["M16"]}, "there is no seeded defect for M16; there is one for "),
        ({"only": ["C91"]}, "there is no requirement C91; requirements are D01, "),
        ({"role": "etr"}, "--selftest goes with --json, --only, --long and --jobs alone"),
        ({"html_file": "x.html"}, "--selftest goes with --json, --only, --long and --jobs alone"),
    ],
)
def test_words_that_mean_nothing(tmp_path: Path, words: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as refused:
        conformance(**{"json_file": str(tmp_path / "x.json"), "selftest": True} | words)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
