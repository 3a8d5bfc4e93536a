"""ITR, PITR, RTR: misses become Map-Requests, accepted Map-Replies become map-cache entries (RFC 9301 section 8.1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import replace
from typing import Any

from nodes.lisp.config import NodeConfig, Role
from nodes.lisp.effects import Answer, Effect, Forwarding, Report, Unresolved
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.engine.acceptance import refusal, refusal_of_probe
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.path_mtus import PathMtus
from nodes.lisp.engine.probing import Prober
from nodes.lisp.engine.publications import Cache, Publications
from nodes.lisp.engine.requests import MapRequester, Resolution
from nodes.lisp.engine.solicitations import Solicitations
from nodes.lisp.engine.subscriptions import Subscriptions, is_refusal
from nodes.lisp.holes import everything
from nodes.lisp.inputs import AddMappings, Datagram, Miss, Query, RemoveMappings, StatusBits, TooBig, Unreachable
from nodes.lisp.locators import is_unicast, last_hop
from nodes.lisp.map_cache import LOCAL_TTL_MINUTES, MapCache
from nodes.lisp.wire import EidRecord, MapNotify, MapReply, MapRequest

LOCATOR_STATUS_BITS = 32
"""As many locators of a mapping have one (RFC 9300 section 5.3)."""


class Itr:
    """Resolves EIDs for the data path (ITR, PITR, RTR) and for people (``lig``, on any node with a Map-Resolver)."""

    def __init__(
        self,
        context: Context,
        request_port: int,
        now: float,
        start_time: float,
        in_use: Callable[[], Collection[IPAddress]],
    ) -> None:
        """Make one that has sent nothing.

        Args:
            context: What the node's roles share.
            request_port: The UDP port that Map-Replies come back to.
            now: Seconds of the engine's clock.
            start_time: Wall-clock seconds.
            in_use: The RLOCs that data went to or came from within the last minute.
        """
        config = context.config
        self._context = context
        # RFC 9300 section 4.1: an ITR serves the sources of its own site.
        self._site = _site(config)
        self._is_itr = Role.ITR in config.roles
        self._is_pitr = Role.PITR in config.roles
        self._is_rtr = Role.RTR in config.roles
        self._keeps_mappings = self._is_itr or self._is_pitr or self._is_rtr
        self._subscriptions = Subscriptions(context, start_time)
        self._requests = MapRequester(context, request_port, self._subscriptions)
        dynamic = (*(permitted.prefix for permitted in config.dynamic_eids), *config.roaming)
        self.map_cache = MapCache(
            _defaults(config), frozenset(config.rlocs), now, config.map_cache_entries, dynamic=dynamic
        )
        self._publications = Publications(
            context,
            self._subscriptions,
            self._requests,
            self.map_cache,
            in_use,
            Cache(self._store, self._resolved, self._ask),
        )
        self._solicitations = Solicitations(context, self.map_cache)
        self._prober = Prober(context, self.map_cache, in_use)
        self._path_mtus = PathMtus(context, self.map_cache)

    def start(self, now: float) -> Iterator[Effect]:
        """Install the default entries, so that a lookup never misses (requirement S04)."""
        if self._keeps_mappings:
            self._prober.start(now)
        yield from self.map_cache.install_defaults()

    def miss(self, miss: Miss, now: float) -> Iterator[Effect]:
        """The data path met an EID whose entry says send-map-request."""
        for_site = self._is_itr and (
            miss.source is None
            or not self._is_pitr
            or any(p.instance_id == miss.eid.instance_id and p.contains(miss.source) for p in self._site)
        )
        # RFC 6832 section 5: a PITR serves the aggregates that it announces, and nothing else; so does an RTR.
        if not for_site and not ((self._is_pitr or self._is_rtr) and self._in_aggregates(miss.eid)):
            yield from self._context.drop("miss-outside-aggregates", now, eid=miss.eid)
            yield Unresolved(miss.eid)
            return
        if self._undecided(miss.eid):
            # RFC 9300 section 3: an RTR asks as an ITR does, for a source that has an EID.
            for_eid = self._is_rtr and (not self._is_pitr or self._is_eid(miss.source, miss.eid.instance_id))
            yield from self._requests.ask(miss.eid, now, miss.source, pitr=not (for_site or for_eid))

    def query(self, query: Query, now: float) -> Iterator[Effect]:
        """Somebody asks by hand."""
        yield from self._requests.ask(query.eid, now, pitr=self._is_pitr and not self._is_itr, token=query.token)

    def add_mappings(self, added: AddMappings, now: float) -> Iterator[Effect]:
        """Somebody puts mappings into the map-cache by hand."""
        if self._keeps_mappings:
            yield from self.map_cache.add_static(added.mappings, now)

    def remove_mappings(self, removed: RemoveMappings, _now: float) -> Iterator[Effect]:
        """Somebody takes mappings out of the map-cache that he put in by hand."""
        yield from self.map_cache.remove_static(removed.prefixes)

    def learn(self, record: EidRecord, now: float) -> Iterator[Effect]:
        """Take in a mapping that a Map-Server told unasked."""
        if self._keeps_mappings:
            if record.ttl_minutes:
                self._requests.overtaken(record.prefix)
            yield from self._store(record, now)

    def resolve(self, eid: EidPrefix, now: float) -> Generator[Effect, None, EidRecord | None]:
        """The mapping that packets for ``eid`` go by; where there is none it is asked for, and None."""
        entry = self.map_cache.lookup(eid)
        if entry is not None and entry.forwarding.forwarding is Forwarding.ENCAPSULATE:
            return EidRecord.of(eid, LOCAL_TTL_MINUTES, entry.locators)
        if self._keeps_mappings and self._undecided(eid):
            yield from self._requests.ask(eid, now)
        return None

    def solicited(self, request: MapRequest, arrival: Datagram, now: float) -> Iterator[Effect]:
        """A Solicit-Map-Request: somebody says that a cached mapping is old. The mapping system is asked, not he."""
        if not self._keeps_mappings:
            yield from self._context.drop("solicit-map-request", now, source=arrival.source)
            return
        yield from self._solicitations.take(request, arrival, now)
        yield from self._ask_again(now)

    def moved(self, now: float) -> Iterator[Effect]:
        """The node has other RLOCs: from which locators are reached, and where answers have to go."""
        yield from self.map_cache.move(frozenset(self._context.config.rlocs))
        self._requests.moved()
        self._subscriptions.renew_all(now)
        yield from self._prober.moved(now)

    def unreachable(self, error: Unreachable, now: float) -> Iterator[Effect]:
        """An ICMP error says that an RLOC cannot be reached (RFC 9301 section 7)."""
        yield from self._prober.unreachable(error, now)

    def status_bits(self, said: StatusBits, now: float) -> Iterator[Effect]:
        """RFC 9300 section 10: a site tells, in its data packets, which of its locators are up (requirement D09)."""
        entry = self.map_cache.lookup(said.eid)
        if entry is None or not entry.locators or not self._context.config.locator_status_bits:
            return
        # The outer source need not be one of them: a site may send from RLOCs that it does not register.
        order = list(dict.fromkeys(last_hop(one.address) for one in entry.locators))
        for ordinal, rloc in enumerate(order[:LOCATOR_STATUS_BITS]):
            # The way to a path's end is by its first hop, of which the bits say nothing.
            if rloc is not None and is_unicast(rloc) and self.map_cache.uses(rloc):
                yield from self._prober.status(rloc, bool(said.bits >> ordinal & 1), now)

    def too_big(self, error: TooBig, now: float) -> Iterator[Effect]:
        """An ICMP error says that an outer packet was too big for its path (RFC 9300 section 7.2)."""
        yield from self._path_mtus.too_big(error, now)

    def map_reply(self, reply: MapReply, arrival: Datagram, now: float) -> Iterator[Effect]:
        """Accept a Map-Reply that answers one of our Map-Requests; drop any other."""
        # RFC 9301 section 5.2: the nonce is what ties a Map-Reply to its request, and all that an off-path attacker
        # lacks. The source address does not matter: it may be an ETR, a Map-Server, an anycast Map-Resolver.
        resolution = self._requests.match(reply.nonce)
        if resolution is None:
            if probe := self._prober.match(reply.nonce):
                yield from self._probe_reply(reply, probe[0].rloc, probe[1], arrival, now)
                return
            yield from self._context.drop("map-reply-unknown-nonce", now, source=arrival.source)
            return
        if reason := refusal(reply, resolution.eid):
            yield from self._context.drop(reason, now, source=arrival.source, eid=resolution.eid)
            return
        # RFC 9437 section 5: a subscription is refused by a negative Map-Reply, which says nothing of the mapping.
        if is_refusal(reply.records) and self._subscriptions.open(now) and not resolution.plain:
            self._subscriptions.refused(now)
            self._requests.ask_plainly(resolution)
            yield Report("subscription-refused", {"eid": str(resolution.eid), "by": str(arrival.source)})
            return
        self._subscriptions.end(reply.records[0].prefix)
        if resolution.plain:
            self._subscriptions.later(resolution.eid, now)
        yield from self._resolved(reply, resolution, arrival, now)

    def map_notify(self, notify: MapNotify, arrival: Datagram, now: float) -> Generator[Effect, None, bool]:
        """A Map-Server confirms a subscription, or publishes (RFC 9437); returns whether it was that."""
        return (yield from self._publications.map_notify(notify, arrival, now))

    def _resolved(
        self, answer: MapReply | MapNotify, resolution: Resolution, arrival: Datagram, now: float
    ) -> Iterator[Effect]:
        """An answer that is accepted: it is cached, and told to those who asked."""
        sent = resolution.sent[answer.nonce]
        tokens = self._requests.finish(resolution)
        if self._keeps_mappings:
            cached = self.map_cache.cached_prefix(resolution.eid)
            for record in answer.records:
                yield from self._store(record, now)
            # RFC 9301 section 5.5: a less-specific prefix replaces what was cached for the EID that was asked for.
            yield from self.map_cache.replace(resolution.eid, [record.prefix for record in answer.records])
            if self.map_cache.cached_prefix(resolution.eid) != cached:
                self._solicitations.confirmed(cached, now)
            yield from self._settle(answer, resolution)
        for token in tokens:
            yield Answer(token, _answer(answer, resolution.eid, arrival, now - sent))

    def _ask(self, eid: EidPrefix, now: float) -> Iterator[Effect]:
        yield from self._requests.ask(eid, now, pitr=self._is_pitr and not self._is_itr)

    def tick(self, now: float) -> Iterator[Effect]:
        """End mappings, ask again for what was solicited, retransmit requests."""
        yield from self.map_cache.expire(now)
        yield from self._publications.tick(now)
        yield from self._ask_again(now)
        yield from self._requests.tick(now)
        yield from self._prober.tick(now)
        for prefix in self._prober.take_doubted():
            # RFC 9301 section 7: where no locator answers, the mapping system is asked by a Map-Request as any other.
            yield from self._ask(prefix, now)
        yield from self._path_mtus.tick(now)

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        parts = (
            self.map_cache, self._solicitations, self._requests, self._prober, self._path_mtus, self._subscriptions,
        )  # fmt: skip
        deadlines = (part.deadline() for part in parts)
        return min((one for one in deadlines if one is not None), default=None)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """The map-cache as a table."""
        return self.map_cache.rows(now, self._prober.down)

    def locator_rows(self, now: float) -> list[dict[str, Any]]:
        """The RLOCs that are probed, or were, as a table."""
        return [{**row, "path_mtu": self._path_mtus.of(row["rloc"])} for row in self._prober.rows(now)]

    def _probe_reply(
        self, reply: MapReply, rloc: IPAddress, asked: EidPrefix, arrival: Datagram, now: float
    ) -> Iterator[Effect]:
        """An RLOC-probe is answered: its locator is up, and its ETR tells the mapping as it is now."""
        if reason := refusal_of_probe(reply, asked, rloc):
            yield from self._context.drop(reason, now, source=arrival.source, rloc=rloc)
            return
        yield from self._prober.answered(reply, now)
        for told in reply.records:
            # RFC 9301 section 5.4: the p-bit is about this probe; the mapping is the same with and without it.
            record = replace(told, locators=tuple(replace(one, probed=False) for one in told.locators))
            # RFC 9301 section 7.1: mapping updates. Only of the prefix that is cached: whether another one took its
            # place is the mapping system's to say. And only from whom it leads to: when it has become another one while
            # the answer was under way, that is older.
            if record.prefix == asked and self.map_cache.leads_to(asked, rloc):
                news = list(self.map_cache.confirm(record, now))
                yield from news
                if news:
                    yield _updated(record)

    def _ask_again(self, now: float) -> Iterator[Effect]:
        for eid in self._solicitations.due(now):
            # RFC 9301 section 6.1: the SMR-invoked Map-Request goes through the mapping system, s-bit set.
            yield from self._requests.ask(eid, now, pitr=self._is_pitr and not self._is_itr, smr_invoked=True)

    def _in_aggregates(self, eid: EidPrefix) -> bool:
        return any(aggregate.covers(eid) for aggregate in self._context.config.eid_aggregates)

    def _is_eid(self, address: IPAddress | None, instance_id: int) -> bool:
        return address is not None and self._in_aggregates(host_prefix(address, instance_id))

    def subscription_rows(self, now: float) -> list[dict[str, Any]]:
        """What this node has subscribed to, as a table."""
        return self._subscriptions.rows(now)

    def _store(self, record: EidRecord, now: float) -> Iterator[Effect]:
        yield from self.map_cache.store(record, now)
        yield _updated(record)

    def _settle(self, reply: MapReply | MapNotify, resolution: Resolution) -> Iterator[Effect]:
        """End what the reply answers as well, and let go of packets that it does not help."""
        if self._undecided(resolution.eid):
            yield Unresolved(resolution.eid)
        for record in reply.records:
            for other in self._requests.under_way(record.prefix):
                if not self._undecided(other.eid):
                    self._subscriptions.expect(reply.records[0].prefix, other.sent)
                    self._requests.finish(other)

    def _undecided(self, eid: EidPrefix) -> bool:
        entry = self.map_cache.lookup(eid)
        return entry is None or entry.forwarding.forwarding is Forwarding.SEND_MAP_REQUEST


def _defaults(config: NodeConfig) -> set[EidPrefix]:
    """Where send-map-request is the default: for an ITR everywhere, for a PITR or RTR inside the aggregates."""
    defaults = set(config.eid_aggregates) if config.roles & {Role.PITR, Role.RTR} else set()
    if Role.ITR in config.roles:
        sources = _site(config) or (EidPrefix.of("0.0.0.0/0"), EidPrefix.of("::/0"))
        defaults |= {everything(prefix) for prefix in sources}
        # Inside a prefix whose hosts are found one by one, no wider negative mapping may decide.
        defaults |= {permitted.prefix for permitted in config.dynamic_eids}
    return defaults


def _site(config: NodeConfig) -> tuple[EidPrefix, ...]:
    """The EID-prefixes of the site: configured mappings, and where hosts are found one by one."""
    return (*(one.prefix for one in config.database), *(one.prefix for one in config.dynamic_eids))


def _updated(record: EidRecord) -> Report:
    return Report(
        "map-cache-updated",
        {
            "eid": str(record.prefix),
            "ttl_minutes": record.ttl_minutes,
            "locators": [str(one.address) for one in record.locators],
            "action": record.action,
        },
    )


def _answer(reply: MapReply | MapNotify, eid: EidPrefix, arrival: Datagram, round_trip: float) -> dict[str, Any]:
    """What ``lig`` shows."""
    return {
        "eid": str(eid.network),
        "instance_id": eid.instance_id,
        "replier": str(arrival.source),
        "rtt_ms": round(1000 * round_trip, 3),
        "records": [
            {
                "eid": str(record.prefix.network),
                "instance_id": record.prefix.instance_id,
                "ttl_minutes": record.ttl_minutes,
                "action": record.action,
                "authoritative": record.authoritative,
                "locators": [
                    {
                        "rloc": str(one.address),
                        "priority": one.priority,
                        "weight": one.weight,
                        "local": one.local,
                        "state": "up" if one.reachable else "down",
                    }
                    for one in record.locators
                ],
            }
            for record in reply.records
        ],
    }
