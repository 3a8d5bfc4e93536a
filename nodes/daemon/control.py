"""The daemon's control socket: JSON lines over a Unix socket that only root can open."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodes.daemon.loop import Loop
from nodes.linux import unix_socket

_LONGEST_LINE = 1 << 16
_MOST_CLIENTS = 64
_BACKLOG = 16
_MOST_UNSENT = 1 << 20
"""Bytes of answers that may wait for a client when it makes another request; who does not read is cut off."""

Request = dict[str, Any]
Handler = Callable[[Request, "Client"], None]


class Client:
    """One connection: reads request lines, writes answer lines. Never blocks the daemon."""

    def __init__(self, opened: socket.socket, loop: Loop, handler: Handler, gone: Callable[[Client], None]) -> None:
        """Serve a connection until the other side closes it."""
        self._socket = opened
        self._loop = loop
        self._handler = handler
        self._gone = gone
        self._received = b""
        self._unsent = b""
        loop.add(opened.fileno(), self._ready)

    def succeed(self, data: Any) -> None:
        """Answer a request with data."""
        self._answer({"ok": True, "data": data})

    def fail(self, error: str) -> None:
        """Answer a request with one line of words."""
        self._answer({"ok": False, "error": error})

    def close(self) -> None:
        """Close the connection."""
        if self._socket.fileno() >= 0:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._gone(self)

    def _answer(self, answer: dict[str, Any]) -> None:
        if self._socket.fileno() < 0:
            return
        if len(self._unsent) > _MOST_UNSENT:
            self.close()
            return
        self._unsent += json.dumps(answer).encode() + b"\n"
        self._flush()

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ and self._socket.fileno() >= 0:
            self._read()

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._loop.change(self._socket.fileno(), wanted)

    def _read(self) -> None:
        try:
            arrived = self._socket.recv(_LONGEST_LINE)
        except BlockingIOError:
            return
        except OSError:
            arrived = b""
        *lines, self._received = (self._received + arrived).split(b"\n")
        if not arrived or len(self._received) > _LONGEST_LINE:
            self.close()
            return
        for line in lines:
            if self._socket.fileno() < 0:
                return
            try:
                request = json.loads(line)
                if not isinstance(request, dict):
                    raise TypeError("a request is a JSON object")
            except (ValueError, TypeError, RecursionError) as error:  # the last one: nested without end
                self.fail(f"request: {error}")
                continue
            self._handler(request, self)


class ControlSocket:
    """Listens on ``control.sock`` in a directory."""

    def __init__(self, directory: Path, loop: Loop, handler: Handler) -> None:
        """Open it, with mode 0600."""
        self._loop = loop
        self._handler = handler
        self._clients: list[Client] = []
        self._path = directory / "control.sock"
        self._socket = unix_socket.listen(self._path, _BACKLOG)
        loop.add(self._socket.fileno(), self._accept)

    def _accept(self, events: int) -> None:  # noqa: ARG002
        try:
            opened, _ = self._socket.accept()
        except OSError:
            return
        if len(self._clients) >= _MOST_CLIENTS:
            opened.close()
            return
        opened.setblocking(False)
        self._clients.append(Client(opened, self._loop, self._handler, self._clients.remove))

    def close(self) -> None:
        """Close every connection and take the socket away."""
        for client in list(self._clients):
            client.close()
        self._loop.remove(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)
