"""The daemon of one LISP router: joins engine, data path and sockets, and carries the engine's effects out."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nodes.daemon.control import ControlSocket
from nodes.daemon.dynamic_eids import HOST_EFFECTS, DynamicEids
from nodes.daemon.icmp_socket import IcmpErrors
from nodes.daemon.jobs import Jobs
from nodes.daemon.journal import Journal
from nodes.daemon.loop import Loop
from nodes.daemon.path_tables import installed_row
from nodes.daemon.plumbing import DATA_ROLES, QUEUE, Plumbing
from nodes.daemon.ports import ControlPorts
from nodes.daemon.requests import Requests
from nodes.daemon.state import DurableState
from nodes.daemon.unhurried import Unhurried
from nodes.daemon.uplinks import Uplinks, present_rlocs
from nodes.daemon.waiters import Waiters
from nodes.dataplane.decision import Tables
from nodes.dataplane.kernel.loading import FastPathError, Loading
from nodes.dataplane.opening import OpenedPath, Surroundings, open_data_path
from nodes.dataplane.path import DataPath
from nodes.linux import netlink
from nodes.linux.scheduling import Precedence
from nodes.lisp.config import DataPlane, NodeConfig
from nodes.lisp.effects import (
    Answer,
    Effect,
    Install,
    LocatorState,
    PathMtu,
    Persist,
    Remove,
    Report,
    Send,
    SendToGroup,
    Unresolved,
)
from nodes.lisp.engine import Engine
from nodes.lisp.inputs import CoreLinks, Input, StrayData, Tick

CRASHED = 70
"""Exit status after an error that nobody expected; the traceback is the log's last line."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a daemon is started with.

    Attributes:
        name: The node's name, for the log.
        config: The node's configuration (JSON, holds keys).
        state_dir: Directory of ``control.sock`` and ``state.jsonl``.
        log: The log file.
        report: Descriptor of the pipe that :class:`Daemon` reports its progress to, or None.
        signals: The signals that end it cleanly.
    """

    name: str
    config: Path
    state_dir: Path
    log: Path
    report: int | None = None
    signals: tuple[int, ...] = (signal.SIGTERM,)


def run(arguments: Arguments) -> int:
    """Run a daemon in the caller's network namespace until it is told to stop; returns its exit status.

    Whatever stops it before its time stands in the log.

    Raises:
        OSError: The log cannot be opened.
    """
    journal = Journal(arguments.log, arguments.name)
    try:
        config = NodeConfig.from_json(arguments.config.read_text())
        daemon = Daemon(config, arguments, journal)
        try:
            daemon.serve()
        finally:
            daemon.close()
    except FastPathError as error:
        write_report(arguments.report, "dataplane-refused", {"why": str(error)})
        journal.end("refused", {"error": str(error)})
        print(f"{arguments.name}: dataplane is ebpf, and it cannot run: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        words = "".join(traceback.format_exception(error))
        journal.end("crash", {"error": f"{type(error).__name__}: {error}", "traceback": words})
        return CRASHED
    journal.end("stopped")
    return 0


class Daemon:
    """One LISP router at work."""

    def __init__(self, config: NodeConfig, arguments: Arguments, journal: Journal) -> None:
        """Open everything: kernel plumbing, sockets, state. Nothing is sent yet."""
        if config.mobile:  # it may have been moved before it was started
            with netlink.Connection() as kernel:
                config = config.at(present_rlocs(kernel, config) or config.rlocs)
        self._config = config
        self._journal = journal
        self._report_pipe = arguments.report
        self._scale = config.time_scale
        self._loop = Loop(Precedence())
        self._loop.stop_on(arguments.signals)
        self._state = DurableState(arguments.state_dir / "state.jsonl")
        self._ports = ControlPorts(config.rlocs, config.map_notify_group, config.site_interfaces)
        self._icmp: IcmpErrors | None = None
        self._plumbing: Plumbing | None = None
        self._opened: OpenedPath | None = None
        self._path: DataPath | None = None
        self._dynamic: DynamicEids | None = None
        self._uplinks: Uplinks | None = None
        if config.roles & DATA_ROLES:
            self._icmp = IcmpErrors(config.rlocs)
            tables = Tables.of(config)
            wanted = config.dataplane is not DataPlane.PYTHON
            loading = Loading(config.bpf_object, arguments.state_dir) if wanted else None
            self._plumbing = plumbing = Plumbing(config, tables)
            self._opened = open_data_path(config, tables, loading, self._surroundings(plumbing))
            self._path = self._opened.path
            self._event("dataplane", asdict(self._path.running))
            if config.mobile:
                receivers = (self._ports, self._icmp)
                self._uplinks = Uplinks(
                    plumbing.kernel, config, receivers, self._path, self._loop, self._read_path, self._step
                )
            if config.dynamic_eids or config.roaming or config.map_notify_group:
                self._dynamic = DynamicEids(config, tables, plumbing, self._path, self._step, journal.write, self._now)
        self._engine = Engine(
            config,
            _random_bits,
            self._now(),
            start_time=time.time(),
            durable=self._state.values,
            request_port=self._ports.request_port,
            in_use=self._path.in_use if self._path is not None else frozenset,
            contacts=self._path.peers if self._path is not None else lambda _prefix: (),
        )
        self._registered = False
        self._reaches_core = True
        self._waiters, self._jobs = Waiters(), Jobs()
        self._unhurried = Unhurried(partial(self._send, self._ports.send), time.monotonic)
        requests = Requests(
            config,
            self._engine,
            self._path,
            self._dynamic,
            self._waiters,
            self._jobs,
            step=self._step,
            carry_out=self._do,
            stop=self._loop.stop,
            now=self._now,
        )
        self._control = ControlSocket(arguments.state_dir, self._loop, requests.handle)
        self._carry: dict[type, Callable[[Any], None]] = {
            Send: self._send_in_turn,
            SendToGroup: partial(self._send, self._ports.send_to_group),
            Install: self._install,
            Remove: self._remove,
            Unresolved: self._unresolved,
            LocatorState: self._locator_state,
            PathMtu: self._path_mtu,
            Answer: self._answered,
            Report: lambda effect: self._journal.write(effect.event, effect.fields),
        }
        of_hosts = self._dynamic.carries if self._dynamic is not None else dict.fromkeys(HOST_EFFECTS, _ignore)
        self._carry.update(of_hosts)

    def serve(self) -> None:
        """Report "listening", start the engine and work until told to stop."""
        # Messages go first, then hosts that show themselves, then what their packets and others' need meanwhile.
        for descriptor, receive in self._ports.readers.items():
            self._loop.add(descriptor, partial(self._datagrams, receive))
        for descriptor, receive_errors in self._icmp.readers.items() if self._icmp is not None else ():
            self._loop.add(descriptor, partial(self._datagrams, receive_errors))
        if self._dynamic is not None:
            for descriptor, read in self._dynamic.readers.items():
                self._loop.add(descriptor, partial(_ignore_events, read))
        if self._path is not None and self._plumbing is not None:
            self._read_path(self._path)
            self._loop.add(self._plumbing.native.fileno(), self._routes)
            self._own_links()
            if self._dynamic is not None:
                self._plumbing.look_for_neighbours()
        self._journal.write("listening", {"roles": sorted(self._config.roles), "pid": os.getpid()})
        self._tell("listening")
        self._do(self._engine.start(self._now()))
        if self._uplinks is not None:
            self._uplinks.follow()
        self._core_links()
        self._loop.run(self._timeout, self._turn)
        if self._config.map_notify_group is not None:
            self._step(CoreLinks(False))  # a peer takes over at once
        self._unhurried.release()

    def _read_path(self, path: DataPath) -> None:
        for descriptor, read in path.readers.items():
            self._loop.add(descriptor, partial(_ignore_events, read))

    def close(self) -> None:
        """Close everything that was opened."""
        self._control.close()
        self._ports.close()
        if self._icmp is not None:
            self._icmp.close()
        if self._dynamic is not None:
            self._dynamic.close()
        if self._opened is not None:
            self._opened.close()
        if self._plumbing is not None:
            self._plumbing.close()
        self._state.close()
        self._loop.close()

    # The clock

    def _now(self) -> float:
        """Seconds of the engine's clock."""
        return time.monotonic() * self._scale

    def _timeout(self) -> float | None:
        if self._jobs.pending:
            return 0.0
        timed = (self._engine, self._path, self._dynamic)
        deadlines = [one.deadline() for one in timed if one is not None]
        waits = [(one - self._now()) / self._scale for one in deadlines if one is not None]
        real = (self._waiters.deadline(), self._journal.deadline(), self._unhurried.deadline())
        waits += [one - time.monotonic() for one in real if one is not None]
        # Never to wake a moment too early, and find nothing due.
        return max(0.0, min(waits)) + 0.0005 if waits else None

    def _turn(self) -> None:
        self._jobs.work()
        path = self._path
        if path is not None:
            expires = path.deadline()
            if expires is not None and expires <= self._now():
                path.expire()
        if path is not None:
            path.settle()
            if self._dynamic is not None:
                self._dynamic.found(path.take_strangers())
                self._dynamic.seek(path.take_sought())
                self._dynamic.expire()
                self._strays(path)
            for said in path.take_status_bits():
                self._step(said)
        due = self._engine.deadline()
        if due is not None and due <= self._now():
            self._step(Tick())
        # Last, and until there is none: what is carried out can miss in its turn (an ICMP error about a packet that is
        # given up has a destination too), and nothing else would wake the loop for it.
        while path is not None and (misses := path.take_misses()):
            for miss in misses:
                self._step(miss)
        self._waiters.expire()
        self._unhurried.expire()
        self._journal.expire()

    # The engine

    def _step(self, happened: Input) -> None:
        self._do(self._engine.effects(happened, self._now()))

    def _do(self, effects: Iterable[Effect]) -> None:
        may_send = True
        for effect in effects:
            if isinstance(effect, Persist):
                may_send &= self._persist(effect) or not effect.required
            elif may_send or not isinstance(effect, Send):
                self._carry[type(effect)](effect)
        if not self._registered and self._engine.registered:
            self._registered = True
            self._journal.write("ready")
            self._tell("registered")

    def _datagrams(self, receive: Callable[[], Iterable[Input]], _events: int) -> None:
        for datagram in receive():
            self._step(datagram)

    def _persist(self, effect: Persist) -> bool:
        """Keep something; say whether that worked, and aloud when it begins to fail and when it works again."""
        before = self._state.complete
        try:
            self._state.keep(effect.key, effect.value)
        except OSError as error:
            # A full disk does not end the router. What needs durability is not done (C38), all else is.
            self._engine.counters["state-not-kept"] += 1
            self._journal.write("state-not-kept", {"key": effect.key, "error": str(error)})
            if before:
                self._tell("state-not-kept")
            return False
        if not before:
            self._journal.write("state-kept-again")
            self._tell("state-kept-again")
        return True

    def _send_in_turn(self, effect: Send) -> None:
        if effect.can_wait:
            self._unhurried.hold(effect)
        else:
            self._send(self._ports.send, effect)

    def _send(self, send: Callable[[Any], None], effect: Send | SendToGroup) -> None:
        try:
            send(effect)
        except OSError as error:
            # The engine sends again when no answer comes.
            where = effect.destination if isinstance(effect, Send) else self._config.map_notify_group
            self._engine.counters["send-failed"] += 1
            self._journal.write("send-failed", {"destination": str(where), "error": str(error)})

    def _install(self, effect: Install) -> None:
        if self._path is not None:
            self._path.install(effect.entry)
            self._journal.write("map-cache-installed", partial(installed_row, effect.entry))
        if self._dynamic is not None:
            self._dynamic.installed(effect.entry.prefix)

    def _remove(self, effect: Remove) -> None:
        if self._path is not None:
            self._path.remove(effect.prefix)
            self._journal.write("map-cache-removed", lambda: {"eid": str(effect.prefix)})

    def _unresolved(self, effect: Unresolved) -> None:
        if self._path is not None:
            self._path.unresolved(effect.eid)

    def _locator_state(self, effect: LocatorState) -> None:
        if self._path is not None:
            self._path.set_locator(effect.rloc, effect.up)

    def _path_mtu(self, effect: PathMtu) -> None:
        if self._path is not None:
            self._path.set_path_mtu(effect.rloc, effect.mtu)

    def _answered(self, effect: Answer) -> None:
        result = effect.result
        if result is not None and "rtt_ms" in result:  # by the engine's clock, which may run faster than the network's
            result = {**result, "rtt_ms": round(result["rtt_ms"] / self._scale, 3)}
        self._waiters.answer(effect.token, result, effect.error)

    # The kernel's routes

    def _routes(self, _events: int) -> None:
        if self._plumbing is None or self._path is None or not self._plumbing.native.changed():
            return
        for refused in self._plumbing.refresh():
            self._journal.write("route-refused", {"error": refused})
        self._path.routes_changed()
        self._own_links()
        self._core_links()
        if self._uplinks is not None:
            self._uplinks.follow()

    def _own_links(self) -> None:
        """D09: the packets tell of the site's RLOCs, so the data path has to know which of ours have a link."""
        if self._config.locator_status_bits and self._plumbing is not None and self._path is not None:
            for rloc, up in self._plumbing.own_changes().items():
                self._path.set_locator(rloc, up)

    def _core_links(self) -> None:
        """X09: who has lost the core is no good gateway."""
        if self._config.map_notify_group is not None and self._plumbing is not None:
            up = self._plumbing.reaches_core()
            if up != self._reaches_core:
                self._reaches_core = up
                self._step(CoreLinks(up))

    # The data path

    def _surroundings(self, plumbing: Plumbing) -> Surroundings:
        return Surroundings(
            plumbing.kernel,
            plumbing.tuns,
            plumbing.transits,
            QUEUE,
            plumbing.devices,
            plumbing.source_of,
            self._now,
            plumbing.versions,
            self._event,
        )

    def _strays(self, path: DataPath) -> None:
        """X06: who sent data for a host that is not here. The journal bounds what a flood of them writes."""
        for absence in path.take_absent():
            self._engine.counters["host-not-here"] += 1
            self._journal.write("host-not-here", {"eid": str(absence.eid), "rloc": str(absence.rloc)})
            self._step(StrayData(absence.eid, absence.rloc))

    # The report pipe

    def _event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write an event into the log, and say it aloud."""
        self._journal.write(event, fields)
        self._tell(event, fields)

    def _tell(self, event: str, fields: Mapping[str, Any] | None = None) -> None:
        if not write_report(self._report_pipe, event, fields or {}):
            self._report_pipe = None


def write_report(pipe: int | None, event: str, fields: Mapping[str, Any]) -> bool:
    """Write a line into the report pipe; False when nobody listens any more. The daemon works on."""
    if pipe is None:
        return False
    try:
        os.write(pipe, json.dumps({"event": event, **fields}).encode() + b"\n")
    except OSError:
        return False
    return True


def _ignore(_effect: object) -> None:
    """For a node without hosts that are found one by one."""


def _ignore_events(read: Callable[[], None], _events: int) -> None:
    read()


def _random_bits(count: int) -> int:
    """That many random bits, for nonces (RFC 9301 section 5.2)."""
    octets = (count + 7) // 8
    return int.from_bytes(os.urandom(octets), "big") >> (octets * 8 - count)
