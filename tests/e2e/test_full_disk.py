"""A daemon whose disk is full: the router goes on, what needs durability is refused (C38)."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon_world import World, ms_config, xtr_config

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def registered(world: World) -> str:
    """How the ETR sees its registration."""
    return str(world.show("xtr1", "database")[0]["map_servers"][0]["state"])


@pytest.mark.requirement("C38")
def test_a_map_server_acknowledges_nothing_that_it_cannot_keep(world: World) -> None:
    """A Map-Register with a nonce that a restart would forget gets no Map-Notify, until there is room again."""
    report = world.start(ms_config())
    world.wait_for(report, "listening", "ms")
    unlimited = resource.prlimit(world.pids["ms"], resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    log = world.log("ms")
    waiting = world.start(xtr_config("xtr1"))
    world.wait_for(waiting, "listening", "xtr1")
    world.wait_for(report, "state-not-kept", "ms")
    assert registered(world) == "pending"
    statistics = world.show("ms", "statistics")["control"]
    assert statistics["state-not-kept"] > 0
    assert world.log("ms") == log  # no torn line, though there was no room for a line
    assert (world.directory / "ms" / "state.jsonl").read_text() == ""

    resource.prlimit(world.pids["ms"], resource.RLIMIT_FSIZE, unlimited)
    world.wait_for(waiting, "registered", "xtr1")
    world.wait_for(report, "state-kept-again", "ms")
    assert registered(world) == "registered"
    assert "nonce/" in (world.directory / "ms" / "state.jsonl").read_text()
    assert "state-kept-again" in [line["event"] for line in world.log("ms")]
    for pipe in (report, waiting):
        os.close(pipe)


@pytest.mark.requirement("C38")
def test_an_etr_registers_though_its_disk_is_full(world: World) -> None:
    """Its nonces begin with the time it was started, so those of its next run are greater all the same."""
    world.boot(ms_config())
    resource.prlimit(world.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))  # its children inherit it
    report = world.start(xtr_config("xtr1"))
    world.wait_for(report, "registered", "xtr1")
    assert (world.directory / "xtr1" / "state.jsonl").read_text() == ""
    os.close(report)
