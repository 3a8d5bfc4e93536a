"""Map-Notifies about subscriptions: which are believed, and what becomes of them (RFC 9437 sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass

from nodes.lisp.config import Key
from nodes.lisp.effects import Effect
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.acceptance import refusal_of_records
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.map_notifies import acknowledgement
from nodes.lisp.engine.requests import MapRequester, Resolution
from nodes.lisp.engine.subscription import newer
from nodes.lisp.engine.subscriptions import Subscribed, Subscriptions, is_refusal
from nodes.lisp.inputs import Datagram
from nodes.lisp.locators import forbidden, last_hop
from nodes.lisp.map_cache import MapCache
from nodes.lisp.wire import EidRecord, MapNotify


@dataclass(frozen=True, slots=True)
class Cache:
    """What an ITR does with mappings.

    Attributes:
        store: Takes in a record.
        resolved: Takes in an answer, and lets those know who asked.
        ask: Asks the mapping system for an EID or EID-prefix.
    """

    store: Callable[[EidRecord, float], Iterator[Effect]]
    resolved: Callable[[MapNotify, Resolution, Datagram, float], Iterator[Effect]]
    ask: Callable[[EidPrefix, float], Iterator[Effect]]


class Publications:
    """What Map-Servers tell an ITR, PITR or RTR that has subscribed."""

    def __init__(
        self,
        context: Context,
        subscriptions: Subscriptions,
        requests: MapRequester,
        map_cache: MapCache,
        in_use: Callable[[], Collection[IPAddress]],
        cache: Cache,
    ) -> None:
        """Make one that has been told nothing.

        Args:
            context: What the node's roles share.
            subscriptions: What it has subscribed to.
            requests: The Map-Requests under way.
            map_cache: The mappings.
            in_use: The RLOCs that data went to or came from within the last minute.
            cache: What is done with mappings.
        """
        self._context = context
        self._subscriptions = subscriptions
        self._requests = requests
        self._map_cache = map_cache
        self._in_use = in_use
        self._cache = cache

    def map_notify(self, notify: MapNotify, arrival: Datagram, now: float) -> Generator[Effect, None, bool]:
        """A Map-Server confirms a subscription, or publishes (RFC 9437); returns whether it was that."""
        resolution, subscribed = self._requests.match(notify.nonce), self._subscriptions.find(notify)
        ended = self._subscriptions.is_ending(notify.nonce)
        if resolution is None and subscribed is None and not ended:
            return False
        # RFC 9437 section 6: the security association proves that the Map-Server says so.
        key = self._subscriptions.key_of(notify, arrival)
        if key is None:
            yield from self._context.drop("map-notify-authentication", now, source=arrival.source)
        elif ended:
            self._subscriptions.ended(notify.nonce)
            yield acknowledgement(notify, key, arrival.source, can_wait=False)
        elif resolution is not None:
            if is_refusal(notify.records):  # it gave up to wait for the acknowledgement of an earlier answer
                yield from self._context.drop("subscription-unconfirmed", now, source=arrival.source)
            elif reason := refusal_of_records(notify.records, resolution.eid):
                yield from self._context.drop(reason, now, source=arrival.source, eid=resolution.eid)
            else:
                asked = resolution.sent
                self._subscriptions.confirmed(notify, resolution.eid, asked, arrival.source, now)
                yield from self._cache.resolved(notify, resolution, arrival, now)
                yield acknowledgement(notify, key, arrival.source, can_wait=False)
        elif subscribed is not None:
            yield from self._told(notify, subscribed, key, arrival, now)
        return True

    def _told(
        self, notify: MapNotify, subscribed: Subscribed, key: Key, arrival: Datagram, now: float
    ) -> Iterator[Effect]:
        """A Map-Server says something of what this node has subscribed to."""
        records = notify.records
        if is_refusal(records) and not newer(subscribed.nonce, notify.nonce):
            # RFC 9437 section 5: the subscription is lost, and the mapping may be old: it is asked for again. It has
            # the nonce of what was not acknowledged; with an older one, it may be a replay.
            self._subscriptions.end(subscribed.prefix)
            yield from self._cache.ask(subscribed.eid, now)
            return
        foreign = any(not subscribed.prefix.covers(record.prefix) for record in records)
        if foreign or any(forbidden(record.locators) for record in records):
            yield from self._context.drop("publication-foreign-prefix", now, source=arrival.source)
            return
        if newer(notify.nonce, subscribed.nonce):
            for record in records:
                # An EID that is at this site now needs no mapping here.
                here = any(last_hop(one.address) in self._context.config.rlocs for one in record.locators)
                yield from self._cache.store(EidRecord.of(record.prefix, 0) if here else record, now)
            if notify.nonce in subscribed.asked:
                self._subscriptions.confirmed(notify, subscribed.eid, subscribed.asked, arrival.source, now)
            subscribed.nonce = notify.nonce
            # A subscription to a prefix without EIDs ends: an EID that came there gets one of its own.
            if subscribed.temporary:
                for record in records:
                    if record.locators and record.prefix != subscribed.prefix:
                        yield from self._cache.ask(record.prefix, now)
        elif notify.nonce != subscribed.nonce:
            # RFC 9437 section 6: a publication that is not newer than the last one may be a replay; it is logged.
            yield from self._context.drop("publication-replay", now, source=arrival.source, eid=subscribed.prefix)
            return
        # The last one comes again if its acknowledgement was lost.
        yield acknowledgement(notify, key, arrival.source)

    def tick(self, now: float) -> Iterator[Effect]:
        """Renew those whose mappings are in use, for a Map-Server can lose them; end those that nobody needs."""
        for eid in self._subscriptions.wanted(now):
            if self._map_cache.cached_prefix(eid) != eid or self._map_cache.inside(eid):
                yield from self._cache.ask(eid, now)
        for prefix, nonce in self._subscriptions.unheard(now):
            yield from self._requests.unsubscribe(prefix, nonce, now)
        due = self._subscriptions.due(now)
        in_use = self._in_use() if due else ()  # every contact there is: not to be read for nothing
        for one in due:
            entries = self._map_cache.inside(one.prefix)
            if not entries:
                self._subscriptions.end(one.prefix)
                yield from self._requests.unsubscribe(one.prefix, self._subscriptions.next_nonce(), now)
            elif any(locator.address in in_use for entry in entries for locator in entry.forwarding.locators):
                yield from self._cache.ask(one.eid, now)
