"""Solicit-Map-Requests that come in: what is asked for again, on whose word, and how often (RFC 9301 section 6.1).

Anybody can send one, in anybody's name, and each costs the mapping system a question. So the map-cache bounds what is
asked for, one bucket for all bounds how often, and who does not speak for a cached mapping has a small bucket only.
"""

from __future__ import annotations

from collections.abc import Iterator

from nodes.lisp.effects import Effect
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.errors import DecodeError
from nodes.lisp.inputs import Datagram
from nodes.lisp.locators import rlocs_of
from nodes.lisp.map_cache import MapCache
from nodes.lisp.rate_limit import RateLimit
from nodes.lisp.timers import Timers
from nodes.lisp.wire import Address, LocatorRecord, MapRequest, eid_prefix, max_mask_len

MAX_QUESTIONS = 32
"""How many cached prefixes one Solicit-Map-Request can be about."""
BURST, INTERVAL = 200, 0.02
"""All SMR-invoked questions of a node together: 200 at once, for so many hosts may move at once, then 50 a second.

A node that is flooded causes no more, whoever floods it: a Map-Server answers some 1000 a second. And those of a second
are no more than may be under way (``requests.MAX_SMR_INVOKED``): none is dropped that had its turn."""
STRANGER_BURST, STRANGER_INTERVAL = 8, 0.5
"""Those of senders that are in no cached locator-set: 8 at once, then 2 a second."""
MAX_WAITING, MAX_WAITING_INSIDE = 256, 16
"""How many questions wait for their turn: in all, and inside one cached prefix."""


class Solicitations:
    """Questions for the mapping system that others caused, each waiting for its turn."""

    def __init__(self, context: Context, map_cache: MapCache) -> None:
        self._context = context
        self._map_cache = map_cache
        self._by_prefix: RateLimit[EidPrefix] = RateLimit()
        self._all: RateLimit[None] = RateLimit(BURST, INTERVAL)
        self._strangers: RateLimit[None] = RateLimit(STRANGER_BURST, STRANGER_INTERVAL)
        # By cached prefix, in the order of arrival. The timers have the same keys.
        self._waiting: dict[EidPrefix, list[EidPrefix]] = {}
        self._timers: Timers[EidPrefix] = Timers()

    def take(self, request: MapRequest, arrival: Datagram, now: float) -> Iterator[Effect]:
        """Take in one Solicit-Map-Request; what it asks for comes out of :meth:`due`."""
        questions: dict[EidPrefix, EidPrefix] = {}
        for record in request.records[:MAX_QUESTIONS]:
            about = _about(request.source_eid, record.prefix, self._map_cache)
            outdated = self._map_cache.outdated(about)
            # RFC 9301 section 6.1: an EID that is not cached is not asked for; who needs it asks then.
            if not outdated:
                yield from self._context.drop("solicit-map-request-not-cached", now, eid=about)
            # One question for each cached prefix, however many of its EIDs are named.
            for eid in outdated[: MAX_QUESTIONS - len(questions)]:
                questions.setdefault(self._map_cache.cached_prefix(eid), eid)
            if len(questions) >= MAX_QUESTIONS:
                break
        for cached, eid in questions.items():
            if eid not in self._waiting.get(cached, ()) and (reason := self._refusal(arrival.source, cached, now)):
                yield from self._context.drop(reason, now, source=arrival.source, eid=eid)
                continue
            self._wait(cached, eid, now)

    def due(self, now: float) -> Iterator[EidPrefix]:
        """What is to be asked for now."""
        while cached_prefixes := self._timers.due(now):
            for cached in cached_prefixes:
                turn = max(self._all.next(None, now), self._by_prefix.next(cached, now, self._locators(cached)))
                if turn <= now:
                    self._all.allows(None, now)
                    self._by_prefix.allows(cached, now, self._locators(cached))
                    yield self._waiting[cached].pop(0)
                    turn = self._by_prefix.next(cached, now, self._locators(cached))
                if self._waiting[cached]:
                    self._timers.set(cached, turn)
                else:
                    del self._waiting[cached]

    def confirmed(self, cached: EidPrefix, now: float) -> None:
        """What was asked for inside ``cached`` was news indeed: others of its hosts that moved do not wait for it."""
        self._by_prefix.refill(cached)
        if cached in self._waiting:
            self._timers.set(cached, now)

    def deadline(self) -> float | None:
        """When :meth:`due` has something."""
        return self._timers.deadline()

    def _refusal(self, sender: IPAddress, cached: EidPrefix, now: float) -> str:
        """Why no question waits for this sender's sake, or ""."""
        waiting = self._waiting.get(cached, [])
        if len(waiting) >= MAX_WAITING_INSIDE or sum(map(len, self._waiting.values())) >= MAX_WAITING:
            return "solicit-map-request-rate"
        # A site that changes is in the locator-set that is cached: the ETR that changes its policy, the old xTR of a
        # host that moved, and, by a less-specific mapping, the xTR that it comes home to. Nobody speaks for a negative
        # mapping; and the xTR that a host moved to, or a node that has a new RLOC, is only known to the mapping
        # system. Those are heard, but a flood in their name keeps nobody else from being heard.
        entries = self._map_cache.covering(cached)
        if any(sender in rlocs_of(one.address) for entry in entries for one in entry.locators):
            return ""
        return "solicit-map-request-stranger" if waiting or not self._strangers.allows(None, now) else ""

    def _wait(self, cached: EidPrefix, eid: EidPrefix, now: float) -> None:
        # RFC 9301 section 6.1: the answer is rate-limited for each EID-prefix, the one that is cached. One that comes
        # too soon waits for its turn: it may be the one that brings the news.
        waiting = self._waiting.setdefault(cached, [])
        if eid not in waiting:
            waiting.append(eid)
        turn = self._by_prefix.next(cached, now, self._locators(cached))
        self._timers.set(cached, min(turn, self._timers.get(cached) or turn))

    def _locators(self, cached: EidPrefix) -> tuple[LocatorRecord, ...]:
        """The locator-set that a Solicit-Map-Request calls old: when it is another one, the bucket is full."""
        entry = self._map_cache.lookup(cached)
        return entry.locators if entry else ()


def _about(source: Address, record: EidPrefix, map_cache: MapCache) -> EidPrefix:
    """Which EID-prefix a Solicit-Map-Request is about: RFC 9301 does not say whether Source-EID or record is.

    The record where the Source-EID lies in it, for it has a mask; else the Source-EID if it is cached, else the record.
    """
    try:
        eid = eid_prefix(source, max_mask_len(source))
    except DecodeError:
        return record
    return eid if not record.covers(eid) and map_cache.outdated(eid) else record
