"""A lab, from the outside: boot it, run commands in its nodes, ask its daemons, take it down.

    with Lab("two-dc") as lab:
        lab.exec("h1", ["ping", "-c", "1", str(lab["h4"].address)])

A lab runs in a process of its own (``testbed.server``); this is a client of that process, the same for tasks, tests and
demos.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed.box import ROOT, STOP_SECONDS, Box, give, last_line, lock, owner, prepare
from testbed.channel import Channel, LabError
from testbed.entrance import Entrance, follow_file
from testbed.model import Node, Topology
from testbed.order import Order, RunFiles

__all__ = ["RUNS", "Lab", "LabError"]

RUNS = ROOT / ".runs"
"""Where run directories are, one per lab."""

ANSWER_SECONDS = 10.0
RESTART_SECONDS = 90.0
BOOT_SECONDS = 180.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NOT_ROOT = "a lab needs root; run it with sudo"


class Lab:
    """A lab that is to be booted, or one that runs.

    Attributes:
        name: Its name; two labs of one topology run side by side under different names.
        run_dir: Where its files are.
    """

    def __init__(
        self, topology: str | Path | Topology, *, name: str | None = None, run_dir: Path | None = None
    ) -> None:
        """Read the world; nothing is started yet.

        Args:
            topology: A topology's name ("two-dc"), its file, or a resolved topology.
            name: The lab's name; by default the topology's.
            run_dir: The run directory; by default ``.runs/<name>`` in the checkout.

        Raises:
            TopologyError: The file is wrong; each problem is one line with file and line number.
            LabError: The name cannot be one.
        """
        if isinstance(topology, Topology):
            self.topology = topology
        else:
            from testbed.load import load

            self.topology = load(topology)
        self._place(name or self.topology.name, run_dir)

    def _place(self, name: str, run_dir: Path | None) -> None:
        if not _NAME.fullmatch(name):
            raise LabError(f"{name!r} is not a name for a lab; allowed are letters, digits and . _ - (63 at most)")
        self.name = name
        self.run_dir = (run_dir or RUNS / name).resolve()
        self._files = RunFiles(self.run_dir)
        self._box: Box | None = None
        self._events: Channel | None = None
        self._seen: list[dict[str, Any]] = []

    @classmethod
    def attach(cls, name: str | None = None, runs: Path = RUNS) -> Lab:
        """A lab that runs.

        Args:
            name: Its name, or its run directory when that is elsewhere ("./here"); None when only one runs.
            runs: Where run directories are.

        Raises:
            LabError: There is none, or more than one and no name.
        """
        if name is None:
            there = cls.running(runs)
            if len(there) != 1:
                names = ", ".join(lab.name for lab in there)
                raise LabError(f"several labs run, name one: {names}" if there else "no lab is running")
            return there[0]
        run_dir = Path(name) if "/" in name else runs / name
        lab = cls.__new__(cls)
        lab._place(run_dir.resolve().name, run_dir)
        if not lab._runs():
            raise LabError(f"no lab named {name} is running")
        return lab

    @classmethod
    def running(cls, runs: Path = RUNS) -> list[Lab]:
        """The labs that run, by name."""
        labs = []
        for path in sorted(runs.iterdir()) if runs.is_dir() else []:
            if _NAME.fullmatch(path.name):
                lab = cls.__new__(cls)
                lab._place(path.name, path)
                if lab._runs():
                    labs.append(lab)
        return labs

    def _runs(self) -> bool:
        try:
            Channel.open(self._files.control).close()
        except PermissionError:
            raise LabError(_NOT_ROOT) from None
        except OSError:
            return False
        return True

    @cached_property
    def topology(self) -> Topology:
        """The resolved topology."""
        from testbed.load import load

        return load(self._files.topology)

    def __getitem__(self, node: str) -> Node:
        """A node of the topology.

        Raises:
            LabError: There is none of that name.
        """
        try:
            return self.topology.nodes[node]
        except KeyError:
            raise LabError(f"there is no node {node}; nodes are {', '.join(self.topology.nodes)}") from None

    # Boot and stop

    def boot(self, detach: bool = False, progress: Callable[[str], None] | None = None) -> None:
        """Start the lab and return when it is ready: every daemon has said so, every registration is acknowledged.

        Args:
            detach: Let it live on when this process ends; otherwise it ends with this process, however that ends.
            progress: Called with a few words at each step.

        Raises:
            LabError: It cannot start; nothing is left running.
        """
        if os.geteuid() != 0:
            raise LabError(_NOT_ROOT)
        if self.run_dir.is_relative_to("/run"):
            raise LabError(f"{self.run_dir} is below /run, which a lab cannot see; choose another run directory")
        order = Order(self.name, self.topology, self.run_dir, owner())
        descriptor = lock(self._files)
        try:
            prepare(order)
            self._box, self._events = Box.start(order, descriptor)
        except OSError as error:
            raise LabError(f"run directory {self.run_dir}: {error}") from error
        finally:
            os.close(descriptor)
        try:
            self._await_ready(progress or (lambda _step: None))
            if detach:
                self._box.detach()
        except BaseException:
            self._end()
            raise

    def _await_ready(self, progress: Callable[[str], None]) -> None:
        """Follow the events of the boot up to the last."""
        deadline = time.monotonic() + BOOT_SECONDS
        for event in self._listen(deadline):
            match event["event"]:
                case "boot-failed":
                    raise LabError(f"{self.name}: {event['error']}")
                case "ready":
                    progress(f"ready: {event['daemons']} daemons")
                    return
                case "network-up":
                    progress(f"network: {event['nodes']} nodes, {event['links']} links")
                case kind if "node" in event:
                    progress(f"{event['node']}: {kind.removeprefix('daemon-')}")
        if time.monotonic() >= deadline:
            raise LabError(f"{self.name} is not ready within {BOOT_SECONDS:g} s")
        raise LabError(f"{self.name}: the lab process ended during boot: {last_line(self._files.errors)}")

    def stop(self) -> None:
        """Take the lab down and wait until nothing of it is left; its files stay. Does nothing when it is down.

        Raises:
            LabError: Something in it does not end.
        """
        try:
            with Channel.open(self._files.control) as channel:
                _, (init,) = channel.ask("status", ANSWER_SECONDS)
                if self._box is None:
                    self._box = Box(init)
                else:
                    os.close(init)
                channel.ask("stop", ANSWER_SECONDS)
                self._box.ended(STOP_SECONDS)
        except (OSError, LabError):
            pass  # it is down, or deaf: the rest does without its help
        self._end()

    def _end(self) -> None:
        """End what is left of the box."""
        if self._events is not None:
            self._drain(0)
            self._events.close()
            self._events = None
        if self._box is not None:
            box, self._box = self._box, None
            try:
                box.kill()
            finally:
                box.close()

    def __enter__(self) -> Lab:
        self.boot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What happens in it

    @property
    def events(self) -> list[dict[str, Any]]:
        """What has happened in the lab so far, oldest first: {"event", "time", "node", ...}."""
        if self._events is not None or self._runs():
            self._drain(0)
        return self._seen

    def follow(self) -> Iterator[dict[str, Any]]:
        """Each event as it happens, until the lab ends; the first are those not yet seen."""
        yield from self._listen(None)

    def wait_for(self, event: str, node: str | None = None, timeout: float = 10.0) -> dict[str, Any]:
        """Wait until an event has happened; one that is over counts as well.

        Raises:
            LabError: It did not happen in time.
        """
        for one in self.events:
            if one["event"] == event and node in (None, one.get("node")):
                return one
        for one in self._listen(time.monotonic() + timeout):
            if one["event"] == event and node in (None, one.get("node")):
                return one
        raise LabError(f"{self.name}: no {event}{f' of {node}' if node else ''} within {timeout:g} s")

    def _listen(self, deadline: float | None) -> Iterator[dict[str, Any]]:
        """New events until a deadline (monotonic), or the lab's end."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            arrived = self._drain(left)
            if arrived is None:
                return
            yield from arrived

    def _drain(self, timeout: float | None) -> list[dict[str, Any]] | None:
        if self._events is None:
            self._events = self._open()
            self._events.tell("events")
        arrived = self._events.events(timeout)
        self._seen += arrived or []
        return arrived

    def status(self) -> dict[str, Any]:
        """What it and its nodes are doing: {lab, topology, state, run_dir, nodes: [{name, kind, site, state, ...}]}.

        A node's ``pid`` is the daemon's process ID inside the box.
        """
        data, descriptors = self._ask("status")
        for descriptor in descriptors:
            os.close(descriptor)
        return dict(data)

    # Into its nodes

    def _entrance(self, node: str) -> Entrance:
        _, descriptors = self._ask("enter", node=node)
        return Entrance(descriptors)

    def exec(self, node: str, argv: Sequence[str]) -> int:
        """Run a command in a node, with this process's terminal.

        Returns:
            Its exit status; 128 + n when signal n ended it, 127 when there is no such command.
        """
        with self._entrance(node) as entrance:
            # Ctrl-C is for the command. It ends, and we with its status.
            before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
            try:
                return subprocess.run(entrance.command(argv), pass_fds=entrance.descriptors, check=False).returncode
            finally:
                signal.signal(signal.SIGINT, before)

    def run(
        self, node: str, argv: Sequence[str], timeout: float | None = 60.0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a node and return what it wrote, as text; its exit status is as for :meth:`exec`.

        Raises:
            LabError: It did not end within ``timeout`` seconds; it has been killed.
        """
        with self._entrance(node) as entrance:
            try:
                done = subprocess.run(
                    entrance.command(argv),
                    pass_fds=entrance.descriptors,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=timeout,
                    check=False,
                    **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
                )
            except subprocess.TimeoutExpired:
                raise LabError(f"{node}: {' '.join(argv)}: not done within {timeout:g} s") from None
        return subprocess.CompletedProcess(list(argv), done.returncode, done.stdout, done.stderr)

    def shell(self, node: str) -> int:
        """Open a shell in a node; returns its exit status."""
        return self.exec(node, ["env", rf"PS1=[{node}] \w\$ ", "bash", "--norc"])

    def socket(
        self, node: str, family: int = socket.AF_INET, type: int = socket.SOCK_DGRAM, proto: int = 0
    ) -> socket.socket:
        """A socket inside a node, used from this process (AF_PACKET too)."""
        self[node]
        _, (descriptor,) = self._ask("socket", node=node, family=int(family), type=int(type), proto=int(proto))
        return socket.socket(fileno=descriptor)

    # Its daemons

    def show(self, node: str, what: str) -> Any:
        """A table of a LISP router: map-cache, database, registrations, roles, statistics or interfaces."""
        return self._ask_daemon(node, "show", ANSWER_SECONDS, what=what)

    def lig(self, node: str, eid: str, instance_id: int = 0, timeout: float = 5.0) -> dict[str, Any]:
        """Ask the mapping system for an EID, from a node (RFC 6835)."""
        data = self._ask_daemon(node, "lig", timeout + 1, eid=eid, instance_id=instance_id, timeout=timeout)
        return dict(data)

    def restart(self, node: str) -> None:
        """Restart a node's daemon, or start one that died; returns when it is ready."""
        self._ask("restart", RESTART_SECONDS, node=node)

    def log_path(self, node: str) -> Path:
        """The log of a node's daemon."""
        self._lisp_router(node)
        return self._files.node_log(node)

    def log(self, node: str, follow: bool = False) -> Iterator[str]:
        """The lines of a node's log; with ``follow`` also those to come, as long as the lab runs."""
        path = self.log_path(node)
        if not follow:
            with path.open(encoding="utf-8", errors="replace") as log:
                yield from log
            return
        _, (init,) = self._ask("status")
        try:
            yield from follow_file(path, init)
        finally:
            os.close(init)

    def publish(self, *paths: Path) -> None:
        """Give files in the run directory to the user who called sudo."""
        for path in paths:
            give(path, owner())

    def _lisp_router(self, node: str) -> Node:
        found = self[node]
        if found.lisp is None:
            names = ", ".join(one.name for one in self.topology.lisp_routers)
            raise LabError(f"{node} runs no LISP daemon; those that do are {names or 'none'}")
        return found

    def _ask_daemon(self, node: str, op: str, seconds: float, **fields: Any) -> Any:
        self._lisp_router(node)
        try:
            with Channel.open(self._files.node_control(node)) as channel:
                data, _ = channel.ask(op, seconds, **fields)
        except OSError as error:
            raise LabError(
                f"the daemon of {node} does not answer ({error.strerror}); see {self.log_path(node)}"
            ) from None
        return data

    def _open(self) -> Channel:
        try:
            return Channel.open(self._files.control)
        except PermissionError:
            raise LabError(_NOT_ROOT) from None
        except OSError:
            raise LabError(f"no lab named {self.name} is running") from None

    def _ask(self, op: str, seconds: float = ANSWER_SECONDS, **fields: Any) -> tuple[Any, list[int]]:
        with self._open() as channel:
            return channel.ask(op, seconds, **fields)
