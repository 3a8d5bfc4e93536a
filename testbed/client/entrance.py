"""The way into a node of a running lab for a command, and the wait for what a log gains."""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed.client.box import ROOT
from testbed.client.channel import LabError

_IN_MODIFY = 0x2


class Entrance:
    """What is needed to enter a node, as a context: the descriptors are closed at its end.

    Attributes:
        descriptors: The node's network namespace, and a pidfd of the box's init.
        bird: The directory of the routing daemon that runs in the node, or None.
    """

    def __init__(self, descriptors: Sequence[int], bird: str | None = None) -> None:
        self.descriptors = tuple(descriptors)
        self.bird = bird

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` in the node; it needs the descriptors.

        Raises:
            LabError: ``argv`` is one text instead of words.
        """
        if isinstance(argv, str):
            raise LabError(f"a command is a list of words, not {argv!r}; for a shell's line: ['sh', '-c', {argv!r}]")
        script = ROOT / "testbed/client/crossing.py"
        places = (str(ROOT), *map(str, self.descriptors), self.bird or "")
        return [sys.executable, "-I", "-S", str(script), *places, *argv]

    def run(
        self, argv: Sequence[str], text: str | None = None, timeout: float | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` in the node.

        Args:
            argv: The command and its arguments.
            text: What it reads, if ``options`` make its standard input a pipe.
            timeout: Seconds, or None to wait for ever.
            options: Those of :class:`subprocess.Popen`.

        Raises:
            subprocess.TimeoutExpired: It did not end in time; it has been killed.
        """
        command = self.command(argv)
        with subprocess.Popen(command, pass_fds=self.descriptors, text=True, errors="replace", **options) as process:
            try:
                output, errors = process.communicate(text, timeout)
            except BaseException:
                process.terminate()  # not killed: it has to end the command and to reap it
                raise
        return subprocess.CompletedProcess(list(argv), process.returncode, output, errors)

    def __enter__(self) -> Entrance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def follow_file(path: Path, init: int) -> Iterator[str]:
    """The lines of a file, and those it gains until the process of the pidfd ``init`` has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    notify = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if notify < 0 or libc.inotify_add_watch(notify, os.fsencode(path), _IN_MODIFY) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
        events = select.poll()
        events.register(notify, select.POLLIN)
        events.register(init, select.POLLIN)
        with path.open(encoding="utf-8", errors="replace") as file:
            ended = False
            while not ended:
                yield from file
                ended = any(descriptor == init for descriptor, _ in events.poll())
                if not ended:
                    os.read(notify, 1 << 16)
            yield from file
    finally:
        if notify >= 0:
            os.close(notify)
