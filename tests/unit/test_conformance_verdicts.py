"""From outcomes of tests to verdicts: what fails fails, and nothing passes without a test for each of its cells."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.lab import InputError
from tests.conformance.catalogue import Cell, Requirement, Verdict, load
from tests.conformance.instrument.command import conformance
from tests.conformance.instrument.matrix import print_matrix
from tests.conformance.instrument.run import beside_others
from tests.conformance.instrument.verdicts import Evidence, Row, combined, counts, judge

CATALOGUE = load()
PLAIN, PATHS, NONE = CATALOGUE["C19"], CATALOGUE["D14"], CATALOGUE["M16"]


def seen(requirement: Requirement, outcome: str, path: str = "", family: str = "", reason: str = "") -> Evidence:
    return Evidence(f"test_{outcome}", (requirement.id,), Cell(path, family), outcome, reason)


def test_a_row_without_a_test_is_not_tested() -> None:
    row = judge(PLAIN, [seen(PATHS, "passed")], in_memory={"C19": 3})
    assert (row.verdict, row.reasons) == (Verdict.NOT_TESTED, ["no test in a lab; 3 of our engine in memory"])


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ("passed", Verdict.PASS),
        ("failed", Verdict.FAIL),
        ("skipped", Verdict.NOT_TESTED),
        ("", Verdict.NOT_TESTED),
    ],
)
def test_one_test(outcome: str, verdict: Verdict) -> None:
    assert judge(PLAIN, [seen(PLAIN, outcome)]).verdict is verdict
    assert judge(PLAIN, [seen(PLAIN, "passed"), seen(PLAIN, outcome)]).verdict is verdict


def test_a_row_passes_only_if_each_cell_does() -> None:
    both = [seen(PATHS, "passed", "python"), seen(PATHS, "passed", "ebpf")]
    assert judge(PATHS, both).verdict is Verdict.PASS
    row = judge(PATHS, both[:1])
    assert (row.verdict, row.reasons) == (Verdict.NOT_TESTED, ["no test for ebpf"])
    assert row.cells == {Cell("python"): Verdict.PASS, Cell("ebpf"): Verdict.NOT_TESTED}
    row = judge(PATHS, [*both, seen(PATHS, "failed", "ebpf", "v6-over-v4", "TTL 63")])
    assert (row.verdict, row.reasons) == (Verdict.FAIL, ["test_failed: TTL 63"])
    assert row.cells[Cell("ebpf")] is Verdict.PASS
    # What a test in a world of no particular data path shows, it shows for none of them.
    assert judge(PATHS, [seen(PATHS, "passed")]).verdict is Verdict.NOT_TESTED


def test_one_data_path_alone() -> None:
    assert judge(PATHS, [seen(PATHS, "passed", "python")], data_path="python").verdict is Verdict.PASS


def test_a_failed_clause_is_about_its_own_requirement() -> None:
    both, clauses = ("C19", "C38"), {"C19": ("failed", "nonce 7")}
    test = Evidence("test_two", both, Cell(), "failed", "nonce 7", clauses, only_clauses=True)
    rows = {one: judge(CATALOGUE[one], [test]) for one in both}
    assert {one: row.verdict for one, row in rows.items()} == {"C19": Verdict.FAIL, "C38": Verdict.PASS}
    assert (rows["C19"].reasons, rows["C38"].reasons) == (["test_two: nonce 7"], [])
    outside = Evidence("test_two", both, Cell(), "failed", "no lab", clauses)
    assert {one: outside.about(one) for one in both} == {"C19": ("failed", "nonce 7"), "C38": ("failed", "no lab")}
    skipped = Evidence("test_two", both, Cell(), "passed", clauses={"C19": ("skipped", "tells nothing")})
    assert [judge(CATALOGUE[one], [skipped]).verdict for one in both] == [Verdict.NOT_TESTED, Verdict.PASS]


def test_one_test_on_faster_clocks_makes_a_scaled_row() -> None:
    real = seen(PLAIN, "passed")
    scaled = replace(real, timing="scaled")
    assert [judge(PLAIN, tests).timing for tests in ([], [real], [scaled, real])] == ["", "real", "scaled"]


def test_not_applicable_is_what_a_test_says() -> None:
    skipped = seen(PLAIN, "skipped", reason="not applicable: this router verifies no checksums")
    assert judge(PLAIN, [skipped]).verdict is Verdict.NOT_APPLICABLE
    assert judge(PLAIN, [skipped, seen(PLAIN, "passed")]).verdict is Verdict.PASS


def test_what_is_not_implemented_says_why() -> None:
    row = judge(NONE, [])
    assert (row.verdict, row.reasons) == (Verdict.NOT_IMPLEMENTED, [NONE.not_implemented])


def test_the_worst_decides() -> None:
    assert combined([]) is Verdict.NOT_TESTED
    assert combined([Verdict.PASS, Verdict.NOT_TESTED]) is Verdict.NOT_TESTED
    assert combined([Verdict.NOT_TESTED, Verdict.FAIL]) is Verdict.FAIL


def test_each_row_counts_once() -> None:
    found = counts(judge(one, [seen(PLAIN, "passed")]) for one in CATALOGUE.values())
    assert found["pass"] == 1
    assert found["not-implemented"] == sum(bool(one.not_implemented) for one in CATALOGUE.values())
    assert sum(found.values()) == len(CATALOGUE)


def test_the_matrix_fits_a_hundred_columns(capsys: pytest.CaptureFixture[str]) -> None:
    evidence = [seen(one, "failed", reason="x" * 300) for one in CATALOGUE.values()]
    rows = [judge(one, evidence) for one in CATALOGUE.values()]
    print_matrix(rows)
    lines = capsys.readouterr().out.splitlines()
    table = [one for one in lines if one.split(" ")[0] not in CATALOGUE]
    assert max(map(len, table)) <= 100
    assert [one.split()[0] for one in lines if one.split()[:1] and one[:1] == " " and one.split()[0] in CATALOGUE] == (
        list(CATALOGUE)
    )


def test_the_matrix_marks_each_cell(capsys: pytest.CaptureFixture[str]) -> None:
    row = CATALOGUE["D01"]
    cells = dict.fromkeys(row.cells, Verdict.PASS) | {Cell("ebpf", "v6-over-v4"): Verdict.FAIL, Cell(): Verdict.PASS}
    print_matrix([Row(row, Verdict.FAIL, cells, ["test_x: port 4342"])])
    words = capsys.readouterr().out.split()
    assert words[words.index("D01") :][:6] == ["D01", "MUST", "fail", "++++", "+X++", "+"]
    assert "port" in words


def test_the_matrix_tells_why_a_test_failed_below_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    why = "xtr1 ended with exit status 3; the end of its log: " + "cannot bind " * 40
    print_matrix([Row(CATALOGUE["D01"], Verdict.FAIL, {}, [f"tests/{'long' * 30}.py::test_x: {why}"])])
    lines = capsys.readouterr().out.splitlines()
    name = next(at for at, one in enumerate(lines) if one.endswith("::test_x"))
    assert lines[name + 1].startswith("    xtr1 ended with exit status 3; the end of its log: cannot bind")
    assert lines[name + 4].endswith(" …")
    assert max(map(len, lines[name + 1 :])) <= 100


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"only": ["C91"]}, "there is no requirement C91; requirements are D01, "),
        ({"only": ["M10"], "role": "itr"}, "none of M10 binds the role itr"),
        ({"role": "itt"}, "there is no role itt; roles are ddt-node, etr, "),
        ({"dataplane": "fast"}, "fast is no data path; data paths are python, ebpf"),
        ({"junit_file": "/nowhere/junit.xml"}, "--junit /nowhere/junit.xml: No such file or directory"),
        ({"html_file": "-"}, "--html -: say a file"),
        ({"junit_file": "same.xml", "html_file": "./same.xml"}, "--html same.xml: --junit writes there"),
        ({"json_file": ""}, "say where the verdicts go, for example --json conformance.json"),
    ],
)
def test_words_that_mean_nothing(tmp_path: Path, words: dict[str, Any], says: str) -> None:
    """One line, no file, and nothing is run."""
    verdicts = tmp_path / "verdicts.json"
    with pytest.raises(InputError) as refused:
        conformance(**{"json_file": str(verdicts)} | words)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not verdicts.exists()


def test_two_runs_do_not_write_over_each_others_words(tmp_path: Path) -> None:
    log = tmp_path / "conformance.log"
    assert beside_others(log, 100.0) == log
    log.touch()
    os.utime(log, (90.0, 90.0))
    assert beside_others(log, 100.0) == log
    os.utime(log, (101.0, 101.0))
    assert beside_others(log, 100.0) == tmp_path / f"conformance-{os.getpid()}.log"
