"""The half of the instrument inside pytest: chooses the tests, and tells each outcome down a pipe as it comes.

A line of JSON each: first {"chosen": [{test, requirements, timing, data_path, family}], "in_memory": {ID: tests}}, then
{test, outcome, reason, clauses, only_clauses} for each test that has ended; the last two are of :class:`Evidence`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.lab import Lab
from tests.conformance.instrument import marks
from tests.conformance.instrument.shares import SideBySide, end_with_parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--conformance-pipe", type=int, help="descriptor of the pipe that outcomes are told on")
    group.addoption("--conformance-jobs", type=int, default=1, help="how many shares of the tests run side by side")
    group.addoption("--conformance-long", action="store_true", help="in real time where clocks would run faster")
    group.addoption("--conformance-only", default="", help="IDs of requirements, with commas")
    group.addoption("--conformance-data-path", default="", help="leave out the tests of any other data path")


def pytest_configure(config: pytest.Config) -> None:
    end_with_parent()
    Lab.aside = True
    config.pluginmanager.register(_Teller(config), "conformance-teller")
    config.pluginmanager.register(SideBySide(config.getoption("--conformance-jobs")))
    starter = os.getppid()

    def clean() -> None:
        if os.getppid() != starter:  # it can no longer do so itself
            shutil.rmtree(Path(config.option.basetemp).parent, ignore_errors=True)

    config.add_cleanup(clean)


class _Teller:
    """Chooses and tells."""

    def __init__(self, config: pytest.Config) -> None:
        self._pipe: int = config.getoption("--conformance-pipe")
        self._only = set(config.getoption("--conformance-only").split(","))
        self._data_path: str = config.getoption("--conformance-data-path")
        self._phases: dict[str, list[pytest.TestReport]] = {}  # of the tests that run now, side by side

    def _tell(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._pipe, data) :]
        except BrokenPipeError:
            pytest.exit("nobody listens any more")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        told, in_memory = [], Counter[str]()
        chosen: list[pytest.Item] = []
        left_out: list[pytest.Item] = []
        for item in items:
            shown, cell = self._only.intersection(marks.requirements(item)), marks.cell(item)
            wanted = bool(shown) and self._data_path in ("", cell.data_path or self._data_path)
            if marks.room(item) in marks.IN_MEMORY:
                in_memory.update(shown)
                wanted = False
            (chosen if wanted else left_out).append(item)
            if wanted:
                # Into the JUnit file as well.
                item.user_properties += [("requirement", one) for one in sorted(shown)]
                told.append({"test": item.nodeid, "requirements": sorted(shown), "timing": marks.timing(item),
                             "data_path": cell.data_path, "family": cell.family})  # fmt: skip
        items[:] = chosen
        config.hook.pytest_deselected(items=left_out)
        self._tell({"chosen": told, "in_memory": in_memory})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._phases.setdefault(report.nodeid, []).append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._tell({"test": nodeid, **outcome(self._phases.pop(nodeid, []))})


def outcome(phases: list[pytest.TestReport]) -> dict[str, Any]:
    """What became of a test: "failed" if one of its phases did, be it only that its lab did not boot."""
    call = next((one for one in phases if one.when == "call"), None)
    failed = [one for one in phases if one.outcome == "failed"]
    only_clauses = failed == [call] and getattr(call, "only_clauses", False)
    found = {"clauses": getattr(call, "clauses", {}), "only_clauses": only_clauses}
    for wanted in ("failed", "skipped"):
        for report in phases:
            if report.outcome == wanted:
                return {"outcome": wanted, "reason": next(_reasons(report), ""), **found}
    return {"outcome": "passed" if call else "failed", "reason": "", **found}


def _reasons(report: pytest.TestReport) -> Iterator[str]:
    """One line that says why."""
    if isinstance(report.longrepr, tuple):
        yield str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        yield ("" if report.when == "call" else f"{report.when}: ") + crash.message.splitlines()[0]
    yield from report.longreprtext.splitlines()[-1:]
