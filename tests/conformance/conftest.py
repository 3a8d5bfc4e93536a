"""Labs for the conformance tests: each module has its own ``two-dc-static``, which takes half a second to boot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.lab import Lab

WORLDS = Path(__file__).with_name("worlds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0 and shutil.which("tshark"):
        return
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason="needs root and tshark"))


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Boots a world by its name: one of ``worlds/`` here, or a topology of the testbed; if asked with a data plane."""
    labs: list[Lab] = []

    def start(world: str, dataplane: str | None = None) -> Lab:
        file = WORLDS / f"{world}.yaml"
        name = f"conformance-{world}-{os.getpid()}-{len(labs)}"
        run_dir = tmp_path_factory.mktemp(world) / name
        lab = Lab(file if file.exists() else world, name=name, run_dir=run_dir, dataplane=dataplane)
        labs.append(lab)
        lab.boot()
        return lab

    yield start
    for lab in labs:
        lab.stop()


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    """The world two-dc-static, one for each module."""
    return boot("two-dc-static")
