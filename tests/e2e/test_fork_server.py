"""Starting and ending daemons: the fork server, and a daemon on its own."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.linux import namespaces
from tests.e2e.daemon_world import ROOT, World, ms_config, xtr_config

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def ended(pidfd: int) -> bool:
    """Whether the process of a pidfd ends within seconds."""
    return bool(select.select([pidfd], [], [], 5)[0])


@pytest.mark.parametrize("how", ["closed socket", "kill -9"])
def test_daemons_end_with_their_server(tmp_path: Path, how: str) -> None:
    """Whether the server leaves in order or is killed, its daemons do not outlive it."""
    world = World(tmp_path)
    world.boot(ms_config(), xtr_config("xtr1"))
    pidfds = [os.pidfd_open(pid) for pid in world.pids.values()]
    if how == "kill -9":
        world.process.kill()
        assert world.process.wait(5) == -signal.SIGKILL
        world.process.returncode = 0
    world.close()
    assert all(ended(pidfd) for pidfd in pidfds)
    for pidfd in pidfds:
        os.close(pidfd)


def test_a_request_that_makes_no_sense_is_refused(world: World) -> None:
    for request in (b"nonsense", b"[]", b'{"op": "start"}', b'{"op": "dance", "name": "x"}'):
        world.fork_server.send(request)
        answer = json.loads(world.fork_server.recv(16384))
        assert answer["event"] == "refused"
        assert answer["error"]


def test_a_wrong_configuration_is_in_the_log(world: World) -> None:
    state = world.directory / "xtr1"
    state.mkdir()
    (state / "config.json").write_text('{"name": "xtr1"}')
    request = {"op": "start", "name": "xtr1", "config": str(state / "config.json"), "state_dir": str(state)}
    request["log"] = str(state / "log.jsonl")
    report, far = os.pipe()
    socket.send_fds(world.fork_server, [json.dumps(request).encode()], [world.namespace["xtr1"], far])
    os.close(far)
    world.event("started", "xtr1")
    assert world.event("exited", "xtr1")["status"] == 70
    assert os.read(report, 100) == b""
    os.close(report)
    line = world.log("xtr1")[-1]
    assert (line["node"], line["event"]) == ("xtr1", "crash")
    assert "ConfigError" in line["fields"]["error"]


def test_a_daemon_on_its_own(world: World) -> None:
    """``python -m nodes.daemon`` does the same without a fork server, and stops on SIGTERM."""
    state = world.directory / "ms"
    state.mkdir()
    (state / "config.json").write_text(ms_config().to_json())
    report, far = os.pipe()
    options = ["--config", str(state / "config.json"), "--state-dir", str(state), "--log", str(state / "log.jsonl")]
    with namespaces.inside(world.namespace["ms"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "nodes.daemon", *options, "--report-fd", str(far)], pass_fds=[far], cwd=ROOT
        )
    os.close(far)
    world.wait_for(report, "listening", "ms")
    assert world.show("ms", "roles")["name"] == "ms"
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    os.close(report)
