"""The suite on several workers (`pytest -n 2`): what shares a lab stays together, and what must be alone comes last.

A test marked ``alone`` judges milliseconds or loads the whole machine: it runs when all others have ended, on the one
worker that is left. Modules boot their labs, so a module's tests go to one worker; those of an ``xdist_group`` share a
lab among modules, one for each data path. Those that take long go first, so that the workers end together.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.conformance.instrument import marks

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

ALONE = "alone"
UNITS = "units"
_LONG_FIRST = ("conformance/data_plane/", "unit/test_setup.py", "e2e/", "conformance/", "dataplane/")
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
    """In a worker: order the tests, and write down the unit of each that is of more or less than its module."""
    items.sort(key=lambda item: _place(item.nodeid))
    written = told.with_name(f"{told.name}-{id(items)}")
    written.write_text(json.dumps({item.nodeid: unit for item in items if (unit := _unit(item))}))
    written.replace(told)  # at once: another worker writes the same


def _place(test: str) -> int:
    return next((n for n, room in enumerate(_LONG_FIRST) if test.startswith(f"tests/{room}")), len(_LONG_FIRST))


def _unit(item: pytest.Item) -> str:
    if item.get_closest_marker(ALONE):
        return ALONE
    group = item.get_closest_marker("xdist_group")
    return f"{group.args[0]} {marks.cell(item).data_path}" if group else ""


class Scheduling(LoadScopeScheduling):
    """Gives workers units of tests, modules if nothing else is told; last of all, to one worker, the unit ``ALONE``."""

    def __init__(self, config: pytest.Config, log: Producer, told: Path) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # or it would begin with the units of the most tests
        self._told = told
        self._units: dict[str, str] = {}

    def schedule(self) -> None:
        self._units = json.loads(self._told.read_text())
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._units.get(nodeid, nodeid.partition("::")[0])

    def _assign_work_unit(self, node: WorkerController) -> None:
        if ALONE in self.workqueue:
            self.workqueue.move_to_end(ALONE)  # what a crashed worker left undone comes first
        if next(iter(self.workqueue)) != ALONE or self.nodes == [node]:
            super()._assign_work_unit(node)
        elif not all(other.shutting_down for other in self.nodes if other is not node):
            node.shutdown()
        # Else it waits for the others' end.

    def remove_node(self, node: WorkerController) -> str | None:
        crashed = super().remove_node(node)
        if self.workqueue:
            for other in self.nodes:
                self._reschedule(other)
        return crashed
