"""A router with a site interface, or several, in memory: its engine takes every host."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nodes.daemon import dynamic_eids
from nodes.daemon.dynamic_eids import DynamicEids
from nodes.dataplane.neighbours import Arrived, Astray, Heard
from nodes.lisp.config import DynamicEid, Gateway, Locator, MapServerPeer, NodeConfig, Role
from nodes.lisp.effects import AddHost, Forwarding, ForwardingEntry, RemoveHost
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.inputs import HostGone, HostsSeen, Input
from tests.unit.data_path import tables

SITE = "sw1"
FOUR, SIX = EidPrefix.of("192.168.7.0/24"), EidPrefix.of("2001:db8:7::/64")
MAC, OTHER, GATEWAY = bytes.fromhex("020000000011"), bytes.fromhex("020000000012"), bytes.fromhex("02005e000101")
HOSTS = [host_prefix("192.168.7.11"), host_prefix("2001:db8:7::11")]
FAR = [host_prefix("192.168.7.99"), host_prefix("2001:db8:7::99")]
OWN = {4: ip_address("192.168.7.254"), 6: ip_address("2001:db8:7::fe")}
ELSEWHERE = ip_address("192.168.7.253")
THERE = {4: ip_address("192.168.7.1"), 6: ip_address("2001:db8:7::1")}
"""The gateways of the other site, where each has one of its own."""

Said = tuple[Any, ...]


class Port:
    """A site interface: what is said on it, and what is heard there."""

    def __init__(self, interface: str, gateway: bytes = b"") -> None:
        self.interface, self.gateway, self.mac = interface, gateway, GATEWAY
        self.heard: list[Heard | Arrived | Astray] = []
        self.said: list[Said] = []
        self.room = 10_000

    def fileno(self) -> int:
        return 99

    def read(self, _now: float) -> Iterator[Heard | Arrived | Astray]:
        heard, self.heard = self.heard, []
        yield from heard

    def answer(self, heard: Heard, asked: IPAddress) -> None:
        self.said.append(("answer", heard.sender, asked, heard.misled))

    def announce(self, address: IPAddress, mac: bytes | None, source: IPAddress) -> None:
        if len(self.said) >= self.room:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        self.said.append(("announce", address, mac, source))

    def ask(self, wanted: IPAddress, own: IPAddress, mac: bytes | None = None) -> None:
        if len(self.said) >= self.room:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        self.said.append(("ask", wanted, mac, own))

    def ping(self, mac: bytes, source: IPAddress) -> None:
        self.said.append(("ping", mac, source))

    def deadline(self) -> float | None:
        return None

    def listen(self, _now: float) -> None:
        pass


class Router:
    """A router, at a time that the test sets; hosts are where ``where`` says, by default on its first interface."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        interfaces: tuple[str, ...] = (SITE,),
        silence: float = 60.0,
        gateway: Gateway = Gateway(SITE, mac=GATEWAY.hex(":")),  # noqa: B008
    ) -> None:
        monkeypatch.setattr(dynamic_eids, "NeighbourSocket", Port)
        self.now = 0.0
        monkeypatch.setattr(dynamic_eids, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.tables = tables()
        for address in OWN.values():
            self.tables.native.set(host_prefix(address), True)
        self.stepped: list[Input] = []
        self.neighbours: dict[EidPrefix, bytes] = {}
        self.where: dict[EidPrefix, str] = {}
        self.events: list[str] = []
        locators = (Locator(ip_address("10.0.1.1")),)
        routers = frozenset({*OWN.values(), ELSEWHERE})
        config = NodeConfig(
            "xtr1",
            frozenset({Role.ETR}),
            (locators[0].address,),
            site_interfaces=interfaces,
            gateways=(gateway,),
            dynamic_eids=tuple(
                DynamicEid(one, locators, proxy_reply_requests=1, routers=routers, host_silence=silence)
                for one in (FOUR, SIX)
            ),
            map_servers=(cast(MapServerPeer, None),),
        )
        plumbing = SimpleNamespace(
            sites=dict.fromkeys(interfaces, 0),
            add_host=lambda eid, _interface: self.tables.native.set(eid, True),
            remove_host=self.tables.native.pop,
            interface_of=lambda eid: self.where.get(eid, interfaces[0]),
            site_of=lambda _index: None,
            own_address=lambda _interface, near: OWN[near.version],
            forget_neighbour=lambda eid, _interface: self.neighbours.pop(eid, None),
            own_addresses=lambda _interface, version: [OWN[version], THERE[version]],
            set_neighbour=lambda eid, _interface, mac: self.neighbours.update({eid: mac}),
        )
        path = SimpleNamespace(add_host=lambda _: None, remove_host=lambda _: None, neighbour_answered=lambda: None)
        self.dynamic = DynamicEids(
            config,
            self.tables,
            cast(Any, plumbing),
            cast(Any, path),
            self._step,
            lambda event, _fields: self.events.append(event),
            lambda: self.now,
        )
        self.ports = cast(list[Port], list(self.dynamic._ports))
        self.port = self.ports[0]

    def _step(self, happened: Input) -> None:
        self.stepped.append(happened)
        for one in happened.hosts if isinstance(happened, HostsSeen) else ():
            self.dynamic.add(AddHost(one.eid, one.interface))
        if isinstance(happened, HostGone):
            self.dynamic.remove(RemoveHost(happened.eid, happened.interface))

    def hear(self, *heard: Heard | Arrived | Astray) -> list[Said]:
        """Overhear some frames; what is said then."""
        self.port.heard += heard
        for read in self.dynamic.readers.values():
            read()
        return self.taken()

    def taken(self) -> list[Said]:
        said, self.port.said = self.port.said, []
        return said

    def is_far(self, eid: EidPrefix) -> None:
        entry = ForwardingEntry(eid, Forwarding.ENCAPSULATE, (Locator(ip_address("10.0.9.9")),))
        self.tables.map_cache.set(eid, entry)

    def seen(self) -> list[EidPrefix]:
        return [host.eid for one in self.stepped if isinstance(one, HostsSeen) for host in one.hosts]
