"""Routers that are not ours: any command, started in its node, watched by what its driver says, restarted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from nodes.linux import namespaces, unix_socket
from nodes.linux.sysctl import has_sysctl, write_sysctl
from testbed.drivers.plan import Plan
from testbed.model import Topology
from testbed.order import RunFiles
from testbed.server.events import Events
from testbed.server.supervision import Daemon, ServerError, State, Supervisor

_MARK = "LISP_TESTBED_ROUTER"
"""In the environment of a router and of all that it starts: so they are found, however they detach themselves."""
_LOOK_SECONDS = 0.02
_COMMAND_SECONDS = 5.0
_LISTENING = "0A"
_FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


class ForeignRouters(Supervisor):
    """What runs on the nodes that do not run our daemon."""

    KIND: ClassVar = "foreign"
    WORDS: ClassVar = "router"

    def __init__(
        self,
        files: RunFiles,
        topology: Topology,
        plans: Mapping[str, Plan],
        namespaces: Mapping[str, int],
        events: Events,
    ) -> None:
        """Start nothing yet.

        Args:
            files: The run directory; configurations and log files are there.
            topology: The world.
            plans: What runs, by node.
            namespaces: Descriptors of the network namespaces, by node.
            events: Where to tell what happens.
        """
        super().__init__(events)
        self._files = files
        self._topology = topology
        self._plans = plans
        self._namespaces = namespaces
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._missing: dict[str, str] = {}

    async def start(self, name: str) -> None:
        """Start a node's router; :meth:`reach` waits until it is ready.

        Raises:
            ServerError: Its command cannot be run.
        """
        plan = self._plans[name]
        daemon = self.daemons[name] = Daemon()
        log = self._files.router_log(name)
        begin = log.stat().st_size if log.exists() else 0
        own = self._own_log(name)
        own_begin = own.stat().st_size if own is not None and own.exists() else 0
        with log.open("ab") as output, namespaces.inside(self._namespaces[name]):
            for setting in filter(has_sysctl, _FORWARDING if plan.forwarding else ()):
                write_sysctl(setting, 1)
            try:
                process = subprocess.Popen(
                    plan.start,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._files.node(name),
                    env=os.environ | {_MARK: name},
                    start_new_session=True,
                    preexec_fn=_see_own_node,
                )
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                daemon.state = State.EXITED
                why = getattr(error, "strerror", None) or str(error)
                why += "; a command is a list of words" if " " in plan.start[0] else ""
                raise ServerError(f"{name}: {plan.start[0]} of {plan.implementation} cannot be run: {why}") from error
        daemon.pid = process.pid
        pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(pidfd, self._ended, name, daemon, process, pidfd)
        logs = [(log, begin), *([(own, own_begin)] if own is not None else [])]
        self._watches[name] = self._loop.create_task(self._watch(name, daemon, logs))

    async def reach(self, names: Iterable[str], state: State, seconds: float = 0.0) -> None:
        """As any daemon's; each has the time that its driver says."""
        wanted = list(names)
        await super().reach(wanted, state, max([seconds, *(self._plans[one].ready.seconds for one in wanted)]))

    async def stop(self) -> list[str]:
        """Ask all to end, and see to it that they do; a line for each that had to be killed."""
        told = await asyncio.gather(*(self._end(name) for name in self.daemons))
        return [line for line in told if line]

    def _stopping(self, _name: str) -> tuple[tuple[int, float], ...]:
        plan = self._plans[_name]
        return (plan.stop_signal, plan.stop_seconds), *super()._stopping(_name)[-1:]

    def _log(self, name: str) -> Path:
        """Its output; its own log file where its output says nothing."""
        own = self._own_log(name)
        with suppress(OSError):
            if own is not None and own.stat().st_size and not self._files.router_log(name).stat().st_size:
                return own
        return self._files.router_log(name)

    def _own_log(self, name: str) -> Path | None:
        own = self._plans[name].log
        return self._files.node(name) / own if own else None

    def _progress(self, name: str) -> str:
        return f"{self._plans[name].implementation}: {self._missing.get(name) or super()._progress(name)}"

    def _called(self, name: str) -> str:
        return f"{self._plans[name].implementation} of {name}"

    def _ended(self, name: str, daemon: Daemon, process: subprocess.Popen[bytes], pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._watches[name].cancel()
        status = process.wait()
        self._sweep(name)
        self._buried(name, daemon, status)

    def _sweep(self, name: str) -> None:
        """End whatever a router has started and left behind."""
        mark = f"{_MARK}={name}".encode()
        for entry in Path("/proc").iterdir():
            # It may have ended since it was listed.
            with suppress(OSError):
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)

    # Is it ready?

    async def _watch(self, name: str, daemon: Daemon, logs: list[tuple[Path, int]]) -> None:
        """Look until every condition holds that its driver names."""
        seen = [_LogLines(path, begin) for path, begin in logs]
        while lacking := await self._lacking(name, daemon, seen):
            self._missing[name] = lacking
            await asyncio.sleep(_LOOK_SECONDS)  # somebody else's program tells no event of it
        self._missing.pop(name, None)
        self._advanced(name, daemon, State.READY)

    async def _lacking(self, name: str, daemon: Daemon, logs: list[_LogLines]) -> str:
        """The first condition that does not hold, in words, or ""."""
        ready = self._plans[name].ready
        if ready.log and not any(one.matches(ready.log) for one in logs):
            return f"no line of its log matches {ready.log}"
        if ready.file and not (self._files.node(name) / ready.file).exists():
            return f"there is no {ready.file}"
        for kind, port in (("udp", ready.udp), ("tcp", ready.tcp)):
            if port and not _bound(daemon.pid, kind, port):
                return f"{kind.upper()} port {port} is not open"
        if ready.command and (status := await self._status_of(name, ready.command)) != 0:
            return f"{ready.command[0]} ends with status {status}"
        if ready.registered and (prefix := await self._unregistered(name)):
            return f"it runs, but no Map-Server has {prefix}"
        return ""

    async def _status_of(self, name: str, command: tuple[str, ...]) -> int | None:
        """The exit status of a command in a node; None if it does not end."""
        with namespaces.inside(self._namespaces[name]):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._files.node(name),
                env=os.environ | {_MARK: name},
                start_new_session=True,
                preexec_fn=_see_own_node,
            )
        deadline = self._loop.time() + _COMMAND_SECONDS
        try:
            while process.poll() is None and self._loop.time() < deadline:
                await asyncio.sleep(_LOOK_SECONDS)  # short commands, while a router begins: looking is enough
            return process.returncode
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    async def _unregistered(self, name: str) -> str:
        """An EID-prefix of a node that none of the Map-Servers has which run our daemon; "" where all are there."""
        config = self._topology[name].lisp
        servers = [
            one.name
            for one in self._topology.lisp_routers
            if one.lisp and one.lisp.sites and one.name not in self._plans
        ]
        if config is None or not servers:
            return ""
        rows = [row for server in servers for row in await self._registrations(server)]
        there = {(row["eid"], row["instance_id"]) for row in rows if row["state"] == "registered"}
        wanted = ((str(one.prefix.network), one.prefix.instance_id) for one in config.database)
        return next((prefix for prefix, number in wanted if (prefix, number) not in there), "")

    async def _registrations(self, server: str) -> list[dict[str, object]]:
        try:
            connected = unix_socket.connect(self._files.node_control(server))
        except OSError:
            return []
        reader, writer = await asyncio.open_unix_connection(sock=connected)
        try:
            writer.write(b'{"op": "show", "what": "registrations"}\n')
            answer = json.loads(await reader.readline() or b"{}")
            return list(answer.get("data") or ())
        finally:
            writer.close()


class _LogLines:
    """The lines that a log gains."""

    def __init__(self, path: Path, begin: int) -> None:
        self._path = path
        self._at = begin
        self._found: set[str] = set()

    def matches(self, pattern: str) -> bool:
        """Whether a line has matched so far; the last one may not be complete yet."""
        if pattern in self._found:
            return True
        with suppress(OSError), self._path.open("rb") as log:
            log.seek(self._at)
            data = log.read()
            self._at += data.rfind(b"\n") + 1
            if any(re.search(pattern, line) for line in data.decode(errors="replace").splitlines()):
                self._found.add(pattern)
                return True
        return False


def _see_own_node() -> None:
    """In the child: end with the lab process, and see the node's own interfaces below /sys."""
    namespaces.die_with_parent(signal.SIGKILL)
    namespaces.unshare(namespaces.CLONE_NEWNS)
    namespaces.mount("sysfs", "/sys", "sysfs", namespaces.MS_NOSUID | namespaces.MS_NODEV | namespaces.MS_NOEXEC)


def _bound(pid: int | None, kind: str, port: int) -> bool:
    """Whether a port is bound (UDP) or listened to (TCP) in the network namespace of a process."""
    for version in ("", "6"):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{kind}{version}").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if int(local.rpartition(":")[2], 16) == port and (kind == "udp" or state == _LISTENING):
                    return True
    return False
