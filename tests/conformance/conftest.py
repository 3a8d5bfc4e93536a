"""Labs for the conformance tests: each module has its own ``two-dc-static``, which takes half a second to boot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.lab import Lab
from testbed.load import load, loads
from testbed.model import Topology
from tests.conformance.tester.clock import at_pace

WORLDS = Path(__file__).with_name("worlds")


CLOCKS = ("fast", "hasty")
"""Fixtures of worlds whose clocks run faster."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not {*CLOCKS}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.scaled)
    if os.geteuid() == 0 and shutil.which("tshark"):
        return
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason="needs root and tshark"))


def world(config: pytest.Config, name: str, scale: float | None = None, without: str = "") -> Topology:
    """A world by its name: one of ``worlds/`` here, or a topology of the testbed.

    Args:
        config: Under ``conformance --long`` its clocks run in real time.
        name: Its name.
        scale: How many times as fast they run otherwise; by default what the file says.
        without: What is left out of the file's text.
    """
    file = WORLDS / f"{name}.yaml"
    found = loads(file.read_text().replace(without, ""), name=name) if file.exists() else load(name)
    scale = 1.0 if config.getoption("--conformance-long", default=False) else scale
    return found if scale is None else at_pace(found, scale)


@pytest.fixture(scope="module")
def boot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Boots a :func:`world`; if asked with a data plane."""
    labs: list[Lab] = []

    def start(name: str, dataplane: str | None = None, scale: float | None = None, without: str = "") -> Lab:
        topology = world(request.config, name, scale, without)
        unique = f"conformance-{name}-{os.getpid()}-{len(labs)}"
        run_dir = tmp_path_factory.mktemp(name) / unique
        lab = Lab(topology, name=unique, run_dir=run_dir, dataplane=dataplane)
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


@pytest.fixture(scope="module")
def fast(boot: Callable[..., Lab]) -> Lab:
    """A world whose clocks run forty times as fast, and whose sites have keys of different algorithms."""
    return boot("fast")


@pytest.fixture(scope="module")
def hasty(boot: Callable[..., Lab]) -> Lab:
    """The same, 150 times as fast: for a quarter of an hour, where nobody judges single seconds."""
    return boot("fast", scale=150.0)
