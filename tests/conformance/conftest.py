"""Labs for the conformance tests: each module has its own ``two-dc-static``, which takes half a second to boot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.lab import Lab

WORLDS = Path(__file__).with_name("worlds")

DATA_PATHS = ("python",)
"""What the routers of the data plane's tests forward by."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0 and shutil.which("tshark"):
        return
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason="needs root and tshark"))


@pytest.fixture(scope="session", params=DATA_PATHS)
def dataplane(request: pytest.FixtureRequest) -> str:
    """By what the routers forward: the tests of the data plane are the same for each."""
    return str(request.param)


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Lab]]:
    """Boots a world by its name: one of ``worlds/`` here, or a topology of the testbed."""
    labs: list[Lab] = []

    def start(world: str) -> Lab:
        file = WORLDS / f"{world}.yaml"
        name = f"conformance-{world}-{os.getpid()}-{len(labs)}"
        lab = Lab(file if file.exists() else world, name=name, run_dir=tmp_path_factory.mktemp(world) / name)
        labs.append(lab)
        lab.boot()
        return lab

    yield start
    for lab in labs:
        lab.stop()


@pytest.fixture(scope="module")
def lab(boot: Callable[[str], Lab]) -> Lab:
    """The world two-dc-static, one for each module."""
    return boot("two-dc-static")
