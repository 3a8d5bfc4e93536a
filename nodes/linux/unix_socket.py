"""Unix sockets at paths of any length. A socket address holds 108 bytes, so they go by the directory's descriptor."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _short(path: Path) -> Iterator[str]:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen(path: Path, backlog: int = 128) -> socket.socket:
    """Open a stream socket at ``path`` that only its owner can connect to; one that is there is replaced.

    Returns:
        The socket, listening and non-blocking.

    Raises:
        OSError: It cannot be made.
    """
    path.unlink(missing_ok=True)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        with _short(path) as name:
            opened.bind(name)
        opened.listen(backlog)
    except OSError:
        opened.close()
        raise
    finally:
        os.umask(before)
    return opened


def connect(path: Path) -> socket.socket:
    """Connect to the stream socket at ``path``.

    Raises:
        OSError: Nobody listens there.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _short(path) as name:
            connected.connect(name)
    except OSError:
        connected.close()
        raise
    return connected
