"""Clauses inside pytest: what fails in one is about its requirement, the test goes on, and fails at its end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance import clause
from tests.conformance.instrument.plugin import outcome

pytest_plugins = "pytester"

HEAD = """
import pytest
from tests.conformance.clause import clause

@pytest.fixture
def late():
    yield
    with clause("C22"):
        assert "after" == "the test"

@pytest.mark.requirement("C19", "C22", "C39")
def test_one({fixture}):
    {body}
"""


def run(pytester: pytest.Pytester, body: str, fixture: str = "") -> dict[str, Any]:
    """What the instrument would be told of a test with this body."""
    pytester.makeini("[pytest]\nmarkers = requirement(*ids)")
    pytester.makepyfile(HEAD.format(body=body.strip().replace("\n", "\n    "), fixture=fixture))
    watcher = pytester.inline_run(plugins=[clause])
    phases = watcher.getreports("pytest_runtest_logreport")
    return outcome([one for one in phases if isinstance(one, pytest.TestReport)])


def test_it_goes_on_and_fails_in_the_end(pytester: pytest.Pytester) -> None:
    found = run(
        pytester,
        """
with clause("C22"):
    assert "xTR-ID" == "tail"
with clause("C39"):
    assert True
with clause("C19", "C22"):
    (one,) = [1, 2]
""",
    )
    assert (found["outcome"], found["only_clauses"]) == ("failed", True)
    assert {one: result for one, (result, _) in found["clauses"].items()} == {"C19": "failed", "C22": "failed"}
    assert "'xTR-ID' == 'tail'" in found["clauses"]["C22"][1]
    assert found["clauses"]["C19"][1].startswith("too many values to unpack")
    assert "'xTR-ID' == 'tail'" in found["reason"]


@pytest.mark.parametrize(
    ("body", "fixture"),
    [
        ('with clause("C22"):\n    pytest.fail("early")\nassert 1 == 2', ""),
        ('with clause("C22"):\n    assert 1 == 2', "late"),
        ('with clause("C01"):\n    assert 1 == 1', ""),
    ],
    ids=["outside", "teardown", "another's requirement"],
)
def test_what_fails_outside_is_about_all(pytester: pytest.Pytester, body: str, fixture: str) -> None:
    found = run(pytester, body, fixture)
    assert (found["outcome"], found["only_clauses"]) == ("failed", False)


def test_a_skip_is_about_its_own_requirement_too(pytester: pytest.Pytester) -> None:
    found = run(pytester, 'with clause("C22"):\n    pytest.skip("tells nothing")\nassert True')
    assert found == {
        "outcome": "passed",
        "reason": "",
        "clauses": {"C22": ("skipped", "tells nothing")},
        "only_clauses": False,
    }


def test_nothing_found_is_nothing_said(pytester: pytest.Pytester) -> None:
    found = run(pytester, 'with clause("C22"):\n    assert True')
    assert found == {"outcome": "passed", "reason": "", "clauses": {}, "only_clauses": False}
