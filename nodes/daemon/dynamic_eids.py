"""Dynamic-EIDs: hosts are found by what they send, and far hosts of the same subnet are answered for (X01, S06)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from nodes.daemon.admission import Admission
from nodes.daemon.neighbour_socket import NeighbourSocket
from nodes.daemon.plumbing import Plumbing
from nodes.dataplane.decision import Tables
from nodes.dataplane.neighbours import Heard
from nodes.dataplane.path import DataPath
from nodes.dataplane.strangers import Stranger
from nodes.lisp.config import DynamicEid, NodeConfig
from nodes.lisp.effects import AddHost, FindHost, Forwarding, HostSeen, Input, Miss, RemoveHost
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.eid_table import EidTable

_PATIENCE = 5.0
"""Seconds after which a neighbour request is an old story: the count of unanswered requests starts again."""

_MOST = 4096
"""Neighbour requests that are remembered."""


@dataclass(slots=True)
class _Host:
    """What was overheard of a dynamic-EID that is here; ``seen`` is a time of the monotonic clock."""

    seen: float
    mac: str = ""


@dataclass(slots=True)
class _Asking:
    """One host that asks for one that is not here.

    Attributes:
        requests: How many it has sent in a row, the last of them ``heard`` on ``port`` at ``last``.
        waiting: Whether it is to be answered as soon as the mapping system says where the other one is.
    """

    port: NeighbourSocket
    heard: Heard
    last: float
    requests: int = 0
    waiting: bool = False


class DynamicEids:
    """The hosts of a router's dynamic prefixes."""

    def __init__(
        self,
        config: NodeConfig,
        tables: Tables,
        plumbing: Plumbing,
        path: DataPath,
        step: Callable[[Input], None],
        report: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """Overhear the site interfaces in the caller's network namespace.

        Args:
            config: The node's configuration.
            tables: What the data path decides by.
            plumbing: Adds host routes.
            path: The data path.
            step: Tells the engine what has happened.
            report: Writes an event and its fields into the log.
        """
        self._tables, self._plumbing, self._path, self._step = tables, plumbing, path, step
        self._permitted: EidTable[DynamicEid] = EidTable()
        for one in config.dynamic_eids:
            self._permitted.set(one.prefix, one)
        self._admission = Admission(tables, self._permitted, report)
        served = {one.prefix.instance_id for one in config.dynamic_eids}
        self._ports = {
            NeighbourSocket(name): instance for name, instance in plumbing.sites.items() if instance in served
        }
        self._hosts: dict[EidPrefix, _Host] = {}
        self._asking: dict[tuple[EidPrefix, IPAddress], _Asking] = {}

    @property
    def readers(self) -> Mapping[int, Callable[[], None]]:
        """What to call when which descriptor can be read."""
        return {port.fileno(): partial(self._read, port) for port in self._ports}

    def add(self, effect: AddHost) -> None:
        """A host is here (requirement X08)."""
        self._hosts.setdefault(effect.eid, _Host(time.monotonic()))
        self._plumbing.add_host(effect.eid, effect.interface)
        self._path.add_host(effect.eid)

    def remove(self, effect: RemoveHost) -> None:
        """A host is here no longer."""
        self._hosts.pop(effect.eid, None)
        self._admission.forget(effect.eid)
        self._path.remove_host(effect.eid)
        self._plumbing.remove_host(effect.eid)

    def found(self, strangers: Iterable[Stranger]) -> None:
        """X01: somebody sent packets with these sources. They are asked for on the site: a host is who answers."""
        for stranger in strangers:
            with suppress(OSError):
                interface = self._plumbing.site_of(stranger.interface) or self._plumbing.interface_of(stranger.eid)
                own = self._plumbing.own_address(interface, stranger.eid.address) if interface else None
                port = next((one for one in self._ports if one.interface == interface), None)
                if port is not None and own is not None:
                    port.ask(stranger.eid.address, own)

    def find(self, effect: FindHost) -> None:
        """Ask for a host on its site interface; if it is there, its answer is overheard."""
        # The interface is down or the kernel's table full: then nobody is seen.
        with suppress(OSError):
            self._plumbing.look_for(effect.eid, effect.interface)

    def installed(self, prefix: EidPrefix) -> None:
        """The mapping system has answered: so may we."""
        for (eid, _), asking in self._asking.items():
            if asking.waiting and prefix.covers(eid):
                self._answer(eid, asking)

    def with_overheard(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The engine's table of dynamic-EIDs, each with its MAC address and when it was last overheard."""
        now = time.monotonic()
        there = {(str(eid.network), eid.instance_id): host for eid, host in self._hosts.items()}
        return [
            {**row, "mac": host.mac, "last_seen_s": round(now - host.seen, 1)}
            for row in rows
            if (host := there.get((row["eid"], row["instance_id"])))
        ]

    def close(self) -> None:
        """Close the sockets."""
        for port in self._ports:
            port.close()

    def _read(self, port: NeighbourSocket) -> None:
        instance_id = self._ports[port]
        for heard in port.read():
            self._notice(port, heard, host_prefix(heard.sender, instance_id))
            if heard.asked is not None:
                self._asked(port, heard, host_prefix(heard.asked, instance_id))

    def _notice(self, port: NeighbourSocket, heard: Heard, eid: EidPrefix) -> None:
        mac = heard.mac.hex(":")
        if self._is_own(eid) or not self._admission.admits(eid, mac):
            return
        self._step(HostSeen(eid, port.interface))
        host = self._hosts.get(eid)
        if host is not None:
            host.mac, host.seen = mac, time.monotonic()
            self._admission.took(eid, mac)

    def _asked(self, port: NeighbourSocket, heard: Heard, eid: EidPrefix) -> None:
        """S06, X12: a host asks for one of its subnet."""
        permitted = self._permitted.lookup(eid)
        if permitted is None or self._is_here(eid):
            return
        now = time.monotonic()
        asking = self._asking.get((eid, heard.sender))
        if asking is None or now - asking.last > _PATIENCE:
            if len(self._asking) >= _MOST:
                self._asking = {key: one for key, one in self._asking.items() if now - one.last <= _PATIENCE}
            if len(self._asking) >= _MOST:
                return
            asking = self._asking[eid, heard.sender] = _Asking(port, heard, now)
        asking.port, asking.heard, asking.last = port, heard, now
        asking.requests += 1
        if asking.requests <= permitted[1].proxy_reply_requests:
            return
        if self._is_far(eid):
            self._answer(eid, asking)
        else:
            asking.waiting = True
            self._step(Miss(eid, heard.sender))

    def _answer(self, eid: EidPrefix, asking: _Asking) -> None:
        asking.waiting = False
        if self._is_far(eid) and time.monotonic() - asking.last <= _PATIENCE:
            try:
                asking.port.answer(asking.heard, eid.address)
            except OSError:
                return  # the interface is down; the host will ask again
            self._path.neighbour_answered()

    def _is_here(self, eid: EidPrefix) -> bool:
        """Whether an address is a host's of this site, or the router's own."""
        return bool(self._tables.native.get(eid))

    def _is_own(self, eid: EidPrefix) -> bool:
        return self._is_here(eid) and eid not in self._hosts

    def _is_far(self, eid: EidPrefix) -> bool:
        """Whether a host is known to be behind another router."""
        found = self._tables.map_cache.lookup(eid)
        return (
            found is not None
            and found[1].forwarding is Forwarding.ENCAPSULATE
            and not any(locator.address in self._tables.own for locator in found[1].locators)
        )
