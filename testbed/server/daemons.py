"""The LISP daemons of a lab: started through the fork server, watched, restarted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import ClassVar

from testbed.order import RunFiles
from testbed.server.events import Events
from testbed.server.fork_server import ForkServer
from testbed.server.supervision import Daemon, ServerError, State, Supervisor

_REPORTED = {"listening": State.LISTENING, "registered": State.READY}


class LispDaemons(Supervisor):
    """The daemons of all LISP routers.

    Attributes:
        planes: By node, what its last run forwards by: "ebpf" or "python". A node that forwards nothing is not there.
    """

    KIND: ClassVar = "lisp"
    WORDS: ClassVar = "daemon"

    def __init__(self, files: RunFiles, namespaces: dict[str, int], events: Events, server: ForkServer) -> None:
        """Take over the fork server.

        Args:
            files: The run directory; configurations and log files are there.
            namespaces: Descriptors of the network namespaces, by node.
            events: Where to tell what happens.
            server: A fork server that has just been started.
        """
        super().__init__(events)
        self.planes: dict[str, str] = {}
        self._files = files
        self._namespaces = namespaces
        self._asking = asyncio.Lock()
        self._room = asyncio.Event()
        self._unread: dict[int, bytes] = {}  # the beginning of a line, by report pipe
        self._adopt(server)

    def _progress(self, name: str) -> str:
        if self.daemons[name].state is State.LISTENING:
            return "it runs, but no Map-Server acknowledges its registration"
        return super()._progress(name)

    def _adopt(self, server: ForkServer) -> ForkServer:
        self._server: ForkServer | None = server
        self._loop.add_reader(server.socket, self._hear, server)
        return server

    async def start(self, name: str) -> None:
        """Start a node's daemon; :meth:`reach` waits for it.

        Raises:
            ServerError: There is nobody who could fork it.
        """
        server = self._server or self._adopt(ForkServer())
        daemon = self.daemons[name] = Daemon()
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._loop.add_reader(ours, self._read_report, name, daemon, ours)
        try:
            await self._ask(server, name, theirs)
        except OSError as error:
            daemon.state = State.EXITED
            raise ServerError(f"{name}: the daemons' fork server is gone ({error.strerror})") from error
        finally:
            os.close(theirs)

    async def _ask(self, server: ForkServer, name: str, report: int) -> None:
        """Ask the fork server for a daemon as soon as it has room for the question: it forks slower than we ask."""
        async with self._asking:
            while True:
                try:
                    return server.start(
                        name, self._files.node(name), self._files.node_log(name), self._namespaces[name], report
                    )
                except BlockingIOError:
                    self._room.clear()
                    self._loop.add_writer(server.socket, self._have_room, server)
                    await self._room.wait()

    def _have_room(self, server: ForkServer) -> None:
        """The fork server can be asked again, or has ended, which the next question shows."""
        self._loop.remove_writer(server.socket)
        self._room.set()

    def _log(self, name: str) -> Path:
        return self._files.node_log(name)

    def _read_report(self, name: str, daemon: Daemon, pipe: int) -> None:
        """A daemon says how far it is; at the end of the pipe it has ended, and the fork server says how."""
        data = os.read(pipe, 4096)
        if not data:
            self._loop.remove_reader(pipe)
            self._unread.pop(pipe, None)
            os.close(pipe)
            return
        *lines, rest = (self._unread.pop(pipe, b"") + data).split(b"\n")
        if rest:
            self._unread[pipe] = rest
        for line in lines:
            report = json.loads(line)
            event = report.pop("event")
            if event == "dataplane":
                self.planes[name] = report["runs"]
            state = _REPORTED.get(event)
            if state is None:
                self._events.emit(f"daemon-{event}", name, **report)
            else:
                self._advanced(name, daemon, state)

    def _hear(self, server: ForkServer) -> None:
        """The fork server has something to say."""
        messages = server.receive()
        if messages is None:
            self._loop.remove_reader(server.socket)
            self._have_room(server)
            server.close()
            self._server = None
            self._events.emit("fork-server-died")
            for name, daemon in self.daemons.items():
                if daemon.state is not State.EXITED:
                    self._buried(name, daemon, -signal.SIGKILL)
            return
        for message in messages:
            daemon = self.daemons[message["name"]]
            if message["event"] == "started":
                daemon.pid = message["pid"]
            elif message["event"] == "exited" and daemon.pid == message["pid"]:
                self._buried(message["name"], daemon, message["status"])
            elif message["event"] == "refused":
                daemon.state = State.EXITED
                self._events.emit("daemon-refused", message["name"], error=message["error"])
        self._changed.set()
