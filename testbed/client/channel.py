"""JSON lines over a Unix socket: how a client asks the lab process, and a node's daemon."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Any

from nodes.linux import unix_socket

_MAX_DESCRIPTORS = 8
_CHUNK = 1 << 16


class LabError(Exception):
    """Something about a lab does not work; one clear line."""


class RefusedError(LabError):
    """The answer to a request is that it is not carried out, and why."""


class InputError(LabError):
    """What was asked for cannot be, such as a node that is not there: the line says what can; nothing was done."""


class Channel:
    """A connection on which requests are answered in order."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._received = b""
        self._descriptors: list[int] = []

    @classmethod
    def open(cls, path: Path) -> Channel:
        """Connect to the socket at ``path``.

        Raises:
            OSError: Nobody listens there.
        """
        return cls(unix_socket.connect(path))

    def ask(self, op: str, seconds: float, **fields: Any) -> tuple[Any, list[int]]:
        """Send a request and wait for its reply.

        Args:
            op: What is asked for.
            seconds: How long to wait.
            fields: The request's other fields.

        Returns:
            The reply's data, and the descriptors that came with it; the caller closes them.

        Raises:
            InputError: What it asks for cannot be.
            RefusedError: The answer is no, for another reason.
            LabError: There was no answer.
        """
        self.tell(op, **fields)
        self.socket.settimeout(seconds)
        try:
            line = self._line()
        except TimeoutError:
            raise LabError(f"no answer to {op} within {seconds:g} s") from None
        except ConnectionError:
            line = b""
        if not line:
            raise LabError(f"{op}: the connection ended before an answer")
        reply = json.loads(line)
        descriptors, self._descriptors = self._descriptors, []
        if not reply["ok"]:
            raise (InputError if reply.get("input") else RefusedError)(reply["error"])
        return reply.get("data"), descriptors

    @property
    def peer(self) -> int:
        """The process ID, as seen from here, of whoever listens at the other end."""
        pid, _user, _group = struct.unpack("3i", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def tell(self, op: str, **fields: Any) -> None:
        """Send a request without waiting for a reply."""
        try:
            self.socket.sendall(json.dumps({"op": op} | fields).encode() + b"\n")
        except ConnectionError as error:
            raise LabError(f"{op}: {error.strerror}") from error

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            data, descriptors, _flags, _address = socket.recv_fds(
                self.socket, _CHUNK, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
            self._descriptors += descriptors
            if not data:
                return b""
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    def events(self, timeout: float | None) -> list[dict[str, Any]] | None:
        """The events that have arrived on a connection that asked for them.

        Args:
            timeout: Seconds to wait for the first; 0 takes what is there, None waits for ever.

        Returns:
            The events, none of them when the time is over; None when the other side has ended.
        """
        self.socket.settimeout(timeout)
        while b"\n" not in self._received:
            try:
                data = self.socket.recv(_CHUNK)
            except (TimeoutError, BlockingIOError):
                return []
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._received += data
        *lines, self._received = self._received.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close the connection, and the descriptors of an answer that nobody took."""
        self.socket.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
