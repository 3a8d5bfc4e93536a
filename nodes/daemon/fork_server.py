"""Starts daemons by fork: ``python -m nodes.daemon.fork_server FD``.

It has imported what a daemon needs, so a daemon is there within milliseconds and shares that memory. ``FD`` is a Unix
SOCK_SEQPACKET socket, one JSON object a packet. Request, with two descriptors (SCM_RIGHTS), the network namespace and
the write end of the report pipe::

    {"op": "start", "name": "xtr1", "config": FILE, "state_dir": DIRECTORY, "log": FILE}

Answers, the second when the daemon has ended (``status`` as in :mod:`subprocess`: negative for a signal)::

    {"event": "started", "name": "xtr1", "pid": 123}
    {"event": "exited", "name": "xtr1", "pid": 123, "status": 0}

A request that cannot be carried out is answered with {"event": "refused", "name": ..., "error": ...}. When the other
side closes the socket, the server kills its daemons and exits; when the server is killed, the kernel kills them.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nodes.daemon.daemon import CRASHED, Arguments, run
from nodes.linux import namespaces

_REQUEST_BYTES = 16384
_DESCRIPTORS = 2


@dataclass(frozen=True, slots=True)
class _Child:
    """A running daemon, by its pidfd in the server's table."""

    name: str
    pid: int


class ForkServer:
    """Forks daemons and says when they end."""

    def __init__(self, control: socket.socket) -> None:
        """Serve the requests that come in by ``control``."""
        self._control = control
        self._children: dict[int, _Child] = {}
        self._poll = select.epoll()
        self._poll.register(control.fileno(), select.EPOLLIN)

    def serve(self) -> None:
        """Work until the other side closes the socket; then no child is left."""
        try:
            while True:
                for descriptor, _ in self._poll.poll():
                    if descriptor != self._control.fileno():
                        self._reap(descriptor)
                    elif not self._request():
                        return
        finally:
            self._kill()

    def _request(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._control, _REQUEST_BYTES, _DESCRIPTORS)
        if not packet:
            return False
        request: dict[str, Any] = {}
        try:
            request = dict(json.loads(packet))
            if request["op"] != "start" or len(descriptors) != _DESCRIPTORS:
                raise ValueError(f"op is {request['op']!r} with {len(descriptors)} descriptors, not 'start' with 2")
            self._start(request, *descriptors)
        except (ValueError, KeyError, TypeError, OSError) as error:
            words = f"{type(error).__name__}: {error}"
            self._answer({"event": "refused", "name": request.get("name", ""), "error": words})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _start(self, request: dict[str, Any], namespace: int, report: int) -> None:
        name = str(request["name"])
        arguments = Arguments(name, Path(request["config"]), Path(request["state_dir"]), Path(request["log"]), report)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_daemon(name, namespace, arguments, parent)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = _Child(name, pid)
        self._poll.register(pidfd, select.EPOLLIN)
        self._answer({"event": "started", "name": name, "pid": pid})

    def _become_daemon(self, name: str, namespace: int, arguments: Arguments, parent: int) -> NoReturn:
        status = CRASHED
        try:
            namespaces.die_with_parent(signal.SIGKILL)
            if os.getppid() != parent:  # it died before the bond was made
                os._exit(CRASHED)
            self._poll.close()
            self._control.close()
            for pidfd in self._children:
                os.close(pidfd)
            namespaces.setns(namespace, namespaces.CLONE_NEWNET)
            os.close(namespace)
            namespaces.name_process(f"lisp:{name}")
            status = run(arguments)
        except BaseException:
            # Before the daemon has its log: what starts the server shows or keeps its standard error.
            traceback.print_exc()
        finally:
            os._exit(status)

    def _reap(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(child.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._answer({"event": "exited", "name": child.name, "pid": child.pid, "status": code})

    def _answer(self, event: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(event).encode())
        except OSError:  # the other side has gone: the next read says so
            return

    def _kill(self) -> None:
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
        for child in self._children.values():
            os.waitpid(child.pid, 0)


def main() -> int:
    """Serve on the descriptor in the first argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C goes to the whole terminal; the lab decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is imported now is never garbage: keep the collector from touching, and so copying, the shared pages.
    gc.collect()
    gc.freeze()
    ForkServer(control).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
