"""What tests of every kind share: the data path that the routers of a lab are to take."""

from __future__ import annotations

import os

import pytest

from tests.conformance.clause import pytest_runtest_call, pytest_runtest_makereport
from tests.labs import DATA_PATHS, missing_for

__all__ = ["pytest_runtest_call", "pytest_runtest_makereport"]


@pytest.fixture(scope="session", params=DATA_PATHS)
def dataplane(request: pytest.FixtureRequest) -> str:
    """By what the routers forward: the tests of the data plane are the same for each."""
    if os.geteuid() == 0 and (missing := missing_for(request.param)):
        pytest.skip(missing)
    return str(request.param)
