"""The parts of the lab process, without a lab: daemons and their fork server, control socket, events."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from nodes.linux import unix_socket
from testbed.order import RunFiles
from testbed.server.control import Control, Reply, Request
from testbed.server.daemons import LispDaemons
from testbed.server.events import Events
from testbed.server.fork_server import ForkServer
from testbed.server.supervision import ServerError, State

MANY = [f"xtr{number}" for number in range(400)]


class SlowForkServer(ForkServer):
    """One whose other end is the test's."""

    def __init__(self) -> None:
        self.socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()


def some_daemons(directory: Path, server: ForkServer) -> LispDaemons:
    files = RunFiles(directory)
    files.log.touch()
    return LispDaemons(files, dict.fromkeys(MANY, 0), Events(files.log), server)


def test_more_daemons_than_the_socket_to_the_fork_server_holds(tmp_path: Path) -> None:
    """It forks slower than it is asked; the rest of the questions wait until it has read the first."""

    async def start_all() -> list[str]:
        server = SlowForkServer()
        daemons = some_daemons(tmp_path, server)
        asking = asyncio.create_task(ask(daemons))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not asking.done()  # the socket is full
        asked = []
        while len(asked) < len(MANY):
            await asyncio.sleep(0)
            packet, descriptors, _, _ = socket.recv_fds(server.theirs, 1 << 16, 2)
            for descriptor in descriptors:
                os.close(descriptor)
            asked.append(json.loads(packet)["name"])
            started = {"event": "started", "name": asked[-1], "pid": 1000 + len(asked)}
            server.theirs.send(json.dumps(started).encode())
        await asking
        await daemons.reach([], State.READY)
        server.theirs.close()
        return asked

    async def ask(daemons: LispDaemons) -> None:
        for name in MANY:
            await daemons.start(name)

    assert asyncio.run(start_all()) == MANY


def test_a_fork_server_that_ends_while_it_is_asked(tmp_path: Path) -> None:
    async def start_all() -> str:
        server = SlowForkServer()
        daemons = some_daemons(tmp_path, server)

        async def ask() -> str:
            try:
                for name in MANY:
                    (tmp_path / "nodes" / name).mkdir(parents=True)
                    daemons_log(tmp_path, name)
                    await daemons.start(name)
            except ServerError as error:
                return str(error)
            return "all were asked"

        asking = asyncio.create_task(ask())
        for _ in range(10):
            await asyncio.sleep(0)
        server.theirs.close()
        return await asyncio.wait_for(asking, 5)

    assert "the daemons' fork server is gone" in asyncio.run(start_all())


def daemons_log(directory: Path, name: str) -> None:
    RunFiles(directory).node_log(name).touch()


class World:
    """A control socket that is served, with a few requests of every kind."""

    def __init__(self, directory: Path) -> None:
        self.files = RunFiles(directory)
        self.files.log.touch()
        self.events = Events(self.files.log)
        self.listening = unix_socket.listen(self.files.control)

    async def __aenter__(self) -> World:
        control = Control(self.listening, {"long": self._long, "need": self._need}, self.events)
        self._serving = asyncio.create_task(control.serve())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._serving.cancel()
        self.listening.close()

    async def _long(self, request: Request) -> Reply:
        return Reply("x" * request["length"], (0,))

    async def _need(self, request: Request) -> Reply:
        return Reply(socket.AddressFamily(request["family"]).name)

    async def ask(self, *lines: bytes) -> list[dict[str, Any]]:
        """Send lines, and return the answers up to the server's or our end."""

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(self.files.control))
                client.sendall(b"".join(lines))
                client.shutdown(socket.SHUT_WR)
                received = b""
                while data := client.recv(1 << 16):
                    received += data
                return received

        answers = await asyncio.to_thread(talk)
        return [json.loads(line) for line in answers.splitlines()]


def test_an_answer_of_any_length_arrives_whole(tmp_path: Path) -> None:
    """A socket's buffer holds some 200 KB; a client that asks without reading waits for its own answers alone."""

    async def converse() -> list[int]:
        async with World(tmp_path) as world:
            question = b'{"op": "long", "length": 3000000}\n'
            return [len(answer["data"]) for answer in await world.ask(question, question)]

    assert asyncio.run(converse()) == [3_000_000, 3_000_000]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"[1]", 'a request is a JSON object with an "op"'),
        (b"7", 'a request is a JSON object with an "op"'),
        (b"nonsense", 'a request is a JSON object with an "op"'),
        (b"\xff\xfe", 'a request is a JSON object with an "op"'),
        (b"[" * 60000, 'a request is a JSON object with an "op"'),
        (b"{}", "the request lacks 'op'"),
        (b'{"op": ["a"]}', "the request makes no sense: unhashable type: 'list'"),
        (b'{"op": "dance"}', "unknown request; allowed are long, need"),
        (b'{"op": "need"}', "the request lacks 'family'"),
        (b'{"op": "need", "family": "x"}', "the request makes no sense: 'x' is not a valid AddressFamily"),
        (b'{"op": "long", "length": 1e400}', "the request makes no sense: can't multiply"),
    ],
)
def test_a_malformed_request_is_answered_with_one_line(line: bytes, error: str, tmp_path: Path) -> None:
    async def converse() -> list[dict[str, Any]]:
        async with World(tmp_path) as world:
            return await world.ask(line + b"\n", b'{"op": "need", "family": 2}\n')

    refusal, after = asyncio.run(converse())
    assert refusal["ok"] is False
    assert refusal["error"].startswith(error)
    assert "\n" not in refusal["error"]
    assert after == {"ok": True, "data": "AF_INET"}  # the conversation goes on


def test_a_request_without_end_is_refused(tmp_path: Path) -> None:
    async def converse() -> list[dict[str, Any]]:
        async with World(tmp_path) as world:
            return await world.ask(b"x" * 70000)

    (refusal,) = asyncio.run(converse())
    assert refusal["error"] == "a request is one line of at most 65536 bytes"


def test_subscribers_that_leave_are_let_go_at_once(tmp_path: Path) -> None:
    """Without waiting for the next event, which may never come."""

    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def come_and_go() -> tuple[int, int]:
        async with World(tmp_path) as world:
            await world.ask(b'{"op": "events"}\n')
            before = open_descriptors()
            for _ in range(50):
                (greeting,) = await world.ask(b'{"op": "events"}\n')
                assert greeting == {"event": "subscribed", "past": 0}
            for _ in range(10):
                await asyncio.sleep(0)
            return before, open_descriptors()

    before, after = asyncio.run(come_and_go())
    assert after <= before


def test_a_death_is_told_though_the_log_is_gone(tmp_path: Path) -> None:
    """The user may have cleared the run directory while the lab runs."""

    async def die() -> list[dict[str, Any]]:
        server = SlowForkServer()
        daemons = some_daemons(tmp_path, server)
        await daemons.start("xtr1")
        for event in ({"event": "started", "pid": 7}, {"event": "exited", "pid": 7, "status": 70}):
            server.theirs.send(json.dumps({"name": "xtr1"} | event).encode())
        with pytest.raises(ServerError, match=r"xtr1 ended with exit status 70; .* No such file"):
            await daemons.reach(["xtr1"], State.READY)
        server.theirs.close()
        return [json.loads(line) for line in (tmp_path / "lab.jsonl").read_text().splitlines()]

    (death,) = asyncio.run(die())
    assert (death["event"], death["node"], death["fields"]["status"]) == ("daemon-died", "xtr1", 70)
    (tail,) = death["fields"]["log_tail"]
    assert "No such file or directory" in tail


def test_a_full_disk_does_not_silence_the_lab(tmp_path: Path) -> None:
    """The log loses whole lines; who listens hears everything."""
    events = Events(tmp_path / "lab.jsonl")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def listen() -> list[str]:
        ours, theirs = socket.socketpair()
        events.subscribe(theirs)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            events.emit("lost")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        events.emit("after")
        with ours:
            return [json.loads(line)["event"] for line in ours.recv(4096).splitlines()]

    assert asyncio.run(listen()) == ["subscribed", "lost", "after"]
    assert [json.loads(line)["event"] for line in (tmp_path / "lab.jsonl").read_text().splitlines()] == ["after"]
