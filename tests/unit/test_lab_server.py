"""The parts of the lab process, without a lab: daemons and their fork server, control socket, events."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

from testbed.order import RunFiles
from testbed.server.daemons import Daemons, ServerError, State
from testbed.server.events import Events
from testbed.server.fork_server import ForkServer

MANY = [f"xtr{number}" for number in range(400)]


class SlowForkServer(ForkServer):
    """One whose other end is the test's."""

    def __init__(self) -> None:
        self.socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()


def some_daemons(directory: Path, server: ForkServer) -> Daemons:
    files = RunFiles(directory)
    files.log.touch()
    return Daemons(files, dict.fromkeys(MANY, 0), Events(files.log), server)


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

    async def ask(daemons: Daemons) -> None:
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
