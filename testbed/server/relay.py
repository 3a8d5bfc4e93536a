"""The relay, seen from the lab process: it delays frames where the kernel cannot. Started, watched, replaced."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress

from nodes.kinds.delay_lines import DelayLines
from nodes.linux.namespaces import inside
from testbed.server.events import Events
from testbed.server.supervision import ServerError

READY_SECONDS = 20.0


class Relay:
    """The process of ``nodes.relay``. A new one takes the place of one that dies: links must not stay cut."""

    def __init__(self, delay_lines: DelayLines, events: Events) -> None:
        """Start it; it imports while the caller builds the links, and waits for :meth:`serve`."""
        self._delay_lines = delay_lines
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._failed = ""
        self._deaths = 0
        self._start()

    def _start(self) -> None:
        orders, self._orders = os.pipe()
        self._report, report = os.pipe()
        try:
            os.set_inheritable(report, True)
            command = [sys.executable, "-S", "-m", "nodes.relay", str(report)]
            with inside(self._delay_lines.namespace):
                self._pid = os.posix_spawn(
                    command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, orders, 0)]
                )
        finally:
            os.close(orders)
            os.close(report)
        os.set_blocking(self._report, False)
        self._loop.add_reader(self._report, self._hear)

    async def serve(self) -> None:
        """Have it pass frames on every delayed link, and wait until it does.

        Raises:
            ServerError: It ended, or does not answer.
        """
        self._order()
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise ServerError(f"the relay of delayed links does not answer within {READY_SECONDS:.0f} s") from None
        if self._failed:
            raise ServerError(self._failed)

    def _order(self) -> None:
        """Tell it the links."""
        lines = [(*line.halves, line.delay) for line in self._delay_lines.lines]
        with suppress(BrokenPipeError), open(self._orders, "w", encoding="utf-8") as orders:
            json.dump(lines, orders)

    def _hear(self) -> None:
        """It has something to say, or has ended."""
        data = os.read(self._report, 65536)
        for line in data.splitlines():
            message = json.loads(line)
            if message["event"] == "ready":
                self._ready.set()
                if self._deaths:
                    self._events.emit("relay-replaced")
            else:
                self._events.emit("link-overrun", link=self._link_of(message["half"]), frames=message["frames"])
        if not data:
            self._bury()

    def _link_of(self, half: str) -> str:
        return next(line.link for line in self._delay_lines.lines if half in line.halves)

    def _bury(self) -> None:
        """Replace it, if it ever worked."""
        self._loop.remove_reader(self._report)
        os.close(self._report)
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._events.emit("relay-died", status=status, links=[line.link for line in self._delay_lines.lines])
        if not self._ready.is_set():
            self._failed = f"the relay of delayed links ended with exit status {status}; lab.stderr says why"
            self._ready.set()
            return
        self._deaths += 1
        self._ready.clear()
        self._start()
        self._order()
