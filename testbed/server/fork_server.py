"""The daemons' fork server, seen from the lab process: start it, tell it what to fork, hear what became of it."""

from __future__ import annotations

import array
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

_MAX_MESSAGE = 1 << 16


class ForkServer:
    """A process that has imported the daemon once and forks it into network namespaces.

    Attributes:
        socket: The SEQPACKET socket to it; select on it and call :meth:`receive`.
    """

    def __init__(self) -> None:
        """Start it; it imports while the caller goes on."""
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            command = [sys.executable, "-S", "-m", "nodes.daemon.fork_server", str(theirs.fileno())]
            self._pid = os.posix_spawn(command[0], command, os.environ)
        self.socket.setblocking(False)

    def start(self, name: str, directory: Path, log: Path, namespace: int, report: int) -> None:
        """Ask for a daemon. The fork server answers when it has forked it.

        Args:
            name: The node's name.
            directory: The node's directory: its configuration, its state, its control socket.
            log: The log file.
            namespace: Descriptor of the node's network namespace.
            report: Write end of the pipe on which the daemon says that it is ready.

        Raises:
            BlockingIOError: It still has to read what it was asked before; ask again when the socket can be written.
            OSError: The fork server is gone.
        """
        message = {
            "op": "start",
            "name": name,
            "config": str(directory / "config.json"),
            "state_dir": str(directory),
            "log": str(log),
        }
        descriptors = array.array("i", [namespace, report])
        self.socket.sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived, or None when the fork server has ended and its daemons with it."""
        arrived: list[dict[str, Any]] = []
        while True:
            try:
                message = self.socket.recv(_MAX_MESSAGE)
            except BlockingIOError:
                return arrived
            except ConnectionError:
                message = b""
            if not message:
                return arrived or None
            arrived.append(json.loads(message))

    def close(self) -> None:
        """Let go of a fork server that has ended."""
        self.socket.close()
        os.waitpid(self._pid, 0)
