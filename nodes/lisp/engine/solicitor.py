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
from nodes.lisp.wire import EidRecord, MapRequest, RequestRecord, in_instance

PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Change:
    """A mapping that changed, and who is to ask for it again."""

    record: EidRecord
    peers: tuple[IPAddress, ...]


class Solicitor:
    """Sends Solicit-Map-Requests once the mapping system knows the news, or does not answer for some seconds.

    Sent at once, they would race with the Map-Register: a Map-Server that answers for the site would give out the old
    mapping, for as long as its Record TTL says.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._limit: RateLimit[Target] = RateLimit()
        self._waiting: dict[EidPrefix, Change] = {}
        self._timers: Timers[EidPrefix] = Timers()

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

    def tick(self, now: float) -> Iterator[Effect]:
        """Send what has waited long enough."""
        for prefix in self._timers.due(now):
            yield from self._solicit(self._waiting.pop(prefix), now)

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        return self._timers.deadline()

    def _solicit(self, change: Change, now: float) -> Iterator[Effect]:
        prefix = change.record.prefix
        told = []
        for peer in change.peers:
            # RFC 9301 section 6.1: rate-limited, each destination RLOC on its own.
            if not self._limit.allows((peer, prefix), now, change.record):
                yield from self._context.drop("solicit-map-request-rate", now, destination=str(peer), eid=str(prefix))
                continue
            told.append(str(peer))
            yield Send(self._message(prefix).encode(), peer)
        yield Report("solicited", {"eid": str(prefix), "peers": told})

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
