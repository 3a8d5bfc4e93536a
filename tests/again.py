"""Tests that judge times are judged again when they fail: a machine that does something else makes times longer.

A requirement that is not met fails each time. What a test that passed at last had failed by stands among the warnings.
"""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol

ATTEMPTS = 3
JUDGE_TIMES = ("alone", "scaled")
"""Marks of such tests."""


class FailedFirst(pytest.PytestWarning):
    """A test that judges times has failed, and was tried again."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Only the last attempt is reported. The conformance instrument judges as it did: a failure is one."""
    if not any(map(item.get_closest_marker, JUDGE_TIMES)) or item.config.pluginmanager.has_plugin("conformance-teller"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, ATTEMPTS + 1):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = [one for one in reports if one.failed]
        if not failed or attempt == ATTEMPTS:
            break
        item.warn(FailedFirst(f"attempt {attempt}: {failed[0].longreprtext}"))
    for one in reports:
        item.ihook.pytest_runtest_logreport(report=one)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
