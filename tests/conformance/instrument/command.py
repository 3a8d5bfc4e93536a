"""`ci/lab conformance`: which requirements our routers, or others, meet, by what tests saw on the wire."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.client.box import give, owner
from testbed.commands.values import check_writable
from testbed.lab import InputError
from testbed.words import echoed, listed, one_of
from tests.conformance.catalogue import DATA_PATHS, CatalogueError, Requirement, binding, load, named
from tests.conformance.instrument.evidence.directory import prepared, settled
from tests.conformance.instrument.evidence.outcome import look_at_packets
from tests.conformance.instrument.evidence.page import page
from tests.conformance.instrument.matrix import print_matrix
from tests.conformance.instrument.run import Run, run
from tests.conformance.instrument.under_test import under_test
from tests.conformance.instrument.verdicts import Row, counts, judge

INTERRUPTED = 130


def conformance(
    *,
    only: Sequence[str] = (),
    role: str = "",
    dataplane: str = "",
    json_file: str = "",
    junit_file: str = "",
    captures: str = "",
    html_file: str = "",
    jobs: int = 0,
    long: bool = False,
    implementation: str = "",
    selftest: bool = False,
) -> int:
    """Judge our routers, or others.

    Args:
        only: IDs of requirements, or nothing for all.
        role: Only what binds this role, or ""; of another implementation, only the nodes of this role run it.
        dataplane: Only by this data path, or "".
        json_file: Where the verdicts go.
        junit_file: Where the tests' outcomes go as JUnit XML, or "".
        captures: The directory where the packets of each test go; "" for one in the runs' directory.
        html_file: Where the page goes that shows all of it with the packets, or "".
        jobs: How many labs work side by side; 0 is one for each core.
        long: Wait for long timers in real time; otherwise our routers' clocks run faster. Others' never do.
        implementation: What is judged: the name of an implementation or a driver file; "" for our own.
        selftest: Judge the tests instead, by routers with a seeded defect each.

    Returns:
        0 when nothing failed, 1 when something did, 130 when it was interrupted.

    Raises:
        InputError: There is no such requirement, or an option makes no sense.
        LabError: The tests could not be run.
        TopologyError: The driver file is wrong.
    """
    try:
        judged = under_test(implementation, role)
        chosen = _chosen(load(), only, role, dataplane)
        if judged and dataplane and dataplane not in judged.driver.dataplanes:
            raise CatalogueError(f"--dataplane {echoed(dataplane)}: {judged.driver.name} has a data path of its own")
        files = {"--json": json_file, "--junit": junit_file, "--html": html_file}
        if not json_file:
            raise CatalogueError("say where the verdicts go, for example --json conformance.json")
        _check_files({option: Path(file) for option, file in files.items() if file})
        if jobs < 0:
            raise CatalogueError(f"--jobs {jobs}: allowed is 1 or more; 0 is one for each core")
        if selftest:
            others = role or dataplane or junit_file or html_file or captures or implementation
            return _selftest(only, json_file, jobs, every=long, others=others)
        directory = prepared(captures)
    except CatalogueError as error:
        raise InputError(str(error)) from None
    aside = {one.id: row for one in chosen if judged and (row := judged.row_without_tests(one))}
    begun = time.monotonic()
    junit = Path(junit_file).resolve() if junit_file else None
    names = [one.id for one in chosen if one.id not in aside]
    path = dataplane or (judged.data_path if judged else "")
    found = run(
        names, data_path=path, junit=junit, captures=directory, jobs=jobs,
        in_real_time=long or judged is not None, judged=judged, progress=_progress,
    )  # fmt: skip
    seconds = time.monotonic() - begun
    worked = look_at_packets(found, directory, junit=junit, page=bool(html_file))
    tests = list(found.tests.values())
    if judged:
        tests, chosen = judged.shown(tests), [judged.asked(one) for one in chosen]
    rows = [aside.get(one.id) or judge(one, tests, data_path=dataplane, in_memory=found.in_memory) for one in chosen]
    Path(json_file).write_text(json.dumps(report(rows, found, seconds), indent=1, ensure_ascii=False) + "\n")
    scaled = sum(row.timing == "scaled" for row in rows)
    if html_file:
        timing = f"{scaled} scaled (--long: in real time)" if scaled else "in real time"
        who = judged.driver.title if judged else "our own routers"
        given = {"Judged": who, "Duration": f"{seconds:.0f} s", "Timing": timing}
        Path(html_file).write_text(page(rows, {one.name: one for one in tests}, worked, given), encoding="utf-8")
    for file in filter(None, files.values()):
        if Path(file).exists():
            give(Path(file), owner())
    if judged:
        print(f"{judged.driver.name}: {judged.driver.title}\n")
    print_matrix(rows)
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts(rows).items() if number)
    pace = f"{scaled} of them on clocks that run faster (--long: in real time)" if scaled else "in real time"
    many = "" if len(rows) == 1 else "s"
    print(f"\n{len(rows)} requirement{many}, {pace}: {told}")
    print(f"{len(tests)} tests in {seconds:.0f} s, their words in {found.log}")
    print(f"their packets in {settled(directory)}; three opinions of {worked.judged} that our routers sent")
    if found.interrupted:
        left = sum(not one.outcome for one in tests)
        print(f"ci/lab: conformance: interrupted; {left} tests have no outcome", file=sys.stderr)
        return INTERRUPTED
    return 1 if counts(rows)["fail"] else 0


def _selftest(only: Sequence[str], json_file: str, jobs: int, *, every: bool, others: str) -> int:
    """Judge the tests.

    Raises:
        CatalogueError: What was asked besides makes no sense with it.
    """
    from tests.conformance.selftest.command import selftest

    if others:
        raise CatalogueError("--selftest goes with --json, --only, --long and --jobs alone")
    return selftest(only=only, every=every, json_file=json_file, jobs=jobs)


def _chosen(catalogue: Mapping[str, Requirement], only: Sequence[str], role: str, dataplane: str) -> list[Requirement]:
    identifiers = named(catalogue, only) if only else list(catalogue)
    if role:
        bound = binding(catalogue, role)
        identifiers = [one for one in identifiers if one in bound]
    if not identifiers:
        raise CatalogueError(f"none of {listed(list(only))} binds the role {role}")
    if dataplane not in ("", *DATA_PATHS):
        raise CatalogueError(f"{echoed(dataplane)} is no data path; {one_of(DATA_PATHS, dataplane, 'data paths')}")
    return [catalogue[one] for one in identifiers]


def _check_files(files: Mapping[str, Path]) -> None:
    """See that files can be written, and are not one, before the tests take minutes; make none."""
    options: dict[Path, str] = {}
    for option, file in files.items():
        if earlier := options.get(file.resolve()):
            raise CatalogueError(f"{option} {echoed(file)}: {earlier} writes there")
        options[file.resolve()] = option
        check_writable(option, file)


def _progress(found: Run) -> None:
    """One line that counts, for people who look on."""
    if sys.stderr.isatty():
        done = [one for one in found.tests.values() if one.outcome]
        failed = sum(one.outcome == "failed" for one in done)
        end = "\r" if len(done) < len(found.tests) else "\n"
        print(f"{len(done)} of {len(found.tests)} tests, {failed} failed ", end=end, file=sys.stderr, flush=True)


def report(rows: Iterable[Row], found: Run, seconds: float) -> dict[str, Any]:
    """The JSON document."""
    rows = list(rows)
    return {
        "requirements": {row.requirement.id: row.verdict for row in rows},
        "cells": {
            row.requirement.id: {str(cell): verdict for cell, verdict in row.cells.items()} for row in rows if row.cells
        },
        "counts": counts(rows),
        "timing": {row.requirement.id: row.timing for row in rows if row.timing},
        "duration_s": round(seconds, 3),
        "interrupted": found.interrupted,
        "reasons": {row.requirement.id: list(row.reasons) for row in rows if row.reasons},
        "tests": {one.name: one.outcome or "not run" for one in found.tests.values()},
    }
