"""Which requirement a failure is about, in tests that show several.

::

    with clause("C22"):
        assert message.tail == wanted

What fails inside is put down to that requirement alone, and the test goes on; at its end it fails all the same. What
fails outside of any clause counts for all of the test's marks. A skip inside leaves that requirement alone not tested.
:mod:`tests.conftest` hands the hooks to pytest, so that this holds with and without the instrument.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from testbed.drivers import NotTold, Unusable
from tests.conformance.instrument import marks

_NO_FAILURE = (pytest.skip.Exception, NotTold, Unusable)
"""A router that is not ours need not tell everything."""


@dataclass(slots=True)
class _Test:
    """The test that runs now, and what its clauses found.

    Attributes:
        marks: Its requirements.
        errors: What ended a clause, and the requirements that it was about.
        outside: Whether it failed outside of any clause.
    """

    marks: tuple[str, ...]
    errors: list[tuple[tuple[str, ...], BaseException]] = field(default_factory=list)
    outside: bool = False

    def failures(self) -> list[BaseException]:
        """What is no skip."""
        return [error for _, error in self.errors if not isinstance(error, _NO_FAILURE)]

    def outcomes(self) -> Mapping[str, tuple[str, str]]:
        """Outcome and reason of each requirement that a clause was left early for; the first failure counts."""
        found: dict[str, tuple[str, str]] = {}
        for requirements, error in self.errors:
            outcome = "skipped" if isinstance(error, _NO_FAILURE) else "failed"
            for one in requirements:
                if found.get(one, ("skipped",))[0] == "skipped":
                    found[one] = (outcome, _line(error))
        return found


_running: _Test | None = None
_TEST = pytest.StashKey[_Test]()


@contextmanager
def clause(*requirements: str) -> Iterator[None]:
    """What fails inside is about these requirements, which are among the test's marks, and about no other.

    Raises:
        LookupError: The test is not marked with one of them.
    """
    test = _running
    if test is None:  # in a fixture: it concerns every test that has it
        yield
        return
    if foreign := set(requirements).difference(test.marks):
        raise LookupError(f"clause: the test is not marked with {', '.join(sorted(foreign))}")
    try:
        yield
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
        error.add_note(f"in the clause of {', '.join(requirements)}")
        test.errors.append((requirements, error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """At its end the test fails with the first failure of its clauses; the others are noted there."""
    global _running
    _running = test = item.stash[_TEST] = _Test(marks.requirements(item))
    try:
        yield
    except BaseException:
        test.outside = True
        raise
    finally:
        _running = None
    if failures := test.failures():
        for one in failures[1:]:
            failures[0].add_note(f"and {_line(one)} ({', '.join(one.__notes__)})")
        raise failures[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """The report of the call has ``clauses`` and ``only_clauses``, as evidence has."""
    report: Any = yield
    if call.when == "call" and (test := item.stash.get(_TEST, None)):
        report.clauses = test.outcomes()
        report.only_clauses = report.outcome == "failed" and not test.outside
    return report


def _line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
