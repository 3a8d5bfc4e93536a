"""The lab process's control socket: JSON lines, one request and one reply at a time, descriptors beside the reply."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from testbed.server.events import Events
from testbed.server.supervision import RequestError, ServerError

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


class Request(dict[str, Any]):
    """A client's request: "op" and what that needs."""

    def __missing__(self, field: str) -> Any:
        raise ServerError(f"the request lacks {field!r}")


Handler = Callable[[Request], Awaitable[Reply]]


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
            while data := await self._loop.sock_recv(client, _MAX_REQUEST):
                *lines, received = (received + data).split(b"\n")
                for line in lines:
                    if not await self._answer(client, line):
                        return
                if len(received) > _MAX_REQUEST:
                    await self._refuse(client, f"a request is one line of at most {_MAX_REQUEST} bytes")
                    return
        except OSError:
            pass  # the client is gone
        finally:
            client.close()

    async def _answer(self, client: socket.socket, line: bytes) -> bool:
        """Carry out a request. Whatever is wrong with it, one line says so.

        Returns:
            Whether more requests may follow: not on a connection that carries events from now on.
        """
        try:
            request = _parse(line)
            if request["op"] == "events":
                self._events.subscribe(client.dup())
                return False
            handler = self._handlers.get(request["op"])
            if handler is None:
                raise ServerError(f"unknown request; allowed are {', '.join(self._handlers)}")
            reply = await handler(request)
        except (ServerError, OSError) as error:
            await self._refuse(client, str(error), isinstance(error, RequestError))
        except (TypeError, ValueError, OverflowError) as error:
            await self._refuse(client, f"the request makes no sense: {error}")
        else:
            try:
                await self._send(client, {"ok": True, "data": reply.data}, reply.descriptors)
            finally:
                for descriptor in reply.descriptors if reply.close else ():
                    os.close(descriptor)
        return True

    async def _refuse(self, client: socket.socket, error: str, its_words: bool = False) -> None:
        """Say in a line why not; "input" is whether the request asks for what cannot be."""
        await self._send(client, {"ok": False, "error": error, "input": its_words})

    async def _send(self, client: socket.socket, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Send a line, however long; the descriptors go with its first piece."""
        text = json.dumps(message).encode() + b"\n"
        while True:
            try:
                sent = socket.send_fds(client, [text], descriptors)
            except BlockingIOError:  # it asks without reading the answers
                await self._writable(client)
            else:
                break
        await self._loop.sock_sendall(client, text[sent:])

    async def _writable(self, client: socket.socket) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(client, ready.set_result, None)
        try:
            await ready
        finally:
            self._loop.remove_writer(client)


def _parse(line: bytes) -> Request:
    try:
        return Request(json.loads(line).items())
    except (ValueError, AttributeError, RecursionError):
        raise ServerError('a request is a JSON object with an "op"') from None
