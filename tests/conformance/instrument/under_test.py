"""Which implementation is judged, and as what: it plays every node of the tests' labs that it can play."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

import pytest

from testbed.drivers import OURS, Driver, NotTold, Unusable, driver
from testbed.lab import Lab
from testbed.model import Topology
from tests.conformance.catalogue import CatalogueError, Cell, Requirement, Verdict, load
from tests.conformance.instrument import marks
from tests.conformance.instrument.verdicts import Evidence, Row

ROOM = "conformance"
"""The directory whose tests judge any router; what others show, they show of our own daemon."""
PATH = "python"
"""By what our own routers forward beside an implementation that has a data path of its own."""


@dataclass(frozen=True, slots=True)
class UnderTest:
    """An implementation that is not ours.

    Attributes:
        driver: Its driver.
        role: As what it is judged; "" for all that it can be.
    """

    driver: Driver
    role: str = ""

    @property
    def words(self) -> list[str]:
        """What pytest is told of it."""
        return ["-p", __name__, "--conformance-implementation", str(self.driver.file), "--conformance-as", self.role]

    @property
    def data_path(self) -> str:
        """By which of our data paths tests alone are of use; "" for each."""
        return "" if self.driver.dataplanes else PATH

    @property
    def plays(self) -> frozenset[str]:
        """The roles that it is judged as."""
        return frozenset({self.role} if self.role else map(str, self.driver.roles))

    def unjudged(self, requirement: Requirement, lab: Lab) -> str:
        """Why a test in this lab says nothing of it: it is not there, or one of ours is there as well; else ""."""
        asked = self.plays.intersection(requirement.binds)
        bound = [one for one in lab.topology.lisp_routers if one.lisp and asked.intersection(one.lisp.roles)]
        ours = [one.name for one in bound if one.name not in lab.drivers]
        if bound and not ours:
            return ""
        who = f"in {lab.topology.name}, {', '.join(ours)} is ours" if ours else f"{lab.topology.name} has none"
        return f"{self.driver.name} is not the only {' or '.join(sorted(asked))}: {who}"

    def cast(self, topology: Topology) -> dict[str, Driver]:
        """The nodes that run it: all whose roles it can play, of those that have the role in question."""
        return {
            node.name: self.driver
            for node in topology.lisp_routers
            if node.lisp and self.driver.plays(node.lisp.roles) and self.role in ("", *node.lisp.roles)
        }

    def row_without_tests(self, requirement: Requirement) -> Row | None:
        """The row of a requirement that asks nothing of it."""
        if self.plays.intersection(requirement.binds):
            return None
        binds = ", ".join(requirement.binds)
        words = f"{self.driver.name} is {', '.join(sorted(self.plays))}; this binds {binds}"
        return Row(requirement, Verdict.NOT_APPLICABLE, {}, [words])

    def asked(self, requirement: Requirement) -> Requirement:
        """A requirement as it is put to another implementation: what ours lack may be there, and paths are its own."""
        cells = requirement.cells if self.driver.dataplanes else tuple(dict.fromkeys(map(_own, requirement.cells)))
        return replace(requirement, not_implemented="", cells=cells)

    def shown(self, tests: Sequence[Evidence]) -> list[Evidence]:
        """The tests' outcomes by its own data path."""
        return list(tests) if self.driver.dataplanes else [replace(one, cell=_own(one.cell)) for one in tests]


def _own(cell: Cell) -> Cell:
    return replace(cell, data_path="")


def under_test(implementation: str, role: str) -> UnderTest | None:
    """What is to be judged; None for our own.

    Raises:
        TopologyError: There is no such driver, or there are mistakes in it.
        Unusable: It cannot run here.
        CatalogueError: It cannot be that role.
    """
    if implementation in ("", OURS):
        return None
    found = driver(implementation)
    found.check_usable()
    if role and role not in found.roles:
        raise CatalogueError(f"{found.name} is no {role}; it can be {', '.join(sorted(found.roles))}")
    return UnderTest(found, role)


# Inside pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--conformance-implementation", default="", help="the driver file of what is judged")
    group.addoption("--conformance-as", default="", help="the role that it is judged as")


def pytest_configure(config: pytest.Config) -> None:
    if file := config.getoption("--conformance-implementation"):
        judged = UnderTest(driver(file), config.getoption("--conformance-as"))
        patch, boot = pytest.MonkeyPatch(), Lab.boot

        def boot_and_note(lab: Lab, *arguments: Any, **options: Any) -> None:
            _booted.add(lab)
            boot(lab, *arguments, **options)

        patch.setattr(Lab, "cast", staticmethod(judged.cast))
        patch.setattr(Lab, "boot", boot_and_note)
        config.add_cleanup(patch.undo)
        config.pluginmanager.register(_Judge(judged), "conformance-judge")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about our own daemon only."""
    if not config.getoption("--conformance-implementation"):
        return
    ours = {one for one in items if one.get_closest_marker("ours") or marks.room(one) != ROOM}
    items[:] = [one for one in items if one not in ours]
    config.hook.pytest_deselected(items=list(ours))


class _Judge:
    """Sees to it that a test's outcome is about the implementation, and about nothing else."""

    def __init__(self, judged: UnderTest) -> None:
        self._judged = judged
        self._catalogue = load()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """What a router does not tell, or cannot be, is not tested; it is no failure."""
        report = yield
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, NotTold | Unusable):
            _skip(report, item, str(error))
        elif call.when == "call" and report.outcome != "skipped":
            self._leave_out(report, item)
        return report

    def _leave_out(self, report: pytest.TestReport, item: pytest.Item) -> None:
        """Say of which of its requirements a test says nothing, because others were there to meet them."""
        shown = [self._catalogue[one] for one in marks.requirements(item)]
        why = {one.id: self._unjudged(one, item) for one in shown}
        left_out = {requirement: ("skipped", words) for requirement, words in why.items() if words}
        if len(left_out) == len(shown):
            _skip(report, item, next(iter(left_out.values()))[1] if left_out else "it shows no requirement")
        else:
            told: Any = report
            told.clauses = {**getattr(report, "clauses", {}), **left_out}

    def _unjudged(self, requirement: Requirement, item: pytest.Item) -> str:
        labs = _labs(item)
        return next(filter(None, (self._judged.unjudged(requirement, one) for one in labs)), "" if labs else "no lab")


def _labs(item: pytest.Item) -> list[Lab]:
    """The labs that a test was given, by themselves or inside of what it was given."""
    given = getattr(item, "funcargs", {}).values()
    found = [one if isinstance(one, Lab) else getattr(one, "lab", None) for one in given]
    return [one for one in found if isinstance(one, Lab)] or [one for one in _booted if one.runs]


_booted: WeakSet[Lab] = WeakSet()
"""The labs that this process has booted."""


def _skip(report: pytest.TestReport, item: pytest.Item, reason: str) -> None:
    report.outcome = "skipped"
    report.longrepr = (str(item.path), 0, f"Skipped: {reason}")
