"""RLOC-probing: which locators answer, how fast, and what their ETRs say now (RFC 9301 sections 7 and 7.1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from nodes.lisp.config import Role
from nodes.lisp.effects import CONTROL_PORT, Effect, LocatorState, Report, Send
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.inputs import Unreachable
from nodes.lisp.map_cache import MapCache
from nodes.lisp.rate_limit import RateLimit
from nodes.lisp.timers import Timers
from nodes.lisp.wire import MapReply, MapRequest, NoAddress, RequestRecord

JITTER = 0.2
"""The share of the interval by which a probe may come early (RFC 9301 section 7.1: a jittered timer interval)."""
TRIES = 3
"""Probes of one round: the locator is down when none is answered."""
OUTSTANDING = 8
"""The last probes of an RLOC, an answer to any of which counts: one that is late says that the locator is there."""
PATIENCE = 0.25
"""The share of the interval that each of them is waited for: a locator is down 1.75 intervals after its end at most."""
MOST_LOCATORS = 128
"""RLOCs that are probed at the same time; with the default of 10 seconds, some 16 messages a second at most."""
MOST_BESIDE = 64
"""Mappings of one RLOC whose other locators are looked at."""
MAX_ITR_RLOCS = 8
ICMP_BURST, ICMP_INTERVAL = 3, 10.0
"""How often an ICMP error or a Locator-Status-Bit is believed about an RLOC: three times at once, then once in 10 s."""
LEAST_RETRY, RETRY_SHARE = 0.1, 0.25
"""Seconds until a locator that is down is probed again, and the share of the time that it has been down for, up to the
interval: a router that was restarted within a second is found a quarter of a second later."""
RETRY, PARDON = 10.0, 60.0
"""Without probing, the longest time between tests of a locator that an ICMP error took down, and seconds after which it
is tried again anyway: its ETR may not answer probes."""

_ALL = {4: EidPrefix(ip_network("0.0.0.0/0")), 6: EidPrefix(ip_network("::/0"))}

BY_STATUS_BIT = "Locator-Status-Bit is 0"
"""Why a locator is down, if its own site says so."""

_LOOK = None


@dataclass(slots=True)
class Probed:
    """What is known of one RLOC.

    Attributes:
        rloc: The RLOC.
        since: When its state changed last, in seconds of the engine's clock.
        up: Whether packets may be sent to it.
        why: Why it is down.
        sent: What was asked and when, by nonce, of the last probes.
        tries: Probes of this round; 0 when it is over.
        round_at: When this round began.
        own: Which of the node's own RLOCs the answer is asked to: another one each time that none comes.
        rtt: The last round-trip time in seconds, or None.
        answered_at: When the last answer came, or None.
        probes: Probes sent, and ``answers`` received.
        doubted_at: When the mapping system was last to be asked whether its EIDs are elsewhere, or None.
    """

    rloc: IPAddress
    since: float
    up: bool = True
    why: str = ""
    sent: dict[int, tuple[EidPrefix, float]] = field(default_factory=dict)
    tries: int = 0
    round_at: float = 0.0
    own: int = 0
    rtt: float | None = None
    answered_at: float | None = None
    probes: int = 0
    answers: int = 0
    doubted_at: float | None = None


class Prober:
    """Probes the locators of mappings that are in use, and the PETRs; says which are down.

    In use is a mapping one of whose locators had data within the last minute; all its locators are probed then, the
    ones that wait for their turn included. Each RLOC has one exchange in an interval, whatever number of mappings it is
    in: they are asked for in turn, so the news of one mapping take as many intervals as its RLOC has mappings.

    A locator that is down is probed until it answers or no cached mapping has it any more.
    """

    def __init__(self, context: Context, map_cache: MapCache, in_use: Callable[[], Collection[IPAddress]]) -> None:
        """Make one that has sent nothing; :meth:`start` sets it going.

        Args:
            context: What the node's roles share.
            map_cache: The mappings.
            in_use: The RLOCs that data went to or came from within the last minute.
        """
        config = context.config
        self._context = context
        self._map_cache = map_cache
        self._in_use = in_use
        self._interval = config.probing or RETRY
        self._probed: dict[IPAddress, Probed] = {}
        self._doubted: dict[EidPrefix, None] = {}
        self._by_nonce: dict[int, Probed] = {}
        self._timers: Timers[IPAddress | None] = Timers()
        self._hints: RateLimit[IPAddress] = RateLimit(ICMP_BURST, ICMP_INTERVAL)
        self._is_pitr = Role.PITR in config.roles and Role.ITR not in config.roles
        # RFC 9300 section 10: Locator-Status-Bits tell of the site's locators, of which other routers have some.
        self._siblings = _siblings(context) if config.locator_status_bits and config.probing else {}

    def start(self, now: float) -> None:
        """Begin to look for locators in use."""
        if self._context.config.probing:
            self._timers.set(_LOOK, now + self._context.jitter(self._interval, 1.0))

    def moved(self, now: float) -> Iterator[Effect]:
        """The node has other RLOCs: what was asked is answered to the old ones, and is asked again.

        So is what was found down: perhaps it was this node that was in no network.
        """
        for probed in list(self._probed.values()):
            if probed.tries or not probed.up:
                probed.tries = 0
                yield from self._begin(probed, now)

    def match(self, nonce: int) -> tuple[Probed, EidPrefix] | None:
        """The RLOC that this nonce was sent to and the EID-prefix asked for, if it is outstanding."""
        probed = self._by_nonce.get(nonce)
        return (probed, probed.sent[nonce][0]) if probed else None

    def answered(self, reply: MapReply, now: float) -> Iterator[Effect]:
        """A probe was answered, and the answer was found good."""
        probed = self._by_nonce[reply.nonce]
        probed.rtt = now - probed.sent[reply.nonce][1]
        probed.answered_at = now
        probed.answers += 1
        probed.tries = 0
        self._forget_nonces(probed)
        if self._context.config.probing:
            self._timers.set(probed.rloc, self._next_round(probed, now))
        else:
            self._timers.cancel(probed.rloc)
        yield from self._set(probed, True, "", now)

    def unreachable(self, error: Unreachable, now: float) -> Iterator[Effect]:
        """An ICMP error came: the locator is down until a probe, sent at once, is answered (requirement C35).

        This is for flows that have another locator to move to. Those that have none lose nothing by going on, and a
        link that comes back carries them at once, not when the next probe is answered.
        """
        yield from self._suspect(error.rloc, "icmp-unreachable", "ICMP unreachable", now)

    def status(self, rloc: IPAddress, up: bool, now: float) -> Iterator[Effect]:
        """The locator's own site says that it is down, or up again: a Locator-Status-Bit (RFC 9300 section 10).

        Whoever can forge a packet of the site can forge its bits: one that is 0 counts as an ICMP error does, until it
        is 1 again or a probe is answered, which says more.
        """
        probed = self._probed.get(rloc)
        if not up:
            yield from self._suspect(rloc, "status-bit", BY_STATUS_BIT, now)
        elif probed is not None and not probed.up and probed.why == BY_STATUS_BIT:
            self._forget_nonces(probed)
            probed.tries = 0
            if self._context.config.probing:
                self._timers.set(rloc, self._next_round(probed, now))
            else:
                self._timers.cancel(rloc)
            yield from self._set(probed, True, "", now)

    def _suspect(self, rloc: IPAddress, kind: str, why: str, now: float) -> Iterator[Effect]:
        """Somebody says that a locator is down. ``kind`` begins the names of what is dropped."""
        if not self._is_locator(rloc):
            yield from self._context.drop(f"{kind}-no-locator", now, rloc=rloc)
            return
        probed = self._probed.get(rloc)
        if probed is not None and not probed.up:
            return
        if not self._has_other(rloc):
            yield from self._context.drop(f"{kind}-only-locator", now, rloc=rloc)
            return
        # RFC 9301 section 7: trusting ICMP messages may not be desirable, neither is ignoring them.
        if not self._hints.allows(rloc, now):
            yield from self._context.drop(f"{kind}-rate", now, rloc=rloc)
            return
        probed = probed or self._track(rloc, now)
        if probed is None:
            yield from self._context.drop("too-many-probed-locators", now, rloc=rloc)
            return
        # What is under way was sent before the error: its answer proves nothing.
        self._forget_nonces(probed)
        yield from self._set(probed, False, why, now)
        yield from self._begin(probed, now)

    def tick(self, now: float) -> Iterator[Effect]:
        """Look for locators in use, probe, give up."""
        for rloc in self._timers.due(now):
            if rloc is None:
                self._look(now)
            elif rloc in self._probed:
                yield from self._turn(self._probed[rloc], now)

    def take_doubted(self) -> list[EidPrefix]:
        """Mappings none of whose locators is up, since the last call: one of each RLOC in an interval."""
        doubted, self._doubted = list(self._doubted), {}
        return doubted

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        return self._timers.deadline()

    @property
    def down(self) -> frozenset[IPAddress]:
        """The RLOCs that are down."""
        return frozenset(rloc for rloc, probed in self._probed.items() if not probed.up)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """What is known of each RLOC, as a table in address order."""
        return [
            {
                "rloc": str(one.rloc),
                "state": "up" if one.up else "down",
                "why": one.why,
                "since_s": round(now - one.since, 1),
                "rtt_ms": None if one.rtt is None else round(1000 * one.rtt, 3),
                "last_answer_s": None if one.answered_at is None else round(now - one.answered_at, 1),
                "probes_sent": one.probes,
                "probes_answered": one.answers,
            }
            for one in sorted(self._probed.values(), key=lambda one: (one.rloc.version, int(one.rloc)))
        ]

    def _look(self, now: float) -> None:
        """Begin to probe the locators that came into use, and stop with those that are not in use any more."""
        self._timers.set(_LOOK, now + self._context.jitter(self._interval, JITTER))
        used = self._in_use()
        wanted = dict.fromkeys(self._siblings)
        if any(petr in used for petr in self._petrs):
            wanted.update(dict.fromkeys(self._petrs))
        for rloc in used:
            if len(wanted) >= MOST_LOCATORS:
                break
            wanted.update(dict.fromkeys(self._map_cache.locators_beside(rloc, MOST_BESIDE)))
        for rloc, probed in list(self._probed.items()):
            if rloc not in wanted and probed.up:
                self._timers.cancel(rloc)
                self._forget_nonces(probed)
                probed.tries = 0
                if not self._is_locator(rloc):
                    del self._probed[rloc]
        for rloc in wanted:
            if rloc not in self._timers and self._track(rloc, now):
                self._timers.set(rloc, now + self._context.jitter(PATIENCE * self._interval, 1.0))

    def _track(self, rloc: IPAddress, now: float) -> Probed | None:
        """Keep a place for an RLOC; None if all are taken by RLOCs that are being probed."""
        if rloc not in self._probed:
            if len(self._probed) >= MOST_LOCATORS:
                resting = next((one for one in self._probed if one not in self._timers), None)
                if resting is None:
                    return None
                del self._probed[resting]
            self._probed[rloc] = Probed(rloc, now)
        return self._probed[rloc]

    def _turn(self, probed: Probed, now: float) -> Iterator[Effect]:
        """It is time for the next probe of an RLOC, or to give it up."""
        if not self._is_locator(probed.rloc):
            yield from self._forget(probed, now)
        elif probed.up and 0 < probed.tries < TRIES:
            probed.own += 1
            yield self._probe(probed, now)
            self._timers.set(probed.rloc, now + PATIENCE * self._interval)
        elif probed.up and probed.tries:
            yield from self._set(probed, False, f"{TRIES} probes unanswered", now)
            self._doubt(probed, now)
            self._set_retry(probed, now)
        elif not probed.up and not self._context.config.probing and now - probed.since >= PARDON:
            # No lasting harm by an ICMP error that somebody forged about an ETR that answers no probes.
            self._forget_nonces(probed)
            probed.tries = 0
            yield from self._set(probed, True, "", now)
        else:
            yield from self._begin(probed, now)

    def _begin(self, probed: Probed, now: float) -> Iterator[Effect]:
        """Begin a round. One that is down has one probe in a round: its flows are elsewhere, nothing is urgent."""
        probed.own += bool(probed.tries)  # the round before went without an answer
        probed.tries, probed.round_at = 0, now
        yield self._probe(probed, now)
        if probed.up:
            self._timers.set(probed.rloc, now + PATIENCE * self._interval)
        else:
            self._doubt(probed, now)
            self._set_retry(probed, now)

    def _doubt(self, probed: Probed, now: float) -> None:
        """Nobody answers, and there is no other locator: the next of its mappings may be an old one (section 7)."""
        since = probed.doubted_at
        if (since is None or now - since >= self._interval) and not self._has_other(probed.rloc):
            prefix = self._map_cache.next_mapping(probed.rloc)
            if prefix is not None:
                probed.doubted_at = now
                self._doubted[prefix] = None

    def _set_retry(self, probed: Probed, now: float) -> None:
        wait = max(LEAST_RETRY, RETRY_SHARE * (now - probed.since))
        self._timers.set(probed.rloc, min(now + wait, self._next_round(probed, now)))

    def _next_round(self, probed: Probed, now: float) -> float:
        return max(now, probed.round_at + self._context.jitter(self._interval, JITTER))

    def _probe(self, probed: Probed, now: float) -> Send:
        rloc = probed.rloc
        # RFC 9301 section 7.1: the EID-prefix is that of the map-cache entry. A PETR has none: the question is for all.
        asked = self._map_cache.next_mapping(rloc) or self._siblings.get(rloc) or _ALL[rloc.version]
        nonce = self._context.nonce()
        while len(probed.sent) >= OUTSTANDING:
            oldest = next(iter(probed.sent))
            del probed.sent[oldest], self._by_nonce[oldest]
        probed.sent[nonce] = asked, now
        self._by_nonce[nonce] = probed
        probed.tries += 1
        probed.probes += 1
        request = MapRequest(
            nonce, NoAddress(), self._itr_rlocs(probed), (RequestRecord.of(asked),), probe=True, pitr=self._is_pitr
        )
        # Neither encapsulated nor to the mapping system, but to the RLOC itself.
        return Send(request.encode(), rloc, CONTROL_PORT)

    def _itr_rlocs(self, probed: Probed) -> tuple[IPAddress, ...]:
        """Where the answer may go, best first: another own RLOC first whenever none came.

        The link of one of them may be down: that does not mean that the locator is.
        """
        own = [one for one in self._context.config.rlocs if one.version == probed.rloc.version]
        first = probed.own % len(own) if own else 0
        return tuple((own[first:] + own[:first])[:MAX_ITR_RLOCS])

    @property
    def _petrs(self) -> tuple[IPAddress, ...]:
        """The PETRs of which address family the node has an RLOC."""
        config = self._context.config
        versions = {own.version for own in config.rlocs}
        return tuple(petr for petr in config.petrs if petr.version in versions)

    def _is_locator(self, rloc: IPAddress) -> bool:
        return self._map_cache.uses(rloc) or rloc in self._petrs or rloc in self._siblings

    def _has_other(self, rloc: IPAddress) -> bool:
        """Whether what is sent to an RLOC could be sent to another one that is not down."""
        others = set(self._map_cache.locators_beside(rloc, MOST_BESIDE))
        if rloc in self._petrs:
            others.update(self._petrs)
        return bool(others - {rloc} - self.down)

    def _set(self, probed: Probed, up: bool, why: str, now: float) -> Iterator[Effect]:
        if probed.up == up:
            return
        probed.up, probed.why, probed.since = up, why, now
        self._context.counters["locators-up" if up else "locators-down"] += 1
        yield LocatorState(probed.rloc, up)
        yield Report(
            "locator-up" if up else "locator-down", {"rloc": str(probed.rloc), **({"why": why} if why else {})}
        )

    def _forget(self, probed: Probed, now: float) -> Iterator[Effect]:
        """No mapping has this RLOC any more: should one have it again, it begins anew."""
        self._forget_nonces(probed)
        self._timers.cancel(probed.rloc)
        del self._probed[probed.rloc]
        yield from self._set(probed, True, "", now)

    def _forget_nonces(self, probed: Probed) -> None:
        for nonce in probed.sent:
            del self._by_nonce[nonce]
        probed.sent.clear()


def _siblings(context: Context) -> dict[IPAddress, EidPrefix]:
    """The site's RLOCs that other routers have, with an EID-prefix of the site each."""
    own = context.config.rlocs
    versions = {one.version for one in own}
    found: dict[IPAddress, EidPrefix] = {}
    sets = [(one.prefix, one.locators) for one in context.config.database]
    sets += [(one.prefix, one.locators) for one in context.config.dynamic_eids]
    for prefix, locators in sets:
        for locator in locators:
            if locator.address not in own and locator.address.version in versions:
                found.setdefault(locator.address, prefix)
    return found
