"""What tests of every kind share: the data path that the routers of a lab are to take; how workers share the suite."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests import again, workers
from tests.again import pytest_runtest_protocol
from tests.conformance.clause import pytest_runtest_call, pytest_runtest_makereport
from tests.labs import DATA_PATHS, missing_for

__all__ = ["pytest_runtest_call", "pytest_runtest_makereport", "pytest_runtest_protocol"]


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in the background of a script. What tests start would ignore it as well, and be deaf to their Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(again.Count())
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(workers.Hooks())
    if told := getattr(config, "workerinput", {}).get(workers.UNITS):
        config.pluginmanager.register(workers.Turns(Path(told).parent))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if told := getattr(config, "workerinput", {}).get(workers.UNITS):
        workers.prepare(items, Path(told))


@pytest.fixture(scope="session", params=DATA_PATHS)
def dataplane(request: pytest.FixtureRequest) -> str:
    """By what the routers forward: the tests of the data plane are the same for each."""
    if os.geteuid() == 0 and (missing := missing_for(request.param)):
        pytest.skip(missing)
    return str(request.param)
