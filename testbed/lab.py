"""A lab, from the outside: boot it, run commands in its nodes, ask its daemons, take it down.

    with Lab("two-dc") as lab:
        lab.exec("h1", ["ping", "-c", "1", str(lab["h4"].address)])

A lab runs in a process of its own (``testbed.server``); this is a client of that process, the same for tasks, tests and
demos.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from testbed.act.mobility.moved import Moved
from testbed.client.box import (
    STOP_SECONDS,
    Box,
    interrupts_held,
    lab_processes,
    last_line,
    lock,
    owner,
    parent_of,
    prepare,
    runs_already,
)
from testbed.client.channel import Channel, InputError, LabError
from testbed.client.running import ANSWER_SECONDS, NOT_ROOT, RUNS, LabClient
from testbed.dataplane import overridden, provided, told
from testbed.drivers import Driver
from testbed.drivers.choice import chosen, plans, recast
from testbed.drivers.keys import agreed
from testbed.drivers.table import MOST_END_SECONDS
from testbed.model import Topology
from testbed.order import Order
from testbed.words import echoed, listed, one_of

__all__ = ["RUNS", "InputError", "Lab", "LabError"]

BOOT_SECONDS = 180.0
END_SECONDS = MOST_END_SECONDS + 10.0
"""What routers that are not ours may take to end, and the lab process to answer."""


class Lab(LabClient):
    """A lab that is to be booted, or one that runs; what can be done with one that runs is in :class:`LabClient`.

    Attributes:
        cast: Says what runs on the LISP nodes of a topology of which nobody says it; who judges an implementation by
            tests that boot labs of their own sets it.
        aside: Whether the labs that this process boots are nobody's who types: commands find them by their names alone.
    """

    cast: ClassVar[Callable[[Topology], Mapping[str, Driver]]] = staticmethod(lambda _topology: {})
    aside: ClassVar[bool] = False

    def __init__(
        self,
        topology: str | Path | Topology,
        *,
        name: str | None = None,
        run_dir: Path | None = None,
        dataplane: str | None = None,
        implementations: Mapping[str, str | Path | Driver] | None = None,
    ) -> None:
        """Read the world; nothing is started yet.

        Args:
            topology: A topology's name ("two-dc"), its file, or a resolved topology.
            name: The lab's name; by default the topology's.
            run_dir: The run directory; by default ``.runs/<name>`` in the checkout.
            dataplane: "auto", "ebpf" or "python" for all LISP nodes; by default what the topology says.
            implementations: What runs on LISP nodes, by name: the name of an implementation, a driver file, or a
                driver; by default what the topology says.

        Raises:
            TopologyError: The topology or a driver file is wrong; each problem is one line with file and line number.
            LabError: The name or the data plane cannot be one, or an implementation cannot run there.
        """
        if not isinstance(topology, Topology):
            from testbed.load import load

            topology = load(topology)
        self._begin(name or topology.name, run_dir)
        topology = overridden(topology, dataplane) if dataplane else topology
        self.drivers = chosen(topology, implementations or {}, Lab.cast(topology))
        self.topology, self._rekeyed = agreed(recast(topology, self.drivers), self.drivers)
        plans(self.topology, self.drivers, self._files)  # its mistakes are told before anything is made

    def _begin(self, name: str, run_dir: Path | None) -> None:
        super().__init__(name, run_dir)
        self._box: Box | None = None
        self._events: Channel | None = None
        self._seen: list[dict[str, Any]] = []
        self._missing = 0

    @classmethod
    def attach(cls, name: str | None = None) -> Lab:
        """A lab of this checkout that runs.

        Args:
            name: Its name, or its run directory ("./here"); None when only one runs that is not ``aside``.

        Raises:
            InputError: There is none of that name, or more than one and no name.
            LabError: There is none at all.
        """
        running = cls.running()
        there = [lab for lab in running if not lab.is_aside]
        names = sorted({lab.name for lab in there})
        if name is not None:
            place = Path(name).resolve() if "/" in name else None
            there = [lab for lab in running if (lab.run_dir == place if place else lab.name == name)]
            if not there:
                others = f"; {one_of(names, name, 'running')}" if names else ""
                raise InputError(f"no lab named {echoed(name)} is running{others}")
        if not there:
            raise LabError("no lab is running; boot one with: ci/lab up two-dc")
        if len(there) > 1:
            raise InputError(f"several labs run, name one by --lab; they are {listed(names)}")
        return there[0]

    @classmethod
    def running(cls) -> list[Lab]:
        """The labs of this checkout that run, by name."""
        labs = []
        for name, run_dir in sorted(lab_processes()):
            lab = cls.__new__(cls)
            lab._begin(name, run_dir)
            labs.append(lab)
        return [lab for lab in labs if lab.runs]

    @property
    def is_aside(self) -> bool:
        """Whether it is nobody's who types."""
        return self._files.aside.exists()

    # Boot and stop

    def boot(self, detach: bool = False, progress: Callable[[str], None] | None = None) -> None:
        """Start the lab and return when it is ready: every daemon has said so, every registration is acknowledged.

        Args:
            detach: Let it live on when this process ends; otherwise it ends with this process, however that ends.
            progress: Called with a few words at each step.

        Raises:
            InputError: The run directory cannot be one.
            LabError: It cannot start; nothing is left running.
        """
        if os.geteuid() != 0:
            raise LabError(NOT_ROOT)
        if self.run_dir.is_relative_to("/run"):
            raise InputError(f"{self.run_dir} is below /run, which a lab cannot see; choose another run directory")
        if any(name == self.name for name, _ in lab_processes()):
            raise LabError(runs_already(self.name))
        progress = progress or (lambda _step: None)
        began = time.monotonic()
        for words in self._rekeyed:
            progress(words)
        self.topology = provided(self.topology, progress)
        foreign = plans(self.topology, self.drivers, self._files)
        order = Order(self.name, self.topology, self.run_dir, owner(), began, foreign)
        self._seen.clear()
        self._missing = 0
        try:
            box = self._start(order)
            self._await_ready(progress)
            if detach:
                box.detach()
        except BaseException:
            self._end()
            raise

    def _start(self, order: Order) -> Box:
        """Start the box, which is this lab's before a Ctrl-C can take effect."""
        descriptor = lock(self._files)
        try:
            prepare(order)
            if self.aside:
                self._files.aside.touch()
            with interrupts_held():
                self._box, self._events = Box.start(order, descriptor)
            return self._box
        except OSError as error:
            raise LabError(f"run directory {self.run_dir}: {error}") from error
        finally:
            os.close(descriptor)

    def _await_ready(self, progress: Callable[[str], None]) -> None:
        """Follow the events of the boot up to the last."""
        deadline = time.monotonic() + BOOT_SECONDS
        planes: dict[str, dict[str, Any]] = {}
        for event in self._listen(deadline, 0):
            match event["event"]:
                case "boot-failed":
                    raise LabError(f"{self.name}: {event['error']}")
                case "daemon-dataplane":
                    planes[event["node"]] = event
                case "ready":
                    for line in told(self.topology, planes):
                        progress(line)
                    progress(f"ready: {event['daemons']} daemons")
                    return
                case "network-up":
                    progress(f"network: {event['nodes']} nodes, {event['links']} links")
                    for words in event["impairments"]:
                        progress(words)
                case kind if "node" in event:
                    which = "BIRD " if event.get("daemon") == "bird" else ""
                    progress(f"{event['node']}: {which}{kind.removeprefix('daemon-')}")
        if time.monotonic() >= deadline:
            raise LabError(f"{self.name} is not ready within {BOOT_SECONDS:g} s")
        raise LabError(f"{self.name}: the lab process ended during boot: {last_line(self._files.errors)}")

    def stop(self) -> list[str]:
        """Take the lab down and wait until nothing of it is left; its files stay. Does nothing when it is down.

        Returns:
            A line for each router that is not ours and did not end when it was asked to.

        Raises:
            LabError: Something in it does not end.
        """
        stubborn: list[str] = []
        if self.runs:
            # A lab process that is deaf or just ending is no obstacle: the box ends without its help.
            with suppress(OSError, LabError), Channel.open(self._files.control) as channel:
                if self._box is None:
                    self._box = Box(parent_of(channel.peer))
                # Is it deaf? To end may take it longer than an answer does: a router that is not ours has its time.
                for descriptor in channel.ask("status", ANSWER_SECONDS)[1]:
                    os.close(descriptor)
                stubborn, _ = channel.ask("stop", END_SECONDS)
                self._box.ended(STOP_SECONDS)
        self._end()
        return stubborn

    def close(self) -> None:
        """Let go of the connection on which the events come; the lab lives on, and is asked anew when need be."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _end(self) -> None:
        """End what is left of the box."""
        if self._events is not None:
            self._take_events(0)
            self.close()
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
        if self._events is not None or self.runs:
            self._take_events(0)
        return list(self._seen)

    @property
    def moves(self) -> list[Moved]:
        """The moves so far, whoever asked for them, oldest first; very old ones are forgotten."""
        told = [one for one in self.events if one["event"] == "moved"]
        return [Moved(**{each.name: one[each.name] for each in fields(Moved)}) for one in told]

    def follow(self) -> Iterator[dict[str, Any]]:
        """Each event as it happens, until the lab ends; the first are those not yet seen."""
        return self._listen(None, len(self._seen))

    def wait_for(self, event: str, node: str | None = None, timeout: float = 10.0) -> dict[str, Any]:
        """Wait until an event has happened; one that is over counts as well.

        Raises:
            LabError: It did not happen in time.
        """
        for one in self._listen(time.monotonic() + timeout, 0):
            if one["event"] == event and node in (None, one.get("node")):
                return one
        raise LabError(f"{self.name}: no {event}{f' of {node}' if node else ''} within {timeout:g} s")

    def _listen(self, deadline: float | None, first: int) -> Iterator[dict[str, Any]]:
        """The events from number ``first`` on, until a deadline (monotonic) or the lab's end."""
        going_on = True
        while True:
            while first < len(self._seen):
                yield self._seen[first]
                first += 1
            left = None if deadline is None else deadline - time.monotonic()
            if not going_on or (left is not None and left <= 0):
                return
            going_on = self._take_events(left)

    def _take_events(self, timeout: float | None) -> bool:
        """Take the events that come within ``timeout`` seconds; of a new subscription first all past ones.

        Returns:
            False when the lab has ended.
        """
        if self._events is None:
            self._events = self._open()
            self._events.tell("events")
            self._seen.clear()
            self._missing = 1  # the greeting, which says how many past events follow
        while True:
            arrived = self._events.events(ANSWER_SECONDS if self._missing else timeout)
            if arrived is None:
                return False
            for event in arrived:
                if event["event"] == "subscribed":
                    self._missing = event["past"]
                    continue
                self._missing = max(0, self._missing - 1)
                self._seen.append(event)
            if not self._missing or not arrived:
                return True
