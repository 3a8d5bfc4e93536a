"""Tests that a busy machine can spoil are judged again when they fail.

It makes times longer, and a process that it moves to another processor may have its packets overtake each other: those
that the first one has not yet taken out of its queue. A requirement that is not met fails each time. What a test that
passed at last had failed by stands among the warnings.
"""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol

from tests.workers import BUSY, stage

ATTEMPTS = 3
ORDER = "order"


class FailedFirst(pytest.PytestWarning):
    """A test has failed, and was tried again."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Only the last attempt is reported. The conformance instrument judges as it did: a failure is one."""
    judged_once = stage(item) == BUSY and not item.get_closest_marker(ORDER)
    if judged_once or item.config.pluginmanager.has_plugin("conformance-teller"):
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
