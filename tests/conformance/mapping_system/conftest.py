"""One lab of the world ``overlaps`` for all tests here, and an ETR that was restarted when it had booted."""

from __future__ import annotations

from collections.abc import Iterator
from os import getpid

import pytest

from testbed.lab import Lab
from tests.conformance.conftest import world
from tests.conformance.tester.players import Itr
from tests.conformance.tester.watch import Watch

RESTARTED = "xtr3"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests are shared out, one process runs all those of the lab; its clocks run faster."""
    for item in items:
        if "since_restart" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("overlaps"))
            item.add_marker(pytest.mark.scaled)


@pytest.fixture(scope="package")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab."""
    name = f"overlaps-{getpid()}"
    with Lab(world(request.config, "overlaps"), name=name, run_dir=tmp_path_factory.mktemp("overlaps") / name) as lab:
        yield lab


@pytest.fixture(scope="package", autouse=True)
def since_restart(lab: Lab) -> Iterator[Watch]:
    """What reaches and leaves the Map-Server since an ETR's restart, which is before any test: minutes will pass."""
    with Watch(lab, ["ms", "core2"]) as watch:
        lab.restart(RESTARTED)
        yield watch


@pytest.fixture
def asker(lab: Lab) -> Iterator[Itr]:
    """Asks the Map-Server."""
    with Watch(lab, ["core2"]) as watch:
        yield Itr(lab, "ms", watch)
