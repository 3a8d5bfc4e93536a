"""A lab's life: daemons that die, boots that fail, labs that outlive their client or are killed, run directories."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.client.box import Box, parent_of
from testbed.client.channel import Channel
from testbed.lab import Lab, LabError
from tests.e2e.test_lab import ROOT
from tests.e2e.worlds import plain_world


def test_a_daemon_that_dies_is_reported_and_restarts(tmp_path: Path) -> None:
    with Lab("minimal", name="test-death", run_dir=tmp_path / "test-death") as lab:
        daemon = next(node for node in lab.status()["nodes"] if node["name"] == "xtr1")
        assert lab.run("xtr1", ["kill", "-KILL", str(daemon["pid"])]).returncode == 0
        event = lab.wait_for("daemon-died", "xtr1")
        assert event["status"] == -signal.SIGKILL
        log = lab.log_path("xtr1").read_text().splitlines()
        assert event["log_tail"] == log[-len(event["log_tail"]) :] != []
        dead = next(node for node in lab.status()["nodes"] if node["name"] == "xtr1")
        assert (dead["state"], dead["exit_status"]) == ("exited", -signal.SIGKILL)
        with pytest.raises(LabError, match="the daemon of xtr1 does not answer"):
            lab.show("xtr1", "map-cache")

        lab.restart("xtr1")
        alive = next(node for node in lab.status()["nodes"] if node["name"] == "xtr1")
        assert alive["state"] == "ready"
        assert alive["pid"] != daemon["pid"]
        first, *_, last = lab.topology.hosts
        assert lab.run(first.name, ["ping", "-c", "1", "-W", "10", str(last.address)]).returncode == 0
        deaths = [event for event in lab.events if event["event"] == "daemon-died"]
        lab.restart("xtr1")  # one that runs: ended in an orderly way, and that is no death
        assert [event for event in lab.events if event["event"] == "daemon-died"] == deaths


def test_the_fork_server_is_replaced(tmp_path: Path) -> None:
    with Lab("minimal", name="test-fork", run_dir=tmp_path / "test-fork") as lab:
        assert lab.run("xtr1", ["pkill", "-KILL", "-f", "nodes.daemon.fork_server"]).returncode == 0
        for router in lab.topology.lisp_routers:
            lab.wait_for("daemon-died", router.name)
        for router in lab.topology.lisp_routers:
            lab.restart(router.name)
        assert {node["state"] for node in lab.status()["nodes"]} == {"ready", "up"}


def test_a_daemon_that_dies_during_boot_fails_the_boot(tmp_path: Path) -> None:
    """Its RLOC is not its own, so it cannot open its sockets: the error names node, status and reason."""
    topology = Lab("minimal", run_dir=tmp_path / "unused").topology
    broken = topology.nodes["xtr1"]
    assert broken.lisp is not None
    stranger = dataclasses.replace(broken.lisp, core_interfaces=("no-such-interface",))
    nodes = topology.nodes | {"xtr1": dataclasses.replace(broken, lisp=stranger)}
    lab = Lab(dataclasses.replace(topology, nodes=nodes), name="test-broken", run_dir=tmp_path / "test-broken")
    with pytest.raises(LabError, match=r"the daemon of xtr1 ended with exit status \d+; the end of its log: .*no-such"):
        lab.boot()
    assert not lab.runs


def test_a_detached_lab_lives_on_and_is_taken_down_by_another(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from testbed.lab import Lab\n"
        "Lab('minimal', name='test-detached', run_dir=Path(sys.argv[1])).boot(detach=True)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "test-detached")], cwd=ROOT, check=True, timeout=60)
    lab = Lab.attach("test-detached")
    try:
        assert lab.status()["state"] == "ready"
        assert lab.events[-1]["event"] == "ready"  # whoever comes later hears what was said before
    finally:
        lab.stop()
    assert not lab.runs
    with pytest.raises(LabError, match="no lab named test-detached is running"):
        lab.status()
    lab.stop()  # twice is once


def test_a_log_is_followed_until_the_lab_ends(tmp_path: Path) -> None:
    steps: list[str] = []
    lab = Lab("minimal", name="test-follow", run_dir=tmp_path / "test-follow")
    lab.boot(progress=steps.append)
    try:
        assert steps[0] == f"network: {len(lab.topology.nodes)} nodes, {len(lab.topology.links)} links"
        assert steps[-1] == "ready: 3 daemons"
        assert {"msmr: listening", "xtr1: ready"} <= set(steps)
        lines = lab.log("xtr1", follow=True)
        before = [next(lines) for _ in lab.log("xtr1")]
        assert before == list(lab.log("xtr1"))
        lab.restart("xtr1")
        assert json.loads(next(lines))["node"] == "xtr1"  # what the restart wrote
    finally:
        lab.stop()
    assert [*before, *lines][-1] == list(lab.log("xtr1"))[-1]
    assert lab.events[-1]["event"] == "stopped"


@pytest.mark.parametrize("victim", ["lab", "init"])
def test_a_detached_lab_that_is_killed_leaves_nothing(victim: str, tmp_path: Path) -> None:
    lab = Lab("minimal", name="test-killed", run_dir=tmp_path / "test-killed")
    lab.boot(detach=True)
    try:
        with Channel.open(lab.run_dir / "control.sock") as channel:
            process = channel.peer
        init = parent_of(process)
        if victim == "lab":
            os.kill(process, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(init, signal.SIGKILL)
        assert Box(init).ended(5)  # which is after the end of every process of its PID namespace
        assert not lab.runs
        assert not Path(f"/proc/{process}").exists()
        with pytest.raises(LabError, match="no lab named test-killed is running"):
            lab.status()
    finally:
        lab.stop()


def test_a_deaf_lab_process_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.lab.ANSWER_SECONDS", 0.2)
    with Lab(plain_world(), name="test-deaf", run_dir=tmp_path / "test-deaf") as lab:
        assert lab.run("h1", ["pkill", "-STOP", "-f", "testbed.server"]).returncode == 0
        Lab.attach("test-deaf").stop()
        assert not lab.runs


def test_a_run_directory_is_used_again(tmp_path: Path) -> None:
    for _ in range(2):
        with Lab(plain_world(), name="again", run_dir=tmp_path / "again") as lab:
            names = [json.loads(line)["event"] for line in (lab.run_dir / "lab.jsonl").read_text().splitlines()]
            assert names.count("ready") == 1


def test_a_directory_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("four years of work")
    with pytest.raises(LabError, match="is not empty and not a run directory of a lab"):
        Lab(plain_world(), name="test-other", run_dir=tmp_path).boot()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    for said in ("", "12345\n"):  # a file of that name, as other programs have it
        (tmp_path / "lock").write_text(said)
        (tmp_path / "nodes").mkdir(exist_ok=True)
        (tmp_path / "nodes" / "chapter-1.tex").write_text("in the beginning")
        with pytest.raises(LabError, match="is not empty and not a run directory of a lab"):
            Lab(plain_world(), name="test-other", run_dir=tmp_path).boot()
        assert (tmp_path / "nodes" / "chapter-1.tex").read_text() == "in the beginning"
        assert (tmp_path / "lock").read_text() == said
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(LabError, match=r"run directory .*Too many levels of symbolic links"):
        Lab(plain_world(), name="test-other", run_dir=tmp_path).boot()
    with pytest.raises(LabError, match="is below /run"):
        Lab(plain_world(), name="test-other", run_dir=Path("/run/test-other")).boot()


def test_files_belong_to_whoever_called_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "12346")
    with Lab("minimal", name="test-owner", run_dir=tmp_path / "test-owner") as lab:
        for path in (lab.run_dir, lab.run_dir / "lab.jsonl", lab.run_dir / "topology.yaml", lab.log_path("xtr1")):
            assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346), path
        for path in (lab.run_dir / "nodes/xtr1/config.json", lab.run_dir / "control.sock"):
            assert path.stat().st_uid == 0, path
