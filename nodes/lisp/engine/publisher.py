"""Publications of a Map-Server (RFC 9437 sections 5 and 6): each change is told at once to those who subscribed to it.

A Map-Request is not authenticated, and who forged one could turn a subscription, or end it. So a request changes
nothing by itself: the Map-Notify that answers it is signed with a secret of the xTR that it names and goes to RLOCs of
that xTR alone, and what was asked for is done when the Map-Notify-Ack comes, which only who has the secret sends, and
only if he has asked.

The secret is shared beforehand. RFC 9437 section 7.1 leaves that, or to derive it by LISP-SEC (RFC 9303), to whoever
sets a deployment up; LISP-SEC is not here (requirement M16). Nor are two things of section 5: subscriptions that are
configured, and that an xTR has the more-specifics of its subscription published no more one by one (a SHOULD; no xTR
here asks for it). The last nonce of a subscription that has ended is kept until the next restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nodes.lisp.config import Subscriber
from nodes.lisp.effects import Effect, Persist, Report, Send
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.map_notifies import in_parts
from nodes.lisp.engine.subscribers import Subscribers, is_of, is_withdrawal
from nodes.lisp.engine.subscription import SUBSCRIPTIONS, Purpose, Subscription, Telling, newer, prefix_of
from nodes.lisp.inputs import Datagram
from nodes.lisp.timers import Timers
from nodes.lisp.wire import Action, EidRecord, MapNotify, MapNotifyAck, MapRequest, sealed, verify

MAX_SUBSCRIPTIONS = 8192
"""How many subscriptions one xTR may have; to more it is answered by Map-Replies."""
MAX_ENDED = 4096
"""Of how many subscriptions that have ended the last nonce is kept."""
MAX_PENDING = 4
"""How many requests for one subscription of one xTR wait for their Map-Notify-Ack."""
MOST_HURRIED = 16
"""How often a publication is told again because a later one was acknowledged, before only time counts."""
TEMPORARY = 15 * 60.0
"""Seconds for which a subscription to a prefix without EIDs holds (RFC 9437 section 5)."""
LOST_TTL = 1
"""Minutes of the record that says that a subscription is lost."""


class Publisher:
    """The subscriptions at a Map-Server, kept across restarts."""

    def __init__(
        self,
        context: Context,
        durable: Mapping[str, Any],
        now: float,
        word: Callable[[EidPrefix], EidRecord | None],
        match: Callable[[EidPrefix], EidPrefix | None],
    ) -> None:
        """Make one that remembers what an earlier run kept.

        Args:
            context: What the node's roles share.
            durable: What an earlier run kept.
            now: Seconds of the engine's clock.
            word: What is said of a prefix that is registered; None if it is not.
            match: The longest registered prefix that covers another one.
        """
        self._context = context
        self._subscribers = Subscribers(context.config)
        self._word = word
        self._match = match
        self._table: EidTable[dict[str, Subscription]] = EidTable()
        self._counts: Counter[str] = Counter()
        self._ended: dict[tuple[str, EidPrefix], int] = {}
        self._by_nonce: dict[int, Telling] = {}
        self._timers: Timers[Telling] = Timers()
        self._expiry: Timers[Subscription] = Timers()
        self._untold: list[tuple[Subscription, list[EidPrefix]]] = []
        known = {one.xtr_id: one for one in context.config.subscribers}
        kept = {key: value for key, value in durable.items() if key.startswith(SUBSCRIPTIONS)}
        self._lost = [key for key, value in kept.items() if not self._restore(key, value, known, now)]

    def start(self, now: float) -> Iterator[Effect]:
        """Tell what an earlier run could not, and forget subscribers that the configuration no longer has."""
        for subscription, prefixes in self._untold:
            news = {one: self._said(one) for one in prefixes}
            yield from self._tell(subscription, news, now)
            yield self._kept(subscription)
        self._untold.clear()
        yield from (Persist(key, None) for key in self._lost)

    def has_room(self, request: MapRequest, prefix: EidPrefix) -> bool:
        """Whether this request can be taken: its xTR has the subscription, or room for it."""
        subscriber = self._subscribers.find(request)
        if subscriber is None:
            return False
        has_it = subscriber.xtr_id in (self._table.get(prefix) or {})
        return has_it or self._counts[subscriber.xtr_id] < MAX_SUBSCRIPTIONS

    def request(
        self, request: MapRequest, records: tuple[EidRecord, ...], source: IPAddress, now: float
    ) -> Iterator[Effect]:
        """An xTR that may subscribe wants to, or wants to no more; :meth:`has_room` was asked before.

        Args:
            request: Its Map-Request.
            records: The answer: the record that covers the EID first, whose prefix is what it subscribes to.
            source: The source of its Map-Request, inside the Encapsulated Control Message.
            now: Seconds of the engine's clock.
        """
        subscriber = self._subscribers.find(request)
        if subscriber is None:
            return
        ends = is_withdrawal(request)
        prefix = request.records[0].prefix if ends else records[0].prefix
        subscription = (self._table.get(prefix) or {}).get(subscriber.xtr_id)
        if request.nonce in self._by_nonce:
            # Its answer waits for the acknowledgement: the network has doubled it, or its xTR sends it again.
            yield from self._context.drop("subscription-copy", now, eid=prefix)
            return
        # RFC 9437 section 5: a nonce that is not greater than the stored one may be a replay: dropped, and logged. So
        # it is after the end of a subscription.
        ended = self._ended.get((subscriber.xtr_id, prefix))
        last = subscription.nonce if subscription and subscription.confirmed else ended
        if last is not None and not newer(request.nonce, last):
            yield from self._context.drop("subscription-replay", now, eid=prefix)
            return
        if subscription is None:
            if ends:
                yield from self._context.drop("unsubscribed-already", now, eid=prefix)
                return
            subscription = self._put(Subscription(subscriber, prefix))
        rlocs = tuple(self._context.reply_addresses(request.itr_rlocs))
        if ends:
            # RFC 9437 section 5: to the source of the Map-Request, where that is an RLOC of the xTR's.
            own = (one for one in self._context.reply_addresses([source]) if is_of(subscriber, one))
            rlocs = tuple(dict.fromkeys((*own, *subscription.rlocs)))
        if not rlocs:
            self._forget_if_empty(subscription)
            yield from self._context.drop("map-request-no-usable-itr-rloc", now)
            return
        if len(subscription.pending) >= MAX_PENDING:
            self._end(subscription.pending[0])
        purpose = Purpose.END if ends else Purpose.CONFIRM
        said = {prefix: EidRecord.of(prefix, 0)} if ends else {record.prefix: record for record in records}
        telling = Telling(subscription, purpose, said, rlocs, [request.nonce])
        subscription.pending.append(telling)
        # RFC 9437 section 5: the Map-Notify that confirms has the nonce of the Map-Request.
        yield self._send(telling, now)

    def publish(
        self, changed: Iterable[EidPrefix], now: float, knowing: Collection[IPAddress] = ()
    ) -> Iterator[Effect]:
        """What is registered of these prefixes has changed, or is registered no more: all subscribers hear of it.

        Args:
            changed: The prefixes.
            now: Seconds of the engine's clock.
            knowing: The RLOCs of those who have said so, or were just told in another way: theirs can wait.
        """
        news: dict[Subscription, dict[EidPrefix, EidRecord]] = {}
        for prefix in changed:
            record = self._said(prefix)
            # RFC 9437 section 6: who subscribed to a less-specific prefix is told of the more-specific one.
            for _, there in self._table.covering(prefix):
                for subscription in there.values():
                    news.setdefault(subscription, {})[prefix] = record
            if prefix.mask_len == prefix.network.max_prefixlen:
                continue
            # Who was answered for a part alone (it had no mapping of its own) hears what the whole says of it now.
            for part, there in self._table.covered(prefix):
                match = self._match(part)
                if part == prefix or (match and match.mask_len > prefix.mask_len):
                    continue
                of_part = EidRecord.of(part, record.ttl_minutes, record.locators, action=record.action)
                for subscription in there.values():
                    news.setdefault(subscription, {})[part] = of_part
        # All hear of it first. Then it is kept who is yet to acknowledge it.
        knows = {subscription: any(rloc in knowing for rloc in subscription.rlocs) for subscription in news}
        for subscription in sorted(news, key=knows.__getitem__):
            for one in self._tell(subscription, news[subscription], now):
                yield replace(one, can_wait=True) if knows[subscription] else one
        yield from (self._kept(subscription) for subscription in news if subscription.confirmed)

    def map_notify_ack(self, ack: MapNotifyAck, arrival: Datagram, now: float) -> Generator[Effect, None, bool]:
        """An xTR has heard something; returns whether it was something of this kind."""
        telling = self._by_nonce.get(ack.nonce)
        if telling is None:
            return False
        subscription = telling.subscription
        keys = subscription.subscriber.keys
        named = [key for key in keys if (key.key_id, key.algorithm) == (ack.key_id, ack.algorithm_id)]
        if not any(verify(arrival.payload, ack, key.secret) for key in named):
            yield from self._context.drop("map-notify-ack-authentication", now, source=arrival.source)
            return True
        if telling.purpose is Purpose.CONFIRM:
            yield from self._confirmed(telling, now)
        elif telling.purpose is Purpose.END:
            subscription.go_on_from(ack.nonce)
            yield from self._unsubscribe(subscription, "unsubscribed")
        else:
            self._end(telling)
            yield from self._repeat_overtaken(subscription, ack.nonce, now)
            yield self._kept(subscription)
        return True

    def tick(self, now: float) -> Iterator[Effect]:
        """Repeat what was not acknowledged; give up in the end, also on who never acknowledges."""
        for telling in self._timers.due(now):
            if self._by_nonce.get(telling.nonces[-1]) is not telling:
                continue  # it ended with one that was due before it
            if telling.repetition.again():
                yield self._send(telling, now)
                continue
            subscription = telling.subscription
            if telling.purpose is Purpose.PUBLISH:
                notice = self._sent(subscription, self._refusal(subscription), subscription.nonce, telling.rloc)
                yield from self._unsubscribe(subscription, "subscription-lost")
                yield notice
                continue
            self._end(telling)
            if not subscription.confirmed and not subscription.pending:
                # RFC 9437 section 5: it is told, in case that its acknowledgements are lost and nothing else is.
                yield self._sent(subscription, self._refusal(subscription), telling.nonces[0], telling.rloc)
                self._forget_if_empty(subscription)
        for subscription in self._expiry.due(now):
            yield from self._unsubscribe(subscription, "subscription-ended")

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        deadlines = (self._timers.deadline(), self._expiry.deadline())
        return min((one for one in deadlines if one is not None), default=None)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """The subscriptions as a table."""
        return [
            {
                "eid": str(prefix.network),
                "instance_id": prefix.instance_id,
                "from": [str(one) for one in self._context.config.rlocs],
                "to": [str(one) for one in subscription.rlocs],
                "xtr_id": subscription.subscriber.xtr_id,
                "state": subscription.state,
                "since_s": round(now - subscription.since, 1) if subscription.confirmed else None,
            }
            for prefix, there in self._table.items()
            for subscription in there.values()
        ]

    def _confirmed(self, telling: Telling, now: float) -> Iterator[Effect]:
        subscription = telling.subscription
        (nonce,) = telling.nonces
        # What was published meanwhile went to nobody, or with a nonce that is now an old one.
        missed = {prefix: record for one in subscription.unsaid for prefix, record in one.records.items()}
        missed |= telling.missed
        older = [one for one in subscription.pending if not newer(one.nonces[0], nonce)]
        for one in [*older, *subscription.unsaid]:
            self._end(one)
        if not subscription.confirmed:
            subscription.since = now
            fields = {"eid": str(subscription.prefix), "xtr_id": subscription.subscriber.xtr_id}
            yield Report("subscribed", fields)
        subscription.go_on_from(nonce)
        subscription.confirmed, subscription.rlocs = True, telling.rlocs
        subscription.temporary = not telling.records[subscription.prefix].locators
        if subscription.temporary:
            self._expiry.set(subscription, now + TEMPORARY)
        else:
            self._expiry.cancel(subscription)
        yield from self._tell(subscription, missed, now)
        yield self._kept(subscription)

    def _tell(
        self, subscription: Subscription, news: Mapping[EidPrefix, EidRecord], now: float, hurried: int = 0
    ) -> Iterator[Send]:
        """Publish to one subscriber; what it has not acknowledged of the same prefixes is overtaken."""
        for pending in subscription.pending:
            pending.missed |= news
        if not news or not subscription.confirmed:
            return
        for telling in list(subscription.unsaid):
            telling.records = {prefix: record for prefix, record in telling.records.items() if prefix not in news}
            if not telling.records:
                self._end(telling)
        for part in in_parts(news.values(), subscription.subscriber.keys[0], *subscription.rlocs):
            records, nonces = {record.prefix: record for record in part}, [subscription.next_nonce()]
            telling = Telling(subscription, Purpose.PUBLISH, records, subscription.rlocs, nonces, hurried=hurried)
            subscription.unsaid.append(telling)
            yield self._send(telling, now)

    def _repeat_overtaken(self, subscription: Subscription, nonce: int, now: float) -> Iterator[Effect]:
        """What its xTR has not taken before this publication, it will not take any more: it is told again at once."""
        overtaken = [one for one in subscription.unsaid if one.hurried < MOST_HURRIED and newer(nonce, one.nonces[-1])]
        again = {prefix: record for one in overtaken for prefix, record in one.records.items()}
        hurried = max((one.hurried for one in overtaken), default=0) + 1
        yield from self._tell(subscription, again, now, hurried)

    def _send(self, telling: Telling, now: float) -> Send:
        subscription = telling.subscription
        # RFC 9437 section 6: an xTR takes no publication that is older than the last one it has seen.
        if telling.purpose is Purpose.PUBLISH and telling.nonces[-1] != subscription.nonce:
            telling.nonces.append(subscription.next_nonce())
        self._by_nonce[telling.nonces[-1]] = telling
        self._timers.set(telling, now + telling.repetition.interval)
        return self._sent(subscription, telling.records.values(), telling.nonces[-1], telling.rloc)

    def _sent(self, subscription: Subscription, records: Iterable[EidRecord], nonce: int, rloc: IPAddress) -> Send:
        key = subscription.subscriber.keys[0]
        notify = MapNotify(nonce, key.key_id, key.algorithm, tuple(records))
        return Send(sealed(notify, key.secret), rloc, from_control_port=True)

    def _said(self, prefix: EidPrefix) -> EidRecord:
        # RFC 9437 section 5: of a prefix that is registered no more, the Record TTL is 0.
        return self._word(prefix) or EidRecord.of(prefix, 0)

    def _refusal(self, subscription: Subscription) -> tuple[EidRecord, ...]:
        # RFC 9437 section 5: no locators, and Drop/Auth-Failure; the nonce is that of what was not acknowledged.
        return (EidRecord.of(subscription.prefix, LOST_TTL, action=Action.DROP_AUTH_FAILURE),)

    def _put(self, subscription: Subscription) -> Subscription:
        there = self._table.get(subscription.prefix)
        if there is None:
            self._table.set(subscription.prefix, there := {})
        self._counts[subscription.subscriber.xtr_id] += 1
        there[subscription.subscriber.xtr_id] = subscription
        return subscription

    def _unsubscribe(self, subscription: Subscription, event: str) -> Iterator[Effect]:
        subscription.confirmed = False
        xtr_id = subscription.subscriber.xtr_id
        # RFC 9437 section 5: the last nonce is kept, or old Map-Requests could be replayed.
        self._ended.pop((xtr_id, subscription.prefix), None)
        self._ended[xtr_id, subscription.prefix] = subscription.nonce
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        # Who asks for it anew meanwhile is answered.
        older = [one for one in subscription.pending if not newer(one.nonces[0], subscription.nonce)]
        for telling in [*older, *subscription.unsaid]:
            self._end(telling)
        self._expiry.cancel(subscription)
        self._forget_if_empty(subscription)
        yield Persist(subscription.name, None)
        yield Report(event, {"eid": str(subscription.prefix), "xtr_id": xtr_id})

    def _forget_if_empty(self, subscription: Subscription) -> None:
        if subscription.confirmed or subscription.pending:
            return
        xtr_id, there = subscription.subscriber.xtr_id, self._table.get(subscription.prefix) or {}
        if there.get(xtr_id) is subscription:
            del there[xtr_id]
            self._counts[xtr_id] -= 1
            self._expiry.cancel(subscription)
        if not there:
            self._table.pop(subscription.prefix)

    def _end(self, telling: Telling) -> None:
        """What this Map-Notify says is not said any more."""
        subscription = telling.subscription
        (subscription.unsaid if telling.purpose is Purpose.PUBLISH else subscription.pending).remove(telling)
        self._timers.cancel(telling)
        for nonce in telling.nonces:
            self._by_nonce.pop(nonce, None)

    def _kept(self, subscription: Subscription) -> Persist:
        return Persist(subscription.name, subscription.to_json())

    def _restore(self, key: str, kept: Any, known: Mapping[str, Subscriber], now: float) -> bool:
        """Take back a subscription; what its xTR had not acknowledged is told again."""
        try:
            subscription = Subscription.from_json(kept, known, now)
            untold = [prefix_of(one) for one in kept["untold"]]
        except (KeyError, ValueError, TypeError):
            return False
        xtr_id = subscription.subscriber.xtr_id
        if subscription.name != key or self._counts[xtr_id] >= MAX_SUBSCRIPTIONS:
            return False
        self._put(subscription)
        if subscription.temporary:
            self._expiry.set(subscription, now + TEMPORARY)
        if untold:
            self._untold.append((subscription, untold))
        return True
