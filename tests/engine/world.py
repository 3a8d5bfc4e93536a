"""A tiny network of engines: delay, loss and a clock, all in memory; nothing sleeps."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import ip_address
from itertools import count
from typing import Any

from nodes.lisp.config import (
    Algorithm,
    DatabaseMapping,
    Delegation,
    Key,
    Locator,
    MapServerPeer,
    NodeConfig,
    RegistrationSite,
    Role,
    SitePrefix,
)
from nodes.lisp.effects import (
    CONTROL_PORT,
    AddHost,
    Answer,
    BeGateway,
    Effect,
    FindHost,
    ForwardingEntry,
    HostAway,
    HostHome,
    HostLeft,
    Install,
    LocatorState,
    PathMtu,
    Persist,
    Remove,
    RemoveHost,
    Report,
    Send,
    SendToGroup,
    Unresolved,
)
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.eid_table import EidTable
from nodes.lisp.engine import Engine
from nodes.lisp.inputs import Datagram, HostSeen, Input, Miss, Query, RlocsChanged, Tick
from nodes.lisp.wire import EncapsulatedControlMessage, MapRequest, Message, decode

XTR1, XTR2, PXTR, MR, MS = (ip_address(f"10.0.{n}.1") for n in (1, 2, 3, 4, 5))
STRANGER = ip_address("10.0.66.6")
DC1, DC2, AGGREGATE = (EidPrefix.of(text) for text in ("192.168.1.0/24", "192.168.2.0/24", "192.168.0.0/16"))
H1, H2 = host_prefix("192.168.1.11"), host_prefix("192.168.2.22")
KEY = Key(1, Algorithm.HMAC_SHA_256_128_HKDF_SHA256, "open sesame")
REQUEST_PORT = 50_000


@dataclass(frozen=True)
class Packet:
    """A control message in flight."""

    time: float
    source: IPAddress
    source_port: int
    destination: IPAddress
    port: int
    payload: bytes

    @property
    def message(self) -> Message:
        return decode(self.payload)

    @property
    def request(self) -> MapRequest:
        """The Map-Request inside an Encapsulated Control Message."""
        message = self.message
        assert isinstance(message, EncapsulatedControlMessage)
        inner = decode(message.unwrap().message)
        assert isinstance(inner, MapRequest)
        return inner


@dataclass
class Node:
    """An engine, and what became of its effects."""

    config: NodeConfig
    engine: Engine
    durable: dict[str, Any] = field(default_factory=dict)
    data_path: EidTable[ForwardingEntry] = field(default_factory=EidTable)
    unresolved: list[EidPrefix] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    hosts: dict[EidPrefix, str] = field(default_factory=dict)
    present: set[EidPrefix] = field(default_factory=set)
    gateway: bool = False
    away: set[EidPrefix] = field(default_factory=set)
    left: list[EidPrefix] = field(default_factory=list)
    contacts: set[IPAddress] = field(default_factory=set)
    in_use: set[IPAddress] = field(default_factory=set)
    down: set[IPAddress] = field(default_factory=set)
    path_mtus: dict[IPAddress, int] = field(default_factory=dict)
    rlocs: tuple[IPAddress, ...] = ()  # none: it is in no network

    def __post_init__(self) -> None:
        self.rlocs = self.rlocs or self.config.rlocs

    def forwarding(self, eid: EidPrefix) -> ForwardingEntry:
        found = self.data_path.lookup(eid)
        assert found, f"{eid} misses every entry"
        return found[1]

    @property
    def drops(self) -> dict[str, int]:
        return {
            name.removeprefix("dropped-"): n for name, n in self.engine.counters.items() if name.startswith("dropped-")
        }


class World:
    """Engines by RLOC, joined by a network with delay and, if asked, loss."""

    def __init__(self, delay: float = 0.01) -> None:
        self.now = 1000.0
        self.delay = delay
        self.answered_after: float | None = None  # how long hosts take; by default a moment
        self.lost: Callable[[Packet], bool] = lambda _packet: False
        self.delays: Callable[[Packet], Sequence[float]] = lambda _packet: (self.delay,)  # of each copy that arrives
        self.packets: list[Packet] = []
        self.nodes: dict[str, Node] = {}
        self._queue: list[tuple[float, int, Packet | tuple[str, Input]]] = []
        self._order = count()
        self._random = random.Random(2)

    def add(self, *configs: NodeConfig) -> World:
        for config in configs:
            in_use: set[IPAddress] = set()
            contacts: set[IPAddress] = set()
            engine = self._engine(config, {}, in_use, contacts)
            self.nodes[config.name] = Node(config, engine, in_use=in_use, contacts=contacts)
            self._carry_out(self.nodes[config.name], self.nodes[config.name].engine.start(self.now))
        return self

    def restart(self, name: str, config: NodeConfig | None = None, lose_storage: bool = False) -> Node:
        """A new process: memory is gone, what was persisted is not."""
        old = self.nodes[name]
        kept = {} if lose_storage else json.loads(json.dumps(old.durable))
        config = config or old.config
        engine = self._engine(config, kept, old.in_use, old.contacts)
        node = Node(config, engine, kept, in_use=old.in_use, contacts=old.contacts, present=old.present)
        self.nodes[name] = node
        self._carry_out(node, node.engine.start(self.now))
        return node

    def stop(self, name: str) -> Node:
        return self.nodes.pop(name)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def run(self, seconds: float = 1.0) -> None:
        """Let time pass: deliver what arrives, tick who asked for it."""
        until = self.now + seconds
        while True:
            deadlines = [(d, n) for n in self.nodes.values() if (d := n.engine.deadline()) is not None]
            tick_at, sleeper = min(deadlines, key=lambda item: item[0], default=(float("inf"), None))
            arrival = self._queue[0][0] if self._queue else float("inf")
            if min(tick_at, arrival) > until:
                self.now = until
                return
            self.now = max(self.now, min(tick_at, arrival))
            if arrival <= tick_at:
                _, _, arrived = heappop(self._queue)
                if isinstance(arrived, Packet):
                    self._deliver(arrived)
                elif arrived[0] in self.nodes:
                    self.put(*arrived)
            elif sleeper:
                self._carry_out(sleeper, sleeper.engine.step(Tick(), self.now))

    def be_unreliable(self, chance: random.Random) -> None:
        """From now on a third of the messages is lost, a third comes twice, all up to a second late."""
        self.lost = lambda _packet: chance.random() < 0.3
        self.delays = lambda _packet: [chance.uniform(0, 1) for _ in range(1 + (chance.random() < 0.3))]

    def put(self, name: str, happened: Input) -> list[Effect]:
        """Give one input to one node, at once."""
        node = self.nodes[name]
        effects = node.engine.step(happened, self.now)
        self._carry_out(node, effects)
        return effects

    def attach(self, name: str, *rlocs: IPAddress) -> list[Effect]:
        """A node gets other RLOCs, or loses them all."""
        self.nodes[name].rlocs = rlocs
        return self.put(name, RlocsChanged(rlocs))

    def resolve(self, name: str, eid: EidPrefix, source: IPAddress | None = None) -> ForwardingEntry:
        """A packet for ``eid`` misses; wait; what would happen to it now?"""
        self.put(name, Miss(eid, source))
        self.run()
        return self.nodes[name].forwarding(eid)

    def lig(self, name: str, eid: EidPrefix, seconds: float = 1.0) -> Answer:
        self.put(name, Query(eid, token=7))
        self.run(seconds)
        return self.nodes[name].answers[-1]

    def sent(self, kind: type, source: IPAddress | None = None) -> list[Packet]:
        return [p for p in self.packets if isinstance(p.message, kind) and source in (None, p.source)]

    def inject(
        self, name: str, payload: bytes, source: IPAddress = STRANGER, source_port: int = 999, port: int = CONTROL_PORT
    ) -> list[Effect]:
        """A datagram from nowhere."""
        return self.put(name, Datagram(payload, source, source_port, self.nodes[name].config.rlocs[0], port))

    def replay(self, name: str, packet: Packet) -> list[Effect]:
        return self.inject(name, packet.payload, packet.source, packet.source_port, packet.port)

    def _engine(
        self, config: NodeConfig, durable: dict[str, Any], in_use: set[IPAddress], contacts: set[IPAddress]
    ) -> Engine:
        return Engine(
            config,
            self._random.getrandbits,
            self.now,
            start_time=1_700_000_000 + self.now,
            durable=durable,
            request_port=REQUEST_PORT,
            # In an order that is the same in every run, as sets of addresses are not.
            in_use=lambda: sorted(in_use, key=int),
            contacts=lambda _prefix: sorted(contacts, key=int),
        )

    def _deliver(self, packet: Packet) -> None:
        for name, node in self.nodes.items():
            if packet.destination in node.rlocs and packet.port in (CONTROL_PORT, REQUEST_PORT):
                ports = packet.source_port, packet.destination, packet.port
                self.put(name, Datagram(packet.payload, packet.source, *ports))
                return

    def _carry_out(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    if not node.rlocs:  # the kernel has no route
                        continue
                    source = next(r for r in node.rlocs if r.version == effect.destination.version)
                    port = CONTROL_PORT if effect.from_control_port else REQUEST_PORT
                    packet = Packet(self.now, source, port, effect.destination, effect.port, effect.payload)
                    self.packets.append(packet)
                    if not self.lost(packet):
                        for delay in self.delays(packet):
                            heappush(self._queue, (self.now + delay, next(self._order), packet))
                case Install(entry):
                    node.data_path.set(entry.prefix, entry)
                case Remove(prefix):
                    assert node.data_path.pop(prefix) is not None
                case Unresolved(eid):
                    node.unresolved.append(eid)
                case LocatorState(rloc, up):
                    assert (rloc in node.down) == up, f"{rloc} was {'down' if up else 'up'} already"
                    (node.down.discard if up else node.down.add)(rloc)
                case PathMtu(rloc, 0):
                    del node.path_mtus[rloc]
                case PathMtu(rloc, mtu):
                    node.path_mtus[rloc] = mtu
                case Persist(key, value):
                    if value is None:
                        node.durable.pop(key, None)
                    else:
                        node.durable[key] = json.loads(json.dumps(value))
                case AddHost(eid, interface):
                    assert eid not in node.hosts
                    node.hosts[eid] = interface
                case RemoveHost(eid, interface):
                    assert node.hosts.pop(eid) == interface
                case SendToGroup(payload, interface):
                    packet = Packet(self.now, node.config.rlocs[0], CONTROL_PORT, _group(node), CONTROL_PORT, payload)
                    self.packets.append(packet)
                    for name, other in self.nodes.items():
                        if other is not node and _lan(other) == _lan(node) and not self.lost(packet):
                            ports = packet.source_port, packet.destination, packet.port
                            arrival = Datagram(payload, packet.source, *ports, interface=interface or "hosts")
                            for delay in self.delays(packet):
                                heappush(self._queue, (self.now + delay / 10, next(self._order), (name, arrival)))
                case BeGateway(active):
                    assert node.gateway != active
                    node.gateway = active
                case HostAway(eid):
                    node.away.add(eid)
                case HostHome(eid):
                    node.away.remove(eid)
                case HostLeft(eid):
                    node.left.append(eid)
                case FindHost(eid, interface):
                    if eid in node.present:
                        answer = node.config.name, HostSeen(eid, interface)
                        after = self.delay / 100 if self.answered_after is None else self.answered_after
                        heappush(self._queue, (self.now + after, next(self._order), answer))
                case Answer():
                    node.answers.append(effect)
                case Report():
                    assert json.dumps(effect.fields)
                    node.reports.append(effect)


def _group(node: Node) -> IPAddress:
    assert node.config.map_notify_group is not None
    return node.config.map_notify_group


def _lan(node: Node) -> tuple[IPAddress | None, int]:
    """Nodes of one site with one group hear each other."""
    return node.config.map_notify_group, node.config.site_id


def xtr(name: str, rloc: IPAddress, prefix: EidPrefix, key: Key = KEY, proxy_reply: bool = False) -> NodeConfig:
    return NodeConfig(
        name,
        frozenset({Role.ITR, Role.ETR}),
        (rloc,),
        database=(DatabaseMapping(prefix, (Locator(rloc, 1, 100),)),),
        map_resolvers=(MR,),
        map_servers=(MapServerPeer(MS, key, proxy_reply),),
        xtr_id=f"{int(rloc):032x}",
        site_id=int(rloc),
    )


def site(name: str, *prefixes: EidPrefix, keys: tuple[Key, ...] = (KEY,), more: bool = False) -> RegistrationSite:
    return RegistrationSite(name, keys, tuple(SitePrefix(prefix, more) for prefix in prefixes))


def map_server(*sites: RegistrationSite) -> NodeConfig:
    return NodeConfig("ms", frozenset({Role.MAP_SERVER}), (MS,), sites=sites or (site("dc1", DC1), site("dc2", DC2)))


def map_resolver(*prefixes: EidPrefix) -> NodeConfig:
    delegations = tuple(Delegation(prefix, MS) for prefix in prefixes or (DC1, DC2))
    return NodeConfig("mr", frozenset({Role.MAP_RESOLVER}), (MR,), delegations=delegations)


def pxtr() -> NodeConfig:
    roles = frozenset({Role.PITR, Role.PETR})
    return NodeConfig("pxtr", roles, (PXTR,), map_resolvers=(MR,), eid_aggregates=(AGGREGATE,))


def two_sites(proxy_reply: bool = False) -> World:
    """Two xTRs, an MS, an MR and a PxTR, up and registered."""
    world = World().add(
        map_server(),
        map_resolver(),
        xtr("xtr1", XTR1, DC1, proxy_reply=proxy_reply),
        xtr("xtr2", XTR2, DC2, proxy_reply=proxy_reply),
        pxtr(),
    )
    world.run()
    assert all(node.engine.registered for node in world.nodes.values())
    return world
