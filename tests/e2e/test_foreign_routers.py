"""Routers that are not ours: our own daemon, started and asked as if somebody else had written it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import Lab, LabError

FOREIGN = {"xtr1": "lisp-testbed-daemon", "ms": "lisp-testbed-daemon"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    place = tmp_path_factory.mktemp("runs") / "test-foreign"
    with Lab("two-dc-static", name="test-foreign", run_dir=place, implementations=FOREIGN) as running:
        yield running


def test_a_foreign_router_carries_traffic_and_is_asked_by_its_driver(lab: Lab) -> None:
    done = lab.run("h1", ["ping", "-c", "1", "-w", "10", str(lab["h4"].address)])
    assert done.returncode == 0, done.stdout
    known = {row["eid"]: row["action"] for row in lab.show("xtr1", "map-cache")}
    assert known["192.168.2.0/24"] == "encapsulate"
    assert {row["state"] for row in lab.show("ms", "registrations")} == {"registered"}
    assert lab.lig("xtr1", str(lab["h5"].address))["records"][0]["eid"] == "192.168.2.0/24"


def test_a_foreign_router_is_restarted(lab: Lab) -> None:
    def of_xtr1() -> dict[str, object]:
        row = next(one for one in lab.status()["nodes"] if one["name"] == "xtr1")
        return dict(row["daemons"][0])

    before = of_xtr1()
    lab.restart("xtr1")
    after = of_xtr1()
    assert before["daemon"] == after["daemon"] == "foreign"
    assert after["state"] == "ready"
    assert after["pid"] != before["pid"]
    assert {row["state"] for row in lab.show("ms", "registrations")} == {"registered"}


# Routers that are not in order


def broken(tmp_path: Path, script: str, ready: str) -> Lab:
    """A lab, not yet up, whose xtr1 runs a shell script."""
    text = "\n".join(f"      {line}" for line in script.splitlines())
    file = tmp_path / "odd.yaml"
    file.write_text(
        f"name: odd\nroles: xtr\nfiles:\n  - path: run\n    text: |\n{text}\n"
        f"start: [sh, run]\nready: {{{ready}}}\nstop: {{signal: TERM, seconds: 0.3}}\n"
    )
    place = tmp_path / "test-odd"
    return Lab("minimal", name="test-odd", run_dir=place, implementations={"xtr1": file})


@pytest.mark.parametrize(
    ("script", "ready", "line"),
    [
        ("echo no such interface\nexit 3", "udp: 4342",
         "test-odd: odd of xtr1 ended with exit status 3; the end of its log: no such interface"),
        ("kill -SEGV $$", "udp: 4342", "test-odd: odd of xtr1 was ended by SIGSEGV; the end of its log: empty"),
        ("printf '\\001\\377\\033[31mx'\nexit 1", "udp: 4342",
         "test-odd: odd of xtr1 ended with exit status 1; the end of its log: ?\ufffd?[31mx"),
        ("exec sleep 60", "file: there, seconds: 0.3",
         "test-odd: not ready within 0.3 s: xtr1 (odd: there is no there)"),
        ("exec sleep 60", "tcp: 179, seconds: 0.3",
         "test-odd: not ready within 0.3 s: xtr1 (odd: TCP port 179 is not open)"),
        ("echo nearly\nexec sleep 60", "log: '^ready$', seconds: 0.3",
         "test-odd: not ready within 0.3 s: xtr1 (odd: no line of its log matches ^ready$)"),
        ("exec sleep 60", "command: ['false'], seconds: 1",
         "test-odd: not ready within 1 s: xtr1 (odd: false ends with status 1)"),
        ("exec sleep 60", "registered: true, seconds: 0.3",
         "test-odd: not ready within 0.3 s: xtr1 (odd: it runs, but no Map-Server has 192.168.1.0/24)"),
    ],
)  # fmt: skip
def test_a_router_that_does_not_come_up_is_one_line(tmp_path: Path, script: str, ready: str, line: str) -> None:
    lab = broken(tmp_path, script, ready)
    with pytest.raises(LabError) as caught:
        lab.boot()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert not lab.runs


def test_a_router_that_does_not_go_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """It ignores SIGTERM, and what it left behind has left its session too."""
    script = "trap '' TERM\nsetsid sleep 1234 &\ntouch there\nwhile :; do sleep 0.1; done"
    lab = broken(tmp_path, script, "file: there")
    lab.boot()
    try:
        assert lab.run("xtr1", ["pgrep", "-fc", "^sleep 1234"]).stdout == "1\n"
        lab.restart("xtr1")
        words = "odd of xtr1 ignored SIGTERM for 0.3 s; it is killed"
        assert lab.wait_for("daemon-killed", "xtr1")["words"] == words
        assert lab.run("xtr1", ["pgrep", "-fc", "^sleep 1234"]).stdout == "1\n"
    finally:
        told = lab.stop()
    assert told == [words]


def test_a_router_that_dies_is_told_and_can_be_started_again(tmp_path: Path) -> None:
    lab = broken(tmp_path, "touch there\nexec sleep 60", "file: there")
    with lab:
        process = next(one["pid"] for one in lab.status()["nodes"] if one["name"] == "xtr1")
        lab.run("xtr1", ["kill", "-KILL", str(process)])
        assert lab.wait_for("daemon-died", "xtr1")["status"] == -9
        lab.restart("xtr1")
        (row,) = (one for one in lab.status()["nodes"] if one["name"] == "xtr1")
        assert (row["state"], row["implementation"]) == ("ready", "odd")
