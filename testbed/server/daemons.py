"""The LISP daemons of a lab: started through the fork server, watched, restarted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from testbed.order import RunFiles
from testbed.server.events import Events
from testbed.server.fork_server import ForkServer

READY_SECONDS = 60.0
STOP_SECONDS = 5.0
TAIL_LINES = 10
_TAIL_BYTES = 16384


class ServerError(Exception):
    """Something a client asked for cannot be done; one clear line."""


class State(IntEnum):
    """How far a daemon has come; each state includes the ones before it."""

    EXITED = 0
    STARTING = 1
    LISTENING = 2  # its sockets are open and its TUN device is up
    READY = 3  # and every Map-Register is acknowledged


_REPORTED = {"listening": State.LISTENING, "registered": State.READY}


@dataclass(slots=True)
class Daemon:
    """One run of a node's daemon.

    Attributes:
        state: How far it has come.
        pid: Its process ID in the box, None until it is forked.
        exit_status: Its exit status (negative: the signal that ended it), None while it runs.
        expected_to_exit: Whether it is being stopped on purpose.
    """

    state: State = State.STARTING
    pid: int | None = None
    exit_status: int | None = None
    expected_to_exit: bool = False


class Daemons:
    """All daemons of the lab."""

    def __init__(self, files: RunFiles, namespaces: dict[str, int], events: Events, server: ForkServer) -> None:
        """Take over the fork server.

        Args:
            files: The run directory; configurations and log files are there.
            namespaces: Descriptors of the network namespaces, by node.
            events: Where to tell what happens.
            server: A fork server that has just been started.
        """
        self.daemons: dict[str, Daemon] = {}
        self._files = files
        self._namespaces = namespaces
        self._events = events
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._locks: dict[str, asyncio.Lock] = {}
        self._asking = asyncio.Lock()
        self._room = asyncio.Event()
        self._adopt(server)

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

    async def reach(self, names: Iterable[str], state: State, seconds: float = READY_SECONDS) -> None:
        """Wait until every daemon of ``names`` has reached ``state``.

        Raises:
            ServerError: One has ended, or has not come that far in time; the text names it.
        """
        wanted = list(names)

        def reached() -> bool:
            for name in wanted:
                if self.daemons[name].state is State.EXITED:
                    raise ServerError(self._obituary(name))
            return all(self.daemons[name].state >= state for name in wanted)

        def late() -> str:
            names = [name for name in wanted if self.daemons[name].state < state]
            return f"not {state.name.lower()} within {seconds:.0f} s: " + ", ".join(
                f"{name} ({self.daemons[name].state.name.lower()})" for name in names
            )

        await self._until(reached, seconds, late)

    async def restart(self, name: str) -> None:
        """End a node's daemon if it runs, start it again and wait until it is ready.

        Raises:
            ServerError: It does not end, or does not come back.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            daemon = self.daemons[name]
            daemon.expected_to_exit = True
            for number in (signal.SIGTERM, signal.SIGKILL):
                if self._gone(daemon):
                    break
                if daemon.pid is not None:
                    with suppress(ProcessLookupError):  # it has ended, and we are about to hear so
                        os.kill(daemon.pid, number)
                try:
                    await self._until(lambda: self._gone(daemon), STOP_SECONDS, lambda: f"{name} does not end")
                except ServerError:
                    if number is signal.SIGKILL:
                        raise
            self._events.emit("daemon-restarting", name)
            await self.start(name)
            await self.reach([name], State.READY)

    @staticmethod
    def _gone(daemon: Daemon) -> bool:
        return daemon.state is State.EXITED

    async def _until(self, done: Callable[[], bool], seconds: float, late: Callable[[], str]) -> None:
        """Wait for a change of state after which ``done`` holds; ``late`` says what did not happen in time."""
        deadline = self._loop.time() + seconds
        while not done():
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                raise ServerError(late()) from None

    def _read_report(self, name: str, daemon: Daemon, pipe: int) -> None:
        """A daemon says how far it is; at the end of the pipe it has ended, and the fork server says how."""
        data = os.read(pipe, 4096)
        if not data:
            self._loop.remove_reader(pipe)
            os.close(pipe)
            return
        for line in data.splitlines():
            event = json.loads(line)["event"]
            state = _REPORTED.get(event)
            if state is None:
                self._events.emit(f"daemon-{event}", name)
            elif daemon.state is not State.EXITED:
                daemon.state = state
                self._events.emit(f"daemon-{state.name.lower()}", name)
        self._changed.set()

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

    def _buried(self, name: str, daemon: Daemon, status: int) -> None:
        """A daemon has ended: tell everybody, unless it was meant to."""
        daemon.state, daemon.exit_status = State.EXITED, status
        if daemon.expected_to_exit:
            self._events.emit("daemon-stopped", name, status=status)
        else:
            self._events.emit("daemon-died", name, status=status, log_tail=self._tail(name))
        self._changed.set()

    def _tail(self, name: str) -> list[str]:
        """The last lines of a node's log, or why there are none: it is the user's, who may have removed it."""
        try:
            with self._files.node_log(name).open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - _TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        except OSError as error:
            return [f"the log cannot be read: {error}"]

    def _obituary(self, name: str) -> str:
        """What became of a daemon, in one line."""
        status = self.daemons[name].exit_status
        if status is None:
            how = "did not start"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with exit status {status}"
        return f"the daemon of {name} {how}; the end of its log: {_words(self._tail(name))}"


def _words(tail: list[str]) -> str:
    """The last line of a log for a person: what went wrong, if it says so."""
    if not tail:
        return "empty"
    try:
        entry = json.loads(tail[-1])
        return f"{entry['event']}: {entry['fields']['error']}"
    except (ValueError, KeyError, TypeError):
        return tail[-1]
