"""Several shares of the chosen tests side by side, each in a process of its own that is forked after the collection.

A share is what may use one lab: a module's tests by one data path, or those of an ``xdist_group``. The processes hand
their reports to the pytest that forked them, as pytest-xdist's do: it alone counts, writes JUnit XML and
tells outcomes. Forking costs nothing where a collection of its own would cost each of them seconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

import pytest
from _pytest.junitxml import xml_key

from tests.conformance.instrument import marks

_PR_SET_PDEATHSIG = 1
MOST_WAITING = 32
"""Labs that do nothing but wait for long timers, at a time; some 60 MB each."""
_TOLD = ("terminalreporter", "conformance-teller")
"""Plugins that have their say in the process that forks; JUnit XML, which has no name, as well."""


def end_with_parent() -> None:
    """Whoever started this process is killed: end as on Ctrl-C, labs and all."""
    # A shell has what it starts in the background ignore SIGINT; we are asked by nothing else.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@dataclass(slots=True)
class Share:
    """Tests that one process runs, one after the other.

    Attributes:
        items: They themselves, in pytest's order.
        alone: Whether nothing else may run meanwhile: they judge milliseconds. What waits may.
        waits: Whether they wait for long timers, in real time: that costs nothing, many may at a time.
    """

    items: list[pytest.Item] = field(default_factory=list)
    alone: bool = False
    waits: bool = False


def shares(items: Iterable[pytest.Item]) -> list[Share]:
    """Divide tests up: those that wait first, then those with most tests, those that run alone at the end."""
    found: dict[tuple[str, str, bool], Share] = {}
    for item in items:
        group, alone = item.get_closest_marker("xdist_group"), item.get_closest_marker("alone") is not None
        waits = item.get_closest_marker("scaled") is not None and marks.timing(item) == "real"
        alone = alone and not waits
        name = str(group.args[0]) if group else item.nodeid if waits else item.nodeid.partition("::")[0]
        share = found.setdefault((name, marks.cell(item).data_path, alone), Share(alone=alone, waits=waits))
        share.items.append(item)
    return sorted(found.values(), key=lambda share: (share.alone, not share.waits, -len(share.items)))


@dataclass(slots=True)
class _Running:
    """A share whose process runs.

    Attributes:
        share: Which.
        process: Its ID.
        now: The node ID of the test that runs in it, or "" between two.
        done: How many of its tests have ended.
    """

    share: Share
    process: int
    now: str = ""
    done: int = 0


class SideBySide:
    """The plugin: takes the place of pytest's own loop over the tests."""

    def __init__(self, at_once: int) -> None:
        """Begin.

        Args:
            at_once: How many shares may run at a time.
        """
        self._at_once = at_once
        self._running: dict[Connection[Any, Any], _Running] = {}
        self._ending = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed:
            return None  # at the collection: pytest's own loop says so
        # Made now, so that the processes share it; otherwise each would begin by emptying it.
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        waiting = shares(session.items)
        try:
            while waiting or self._running:
                while (share := next(filter(self._is_room, waiting), None)) is not None:
                    waiting.remove(share)
                    self._start(session, share)
                if rest := self._listen(session.config):
                    waiting.insert(0, rest)
        except (KeyboardInterrupt, pytest.exit.Exception):
            self._end(session.config)
            raise
        return True

    def _is_room(self, share: Share) -> bool:
        working = [one.share for one in self._running.values() if not one.share.waits]
        if share.waits:
            return len(self._running) - len(working) < MOST_WAITING
        if share.alone or any(one.alone for one in working):
            return not working
        return len(working) < self._at_once

    def _start(self, session: pytest.Session, share: Share) -> None:
        reading, writing = Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        parent, process = os.getpid(), os.fork()
        if not process:
            end_with_parent()
            if os.getppid() != parent:
                os._exit(1)
            for other in (reading, *self._running):
                other.close()
            _run(session, share.items, writing)
        writing.close()
        self._running[reading] = _Running(share, process)

    def _listen(self, config: pytest.Config) -> Share | None:
        """Take what the processes have to say; the rest of a share whose process died, if there is one."""
        for connection in wait(list(self._running)):
            assert isinstance(connection, Connection)
            one = self._running[connection]
            try:
                kind, told = connection.recv()
            except EOFError:
                connection.close()
                del self._running[connection]
                if rest := self._buried(config, one):
                    return rest
                continue
            if kind == "start":
                one.now = told[0]
                config.hook.pytest_runtest_logstart(nodeid=told[0], location=told[1])
            elif kind == "report":
                report = config.hook.pytest_report_from_serializable(config=config, data=told)
                config.hook.pytest_runtest_logreport(report=report)
            else:
                one.now, one.done = "", one.done + 1
                config.hook.pytest_runtest_logfinish(nodeid=told[0], location=told[1])
        return None

    def _buried(self, config: pytest.Config, one: _Running) -> Share | None:
        """A process has ended: if it died in a test, that one has failed, and another process takes the rest."""
        status = os.waitstatus_to_exitcode(os.waitpid(one.process, 0)[1])
        if self._ending or one.done == len(one.share.items):
            return None
        broken = one.share.items[one.done]
        if one.now != broken.nodeid:
            config.hook.pytest_runtest_logstart(nodeid=broken.nodeid, location=broken.location)
        report = pytest.TestReport(
            broken.nodeid, broken.location, dict.fromkeys(broken.keywords, 1), "failed",
            f"the process of this test ended with status {status}", "call",
        )  # fmt: skip
        config.hook.pytest_runtest_logreport(report=report)
        config.hook.pytest_runtest_logfinish(nodeid=broken.nodeid, location=broken.location)
        rest = one.share.items[one.done + 1 :]
        return replace(one.share, items=rest) if rest else None

    def _end(self, config: pytest.Config) -> None:
        """Ask each process once to end its test and its lab, and take what they still say."""
        self._ending = True
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for one in self._running.values():
            with suppress(ProcessLookupError):
                os.kill(one.process, signal.SIGINT)
        while self._running:
            self._listen(config)
        signal.signal(signal.SIGINT, before)


def _run(session: pytest.Session, items: Sequence[pytest.Item], told: Connection[Any, Any]) -> NoReturn:
    """Be the process of a share."""
    config, status = session.config, 1
    plugins = [config.pluginmanager.get_plugin(name) for name in _TOLD] + [config.stash.get(xml_key, None)]
    for plugin in filter(None, plugins):
        config.pluginmanager.unregister(plugin)
    config.pluginmanager.register(_Reporter(config, told))
    session.items = list(items)
    try:
        with suppress(KeyboardInterrupt, pytest.exit.Exception):
            for item, following in zip_longest(items, items[1:]):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        # Takes down what an end before its time has left.
        config.hook.pytest_sessionfinish(session=session, exitstatus=0)
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Reporter:
    """The plugin in the process of a share: hands on what is reported."""

    def __init__(self, config: pytest.Config, told: Connection[Any, Any]) -> None:
        self._config, self._told = config, told

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self._told.send(("start", (nodeid, location)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._told.send(("report", data))

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        self._told.send(("finish", (nodeid, location)))
