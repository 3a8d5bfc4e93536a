"""Processes that the lab keeps running on its nodes: how far each has come, what became of it, restart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar

from testbed.server.events import Events

READY_SECONDS = 60.0
RESTART_SECONDS = 10.0  # somebody waits for one daemon, whose peers run or are dead
STOP_SECONDS = 5.0
TAIL_LINES = 10
_TAIL_BYTES = 16384
_WORDS = 200  # of a line that anybody may have written


class ServerError(Exception):
    """Something a client asked for cannot be done; one clear line."""


class RequestError(ServerError):
    """It can never be done here, such as with a node that is not there: the line says what can."""


class State(IntEnum):
    """How far a daemon has come; each state includes the ones before it."""

    EXITED = 0
    STARTING = 1
    LISTENING = 2  # a LISP daemon's sockets are open and its TUN device is up
    READY = 3  # every Map-Register is acknowledged; the kernel has every route that a routing daemon brings


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


class Supervisor(ABC):
    """All daemons of one kind.

    Attributes:
        KIND: What these daemons are called in events.
        WORDS: And in messages to people.
        daemons: The last run of each, by node.
    """

    KIND: ClassVar[str]
    WORDS: ClassVar[str]

    def __init__(self, events: Events) -> None:
        """Tell ``events`` what happens."""
        self.daemons: dict[str, Daemon] = {}
        self._events = events
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._locks: dict[str, asyncio.Lock] = {}

    @abstractmethod
    async def start(self, name: str) -> None:
        """Start a node's daemon; :meth:`reach` waits for it.

        Raises:
            ServerError: It cannot be started.
        """

    @abstractmethod
    def _log(self, name: str) -> Path:
        """The log file of a node's daemon."""

    def _progress(self, name: str) -> str:
        """How far a daemon has come, for whoever waited too long."""
        return self.daemons[name].state.name.lower()

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
            return f"not {state.name.lower()} within {seconds:g} s: " + ", ".join(
                f"{name} ({self._progress(name)})" for name in names
            )

        await self._until(reached, seconds, late)

    async def restart(self, name: str) -> None:
        """End a node's daemon if it runs, start it again and wait until it is ready.

        Raises:
            ServerError: It does not end, or does not come back.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            await self._end(name)
            self._events.emit("daemon-restarting", name, daemon=self.KIND)
            await self._replace(name)
            await self.reach([name], State.READY, RESTART_SECONDS)

    async def _end(self, name: str) -> str:
        """End a node's daemon if it runs.

        Returns:
            A line that says so if it had to be killed.

        Raises:
            ServerError: It does not end.
        """
        daemon, words = self.daemons[name], ""
        daemon.expected_to_exit = True
        for number, seconds in self._stopping(name):
            if self._gone(daemon):
                break
            if daemon.pid is not None:
                with suppress(ProcessLookupError):  # it has ended, and we are about to hear so
                    os.kill(daemon.pid, number)
            try:
                await self._until(lambda: self._gone(daemon), seconds, lambda: f"{name} does not end")
            except ServerError:
                if number == signal.SIGKILL:
                    raise
                words = f"{self._called(name)} ignored {signal.Signals(number).name} for {seconds:g} s; it is killed"
                self._events.emit("daemon-killed", name, daemon=self.KIND, words=words)
        return words

    def _stopping(self, _name: str) -> tuple[tuple[int, float], ...]:
        """The signals that end a daemon, one after the other, and for how many seconds each is given a chance."""
        return (signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)

    def _called(self, name: str) -> str:
        """A node's daemon in messages to people."""
        return f"the {self.WORDS} of {name}"

    async def _replace(self, name: str) -> None:
        """Start a daemon in the place of one that has ended."""
        await self.start(name)

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

    def _advanced(self, name: str, daemon: Daemon, state: State) -> None:
        """A daemon has come further."""
        if daemon.state is not State.EXITED:
            daemon.state = state
            self._events.emit(f"daemon-{state.name.lower()}", name, daemon=self.KIND)
        self._changed.set()

    def _buried(self, name: str, daemon: Daemon, status: int) -> None:
        """A daemon has ended: tell everybody, unless it was meant to."""
        daemon.state, daemon.exit_status = State.EXITED, status
        if daemon.expected_to_exit:
            self._events.emit("daemon-stopped", name, daemon=self.KIND, status=status)
        else:
            self._events.emit("daemon-died", name, daemon=self.KIND, status=status, log_tail=self._tail(name))
        self._changed.set()

    def _tail(self, name: str) -> list[str]:
        """The last lines of a daemon's log, or why there are none: it is the user's, who may have removed it."""
        try:
            with self._log(name).open("rb") as log:
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
        return f"{self._called(name)} {how}; the end of its log: {_words(self._tail(name))}"


def _words(tail: list[str]) -> str:
    """The last line of a log for a person: what went wrong, if it says so."""
    tail = [line for line in tail if line.strip()]
    if not tail:
        return "empty"
    try:
        entry = json.loads(tail[-1])
        return f"{entry['event']}: {entry['fields']['error']}"
    except (ValueError, KeyError, TypeError):
        return "".join(one if one.isprintable() else "?" for one in tail[-1][:_WORDS])
