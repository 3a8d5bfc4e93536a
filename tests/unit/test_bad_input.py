"""Every command with words that cannot be: one line of one form, exit status 2; by labs of which only the words run."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invoke import Collection

import tasks
import testbed.lab
from nodes.linux import unix_socket
from testbed import command_line, commands
from testbed.client.box import prepare
from testbed.lab import InputError, Lab
from testbed.load import load
from testbed.order import Order, RunFiles
from testbed.server.attachments import Attachments
from testbed.server.control import Control
from testbed.server.lab_process import LabProcess
from testbed.server.moves import Moves
from testbed.words import echoed, one_of, printable

TASKS = Collection.from_module(tasks)
NAMES = ("mobility", "mobile-node")


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, Path]]]:
    """Lab processes that answer as real ones do, without a network; each one's name and run directory."""
    places = [(name, tmp_path_factory.mktemp(name)) for name in NAMES]
    for name, place in places:
        prepare(Order(name, load(name), place, None, time.monotonic()))
    loop = asyncio.new_event_loop()
    serving: list[asyncio.Task[None]] = []

    async def begin() -> None:
        for name, place in places:
            process = LabProcess(Order(name, load(name), place, None, time.monotonic()), time.monotonic())
            process.moves = Moves(process.topology, {}, process.events)  # type: ignore[arg-type]
            process.attachments = Attachments(process.topology, {}, process.events)  # type: ignore[arg-type]
            listening = unix_socket.listen(process.files.control)
            serving.append(asyncio.create_task(Control(listening, process._handlers(), process.events).serve()))

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    yield places
    for one in serving:
        loop.call_soon_threadsafe(one.cancel)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(autouse=True)
def _these_alone(labs: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed.lab, "lab_processes", lambda: iter(labs))


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """The exit status of `ci/lab WORDS`."""
    monkeypatch.setattr(sys, "argv", ["ci/lab", *words])
    with pytest.raises(SystemExit) as ended:
        command_line.run(TASKS)
    return ended.value.code


LAB, MN = ["--lab", "mobility"], ["--lab", "mobile-node"]
NODES = "nodes are core1, core2, core3, ms, mr, pxtr, xtr1, sw1, mobile, near1, "
ROUTERS = "nodes that run one are ms, mr, pxtr, xtr1, xtr2, xtr3"
LONG = "x" * 5000
WRONG: dict[str, list[tuple[list[str], str]]] = {
    "up": [
        ([], "say FILE: ci/lab up FILE [OPTIONS]"),
        (["two-dc", "three-dc"], "three-dc is too much: ci/lab up FILE [OPTIONS]"),
        (["two-dc", "--nmae", "x"], "there is no option --nmae; options are --file, --foreground, --name, "),
        (["two-dc", "--name"], "--name needs a value"),
        (["two-dc", "--name=a", "-n", "b"], "--name is given twice"),
        (["two-dc", "--name", "a b"], "'a b' is not a name for a lab, allowed are letters, digits and . _ - "),
        (["two-dc", "--foreground=yes"], "--foreground takes no value"),
        (["two-dc", "--dataplane", "ebfp"], "unknown data plane 'ebfp', allowed are auto, ebpf, python (did you mean "),
        (["two-dc", "--implementation", "xtr1"], "--implementation xtr1: allowed is NODE=NAME or NODE=FILE, "),
        (["two-dc", "--implementation", "x\x1b[2J=lisp-testbed"], r"implementation of 'x\x1b[2J': there is no such "),
    ],
    "validate": [([], "say FILE: ci/lab validate FILE [OPTIONS]")],
    "graph": [(["minimal", "--output", "/nowhere/x.svg"], "/nowhere/x.svg cannot be written: No such file or directo")],
    "generate": [(["all"], "all is too much: ci/lab generate [OPTIONS]")],
    "doctor": [(["me"], "me is too much: ci/lab doctor [OPTIONS]")],
    "down": [
        (["mobility"], "a lab is named by --lab: ci/lab down --lab mobility"),
        (["--lab", "mobilty"], "no lab named mobilty is running; running are mobile-node, mobility (did you mean "),
        ([], "several labs run, name one by --lab; they are mobile-node, mobility"),
    ],
    "status": [(["--lab", ";"], "no lab named ';' is running; running are mobile-node, mobility")],
    "exec": [
        (["h1", "ls"], "put -- before the command, for example: "),
        (["--", "ls"], "say NODE: ci/lab exec NODE [OPTIONS] -- COMMAND"),
        ([*LAB, "b1", "--"], "say what to run after --, for example: ci/lab exec b1 -- ip route"),
        ([*LAB, "\x1b[31m", "--", "ls"], r"there is no node '\x1b[31m'; " + NODES),
        ([*LAB, LONG, "--", "ls"], f"there is no node {'x' * 66}…{'x' * 33}; {NODES}"),
    ],
    "shell": [([*LAB, ";"], "there is no node ';'; " + NODES)],
    "cli": [(["--lab", "nobody"], "no lab named nobody is running; ")],
    "ping": [([*LAB, "--timeout", "soon\n"], r"'soon\n' is not a time, allowed are seconds above 0, at most a day")],
    "show": [
        ([*LAB, "xtr1"], "say WHAT: ci/lab show NODE WHAT [OPTIONS]"),
        ([*LAB, "xtr1", "map-cach"], "nothing is called map-cach, allowed are map-cache, locators, contacts, database"),
        ([*LAB, "b1", "roles"], "b1 runs no LISP daemon; " + ROUTERS),
        ([*LAB, "xtr9", "roles"], "there is no node xtr9; " + NODES),
        ([*LAB, "xtr1", "roles", "--verify"], "--verify is for the map-cache, not for roles"),
        (
            [*LAB, "ms", "map-cache"],
            "ms (map-server) has no map-cache; nodes that have them are pxtr, xtr1, ",
        ),
        ([*LAB, "mr", "map-cache", "--verify"], "mr (map-resolver) has no map-cache; nodes that have them are pxtr, "),
        ([*LAB, "xtr1", "registrations"], "xtr1 (itr, etr) has no registrations; nodes that have them are ms"),
        (
            [*LAB, "pxtr", "dynamic-eids"],
            "pxtr (pitr, petr) has no dynamic-eids; nodes that have them are xtr1, ",
        ),
    ],
    "lig": [
        ([*LAB, "xtr1", "there"], "there is not an EID, allowed is an IPv4 or IPv6 address or prefix"),
        ([*LAB, "ms", "1.2.3.4"], "ms has no Map-Resolver to ask; nodes that have one are pxtr, xtr1, xtr2, xtr3"),
        ([*LAB, "xtr1", "1.2.3.4", "--instance-id", "-1"], "-1 is not an instance-ID, allowed are 0 to 16777215"),
    ],
    "key": [([*LAB, "xtr1", "two"], "key ID two is not allowed, allowed are 0 to 255")],
    "locator": [
        ([*LAB, "xtr1", "192.168.1.0/24"], "say RLOC: ci/lab locator NODE EID RLOC [OPTIONS]"),
        ([*LAB, "xtr1", "192.168.1.0/24", "10.0.0.1"], "say what is to change: --priority, --weight or both"),
        (
            [*LAB, "xtr1", LONG, LONG, "--weight", LONG],
            f"weight {'x' * 66}…{'x' * 33} is not allowed, allowed are 0 to ",
        ),
        ([*LAB, "xtr1", "a", "b", "--weight", "9" * 5000], f"weight {'9' * 66}…{'9' * 33} is not allowed, "),
        ([*LAB, "xtr1", "a", "b", "--weight", "256"], "weight 256 is not allowed, allowed are 0 to 255"),
    ],
    "logs": [([*LAB, "b1"], "b1 runs no LISP daemon; " + ROUTERS)],
    "restart": [([*LAB, "b1"], "b1 runs no daemon; " + ROUTERS)],
    "move": [
        ([*LAB, "mobile"], "say SITE: ci/lab move NODE SITE [OPTIONS]"),
        ([*LAB, "mobil", "dc2"], "there is no node mobil; " + NODES),
        ([*LAB, "b1", "dc2"], "b1 cannot move; mobile, near1, near2 can, between dc1 and dc2"),
        ([*LAB, "xtr1", "dc2"], "xtr1 cannot move; mobile, near1, near2 can, between dc1 and dc2"),
        ([*LAB, "mobile", "dc3"], "there is no site dc3; sites with a fabric are dc1, dc2 (did you mean 'dc2'?)"),
        ([*LAB, "mobile", "branch"], "branch has no fabric to plug mobile in; sites with a fabric are dc1, dc2"),
        ([*LAB, "mobile", "dc1"], "mobile is in dc1 already; sites with a fabric are dc1, dc2"),
        ([*MN, "mn", "wlan"], "mn has no access network wlan; its networks are wifi, lte"),
        ([*MN, "mn", "lte", "--silent"], "mn cannot move silently: a mobile node registers its new RLOCs"),
        ([*MN, "h1", "lte"], "h1 cannot move; mn can, between wifi and lte"),
    ],
    "traffic": [
        (LAB, "say from where to where, for example: ci/lab traffic --from h1 --to h4"),
        ([*LAB, "--from", "b1", "--to", "b1"], "traffic from b1 to itself crosses nothing; name two nodes"),
        ([*LAB, "--from", LONG, "--to", LONG], f"traffic from {'x' * 66}…{'x' * 33} to itself crosses nothing; "),
        ([*LAB, "--from", "b1", "--to", "b2"], "there is no node b2; " + NODES),
        ([*LAB, "--from", "b1", "--to", "mobile", "--tcp", "--udp"], "--tcp and --udp exclude each other; "),
        ([*LAB, "--from", "b1", "--to", "mobile", "--flows", "0"], "0 is not a number of flows, allowed are 1 to 128"),
    ],
    "demo": [
        (["--scenario", "mobilty"], "there is no scenario mobilty; scenarios are reachability, mobility (did you "),
        (["--dataplane", "X"], "unknown data plane 'X', allowed are auto, ebpf, python"),
        (["--html", "-"], "--html -: say a file; what is for people goes to standard output"),
        (
            ["--html", "/nowhere/\x07.html"],
            r"--html '/nowhere/\x07.html': No such file or directory, allowed is ",
        ),
    ],
    "bench": [
        (["boot"], "say where the raw rounds go, for example: ci/lab bench boot --json boot.json"),
        (["speed", "--json", "x"], "nothing is called speed, allowed are boot, scale, dataplane, mobility"),
        (["boot", "--rounds", "3"], "boot has no --rounds; dataplane and mobility have"),
        (["boot", "--json", "-"], "--json -: say a file; what is for people goes to standard output"),
        (["boot", "--json", "/nowhere/x"], "--json /nowhere/x: No such file or directory, allowed is a file that can "),
    ],
    "conformance": [
        ([], "say where the verdicts go, for example --json conformance.json"),
        (["--json", "x", "--jobs", "9" * 5000], f"--jobs {'9' * 66}…{'9' * 33}: allowed is a whole number"),
        (["--json", "/nowhere/x", "--role", "itt"], "there is no role itt; roles are ddt-node, etr, itr, "),
        (["--json", "/nowhere/x"], "--json /nowhere/x: No such file or directory"),
    ],
}


def test_no_command_is_left_out() -> None:
    assert set(WRONG) == set(TASKS.task_names)


@pytest.mark.parametrize(
    ("task", "words", "says"),
    [
        pytest.param(task, *one, id=f"{task}-{number}")
        for task, rows in WRONG.items()
        for number, one in enumerate(rows)
    ],
)
def test_a_command_says_what_cannot_be(
    task: str, words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, task, *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"ci/lab: {task}: {says}")
    assert len(err) < 600
    assert err.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["pign"],
            f"there is no task pign; tasks are {', '.join(sorted([*TASKS.task_names, 'test']))} (did you mean 'ping'",
        ),
        (["--list", "tasks"], "tasks is too much: ci/lab --list"),
        ([""], "there is no task ''; tasks are "),
        (["--verbose"], "there is no option --verbose; options are --help, -h, --list, "),
    ],
)
def test_so_does_ci_lab_itself(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, *words) == 2
    assert capsys.readouterr().err.startswith(f"ci/lab: {says}")


@pytest.mark.parametrize("file", ["two\x1bdc", LONG, "", "/nowhere\n/x.yaml"])
def test_a_file_is_named_in_one_line(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "validate", file) == 2
    err = capsys.readouterr().err
    assert err.removesuffix("\n").isprintable()
    assert len(err) < 1000


def test_what_a_topology_file_says_is_cut_and_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.yaml").write_text(f'core: {{routers: ["a\\e[31m", {LONG}]}}\n{LONG[:900]}: 1\n')
    assert typed(monkeypatch, "validate", str(tmp_path / "x.yaml")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(r"\x1b[31m" in one for one in lines)
    assert all(one.isprintable() and len(one) < 1000 for one in lines)


def test_no_lab_is_no_mistake_of_the_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(testbed.lab, "lab_processes", lambda: iter(()))
    assert typed(monkeypatch, "down") == 1
    assert capsys.readouterr().err == "ci/lab: down: no lab is running; boot one with: ci/lab up two-dc\n"


def test_a_judges_labs_are_found_by_their_names_alone(
    labs: list[tuple[str, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who types no name means an own one."""
    (_, judged), (own, _) = labs
    RunFiles(judged).aside.touch()
    try:
        assert Lab.attach().name == own
        commands.status(None)
    finally:
        RunFiles(judged).aside.unlink()
    out = capsys.readouterr().out
    assert out.startswith("a judge has 1 lab of its own")
    assert [one for one, _ in labs if f"{one}: booting" in out] == [own]


def test_a_mobile_node_has_the_addresses_of_its_network(capsys: pytest.CaptureFixture[str]) -> None:
    commands.status("mobile-node", as_json=True)
    (report,) = json.loads(capsys.readouterr().out)
    (row,) = [one for one in report["nodes"] if one["name"] == "mn"]
    node = load("mobile-node")["mn"]
    has = {one.name: [str(address) for address in one.addresses] for one in node.interfaces}
    assert row["site"] == "wifi"
    assert set(has[node.networks["wifi"]]) < set(row["addresses"])
    assert not set(has[node.networks["lte"]]) & set(row["addresses"])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("h1", "h1"),
        ("192.168.1.0/24", "192.168.1.0/24"),
        ("", "''"),
        ("a b", "'a b'"),
        ("\udcff", r"'\udcff'"),
        ("x" * 101, "x" * 66 + "…" + "x" * 33),
    ],
)
def test_a_word_is_repeated_so_that_it_can_be_read(word: str, told: str) -> None:
    assert echoed(word) == told


def test_lists_and_lines_for_people() -> None:
    assert one_of([f"h{number}" for number in range(30)], "h200", "nodes").endswith(
        "h18, h19, and 10 more (did you mean 'h20'?)"
    )
    assert one_of(["a", "ab"], "ab", "nodes") == "nodes are a, ab"
    assert printable("a\tb\x1b[0m") == r"a\tb\x1b[0m"


def test_one_name_where_names_are_wanted() -> None:
    """Python would take it for a list of letters."""
    with pytest.raises(InputError, match=r"a list of names, not 'mobile'; of one host: move\('mobile', 'dc2'\)"):
        testbed.lab.LabClient("nowhere").move_all("mobile", "dc2")
