"""What happens in a lab, told to the log and to every client that listens."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from nodes.linux.line_file import LineFile, timestamp

HISTORY = 500
_SEND_BUFFER = 1 << 20
_CHUNK = 4096


class Events:
    """One event goes to the log (time, node, event, fields) and, as one flat JSON line, to the subscribers.

    A subscriber that does not read is dropped: nobody can hold up the lab. One that leaves is let go at once.
    """

    def __init__(self, log: Path) -> None:
        """Append to the log file."""
        self._log = LineFile(log)
        self._history: deque[bytes] = deque(maxlen=HISTORY)
        self._subscribers: list[socket.socket] = []

    def emit(self, event: str, node: str | None = None, **fields: Any) -> None:
        """Say that ``event`` happened, at ``node`` or in the lab as a whole."""
        time = timestamp()
        entry = {"time": time, "node": node, "event": event, "fields": fields}
        with suppress(OSError):  # a full disk costs lines, not the lab
            self._log.append(json.dumps(entry).encode() + b"\n")
        line = json.dumps({"event": event, "time": time} | ({"node": node} if node else {}) | fields).encode() + b"\n"
        self._history.append(line)
        for subscriber in list(self._subscribers):
            self._send(subscriber, line)

    def subscribe(self, client: socket.socket) -> None:
        """Tell a client how many events there were, send them, and from now on each that happens.

        The socket is ours from now on; the event loop that runs watches it.
        """
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._subscribers.append(client)
        asyncio.get_running_loop().add_reader(client, self._hear, client)
        greeting = json.dumps({"event": "subscribed", "past": len(self._history)}).encode() + b"\n"
        self._send(client, greeting + b"".join(self._history))

    def _send(self, subscriber: socket.socket, data: bytes) -> None:
        try:
            complete = subscriber.send(data) == len(data)
        except OSError:
            complete = False
        if not complete:
            self._drop(subscriber)

    def _hear(self, subscriber: socket.socket) -> None:
        """A subscriber has nothing to say; what can be read is its end."""
        try:
            gone = not subscriber.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._drop(subscriber)

    def _drop(self, subscriber: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(subscriber)
        self._subscribers.remove(subscriber)
        subscriber.close()
