"""Every command of the README as a person types it: its output, its exit status, and one line where it cannot."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import commands
from testbed.lab import InputError, Lab
from testbed.load import load, loads
from testbed.observe.pcapng import read
from testbed.observe.timeline import Timeline

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def name() -> str:
    """A lab name of our own, so that whatever else runs on the machine is left alone."""
    return f"test-commands-{os.getpid()}"


def run(*words: str, cwd: Path = REPOSITORY, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a task as `ci/lab` does, without its set-up."""
    command = [sys.executable, str(REPOSITORY / "tasks.py"), *words]
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def lab(name: str) -> Iterator[str]:
    """A running two-dc-static; the words that name it."""
    up = run("up", "two-dc-static", "--name", name)
    assert up.returncode == 0, up.stderr
    assert "ready" in up.stderr
    yield name
    down = run("down", "--lab", name)
    assert down.returncode == 0, down.stderr
    assert name not in run("status").stdout


def shown(*words: str) -> str:
    """What a command that succeeds prints."""
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_status_names_every_node_with_roles_and_addresses(lab: str) -> None:
    out = shown("status", "--lab", lab)
    assert "xtr1" in out
    assert "etr itr" in out
    (report,) = json.loads(shown("status", "--lab", lab, "--json"))
    rows = {row["name"]: row for row in report["nodes"]}
    assert rows["ms"]["roles"] == ["map-server"]
    assert rows["ms"]["state"] == "ready"
    assert len(rows["h1"]["addresses"]) >= 1


@pytest.mark.parametrize(
    ("argv", "status", "out"),
    [
        (["echo", "two  spaces", "$HOME", "*", 'a "quote"'], 0, 'two  spaces $HOME * a "quote"\n'),
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -TERM $$"], 128 + 15, ""),
        (["hostname"], 0, None),
        (["cat"], 0, "from stdin"),
        (["no-such-command"], 127, ""),
    ],
)
def test_exec_keeps_words_streams_and_exit_status(lab: str, argv: list[str], status: int, out: str | None) -> None:
    done = run("exec", "--lab", lab, "h1", "--", *argv, stdin="from stdin")
    assert done.returncode == status, done.stderr
    if out is not None:
        assert done.stdout == out


def test_ping_judges_every_pair_and_keeps_what_it_saw(lab: str) -> None:
    out = shown("ping", "--lab", lab)
    assert "0 failed" in out
    directory = Path(json.loads(shown("status", "--lab", lab, "--json"))[0]["run_dir"])
    result = json.loads((directory / "ping.json").read_text())
    assert result["pairs"]
    assert all(pair["ok"] for pair in result["pairs"])
    assert {pair["seen"] for pair in result["pairs"]} == {"local", "encapsulated", "proxied"}
    assert (directory / "ping.pcap").stat().st_size > 1000
    assert json.loads(shown("ping", "--lab", lab, "--json"))["pairs"]


def test_a_broken_path_fails_its_pairs_with_evidence(lab: str) -> None:
    """A check that cannot fail would be none: with an xTR cut off from the core, ping says which pairs and why."""
    at_branch = ("exec", "--lab", lab, "xtr3", "--")
    (route,) = json.loads(shown(*at_branch, "ip", "-j", "route", "show", "default"))
    shown(*at_branch, "ip", "route", "del", "default")
    try:
        done = run("ping", "--lab", lab, "--timeout", "0.5")
    finally:
        shown(*at_branch, "ip", "route", "add", "default", "via", route["gateway"])
    assert done.returncode == 1
    assert "FAIL h1 -> b1 (IPv4): expected encapsulated, seen unreachable" in done.stdout
    assert "FAIL h1 -> h2 " not in done.stdout


@pytest.mark.parametrize("what", commands.SHOWN)
def test_show_draws_every_table_of_every_lisp_node(lab: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command of one node, in this process of all: 72 commands take long to start.

    Of a node that has none of a kind it says so, and has nothing that it would hide.
    """
    running = Lab.attach(lab)
    roles = {one.name: one.lisp.roles for one in running.topology.lisp_routers if one.lisp}
    first = next(node for node, its in roles.items() if its & commands.SHOWN[what])
    assert f"{first}: {what}" in shown("show", "--lab", lab, first, what)
    for node, its in roles.items():
        if its & commands.SHOWN[what]:
            commands.show(lab, node, what)
            assert f"{node}: {what}" in capsys.readouterr().out
            commands.show(lab, node, what, as_json=True)
            json.loads(capsys.readouterr().out)
        else:
            with pytest.raises(InputError, match=f"{node} .* has no {what}; nodes that have them are"):
                commands.show(lab, node, what)
            assert running.show(node, what) == []


@pytest.mark.requirement("M22")
def test_lig_shows_the_reply(lab: str) -> None:
    """The mapping, who told it, and how long that took."""
    out = shown("lig", "--lab", lab, "xtr1", "192.168.2.11")
    assert "192.168.2.0/24" in out
    assert "Map-Reply from" in out
    assert "natively-forward" in shown("lig", "--lab", lab, "xtr1", "203.0.113.1")
    assert json.loads(shown("lig", "--lab", lab, "xtr1", "192.168.3.11", "--json"))["records"][0]["authoritative"]


def test_locator_shows_the_locator_set_and_who_is_told(lab: str) -> None:
    (row,) = json.loads(shown("show", "--lab", lab, "xtr1", "database", "--json"))
    (locator,) = row["locators"]
    words = ("locator", "--lab", lab, "xtr1", row["eid"], locator["rloc"])
    assert f"{locator['rloc']} 1/50" in shown(*words, "--weight", "50")
    answer = json.loads(shown(*words, "--priority", "2", "--weight", "100", "--json"))
    assert answer["locators"] == [{"rloc": locator["rloc"], "priority": 2, "weight": 100}]


def test_logs_are_json_lines(lab: str) -> None:
    lines = [json.loads(line) for line in shown("logs", "--lab", lab, "xtr1").splitlines()]
    assert {"time", "node", "event", "fields"} <= set(lines[0])


def test_restart_brings_a_dead_daemon_back(lab: str) -> None:
    def row() -> dict[str, object]:
        nodes = json.loads(shown("status", "--lab", lab, "--json"))[0]["nodes"]
        return next(one for one in nodes if one["name"] == "xtr2")

    pid = str(row()["pid"])
    shown("exec", "--lab", lab, "xtr2", "--", "sh", "-c", f"kill -9 {pid}")
    shown("restart", "--lab", lab, "xtr2")
    assert row()["state"] == "ready"
    assert str(row()["pid"]) != pid


def test_the_prompt_runs_lines_and_survives_mistakes(lab: str) -> None:
    """Ctrl-D ends it: the input does."""
    done = run("cli", "--lab", lab, stdin="h1 ping -c1 -W2 h4\nlig xtr1 h5\nfoo\nshow xtr1\nnodes\n")
    assert done.returncode == 0, done.stderr
    assert "1 received" in done.stdout
    assert "Map-Reply from" in done.stdout
    assert "foo is neither a command nor a node" in done.stdout
    assert "usage: show NODE WHAT" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["up", "two-dx"], 2, "did you mean 'two-dc'?"),
        (["up", "./nothere.yaml"], 2, "./nothere.yaml: no such file"),
        (["up", "two-dc", "--name", "a b"], 2, "allowed are letters, digits"),
        (["up", "two-dc", "--run-dir", "/run/lab"], 2, "below /run"),
        (["up"], 2, "say FILE: ci/lab up FILE [OPTIONS]"),
        (["exec", "h1"], 2, "put -- before the command"),
        (["exec", "h1", "ping", "-c", "3", "192.168.2.11"], 2, "put -- before the command"),
        (["exec", "h1", "--"], 2, "say what to run after --"),
        (["exec", "nobody", "--", "true"], 2, "there is no node nobody"),
        (["show", "xtr1", "nothing"], 2, "nothing is called nothing"),
        (["show", "h1", "map-cache"], 2, "h1 runs no LISP daemon"),
        (["lig", "xtr1", "somewhere"], 2, "allowed is an IPv4 or IPv6 address"),
        (["lig", "xtr1", "192.168.2.11", "--instance-id", "16777216"], 2, "allowed are 0 to 16777215"),
        (["locator", "xtr1", "192.168.1.0/24", "10.0.7.2"], 2, "--priority, --weight or both"),
        (["key", "xtr1", "2"], 2, "Key ID 2 is not shared with every Map-Server; 1 is"),
        (["key", "xtr1", "two"], 2, "allowed are 0 to 255"),
        (["locator", "xtr1", "192.168.1.0/24", "10.0.7.2", "--weight", "256"], 2, "allowed are 0 to 255"),
        (["locator", "xtr1", "192.168.1.0/24", "there", "--weight", "1"], 2, "allowed is an IPv4 or IPv6 address"),
        (["locator", "ms", "192.168.1.0/24", "10.0.7.2", "--weight", "1"], 2, "no ETR"),
        (["restart", "core1"], 2, "core1 runs no"),
        (["ping", "--timeout", "soon"], 2, "allowed are seconds above 0"),
        (["bench", "boot"], 2, "--json"),
        (["bench", "nothing", "--json", "x"], 2, "nothing is called nothing"),
        (["nosuch"], 2, "there is no task nosuch; tasks are"),
        (["pign"], 2, "did you mean 'ping'?"),
    ],
)
def test_what_cannot_be_done_is_one_line(lab: str, tmp_path: Path, words: list[str], status: int, says: str) -> None:
    named = ["--lab", lab] if words[0] in {"exec", "show", "lig", "locator", "key", "restart", "ping"} else []
    done = run(words[0], *named, *words[1:], cwd=tmp_path)
    assert done.returncode == status
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "task", ["up", "down", "exec", "show", "lig", "locator", "ping", "bench", "logs", "restart", "shell"]
)
def test_help_shows_usage_and_an_example(task: str) -> None:
    for words in ([task, "--help"], ["--help", task], [task, "-h"]):
        done = run(*words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"Usage: ci/lab {task}")
        assert "Example: " in done.stdout
    assert f"  {task} " in shown("--help")


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} {REPOSITORY}/tasks.py --help | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("Usage")
    assert done.stderr == ""


def test_ping_judges_what_it_can_while_a_daemon_is_dead(lab: str) -> None:
    """What is cached goes on without its Map-Server: the experiment that everybody makes."""
    shown("ping", "--lab", lab)
    nodes = json.loads(shown("status", "--lab", lab, "--json"))[0]["nodes"]
    pid = next(one["pid"] for one in nodes if one["name"] == "ms")
    shown("exec", "--lab", lab, "ms", "--", "kill", "-9", str(pid))
    try:
        out = shown("ping", "--lab", lab)
        assert "0 failed" in out
        assert "no counters of ms" in out
        assert "exited (signal 9)" in shown("status", "--lab", lab)
    finally:
        shown("restart", "--lab", lab, "ms")


def test_a_foreground_lab_that_is_killed_says_so(tmp_path: Path) -> None:
    name = f"test-foreground-{os.getpid()}"
    command = [sys.executable, str(REPOSITORY / "tasks.py"), "up", "minimal", "--foreground", "--name", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        assert "is up" in up.stdout.readline()
        killed = subprocess.run(["pkill", "-9", "-f", f"testbed.server {name} "], check=False)
        assert killed.returncode == 0
        _, errors = up.communicate(timeout=120)
    assert up.returncode == 1
    assert errors.strip().splitlines()[-1].startswith(f"ci/lab: up: {name} has ended")


def test_a_second_lab_of_that_name_is_refused(lab: str) -> None:
    done = run("up", "two-dc-static", "--name", lab)
    assert done.returncode == 1
    assert f"a lab named {lab} runs already" in done.stderr
    assert run("exec", "--lab", lab, "h1", "--", "true").returncode == 0


def test_paths_are_the_callers(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((REPOSITORY / "topologies/minimal.yaml").read_text())
    name = f"test-paths-{os.getpid()}"
    up = run("up", "mine.yaml", "--run-dir", "not here/ü", "--name", name, cwd=tmp_path)
    assert up.returncode == 0, up.stderr
    try:
        assert (tmp_path / "not here/ü/topology.yaml").exists()
        assert name in shown("status")
        assert json.loads(shown("status", "--lab", name, "--json"))[0]["run_dir"] == str(tmp_path / "not here/ü")
        again = run("up", "mine.yaml", "--run-dir", "elsewhere", "--name", name, cwd=tmp_path)
        assert f"a lab named {name} runs already" in again.stderr
    finally:
        assert run("down", "--lab", "./not here/ü", cwd=tmp_path).returncode == 0


def test_validate_reads_a_file_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((REPOSITORY / "topologies/minimal.yaml").read_text())
    assert "mine is valid: 2 sites, 6 nodes" in run("validate", "mine.yaml", cwd=tmp_path).stdout
    resolved = run("validate", "mine.yaml", "--resolved", cwd=tmp_path).stdout
    assert loads(resolved) == load(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text(resolved.replace("roles: [xtr]", "roles: [xtrr]"))
    done = run("validate", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 2
    told = [line.split(": ")[1] for line in done.stderr.splitlines()]
    assert told == ["roles of router xtr1", "roles of router xtr2"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_everything_generated_is_current() -> None:
    assert shown("generate") == "everything generated is current\n"


def test_the_demo_proves_reachability_and_moves_a_host(tmp_path: Path) -> None:
    """One scenario, then the other, told in plain lines; both labs are down when it ends, and the page is there."""
    page = tmp_path / "moves.html"
    out = shown("demo", "--html", str(page))
    assert "0 failed" in out
    assert "map-cache" in out
    _, there, back = out.split("\nmobile moves ")
    for move, xtr in ((there, "xtr2"), (back, "xtr1")):
        told = [line[12:] for line in move.splitlines()]
        # Alone, or together with the host's IPv6 address.
        assert any(re.match(rf"{xtr} registers .*192\.168\.7\.10/32 → {xtr}\b.* at ms$", line) for line in told)
        assert f"xtr3's map-cache: 2001:db8:e1d:7::10/128 → {xtr}" in told
        for name in ("near1", "near2", "b1", "client"):
            assert any(line.startswith(f"{name} sends it the right way") for line in told)
    assert "8 TCP sessions lived." in out
    assert "4 correspondents found the host again each time." in out
    timeline = Timeline.read(REPOSITORY / ".runs/demo-mobility/mobility.json")
    assert [one.site for one in timeline.moves] == ["dc2", "dc1"]
    kept = list(read(REPOSITORY / ".runs/demo-mobility/mobility.pcapng"))
    assert max(one.packet for one in timeline.events if one.packet is not None) == len(kept) - 1
    assert timeline.title in page.read_text(encoding="utf-8")
    assert "demo-" not in run("status").stdout


def test_a_restart_that_cannot_register_says_so(lab: str) -> None:
    nodes = {one["name"]: one for one in json.loads(shown("status", "--lab", lab, "--json"))[0]["nodes"]}
    shown("exec", "--lab", lab, "ms", "--", "kill", "-9", str(nodes["ms"]["pid"]))
    try:
        done = run("restart", "--lab", lab, "xtr3")
        assert done.returncode == 1
        assert "no Map-Server acknowledges its registration" in done.stderr
    finally:
        shown("restart", "--lab", lab, "ms")
        shown("restart", "--lab", lab, "xtr3")
