"""A driver: reads a driver file, and makes of it what a node of a topology runs."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nodes.lisp.config import ROLE_SETS, Algorithm, Role
from testbed.client.channel import LabError
from testbed.drivers.plan import Plan, Query, Ready
from testbed.drivers.table import DriverRow, QueryRow
from testbed.drivers.templates import Refused, Template
from testbed.drivers.values import PARAMETERS, VALUES, values
from testbed.language.document import decode, parse, read
from testbed.language.problems import Problems
from testbed.language.shapes import At, Table, keys_of
from testbed.language.tables import ALGORITHMS
from testbed.model import Node, Topology
from testbed.words import one_of

OURS = "lisp-testbed"
"""What our own implementation is called; it needs no driver file."""

SHIPPED = Path(__file__).with_name("shipped")
_READY_SECONDS = 20.0
_STOP_SECONDS = 2.0


class Unusable(LabError):  # noqa: N818 - a state, told in its words
    """An implementation cannot run here, or not as that node; one clear line."""


class NotTold(LabError):  # noqa: N818 - likewise
    """A router does not tell what was asked: its driver has no query for it."""


@dataclass(frozen=True)
class Driver:
    """An implementation that is not ours.

    Attributes:
        name: What it is called.
        file: Its driver file.
        row: What that says.
        shown: The file as messages name it.
    """

    name: str
    file: Path
    row: DriverRow
    shown: str

    @property
    def title(self) -> str:
        """One line that says what it is."""
        return self.row.title.value if self.row.title else self.name

    @property
    def roles(self) -> frozenset[Role]:
        """All that it can be."""
        return frozenset().union(*self._sets)

    @property
    def _sets(self) -> list[frozenset[Role]]:
        return [frozenset(ROLE_SETS[at.value]) for at in self.row.roles]

    def plays(self, roles: frozenset[Role]) -> bool:
        """Whether one process of it can have exactly these roles."""
        fitting = [one for one in self._sets if one <= roles]
        if self.row.together and not self.row.together.value:
            return roles in fitting
        return bool(roles) and frozenset().union(*fitting) == roles

    @property
    def algorithms(self) -> frozenset[Algorithm]:
        """The Algorithm IDs that it knows."""
        return frozenset(ALGORITHMS[at.value] for at in self.row.algorithms) or frozenset(Algorithm)

    @property
    def key_ids(self) -> frozenset[int]:
        """The Key IDs that it knows."""
        return frozenset(at.value for at in self.row.key_ids) or frozenset(range(256))

    @property
    def dataplanes(self) -> tuple[str, ...]:
        """Which of our data planes it can be told to use."""
        return tuple(at.value for at in self.row.dataplanes)

    @property
    def missing(self) -> list[str]:
        """The programs that it needs and that are not on the PATH."""
        return [at.value for at in self.row.needs if shutil.which(at.value) is None]

    def check_usable(self) -> None:
        """See that its programs are here.

        Raises:
            Unusable: One is not.
        """
        if self.missing:
            raise Unusable(f"{self.name} cannot run here: {', '.join(self.missing)} is not on the PATH")

    def plan(self, topology: Topology, node: Node, directory: Path) -> Plan:
        """What a node runs.

        Args:
            topology: The world.
            node: A LISP router in it.
            directory: The node's directory in the run directory.

        Raises:
            Unusable: It cannot be this node.
            TopologyError: A template has a mistake.
        """
        roles = node.lisp.roles if node.lisp else frozenset()
        if not self.plays(roles):
            can = ", ".join(at.value for at in self.row.roles)
            raise Unusable(f"{node.name} is {', '.join(sorted(roles)) or 'no LISP router'}; {self.name} can be {can}")
        if topology.time_scale != 1 and not (self.row.time_scale and self.row.time_scale.value):
            raise Unusable(
                f"{self.name} runs in real time, the clocks of {topology.name} {topology.time_scale:g} times faster"
            )
        filling = _Filling(self, values(topology, node, directory, self.file.parent), node.name)
        row, ready, stop = self.row, self.row.ready, self.row.stop
        assert ready is not None
        plan = Plan(
            implementation=self.name,
            driver=str(self.file),
            files=tuple(
                (one.path.value, filling.one(one.text, f"text of {one.path}"))
                for one in row.files
                if one.path and one.text
            ),
            start=filling.words(row.start, "start"),
            ready=Ready(
                ready.log.value if ready.log else "",
                filling.one(ready.file, "file of ready") if ready.file else "",
                ready.udp.value if ready.udp else 0,
                ready.tcp.value if ready.tcp else 0,
                filling.words(ready.command, "command of ready"),
                bool(ready.registered and ready.registered.value),
                float(ready.seconds.value) if ready.seconds else _READY_SECONDS,
            ),
            stop_signal=signal.Signals[f"SIG{stop.signal.value if stop and stop.signal else 'TERM'}"],
            stop_seconds=float(stop.seconds.value) if stop and stop.seconds else _STOP_SECONDS,
            log=row.log.value if row.log else "",
            forwarding=bool(row.forwarding and row.forwarding.value),
        )
        filling.problems.raise_any()
        return plan

    def tells(self, what: str) -> bool:
        """Whether it can be asked for something."""
        return self._query(what) is not None

    def _query(self, what: str) -> QueryRow | None:
        key = keys_of(type(self.row.queries)).get(what) if self.row.queries else None
        found: QueryRow | None = getattr(self.row.queries, key.field) if key else None
        return found

    def query(self, topology: Topology, node: Node, directory: Path, what: str, given: Mapping[str, Any]) -> Query:
        """How a node is asked for something.

        Args:
            topology: The world.
            node: The node.
            directory: Its directory in the run directory.
            what: The query.
            given: The values that it has besides.

        Raises:
            NotTold: The driver has no way to ask.
            TopologyError: A template has a mistake.
        """
        found = self._query(what)
        if found is None:
            raise NotTold(f"{self.name} does not tell its {what}")
        known = values(topology, node, directory, self.file.parent) | {"what": what} | dict(given)
        filling = _Filling(self, known, node.name)
        command = filling.words(found.command, f"command of {what}")
        filling.problems.raise_any()
        return Query(command, found.lines.value if found.lines else "")


class _Filling:
    """Fills templates in for one node, and gathers the mistakes."""

    def __init__(self, driver: Driver, known: Mapping[str, Any], node: str) -> None:
        self.problems = Problems(driver.shown)
        self._driver = driver
        self._known = known
        self._node = node

    def one(self, template: At[Template], label: str) -> str:
        try:
            return template.value.fill(self._known, f"{label} of {self._node}", self.problems)
        except Refused as why:
            raise Unusable(f"{self._node}: {self._driver.name} {why}") from None

    def words(self, templates: tuple[At[Template], ...], label: str) -> tuple[str, ...]:
        return tuple(self.one(template, label) for template in templates)


@cache
def shipped() -> dict[str, Path]:
    """The drivers that come with the testbed: their files by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def driver(which: str | Path) -> Driver:
    """Read a driver.

    Args:
        which: The name of one that comes with the testbed, or a driver file.

    Raises:
        TopologyError: There is none, or there are mistakes in it, each told in one line.
    """
    shown = str(which)
    path = shipped().get(shown, Path(which))
    names = one_of([OURS, *shipped()], Path(shown).stem)
    if shown in shipped():
        shown = f"testbed/drivers/shipped/{path.name}"
    problems = Problems(shown, "a driver with at least name, roles, start and ready")
    text = decode(read(path, shown, f"{names}, or the path of a driver file"), problems)
    row = Table(DriverRow).read_row(parse(text, problems), "the file", problems, 1)
    if row is not None:
        _check(row, problems)
    problems.raise_any()
    if row is None or row.name is None:
        raise AssertionError("a file that cannot be read has a mistake")
    return Driver(row.name.value, path.resolve(), row, shown)


def _check(row: DriverRow, problems: Problems) -> None:
    """What every single value leaves open."""
    for template, label, parameters in _templates(row):
        template.value.check(dict.fromkeys([*VALUES, *parameters, "refuse"]), label, problems)
    ready = row.ready
    if (
        ready
        and not ready.broken
        and not any((ready.log, ready.file, ready.udp, ready.tcp, ready.command, ready.registered))
    ):
        allowed = "needed: one or more of log, file, udp, tcp, command, registered"
        problems.add(ready.line, "ready has no condition", allowed)
    if row.name and row.name.value == OURS:
        problems.add(row.name.line, f"name '{row.name}' is that of our own", "allowed is any other")
    seen: dict[str, int] = {}
    for one in row.files:
        if one.path and one.path.value in seen:
            allowed = f"allowed is each path once (line {seen[one.path.value]})"
            problems.add(one.path.line, f"file '{one.path}' is given twice", allowed)
        if one.path:
            seen.setdefault(one.path.value, one.path.line)


def _templates(row: DriverRow) -> Iterator[tuple[At[Template], str, tuple[str, ...]]]:
    """Every template of a driver, what messages call it, and the values that it alone has."""
    for file in row.files:
        if file.text:
            yield file.text, f"text of {file.path or 'file'}", ()
    for word in row.start:
        yield word, "start", ()
    if row.ready:
        for word in (*((row.ready.file,) if row.ready.file else ()), *row.ready.command):
            yield word, "ready", ()
    for what, key in keys_of(type(row.queries)).items() if row.queries else ():
        found: QueryRow | None = getattr(row.queries, key.field)
        for word in found.command if found else ():
            yield word, f"command of {what}", ("what", *PARAMETERS.get(what, ()))
