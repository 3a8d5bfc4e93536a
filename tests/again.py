"""Tests that a busy machine can spoil are judged again when they fail, with labs of their own.

It makes times longer, and a process that it moves to another processor may have its packets overtake each other: those
that the first one has not yet taken out of its queue. What waits for a lab gives up at some time, too. A requirement
that is not met fails each time; one that is met only sometimes shows in the number of the tests that failed first: more
than :data:`MOST` in a run fail it. What they had failed by stands among the warnings.

Tests in memory are judged once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial

import pytest
from _pytest.runner import runtestprotocol

from tests.workers import BUSY, stage

ORDER = "order"
ATTEMPTS, ATTEMPTS_AT_TIMES = 2, 3
"""How often a test is judged at most: one that needs a lab, and one that judges times or the order of packets."""
MOST = 8
"""Of the tests of a run, so many may pass by another attempt."""
_LABS = ("tests/conformance/", "tests/dataplane/", "tests/e2e/")


class FailedFirst(pytest.PytestWarning):
    """A test has failed, and was tried again."""


def attempts(item: pytest.Item) -> int:
    """How often a test is judged at most. The conformance instrument judges once: a failure is one."""
    if item.config.pluginmanager.has_plugin("conformance-teller"):
        return 1
    if stage(item) != BUSY or item.get_closest_marker(ORDER):
        return ATTEMPTS_AT_TIMES
    return ATTEMPTS if item.nodeid.startswith(_LABS) else 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Only the last attempt is reported."""
    most = attempts(item)
    if most == 1:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, most + 1):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = [one for one in reports if one.failed]
        if not failed or attempt == most:
            break
        item.warn(FailedFirst(f"attempt {attempt}: {failed[0].longreprtext}"))
        # Labs too: who knows how this one left them. One that has died may not let itself be taken down.
        take_down, through = item.session._setupstate.teardown_exact, (pytest.exit.Exception, KeyboardInterrupt)
        down = pytest.CallInfo.from_call(partial(take_down, None), "teardown", through)
        if down.excinfo is not None:
            item.warn(FailedFirst(f"after attempt {attempt}: {down.excinfo.exconly()}"))
    for one in reports:
        item.ihook.pytest_runtest_logreport(report=one)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


class Count:
    """In the process that reports: which tests of the run failed first."""

    def __init__(self) -> None:
        self._tests: set[str] = set()

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, nodeid: str) -> None:
        """Warnings of workers come here as well."""
        if issubclass(warning_message.category, FailedFirst):
            self._tests.add(nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        """Too many fail the run, though each passed at last."""
        if len(self._tests) > MOST and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name them."""
        if self._tests:
            too_many = f": more than {MOST}, which fails the run" if len(self._tests) > MOST else ""
            terminalreporter.section(f"{len(self._tests)} failed first{too_many}")
            for one in sorted(self._tests):
                terminalreporter.write_line(one)
