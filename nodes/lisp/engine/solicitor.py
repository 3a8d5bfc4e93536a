"""Solicit-Map-Requests: telling others that what they have cached is old (RFC 9301 section 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nodes.lisp.effects import Effect, Report, Send
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.requests import MAX_ITR_RLOCS
from nodes.lisp.locators import is_unicast
from nodes.lisp.rate_limit import RateLimit, Target
from nodes.lisp.timers import Timers
from nodes.lisp.wire import EidRecord, MapRequest, RequestRecord, every_mac, in_instance

PATIENCE = 3.0
REPEAT_INTERVAL = 3.0
REPEATS = 4
MAX_UNHEARD = 4096
ANSWER_SECONDS = 0.5
"""How long it may take until who was solicited sends to the new place; what still comes from there says nothing new."""


@dataclass(frozen=True, slots=True)
class Change:
    """A mapping that changed, and who is to ask for it again."""

    record: EidRecord
    peers: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class Unheard:
    """A Solicit-Map-Request that may have been lost: nothing shows yet that its receiver asks again."""

    record: EidRecord
    repeats_left: int


class Solicitor:
    """Sends Solicit-Map-Requests once the mapping system knows the news, or does not answer for some seconds.

    Sent at once, they would race with the Map-Register: a Map-Server that answers for the site would give out the old
    mapping, for as long as its Record TTL says.

    Nobody acknowledges one. For a mapping of this site it is repeated until an SMR-invoked Map-Request of its receiver
    comes to this ETR, a few times at most: where a Map-Server answers for the site, none ever comes.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._limit: RateLimit[Target] = RateLimit()
        self._lately: RateLimit[Target] = RateLimit(1, ANSWER_SECONDS)
        self._waiting: dict[EidPrefix, Change] = {}
        self._timers: Timers[EidPrefix] = Timers()
        self._unheard: dict[Target, Unheard] = {}
        self._repeats: Timers[Target] = Timers()

    def announce(self, record: EidRecord, peers: Iterable[IPAddress], now: float) -> None:
        """Tell these RLOCs of a mapping that has just been sent to the Map-Servers."""
        prefix = record.prefix
        before = self._waiting.get(prefix)
        everyone = dict.fromkeys((*(before.peers if before else ()), *self.reachable(peers)))
        self._waiting[prefix] = Change(record, tuple(everyone))
        self._timers.set(prefix, now + PATIENCE)

    def reachable(self, peers: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
        """Those of the RLOCs that can be sent to: other nodes', of an address family that this node has an RLOC of."""
        own = self._context.config.rlocs
        families = {rloc.version for rloc in own}
        good = (one for one in peers if is_unicast(one) and one.version in families and one not in own)
        return tuple(dict.fromkeys(good))

    def settle(self, is_known: Callable[[EidPrefix], bool], now: float) -> Iterator[Effect]:
        """Send what waited for the mapping system to know.

        Args:
            is_known: Whether every Map-Server has acknowledged a prefix.
            now: Seconds of the engine's clock.
        """
        for prefix in [prefix for prefix in self._waiting if is_known(prefix)]:
            self._timers.cancel(prefix)
            yield from self._solicit(self._waiting.pop(prefix), now)

    def solicit(self, record: EidRecord, peers: Iterable[IPAddress], now: float) -> Iterator[Effect]:
        """Tell these RLOCs at once of a mapping that the mapping system knows already: a host has left.

        Who asks then asks elsewhere, and is not heard here. So nothing is repeated, or it would be asked again and
        again in vain: who still sends data for the host is told again because of that.
        """
        everyone = self._due(record, peers, now)
        if everyone:
            yield from self._solicit(Change(record, everyone), now, repeats=0)

    def heard(self, request: MapRequest) -> None:
        """A Map-Request has come through the mapping system: who was solicited, and asks, is told no more."""
        # RFC 9301 section 6.1: the s-bit marks what a Solicit-Map-Request caused.
        if not request.smr_invoked or not self._unheard:
            return
        asked = [question.prefix for question in request.records if not every_mac(question.address)]
        for peer, prefix in [target for target in self._unheard if target[0] in request.itr_rlocs]:
            # The receiver asks for what it has cached, more or less specific than what was announced.
            if any(prefix.covers(one) or one.covers(prefix) for one in asked):
                del self._unheard[peer, prefix]
                self._repeats.cancel((peer, prefix))

    def tick(self, now: float) -> Iterator[Effect]:
        """Send what has waited long enough, and again what may have been lost."""
        for prefix in self._timers.due(now):
            yield from self._solicit(self._waiting.pop(prefix), now)
        for peer, prefix in self._repeats.due(now):
            unheard = self._unheard.pop((peer, prefix))
            yield from self._tell(peer, unheard.record, unheard.repeats_left - 1, now)

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        deadlines = (self._timers.deadline(), self._repeats.deadline())
        return min((one for one in deadlines if one is not None), default=None)

    def _due(self, record: EidRecord, peers: Iterable[IPAddress], now: float) -> tuple[IPAddress, ...]:
        """Those of the RLOCs that have not lately been told of this mapping. From now on they have."""
        prefix = record.prefix
        everyone = tuple(one for one in self.reachable(peers) if self._lately.allows((one, prefix), now, record))
        for peer in everyone:
            self._unheard.pop((peer, prefix), None)
            self._repeats.cancel((peer, prefix))
        return everyone

    def _solicit(self, change: Change, now: float, repeats: int = REPEATS) -> Iterator[Effect]:
        for peer in change.peers:
            yield from self._tell(peer, change.record, repeats, now)
        peers = [str(peer) for peer in change.peers]
        yield Report("solicited", {"eid": str(change.record.prefix), "peers": peers})

    def _tell(self, peer: IPAddress, record: EidRecord, repeats_left: int, now: float) -> Iterator[Effect]:
        prefix = record.prefix
        target = peer, prefix
        if repeats_left and (target in self._unheard or len(self._unheard) < MAX_UNHEARD):
            self._unheard[target] = Unheard(record, repeats_left)
            self._repeats.set(target, now + REPEAT_INTERVAL)
        # RFC 9301 section 6.1: rate-limited, each destination RLOC on its own.
        if self._limit.allows(target, now, record):
            yield Send(self._message(prefix).encode(), peer)
        else:
            yield from self._context.drop("solicit-map-request-rate", now, destination=peer, eid=prefix)

    def _message(self, prefix: EidPrefix) -> MapRequest:
        return MapRequest(
            self._context.nonce(),
            # The EID is both Source-EID and record: the texts do not say which one is to be asked for again.
            in_instance(prefix.address, prefix.instance_id),
            self._context.config.rlocs[:MAX_ITR_RLOCS],
            (RequestRecord.of(prefix),),
            smr=True,
            dont_reply=True,  # RFC 9301 section 5.2, D-bit: an SMR needs no Map-Reply
        )
