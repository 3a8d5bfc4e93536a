"""The client's side of a lab's box: prepare the run directory, start the init, wait for its end, let it live on."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from testbed.bird import configuration
from testbed.client.channel import Channel, InputError, LabError
from testbed.drivers.plan import Plan
from testbed.order import Order, RunFiles

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

_MARK = b"run directory of a LISP testbed lab; each boot clears what the one before left here\n"
"""What the lock file says, so that no other directory with a file of that name is taken for ours."""
STOP_SECONDS = 10.0
LAB_PROCESS = ("-m", "testbed.server")
"""How a lab process is started; its name and run directory follow."""
_OF_A_RUN = (
    "aside",
    "topology.yaml",
    "control.sock",
    "lab.jsonl",
    "lab.stderr",
    "ping.json",
    "ping.pcap",
    "nodes",
)


def owner() -> tuple[int, int] | None:
    """Who reads what root writes here: the user and group that called sudo, or None."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    return (int(user), int(group)) if user.isdecimal() and group.isdecimal() else None


def give(path: Path, to: tuple[int, int] | None) -> None:
    """Give a file or directory to its reader."""
    if to:
        os.chown(path, *to)


def runs_already(name: str) -> str:
    """Why a lab cannot be booted under a name."""
    return f"a lab named {name} runs already; take it down, or give this one another name (--name)"


def lock(files: RunFiles) -> int:
    """Make the run directory and take its lock; the lab runs as long as anybody holds the descriptor.

    Raises:
        InputError: The directory holds something else.
        LabError: A lab runs there, or the kernel refuses.
    """
    reader = owner()
    try:
        for directory in (files.root.parent, files.root):
            if not directory.exists():
                directory.mkdir(parents=True)
                give(directory, reader)
        if _is_foreign(files):
            raise InputError(f"{files.root} is not empty and not a run directory of a lab; choose another")
        descriptor = os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise LabError(f"run directory {files.root}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(descriptor, _MARK, 0)
    except BlockingIOError:
        os.close(descriptor)
        raise LabError(runs_already(files.root.name)) from None
    except OSError as error:
        os.close(descriptor)
        raise LabError(f"{files.lock}: {error.strerror}") from error
    return descriptor


def _is_foreign(files: RunFiles) -> bool:
    """Whether a directory holds anything, but not the mark that says that a boot may clear it."""
    there = {path.name for path in files.root.iterdir()}
    if files.lock.name not in there:
        return bool(there)
    with open(os.open(files.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as lock_file:
        mark = lock_file.read(len(_MARK) + 1)
    # A lock file that is alone and empty has been made and not yet marked.
    return mark != _MARK and (mark != b"" or len(there) > 1)


def prepare(order: Order) -> None:
    """Clear what an earlier run left and write this one's topology, configurations and empty logs."""
    files = RunFiles(order.run_dir)
    for name in _OF_A_RUN:
        path = files.root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    _write_secret(files.topology, order.topology.source)  # its sites have keys
    readable = [files.topology, files.log, files.errors]
    running = [node for node in order.topology.nodes.values() if node.lisp or node.routing]
    if running:
        readable.append(files.root / "nodes")
        (files.root / "nodes").mkdir()
    for node in running:
        files.node(node.name).mkdir()
        readable.append(files.node(node.name))
        if node.name in order.foreign:
            readable += _configure(files, node.name, order.foreign[node.name])
        elif node.lisp:
            _write_secret(files.node_config(node.name), node.lisp.to_json())
            readable.append(files.node_log(node.name))
        if node.routing:
            files.bird_config(node.name).write_text(configuration(order.topology, node), encoding="utf-8")
            readable += [files.bird_config(node.name), files.bird_log(node.name)]
    for path in readable:
        if not path.exists():
            path.touch()
        give(path, order.owner)


def _configure(files: RunFiles, node: str, plan: Plan) -> list[Path]:
    """Write what a router that is not ours is configured by; returns what its reader is to have."""
    made = []
    for name, text in plan.files:
        path = files.node(node) / name
        for directory in reversed(path.relative_to(files.root).parents):
            if not (files.root / directory).exists():
                (files.root / directory).mkdir()
                made.append(files.root / directory)
        _write_secret(path, text)
        made.append(path)
    facts = {"implementation": plan.implementation, "driver": plan.driver, "log": plan.log}
    files.router(node).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return [*made, files.router(node), files.router_log(node)]


def _write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, at no moment anybody else."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as secret:
        secret.write(text)


class Box:
    """A box that this process may have started.

    Attributes:
        init: A pidfd of its init; readable when nothing of the box is left.
    """

    def __init__(self, init: int, lifeline: int | None = None, parent: subprocess.Popen[bytes] | None = None) -> None:
        self.init = init
        self._lifeline = lifeline
        self._parent = parent

    @classmethod
    def start(cls, order: Order, lock_descriptor: int) -> tuple[Box, Channel]:
        """Start a box and in it the lab process, which holds the lock from now on.

        Returns:
            The box, and the channel on which the lab process tells its events.

        Raises:
            LabError: The kernel refused; the text is what it said.
        """
        files = RunFiles(order.run_dir)
        with ExitStack() as ours:
            alive, lifeline = os.pipe()
            ours.callback(os.close, alive)
            keep = ours.enter_context(ExitStack())
            holding = keep.enter_context(ExitStack())
            holding.callback(os.close, lifeline)
            events, theirs = socket.socketpair()
            keep.callback(events.close)
            ours.enter_context(theirs)
            memory = os.memfd_create("order")
            with open(memory, "wb", closefd=False) as written:
                pickle.dump(order, written, pickle.HIGHEST_PROTOCOL)
            os.lseek(memory, 0, os.SEEK_SET)
            ours.callback(os.close, memory)
            passed = (theirs.fileno(), lock_descriptor, memory)
            command = [sys.executable, "-I", "-S", str(ROOT / "testbed/server/init.py"), str(ROOT), str(alive)]
            command.append(",".join(map(str, passed)))
            command += [sys.executable, *LAB_PROCESS, order.lab, str(order.run_dir), *map(str, passed)]
            with open(files.errors, "ab") as errors:
                first = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, pass_fds=(alive, *passed)
                )
            keep.callback(_reap, first)  # waits for it, and it for the box, which ends when the lifeline does
            keep.callback(holding.close)
            assert first.stdout is not None
            number = first.stdout.readline()
            if not number:
                raise LabError(f"the box could not be made: {last_line(files.errors)}")
            init = os.pidfd_open(int(number))  # its parent has not reaped it, so the number is still its
            keep.pop_all()
            return cls(init, lifeline, first), Channel(events)

    def ended(self, seconds: float) -> bool:
        """Wait for the end of everything in the box; say whether it has come."""
        events = select.poll()
        events.register(self.init, select.POLLIN)
        deadline = time.monotonic() + seconds
        while not events.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if time.monotonic() >= deadline:
                return False
        return True

    def kill(self) -> None:
        """End everything in the box and wait for it.

        Raises:
            LabError: Something in it does not end.
        """
        try:
            signal.pidfd_send_signal(self.init, signal.SIGKILL)
        except ProcessLookupError:
            return
        if not self.ended(STOP_SECONDS):
            raise LabError(
                f"the box does not end within {STOP_SECONDS:g} s; is a command that entered it (exec, shell) suspended?"
            )

    def detach(self) -> None:
        """Let the box live on when this process ends."""
        if self._lifeline is not None:
            os.write(self._lifeline, b"d")
            self._let_go()

    def close(self) -> None:
        """Forget the box; one that was not detached ends."""
        self._let_go()
        os.close(self.init)

    def _let_go(self) -> None:
        """Close the lifeline, and have the init's parent end."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._parent is not None:
            parent, self._parent = self._parent, None
            assert parent.stdin is not None
            with suppress(BrokenPipeError):
                os.write(parent.stdin.fileno(), b"d")
            _reap(parent)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let a Ctrl-C wait until the end of this: what is started in it is in its owner's hands before it takes effect."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Close a process's pipes and wait for its end; after a Ctrl-C Popen's own exit would wait for 0.25 s only."""
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    process.wait()


def lab_processes() -> Iterator[tuple[str, Path]]:
    """The name and run directory of every lab of this checkout that runs, wherever its run directory is."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError, UnicodeDecodeError):  # it has just ended, or is not ours to see
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            if tuple(words[1:3]) == LAB_PROCESS and (entry / "cwd").readlink() == ROOT:
                yield words[3], Path(words[4])


def parent_of(process: int) -> int:
    """A pidfd of a process's parent: of a lab process, the init of its box.

    Raises:
        OSError: It has ended.
    """
    status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    return os.pidfd_open(int(status.rpartition(")")[2].split()[1]))


def last_line(path: Path) -> str:
    """The last line of a file, or a word that there is none."""
    with suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote no reason")
    return os.strerror(errno.ENOENT)
