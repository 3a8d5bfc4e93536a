"""The daemon's control socket: no request, however wrong, ends a router."""

from __future__ import annotations

import json
import os
import random
import select
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodes.linux import unix_socket
from tests.e2e.daemon_world import World, ms_config, xtr_config

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests: each of them finds it alive."""
    made = World(tmp_path_factory.mktemp("world"))
    try:
        made.boot(ms_config(), xtr_config("xtr1"))
        yield made
    finally:
        made.close()


def connect(world: World, name: str) -> socket.socket:
    """A connection to a daemon's control socket."""
    opened = unix_socket.connect(world.directory / name / "control.sock")
    opened.settimeout(30)
    return opened


def lives(world: World, name: str) -> bool:
    return world.show(name, "roles")["name"] == name and not select.select([world.fork_server], [], [], 0)[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"instance_id": 1 << 40}, "instance_id"),
        ({"instance_id": -1}, "instance_id"),
        ({"instance_id": "5"}, "instance_id"),
        ({"instance_id": 1.5}, "instance_id"),
        ({"instance_id": True}, "instance_id"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": 1e300}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"eid": None}, "eid"),
        ({"eid": 5}, "eid"),
        ({"eid": "fe80::1%eth0"}, "eid"),
        ({"eid": "192.168.2.1/24"}, "192.168.2.1/24"),
        ({"eid": "\ud800\n"}, "eid"),
    ],
    ids=str,
)
def test_lig_says_what_is_wrong(world: World, wrong: dict[str, Any], words: str) -> None:
    """One clear line at once, and the router works on."""
    answer = world.ask("xtr1", {"op": "lig", "eid": "192.168.2.1"} | wrong)
    assert answer["ok"] is False
    assert words in answer["error"]
    assert "\n" not in answer["error"]
    assert lives(world, "xtr1")


VALUES: list[Any] = [
    None, True, 0, -1, 5, 1 << 40, 1 << 4000, 0.5, -0.0, 1e308, float("inf"), float("nan"), "", "x", "\ud800", "a\nb",
    "192.168.1.1", "192.168.77.0/24", "0.0.0.0/0", "::/0", "2001:db8::1", "::", "255.255.255.255", "224.0.0.1",
    "fe80::1%eth0", "map-cache", "statistics", "show", "lig", [], {}, [["eid"]], {"op": "lig"}, "9" * 5000,
]  # fmt: skip
KEYS = ("op", "what", "eid", "instance_id", "timeout", "rloc", "priority", "weight", "other")


def hostile_lines(rng: random.Random, operations: tuple[str, ...]) -> Iterator[bytes]:
    """Requests that are nearly right, and lines that are none."""
    yield b"[" * 60_000
    yield b'{"op":' * 10_000
    yield b"\xff\xfe\x00"
    yield b""
    for number in range(1500):
        request = {key: rng.choice(VALUES) for key in KEYS if rng.random() < 0.6}
        if rng.random() < 0.8:
            request["op"] = rng.choice(operations)
        request["timeout"] = rng.choice([value for value in VALUES if value != 5]) if rng.random() < 0.3 else 0.01
        line = bytearray(json.dumps(request).encode())
        if number % 5 == 0:
            line[rng.randrange(len(line))] = rng.getrandbits(8)
        # Whoever writes to this socket may stop the daemon: that word is left out.
        yield bytes(line).replace(b"\n", b" ").replace(b"stop", b"post")


@pytest.mark.parametrize("name", ["xtr1", "ms"])
def test_no_request_ends_the_daemon(world: World, name: str) -> None:
    """Wrong types, wrong ranges, broken JSON, deep nesting; each line is answered in one line."""
    lines = list(hostile_lines(random.Random(9301), ("show", "lig", "set-locator", "lig")))
    with connect(world, name) as control, control.makefile("rb") as answers:
        for start in range(0, len(lines), 50):
            batch = lines[start : start + 50]
            control.sendall(b"".join(line + b"\n" for line in batch))
            for _ in batch:
                answer = json.loads(answers.readline())
                assert answer["ok"] or "\n" not in answer["error"]
    assert lives(world, name)


def test_who_does_not_read_its_answers_is_cut_off(world: World) -> None:
    """The answers that wait for a client are bounded, and so are the queries that wait for a reply."""
    with connect(world, "xtr1") as control:
        control.setblocking(True)
        control.settimeout(30)
        line = b'{"op": "show", "what": "statistics"}\n' * 1000

        def ask_on() -> None:
            for _ in range(1000):
                control.sendall(line)

        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            ask_on()
    assert lives(world, "xtr1")


def test_queries_that_wait_are_bounded(world: World) -> None:
    """The thousand-and-first is refused, aloud."""
    with connect(world, "xtr1") as control, control.makefile("rb") as answers:
        for number in range(1100):
            control.sendall(json.dumps({"op": "lig", "eid": "192.168.1.1", "timeout": 30 + number}).encode() + b"\n")
        found = [json.loads(answers.readline()) for _ in range(1100)]
    assert all(one["ok"] or "queries" in one["error"] or "pause" in one["error"] for one in found)
    assert lives(world, "xtr1")


@pytest.mark.alone
@pytest.mark.requirement("M22")
def test_round_trip_time_is_in_real_milliseconds(tmp_path: Path) -> None:
    """A clock that runs faster makes timers shorter, not the network slower."""
    world = World(tmp_path)
    try:
        configs = (ms_config(), xtr_config("xtr1"), xtr_config("xtr2"))
        world.boot(*(replace(one, time_scale=100.0) for one in configs))
        answers = [world.ask("xtr1", {"op": "lig", "eid": "192.168.2.1", "timeout": 3}) for _ in range(3)]
        assert 0 < min(answer["data"]["rtt_ms"] for answer in answers) < 30, answers
    finally:
        world.close()
