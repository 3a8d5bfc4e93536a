"""The suite on several workers (`pytest -n 3`): what shares a lab stays together, and what judges times comes last.

First run the tests that only load the machine. Those that judge times (marked ``alone`` or ``scaled``) mostly wait:
they begin when the first have ended on every worker, and disturb each other little. A test marked ``exclusive`` has the
machine for itself, when all others have ended.

Modules boot their labs, so a module's tests go to one worker; those of an ``xdist_group`` share a lab among modules,
one for each data path. Those that take long go first, so that the workers end together.
"""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.conformance.instrument import marks

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

EXCLUSIVE = "exclusive"
JUDGE_TIMES = ("alone", "scaled")
"""Marks of tests that judge times."""
BUSY, QUIET, LAST = range(3)
"""The stages of a run."""
UNITS = "units"
_LONG_FIRST = (
    "unit/test_setup.py",
    "conformance/mobility/",
    "e2e/test_commands.py",
    "e2e/test_crash_safety.py",
    "e2e/test_selftest.py",
    "e2e/",
    "conformance/",
    "dataplane/",
)
"""Tests that boot labs or install; the others are short, and even out what is left."""


class Hooks:
    """Of the process that distributes the tests. It collects none: its workers write down for it what goes together."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="pytest-units-")
        self._told = Path(self._scratch.name) / "units.json"

    def pytest_configure_node(self, node: WorkerController) -> None:
        node.workerinput[UNITS] = str(self._told)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
        return Scheduling(config, log, self._told) if config.getoption("dist") == "load" else None

    def pytest_unconfigure(self) -> None:
        self._scratch.cleanup()


def prepare(items: list[pytest.Item], told: Path) -> None:
    """In a worker: order the tests, and write down the unit of each."""
    items.sort(key=lambda item: (stage(item), _place(item.nodeid)))
    written = told.with_name(f"{told.name}-{id(items)}")
    written.write_text(json.dumps({item.nodeid: _unit(item) for item in items}))
    written.replace(told)  # at once: another worker writes the same


def stage(item: pytest.Item) -> int:
    """When a test runs."""
    if item.get_closest_marker(EXCLUSIVE):
        return LAST
    return QUIET if any(map(item.get_closest_marker, JUDGE_TIMES)) else BUSY


def _place(test: str) -> int:
    return next((n for n, room in enumerate(_LONG_FIRST) if test.startswith(f"tests/{room}")), len(_LONG_FIRST))


def _unit(item: pytest.Item) -> str:
    """Tests of one unit go to one worker, one after the other."""
    when = stage(item)
    if when == LAST:
        return EXCLUSIVE
    group, module = item.get_closest_marker("xdist_group"), item.nodeid.partition("::")[0]
    # Each data path has labs of its own.
    path = marks.cell(item).data_path if group or when == QUIET else ""
    return " ".join(filter(None, (group.args[0] if group else module, path, "quiet" if when == QUIET else "")))


class Scheduling(LoadScopeScheduling):
    """Gives workers units of tests, in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Producer, told: Path) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # or it would begin with the units of the most tests
        self._told = told
        self._units: dict[str, str] = {}

    def schedule(self) -> None:
        self._units = json.loads(self._told.read_text())
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._units[nodeid]


class Turns:
    """In a worker: a stage begins when no worker is in the one before.

    Each holds a lock of its stage together with the others that are there; who goes on waits until he could have the
    lock that he left for himself.
    """

    def __init__(self, directory: Path) -> None:
        """Begin with the first stage.

        Args:
            directory: The same for all workers; there the locks are.
        """
        self._directory = directory
        self._stage = BUSY
        self._held = self._lock(BUSY, fcntl.LOCK_SH)

    def pytest_unconfigure(self) -> None:
        self._held.close()  # the process stays until all others have ended

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Wait for the stage of a test."""
        self.reach(stage(item))
        return (yield)

    def reach(self, wanted: int) -> None:
        """Wait until no worker is in an earlier stage; it stays in a later one if it is there."""
        while self._stage < wanted:
            before, self._held = self._held, self._lock(self._stage + 1, fcntl.LOCK_SH)
            before.close()
            self._lock(self._stage, fcntl.LOCK_EX).close()
            self._stage += 1

    def _lock(self, number: int, how: int) -> IO[bytes]:
        file = (self._directory / f"stage-{number}").open("ab")
        fcntl.flock(file, how)
        return file
