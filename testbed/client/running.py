"""A running lab, from the outside: enter its nodes, ask its daemons."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from testbed.act.mobility.moved import Moved
from testbed.client.box import ROOT, give, owner
from testbed.client.channel import Channel, InputError, LabError, RefusedError
from testbed.client.entrance import Entrance, follow_file
from testbed.drivers.answers import read_answer
from testbed.drivers.driver import Driver, NotTold, driver
from testbed.model import Node, Topology
from testbed.order import RunFiles
from testbed.words import echoed, one_of

RUNS = ROOT / ".runs"
"""Where run directories are, one per lab."""

NOT_ROOT = "a lab needs root; run it with sudo"
ANSWER_SECONDS = 10.0
RESTART_SECONDS = 90.0
MAPPINGS_SECONDS = 60.0
"""What a request about each of very many mappings may take."""
MOVE_SECONDS = 60.0
"""What it may take to lay the patch cables of hundreds of hosts."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class LabClient:
    """What one can do with a lab that runs, whoever booted it.

    Attributes:
        name: Its name; two labs of one topology run side by side under different names.
        run_dir: Where its files are.
    """

    def __init__(self, name: str, run_dir: Path | None = None) -> None:
        """Name a lab; ``run_dir`` is ``.runs/<name>`` in the checkout unless told otherwise.

        Raises:
            InputError: The name cannot be one.
        """
        if not NAME.fullmatch(name):
            allowed = "allowed are letters, digits and . _ - (63 at most)"
            raise InputError(f"{echoed(name)} is not a name for a lab, {allowed}")
        self.name = name
        self.run_dir = (run_dir or RUNS / name).resolve()
        self._files = RunFiles(self.run_dir)
        self._drivers: dict[Path, Driver] = {}

    @property
    def runs(self) -> bool:
        """Whether it runs, or is being booted.

        Raises:
            LabError: Only root may know.
        """
        try:
            Channel.open(self._files.control).close()
        except PermissionError:
            raise LabError(NOT_ROOT) from None
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
            InputError: There is none of that name.
        """
        try:
            return self.topology.nodes[node]
        except KeyError:
            nodes = one_of(self.topology.nodes, node, "nodes")
            raise InputError(f"there is no node {echoed(node)}; {nodes}") from None

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
        data, descriptors = self._ask("enter", node=node)
        return Entrance(descriptors, data["bird"])

    def exec(self, node: str, argv: Sequence[str]) -> int:
        """Run a command in a node, with this process's terminal.

        Returns:
            Its exit status; 128 + n when signal n ended it, 127 when there is no such command.
        """
        with self._entrance(node) as entrance:
            # Ctrl-C is for the command. It ends, and we with its status.
            before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
            try:
                return entrance.run(argv).returncode
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
                return entrance.run(
                    argv,
                    stdin,
                    timeout,
                    stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            except subprocess.TimeoutExpired:
                raise LabError(f"{node}: {' '.join(argv)}: not done within {timeout:g} s") from None

    def start(self, node: str, argv: Sequence[str], output: int | IO[Any] = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command in a node; what it writes, errors too, goes to ``output``. Ending the process ends it."""
        with self._entrance(node) as entrance:
            return subprocess.Popen(
                entrance.command(argv),
                pass_fds=entrance.descriptors,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )

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
        """A table of a LISP router: map-cache, database, registrations, dynamic-eids, roles, statistics, interfaces.

        Raises:
            NotTold: It does not run our daemon, and its driver does not say how to ask.
            LabError: It does not answer.
        """
        return self._ask_daemon(node, "show", ANSWER_SECONDS, what=what)

    def tells(self, node: str, what: str) -> bool:
        """Whether a LISP router can be asked for something: our daemon for anything, others as their drivers say."""
        foreign = self._driver(node)
        return foreign is None or foreign.tells(what)

    def verify(self, node: str) -> dict[str, Any]:
        """Compare the kernel's maps of a LISP router with its engine's view.

        Returns:
            Which data plane ``runs`` and ``why``, and ``rows``: each difference with its ``table``, ``key``, and what
            ``kernel`` and ``engine`` say.
        """
        return dict(self._ask_daemon(node, "verify", MAPPINGS_SECONDS))

    def add_mappings(self, node: str, mappings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Put mappings into the map-cache of an ITR, PITR or RTR by hand: they never end, no Map-Reply changes them.

        Args:
            node: The router.
            mappings: Each with ``eid``, ``instance_id`` (0 if that is missing) and ``locators``: each with ``rloc``,
                ``priority`` and ``weight``.

        Returns:
            How many ``mappings`` there were, and in how many seconds the data path took them (``install_s``).
        """
        return self._hand_mappings(node, "add-mappings", mappings)

    def remove_mappings(self, node: str, mappings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Take mappings out of the map-cache that :meth:`add_mappings` put in: all of them, or none if one is missing.

        Args:
            node: The router.
            mappings: Each with ``eid`` and ``instance_id`` (0 if that is missing); their locators do not matter.

        Returns:
            How many ``mappings`` there were.
        """
        return self._hand_mappings(node, "remove-mappings", mappings)

    def _hand_mappings(self, node: str, operation: str, mappings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        self._lisp_router(node)
        if (foreign := self._driver(node)) is not None:
            raise NotTold(f"{foreign.name} takes no mappings by hand")
        path = self._files.node(node) / "mappings.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in mappings)
        try:
            return dict(self._ask_daemon(node, operation, MAPPINGS_SECONDS, file=str(path)))
        finally:
            path.unlink()

    def lig(self, node: str, eid: str, instance_id: int = 0, timeout: float = 5.0) -> dict[str, Any]:
        """Ask the mapping system for an EID, from a node (RFC 6835)."""
        data = self._ask_daemon(node, "lig", timeout + 1, eid=eid, instance_id=instance_id, timeout=timeout)
        return dict(data)

    def set_locator(
        self,
        node: str,
        eid: str,
        rloc: str,
        priority: int | None = None,
        weight: int | None = None,
        instance_id: int = 0,
    ) -> dict[str, Any]:
        """Change the priority or weight of one of a site's RLOCs, as its ETR ``node`` tells it (requirement S11).

        The ETR registers anew at once, and tells those that it exchanged data with lately to ask again. The change
        lasts until the daemon restarts.

        Args:
            node: The ETR.
            eid: The EID-prefix, as it is registered.
            rloc: The RLOC.
            priority: 0 to 255, None to leave it.
            weight: 0 to 255, None to leave it.
            instance_id: The instance-ID of the EID-prefix.

        Returns:
            The EID-prefix, its locator-set now and who is told.
        """
        change = {"eid": eid, "rloc": rloc, "priority": priority, "weight": weight, "instance_id": instance_id}
        return dict(self._change(node, "set-locator", change))

    def change_key(self, node: str, key_id: int) -> dict[str, Any]:
        """Have an ETR register with another of its site's keys, which its Map-Servers know as well.

        It registers anew at once; what is registered stays so meanwhile. The change lasts until the daemon restarts.

        Args:
            node: The ETR.
            key_id: The Key ID, 0 to 255.

        Returns:
            The ``key_id`` and the ``map_servers`` that are told.
        """
        return dict(self._change(node, "change-key", {"key_id": key_id}))

    def restart(self, node: str) -> None:
        """Restart a node's daemons, or start those that died; returns when they are ready."""
        self._ask("restart", RESTART_SECONDS, node=node)

    # Its hosts

    def move(self, node: str, site: str, *, silent: bool = False) -> Moved:
        """Move a host to the fabric of another site: it keeps its MAC and IP addresses, routes, neighbours and sockets.

        A mobile node moves to another of its access networks: it keeps its EIDs and sockets.

        Args:
            node: The host.
            site: The site; for a mobile node, the access network.
            silent: Whether a host does not announce its addresses, by ARP and ND, as soon as it is plugged in.

        Raises:
            LabError: It cannot go there, or that failed and it is back where it was.
        """
        return self.move_all([node], site, silent=silent)[0]

    def move_all(self, nodes: Sequence[str], site: str, *, silent: bool = False) -> list[Moved]:
        """Move hosts as :meth:`move` does, all at once: one right after the other, in milliseconds each.

        Raises:
            InputError: ``nodes`` is one name instead of names.
            LabError: One cannot go there, and none has left; or a move failed: that host and those behind it are where
                they were.
        """
        if isinstance(nodes, str):
            raise InputError(f"move_all takes a list of names, not {nodes!r}; of one host: move({nodes!r}, {site!r})")
        data, _ = self._ask("move", MOVE_SECONDS, nodes=list(nodes), site=site, silent=silent)
        return [Moved(**one) for one in data]

    def places(self) -> dict[str, str]:
        """The site that each host is in, by its name; of a mobile node, the access network."""
        data, _ = self._ask("places")
        return dict(data)

    def log_path(self, node: str) -> Path:
        """The log of a node's daemon; on a node without LISP that of its routing daemon, in BIRD's words."""
        if self[node].lisp is None and self[node].routing is not None:
            return self._files.bird_log(node)
        self._lisp_router(node)
        foreign = self._driver(node)
        return self._files.router_log(node) if foreign else self._files.node_log(node)

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
            routers = one_of((one.name for one in self.topology.lisp_routers), node, "nodes that run one")
            raise InputError(f"{node} runs no LISP daemon; {routers}")
        return found

    def _driver(self, node: str) -> Driver | None:
        """The driver of what runs on a node, None where it is our daemon."""
        path = self._files.router(node)
        if path not in self._drivers:
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return None
            self._drivers[path] = driver(facts["driver"])
        return self._drivers[path]

    def _ask_foreign(self, node: str, asked: Driver, op: str, seconds: float, fields: Mapping[str, Any]) -> Any:
        """Ask a router that is not ours by the command that its driver names."""
        what = fields.get("what", op)
        query = asked.query(self.topology, self[node], self._files.node(node), what, fields)
        done = self.run(node, query.command, timeout=seconds + ANSWER_SECONDS)
        if done.returncode:
            words = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-1:])
            raise LabError(words or f"{asked.name} of {node}: {query.command[0]} ends with status {done.returncode}")
        return read_answer(done.stdout, query.lines, f"{what} of {asked.name} on {node}")

    def _change(self, node: str, op: str, change: Mapping[str, Any]) -> Any:
        """Have a daemon change something; it refuses only what cannot be, with an InputError."""
        try:
            return self._ask_daemon(node, op, ANSWER_SECONDS, **change)
        except RefusedError as error:
            raise InputError(str(error)) from None

    def _ask_daemon(self, node: str, op: str, seconds: float, **fields: Any) -> Any:
        self._lisp_router(node)
        if (foreign := self._driver(node)) is not None:
            return self._ask_foreign(node, foreign, op, seconds, fields)
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
            raise LabError(NOT_ROOT) from None
        except OSError:
            raise LabError(f"no lab named {self.name} is running") from None

    def _ask(self, op: str, seconds: float = ANSWER_SECONDS, **fields: Any) -> tuple[Any, list[int]]:
        with self._open() as channel:
            return channel.ask(op, seconds, **fields)
