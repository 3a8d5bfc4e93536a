"""The engine: joins the roles of one node by two tables, what happened and which message came, to handler."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from typing import Any

from nodes.lisp.config import NodeConfig, Role
from nodes.lisp.effects import CONTROL_PORT, Answer, Effect, Report, Send, Unresolved
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.etr import Etr
from nodes.lisp.engine.itr import Itr
from nodes.lisp.engine.map_resolver import MapResolver
from nodes.lisp.engine.map_server import MapServer
from nodes.lisp.engine.mappings import Mappings
from nodes.lisp.engine.replies import MapReplier
from nodes.lisp.errors import DecodeError
from nodes.lisp.inputs import (
    AddMappings,
    ChangeKey,
    ChangeLocator,
    CoreLinks,
    Datagram,
    HostGone,
    HostSeen,
    HostsSeen,
    Input,
    Miss,
    Query,
    RemoveMappings,
    RlocsChanged,
    StatusBits,
    StrayData,
    Tick,
    TooBig,
    Unreachable,
)
from nodes.lisp.wire import (
    EncapsulatedControlMessage,
    MapNotify,
    MapNotifyAck,
    MapRegister,
    MapReply,
    MapRequest,
    Message,
    MessageType,
    decode,
)

Handler = Callable[[Any, Datagram, float], Iterator[Effect]]

_NAMES: Mapping[int, str] = {one: one.name.lower().replace("_", "-") for one in MessageType}


class Engine:
    """The control plane of one node, without input or output.

    The caller passes every input to :meth:`step` and carries out the effects in order, each as it comes; when the clock
    reaches :meth:`deadline`, it passes a :class:`Tick`. No datagram makes :meth:`step` raise.

    Attributes:
        counters: Messages received and sent by type, and drops by reason.
    """

    def __init__(
        self,
        config: NodeConfig,
        random: Callable[[int], int],
        now: float,
        *,
        start_time: float,
        durable: Mapping[str, Any],
        request_port: int,
        in_use: Callable[[], Collection[IPAddress]] = frozenset,
        contacts: Callable[[EidPrefix], Collection[IPAddress]] = lambda _prefix: (),
    ) -> None:
        """Make an engine that has done nothing yet; :meth:`start` sets it going.

        Args:
            config: What the node is told.
            random: Gives that many random bits; the source of nonces.
            now: Seconds of the clock that all later calls go by.
            start_time: Wall-clock seconds; keeps nonces increasing across restarts (RFC 9301 section 5.6).
            durable: What :class:`Persist` effects of earlier runs kept.
            request_port: The ephemeral UDP port that Map-Requests leave from and Map-Replies come back to.
            in_use: The RLOCs that data went to or came from within the last minute (of the engine's clock): which
                locators are probed (RFC 9301 section 7.1).
            contacts: Those of them that data of the EIDs in a prefix went to or came from: who is told when it moves.
        """
        roles = config.roles
        self._config = config
        self._context = context = Context(config, random)
        self.counters = context.counters
        # Any node with a Map-Resolver can ask by hand; only an ITR, PITR or RTR keeps the answers.
        self._itr = Itr(context, request_port, now, start_time, in_use) if config.map_resolvers else None
        learn, resolve = (self._itr.learn, self._itr.resolve) if self._itr else (_nothing, _unknown)
        self._etr = Etr(context, durable, start_time, learn, resolve, contacts, now) if Role.ETR in roles else None
        self._map_server = MapServer(context, durable, now, start_time) if Role.MAP_SERVER in roles else None
        map_resolver = MapResolver(config) if Role.MAP_RESOLVER in roles else None
        mappings = Mappings(self._etr, self._map_server, map_resolver)
        replier = MapReplier(context, mappings, self._etr, self._itr, self._map_server, map_resolver)
        # While nothing has happened since the deadline was asked for, it is the same.
        self._deadline_known = False
        self._deadline: float | None = None
        self._timed = [role for role in (self._map_server, self._etr, self._itr) if role is not None]
        self._inputs: Mapping[type[Input], Callable[[Any, float], Iterable[Effect]]] = {
            Datagram: self._datagram,
            Miss: self._itr.miss if self._itr else lambda miss, _now: [Unresolved(miss.eid)],
            Query: self._itr.query if self._itr else self._cannot("has no Map-Resolver to ask"),
            HostSeen: self._etr.host_seen if self._etr else _nothing,
            HostsSeen: self._etr.hosts_seen if self._etr else _nothing,
            HostGone: self._etr.host_gone if self._etr else _nothing,
            StrayData: self._etr.stray_data if self._etr else _nothing,
            CoreLinks: self._etr.core_links if self._etr else _nothing,
            ChangeLocator: self._etr.change_locator if self._etr else self._cannot("is no ETR and registers no RLOC"),
            RlocsChanged: self._rlocs_changed,
            ChangeKey: self._etr.change_key if self._etr else self._cannot("is no ETR and registers nothing"),
            Unreachable: self._itr.unreachable if self._itr else _nothing,
            StatusBits: self._itr.status_bits if self._itr else _nothing,
            TooBig: self._itr.too_big if self._itr else _nothing,
            AddMappings: self._itr.add_mappings if self._itr else _nothing,
            RemoveMappings: self._itr.remove_mappings if self._itr else _nothing,
            Tick: _nothing,
        }
        # A message whose role is absent is dropped: RFC 9301 section 8.3 says so of Map-Replies at a Map-Server.
        self._handlers: Mapping[type[Message], Handler | None] = {
            MapRequest: replier.map_request,
            MapReply: self._itr.map_reply if self._itr else None,
            MapRegister: self._map_server.map_register if self._map_server else None,
            MapNotify: self._map_notify if self._etr or self._itr else None,
            MapNotifyAck: self._map_server.map_notify_ack if self._map_server else None,
            EncapsulatedControlMessage: replier.encapsulated,
        }

    def start(self, now: float) -> list[Effect]:
        """Default map-cache entries and first Map-Registers."""
        self._deadline_known = False
        return list(self._done(effect for role in self._timed for effect in role.start(now)))

    def step(self, happened: Input, now: float) -> list[Effect]:
        """Take one input at a time and say what is to be done.

        Args:
            happened: The input.
            now: Seconds of the clock; never less than in an earlier call.
        """
        return list(self.effects(happened, now))

    def effects(self, happened: Input, now: float) -> Iterator[Effect]:
        """The same as :meth:`step`, each effect as soon as it is known: the first ones are on their way by then.

        All of them are to be taken before the next input.
        """
        due = self.deadline()
        self._deadline_known = False
        if due is not None and due <= now:
            yield from self._done(effect for role in self._timed for effect in role.tick(now))
        yield from self._done(self._inputs[type(happened)](happened, now))

    def deadline(self) -> float | None:
        """When a :class:`Tick` is due, in seconds of the clock; None if nothing is."""
        if not self._deadline_known:
            self._deadline = min((one for role in self._timed if (one := role.deadline()) is not None), default=None)
            self._deadline_known = True
        return self._deadline

    @property
    def registered(self) -> bool:
        """Whether every Map-Register has been acknowledged; True for a node that registers nothing."""
        return self._etr is None or self._etr.registered

    def has_static_mapping(self, prefix: EidPrefix) -> bool:
        """Whether a mapping of just this prefix was put into the map-cache by hand."""
        return self._itr is not None and self._itr.map_cache.is_static(prefix)

    def show(self, what: str, now: float) -> list[dict[str, Any]] | dict[str, Any]:
        """A table for people, JSON values only.

        Args:
            what: "map-cache", "locators", "database", "dynamic-eids", "registrations", "subscriptions" or "roles".
            now: Seconds of the clock.

        Raises:
            KeyError: There is no such table.
        """
        tables: dict[str, Callable[[], list[dict[str, Any]] | dict[str, Any]]] = {
            "map-cache": lambda: self._itr.rows(now) if self._itr else [],
            "locators": lambda: self._itr.locator_rows(now) if self._itr else [],
            "database": lambda: self._etr.rows(now) if self._etr else [],
            "dynamic-eids": lambda: self._etr.host_rows(now) if self._etr else [],
            "registrations": lambda: self._map_server.rows(now) if self._map_server else [],
            "subscriptions": lambda: [
                *(self._map_server.subscription_rows(now) if self._map_server else []),
                *(self._itr.subscription_rows(now) if self._itr else []),
            ],
            "roles": self._roles,
        }
        return tables[what]()

    def _datagram(self, arrival: Datagram, now: float) -> Iterator[Effect]:
        source = arrival.source
        # RFC 9301 section 5: a control message has 4342 as source or destination port.
        if CONTROL_PORT not in (arrival.source_port, arrival.destination_port):
            yield from self._context.drop("not-a-control-port", now, source=source)
            return
        # RFC 9301 section 5.1: what cannot be read, unknown address families included, is dropped and logged.
        try:
            message = decode(arrival.payload)
            self.counters[f"received-{_name(arrival.payload)}"] += 1
            handler = self._handlers.get(type(message))
            # X09: hosts of the site can send to the group of its xTRs, but to no RLOC (requirement S01).
            if arrival.destination == self._config.map_notify_group and not isinstance(message, MapNotify):
                yield from self._context.drop("group-foreign", now, source=source)
            elif handler is None:
                yield from self._context.drop(f"no-role-for-{_name(arrival.payload)}", now, source=source)
            else:
                yield from handler(message, arrival, now)
        except DecodeError as error:
            yield from self._context.drop("malformed", now, source=source, error=str(error))

    def _map_notify(self, notify: MapNotify, arrival: Datagram, now: float) -> Iterator[Effect]:
        """What the ITR subscribed to (RFC 9437 section 6), or what the ETR registered or had."""
        if self._itr and (yield from self._itr.map_notify(notify, arrival, now)):
            return
        if self._etr:
            yield from self._etr.map_notify(notify, arrival, now)
        else:
            yield from self._context.drop("map-notify-unknown-nonce", now, source=arrival.source)

    def _rlocs_changed(self, changed: RlocsChanged, now: float) -> Iterator[Effect]:
        """Requirement S15: the roles of this node go on from its new RLOCs."""
        yield Report("rlocs-changed", {"rlocs": [str(one) for one in changed.rlocs]})
        if not changed.rlocs:  # nobody can be told; what is asked for meanwhile gets no answer
            return
        self._context.move(changed.rlocs)
        for role in (self._itr, self._etr):
            if role is not None:
                yield from role.moved(now)

    def _cannot(self, why: str) -> Callable[[Query | ChangeLocator | ChangeKey, float], list[Effect]]:
        return lambda asked, _now: [Answer(asked.token, None, f"{self._config.name} {why}")]

    def _done(self, effects: Iterable[Effect]) -> Iterator[Effect]:
        for_the_log: list[Report] = []  # somebody waits for the rest
        for effect in effects:
            if isinstance(effect, Report):
                for_the_log.append(effect)
                continue
            if isinstance(effect, Send):
                self.counters[f"sent-{_name(effect.payload)}"] += 1
            yield effect
        yield from for_the_log

    def _roles(self) -> dict[str, Any]:
        config = self._context.config
        return {
            "name": config.name,
            "roles": sorted(config.roles),
            "rlocs": [str(rloc) for rloc in config.rlocs],
            "xtr_id": config.xtr_id,
            "site_id": config.site_id,
            "map_resolvers": [str(one) for one in config.map_resolvers],
            "map_servers": [str(peer.address) for peer in config.map_servers],
            "petrs": [str(one) for one in config.petrs],
            "eid_aggregates": [str(prefix) for prefix in config.eid_aggregates],
        }


def _nothing(_happened: object, _now: float) -> Iterator[Effect]:
    return iter(())


def _unknown(_eid: EidPrefix, _now: float) -> Generator[Effect, None, None]:
    yield from ()


def _name(payload: bytes) -> str:
    """The message type in words, for counters (RFC 9301 section 5.1: the first four bits)."""
    return _NAMES[payload[0] >> 4]
