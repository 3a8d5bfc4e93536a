"""Map-Requests under way to a Map-Resolver: nonces, pace, retransmission, giving up (RFC 9301 sections 5.3 and 8.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nodes.lisp.effects import CONTROL_PORT, Answer, Effect, Send, Unresolved
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.subscriptions import Subscriptions
from nodes.lisp.timers import Timers
from nodes.lisp.wire import Address, EncapsulatedControlMessage, MapRequest, NoAddress, RequestRecord, in_instance

INTERVAL = 1.0
RETRANSMISSIONS = 10
SMR_INVOKED_RETRANSMISSIONS = 3
SUBSCRIBING_TRANSMISSIONS = 3
"""How many Map-Requests of a resolution subscribe; when nobody answers, the question goes on alone."""
SILENCE = 30.0
MAX_RESOLUTIONS = 4096
MAX_SMR_INVOKED = 256
MAX_ITR_RLOCS = 32


@dataclass(slots=True)
class Resolution:
    """One EID being resolved, or resting after it: the pause keeps the pace of one request a second.

    Attributes:
        eid: The EID asked for.
        source: The inner source that caused it, or None.
        pitr: Whether a PITR asks (the p-bit).
        smr_invoked: Whether a Solicit-Map-Request is the cause (the s-bit).
        solicited: Nobody but senders of Solicit-Map-Requests wants it: it is retransmitted less, and counted apart.
        sent: When each Map-Request went out, by nonce; a reply to any of them counts.
        last: When the last one went out.
        resting: Nothing is outstanding.
        again: It is to be asked once more after the pause.
        failed: The last round got no reply; until the pause is over, nobody asks.
        tokens: Queries that wait for the outcome.
        plain: It is not to subscribe: that was refused, or not answered.
    """

    eid: EidPrefix
    source: IPAddress | None
    pitr: bool
    smr_invoked: bool = False
    solicited: bool = False
    sent: dict[int, float] = field(default_factory=dict)
    last: float = 0.0
    resting: bool = False
    again: bool = False
    failed: bool = False
    tokens: list[int] = field(default_factory=list)
    plain: bool = False


class MapRequester:
    """Asks the configured Map-Resolvers, one request per EID and second at most."""

    def __init__(
        self,
        context: Context,
        request_port: int,
        subscriptions: Subscriptions,
        max_resolutions: int = MAX_RESOLUTIONS,
    ) -> None:
        """Make one with nothing under way.

        Args:
            context: What the node's roles share.
            request_port: The UDP port that Map-Replies come back to.
            subscriptions: Whether to subscribe to what is asked for.
            max_resolutions: The bound on EIDs under way and resting together.
        """
        self._context = context
        self._port = request_port
        self._subscriptions = subscriptions
        self._max = max_resolutions
        self._by_eid: EidTable[Resolution] = EidTable()
        self._by_nonce: dict[int, Resolution] = {}
        self._timers: Timers[EidPrefix] = Timers()
        self._solicited = 0

    def ask(
        self,
        eid: EidPrefix,
        now: float,
        source: IPAddress | None = None,
        pitr: bool = False,
        token: int | None = None,
        smr_invoked: bool = False,
    ) -> Iterator[Effect]:
        """Resolve ``eid``, unless that is under way.

        Args:
            eid: The EID.
            now: Seconds of the engine's clock.
            source: The inner source of the packet that missed, sent as Source-EID.
            pitr: Set the p-bit (RFC 6832 section 5).
            token: A query to answer with the outcome.
            smr_invoked: Set the s-bit; a request that is under way may be older than the news, so another one follows.
        """
        resolution = self._by_eid.get(eid)
        if resolution is not None and resolution.solicited and not smr_invoked:
            self._adopt(resolution)
        if resolution is None:
            # What strangers can cause has a small share: the rest is for packets that wait.
            if smr_invoked and self._solicited >= MAX_SMR_INVOKED:
                yield from self._context.drop("too-many-smr-invoked", now, eid=eid)
                return
            if len(self._by_eid) >= self._max:
                yield from self._context.drop("too-many-resolutions", now, eid=eid)
                yield from _failure(eid, [] if token is None else [token], "too many resolutions are under way")
                return
            resolution = Resolution(eid, source, pitr, smr_invoked, solicited=smr_invoked)
            yield from self._transmit(resolution, now)
            self._solicited += smr_invoked
        # RFC 9301 section 5.3: after 10 retransmissions without a reply the sender is silent for 30 seconds.
        # News that a Solicit-Map-Request brings meanwhile are asked for afterwards.
        elif resolution.failed:
            resolution.again |= smr_invoked
            resolution.smr_invoked |= smr_invoked
            yield from _failure(eid, [] if token is None else [token], "no reply; the Map-Resolver is given a pause")
            return
        elif resolution.resting or smr_invoked:
            resolution.again = True
            resolution.smr_invoked |= smr_invoked
        if token is not None:
            resolution.tokens.append(token)

    def match(self, nonce: int) -> Resolution | None:
        """The resolution that this nonce was sent for, if it is outstanding."""
        return self._by_nonce.get(nonce)

    def finish(self, resolution: Resolution) -> list[int]:
        """The reply is here: forget the nonces, rest until another request may go out; returns waiting queries."""
        tokens, resolution.tokens = resolution.tokens, []
        resolution.smr_invoked = resolution.again
        self._rest(resolution, resolution.last + INTERVAL)
        return tokens

    def overtaken(self, prefix: EidPrefix) -> None:
        """News of a prefix came unasked: what was asked for before may be answered with less than that.

        No such answer counts any more. Who asked by hand is answered by another question.
        """
        for _, resolution in self._by_eid.covered(prefix):
            if not resolution.resting:
                resolution.again = bool(resolution.tokens)
                self._rest(resolution, resolution.last + INTERVAL)

    def ask_plainly(self, resolution: Resolution) -> None:
        """The mapping system lets this node not subscribe: the question itself is asked again, at its pace."""
        resolution.plain = resolution.again = True
        self._rest(resolution, resolution.last + INTERVAL)

    def unsubscribe(self, prefix: EidPrefix, nonce: int, now: float) -> Iterator[Send]:
        """Tell the mapping system that this node is to be told of a prefix no more."""
        sent = self._subscriptions.ending(prefix, nonce, now)
        # RFC 9437 section 5: one ITR-RLOC, with AFI 0.
        request = MapRequest(
            nonce, NoAddress(), (NoAddress(),), (RequestRecord.of(prefix, notify=True),), **self._identity()
        )
        resolvers = self._context.config.map_resolvers
        yield Send(self._encapsulated(request, prefix), resolvers[sent % len(resolvers)])

    def under_way(self, prefix: EidPrefix) -> list[Resolution]:
        """The resolutions inside ``prefix`` that wait for a reply, for the sake of packets alone: no query, no SMR."""
        found = (resolution for _, resolution in self._by_eid.covered(prefix))
        return [one for one in found if not (one.resting or one.tokens or one.smr_invoked)]

    def moved(self) -> None:
        """The node is in another network: that nobody answered in the last one says nothing, no silence is due."""
        for _, resolution in list(self._by_eid.items()):
            if resolution.failed:
                resolution.failed = False
                self._timers.set(resolution.eid, resolution.last + INTERVAL)

    def tick(self, now: float) -> Iterator[Effect]:
        """Retransmit, give up, end pauses."""
        for eid in self._timers.due(now):
            resolution = self._by_eid.get(eid)
            if resolution is None:
                continue
            retransmissions = SMR_INVOKED_RETRANSMISSIONS if resolution.solicited else RETRANSMISSIONS
            if resolution.resting and not resolution.again:
                self._by_eid.pop(eid)
                self._solicited -= resolution.solicited
            elif resolution.resting:
                resolution.resting = resolution.again = resolution.failed = False
                yield from self._transmit(resolution, now)
            elif len(resolution.sent) <= retransmissions:
                yield from self._transmit(resolution, now)
            else:
                tokens, resolution.tokens = resolution.tokens, []
                resolution.failed, resolution.again = True, False
                self._rest(resolution, resolution.last + SILENCE)
                self._context.counters["resolutions-failed"] += 1
                yield from _failure(eid, tokens, f"no reply after {retransmissions} retransmissions")

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        return self._timers.deadline()

    def _adopt(self, resolution: Resolution) -> None:
        """A packet or a person wants what only a Solicit-Map-Request asked for: it is a resolution like any other."""
        resolution.solicited = False
        self._solicited -= 1
        # It failed after few retransmissions: that is no reason for a packet to wait for the end of the silence.
        if resolution.failed:
            resolution.failed, resolution.smr_invoked = False, False
            self._timers.set(resolution.eid, resolution.last + INTERVAL)

    def _rest(self, resolution: Resolution, until: float) -> None:
        for nonce in resolution.sent:
            self._by_nonce.pop(nonce, None)
        resolution.sent = {}
        resolution.resting = True
        self._timers.set(resolution.eid, until)

    def _transmit(self, resolution: Resolution, now: float) -> Iterator[Send]:
        # RFC 9301 section 5.2: each Map-Request has a nonce of its own, as random as the source of randomness is.
        # Whoever is not heard may be understood without.
        resolution.plain |= len(resolution.sent) >= SUBSCRIBING_TRANSMISSIONS
        subscribes = self._subscriptions.open(now) and not resolution.plain
        if subscribes:
            self._subscriptions.wants(resolution.eid)
        nonce = self._subscriptions.next_nonce() if subscribes else self._context.nonce()
        resolvers = self._context.config.map_resolvers
        resolver = resolvers[len(resolution.sent) % len(resolvers)]
        # First the message, then the memory of it: what cannot be said (ValueError) is not tried again by each tick.
        message = self._message(resolution, nonce, subscribes)
        self._by_eid.set(resolution.eid, resolution)
        resolution.sent[nonce] = resolution.last = now
        self._by_nonce[nonce] = resolution
        # RFC 9301 section 5.3: at most one Map-Request per second and EID-prefix.
        self._timers.set(resolution.eid, now + INTERVAL)
        yield Send(message, resolver)

    def _message(self, resolution: Resolution, nonce: int, subscribes: bool) -> bytes:
        eid = resolution.eid
        request = MapRequest(
            nonce,
            _source_eid(resolution),
            self._context.config.rlocs[:MAX_ITR_RLOCS],
            # RFC 9301 section 5.2: a sender puts exactly one record. RFC 9437 section 5: N-bit, I-bit and both IDs.
            (RequestRecord.of(eid, notify=subscribes),),
            pitr=resolution.pitr,
            smr_invoked=resolution.smr_invoked,  # RFC 9301 section 6.1: and through the mapping system, as any other
            **(self._identity() if subscribes else {}),
        )
        return self._encapsulated(request, eid)

    def _identity(self) -> dict[str, Any]:
        config = self._context.config
        return {"xtr_id": bytes.fromhex(config.xtr_id), "site_id": config.site_id}

    def _encapsulated(self, request: MapRequest, eid: EidPrefix) -> bytes:
        rlocs = self._context.config.rlocs
        # RFC 9301 section 5.8: the inner destination is the EID; the inner source is an RLOC, or an EID where no RLOC
        # is of that family. The reply goes to an ITR-RLOC, never to this address.
        inside = [rloc for rloc in rlocs if rloc.version == eid.version]
        inside += [mapping.prefix.address for mapping in self._context.config.database]
        source = next((one for one in inside if one.version == eid.version), eid.address)
        return EncapsulatedControlMessage.wrap(request.encode(), source, self._port, eid.address, CONTROL_PORT).encode()


def _source_eid(resolution: Resolution) -> Address:
    """The Source-EID: the inner source, inside its instance; the AFI is 0 if nobody's packet caused the request."""
    if resolution.source is None:
        return NoAddress()
    return in_instance(resolution.source, resolution.eid.instance_id)


def _failure(eid: EidPrefix, tokens: list[int], error: str) -> Iterator[Effect]:
    yield Unresolved(eid)
    yield from (Answer(token, None, error) for token in tokens)
