"""The lab process's control socket: JSON lines, one request and one reply at a time, descriptors beside the reply."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from testbed.server.daemons import ServerError
from testbed.server.events import Events

_MAX_REQUEST = 1 << 16


class Reply:
    """What a request is answered with.

    Attributes:
        data: A JSON value.
        descriptors: Copies of these go to the client; ours are closed when ``close`` is set.
    """

    __slots__ = ("close", "data", "descriptors")

    def __init__(self, data: Any = None, descriptors: tuple[int, ...] = (), close: bool = False) -> None:
        self.data = data
        self.descriptors = descriptors
        self.close = close


Handler = Callable[[dict[str, Any]], Awaitable[Reply]]


def listen(path: Path) -> socket.socket:
    """Open the socket, for root only. A socket path holds 108 bytes, so it is bound relative to its directory."""
    path.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        opened.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.umask(before)
        os.close(directory)
    opened.listen()
    opened.setblocking(False)
    return opened


class Control:
    """Answers clients. The request {"op": "events"} turns its connection into a stream of events."""

    def __init__(self, listening: socket.socket, handlers: dict[str, Handler], events: Events) -> None:
        self._listening = listening
        self._handlers = handlers
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._conversations: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Accept clients until cancelled."""
        while True:
            client, _ = await self._loop.sock_accept(self._listening)
            task = self._loop.create_task(self._converse(client))
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)

    async def _converse(self, client: socket.socket) -> None:
        received = b""
        try:
            while True:
                data = await self._loop.sock_recv(client, _MAX_REQUEST)
                received += data
                if not data or len(received) > _MAX_REQUEST:
                    break
                *lines, received = received.split(b"\n")
                for line in lines:
                    if json.loads(line).get("op") == "events":
                        self._events.subscribe(client)
                        return
                    await self._answer(client, json.loads(line))
        except (OSError, ValueError):
            pass  # the client is gone, or speaks something else
        client.close()

    async def _answer(self, client: socket.socket, request: dict[str, Any]) -> None:
        reply = Reply()
        try:
            handler = self._handlers.get(request.get("op", ""))
            if handler is None:
                raise ServerError(f"unknown request; allowed are {', '.join(self._handlers)}")
            reply = await handler(request)
            text = {"ok": True, "data": reply.data}
        except (ServerError, OSError) as error:
            text = {"ok": False, "error": str(error)}
        try:
            socket.send_fds(client, [json.dumps(text).encode() + b"\n"], reply.descriptors)
        finally:
            for descriptor in reply.descriptors if reply.close else ():
                os.close(descriptor)
