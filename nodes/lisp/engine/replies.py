"""Map-Requests that come in: what is answered, to whom, and how often (RFC 9301 sections 5.4, 5.5, 7.1 and 8.3)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from nodes.lisp.config import Role
from nodes.lisp.effects import CONTROL_PORT, Effect, Send
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context, payload_limit
from nodes.lisp.engine.etr import Etr
from nodes.lisp.engine.itr import Itr
from nodes.lisp.engine.map_resolver import MapResolver
from nodes.lisp.engine.map_server import MapServer
from nodes.lisp.engine.mappings import Mappings, filled, narrowed
from nodes.lisp.engine.subscribers import Subscribers, is_withdrawal, wants_notification
from nodes.lisp.engine.turns import Turns
from nodes.lisp.engine.verdict import Forward
from nodes.lisp.inputs import Datagram
from nodes.lisp.rate_limit import RateLimit
from nodes.lisp.wire import (
    Address,
    EidRecord,
    EncapsulatedControlMessage,
    InnerControl,
    MapReply,
    MapRequest,
    decode,
    every_mac,
)

MAX_QUESTIONS = 32
MAX_RECORDS = 255
PROBE_BURST, PROBE_INTERVAL = 10, 0.5
FLOOD_BURST, FLOOD_INTERVAL = 300, 0.01
REFUSAL_TTL = 1
NOTIFY_OVERHEAD = 4 + 20
"""How much longer a Map-Notify is than a Map-Reply of the same records, in bytes: its authentication."""

Group = tuple[EidPrefix | None, tuple[EidRecord, ...]]
"""The EID asked for, None for a MAC address, and the records that answer: the one that covers it first."""


class MapReplier:
    """Answers Map-Requests out of what the node knows, forwards them, or has the ITR act on them."""

    def __init__(
        self,
        context: Context,
        mappings: Mappings,
        etr: Etr | None,
        itr: Itr | None,
        map_server: MapServer | None,
        map_resolver: MapResolver | None,
    ) -> None:
        self._context = context
        self._subscribers = Subscribers(context.config) if map_server or map_resolver else None
        self._publisher = map_server.publisher if map_server else None
        self._mappings = mappings
        self._etr = etr
        self._itr = itr
        self._turns = Turns()
        self._limit: RateLimit[tuple[IPAddress, EidPrefix | Address]] = RateLimit()
        # Probes are counted apart, and faster: they come as often as the prober's timer says.
        self._probe_limit: RateLimit[tuple[IPAddress, EidPrefix | Address]] = RateLimit(PROBE_BURST, PROBE_INTERVAL)
        # Who asks for ever other EIDs in somebody else's name floods nobody either.
        self._flood_limit: RateLimit[IPAddress] = RateLimit(FLOOD_BURST, FLOOD_INTERVAL)
        self._ends_limit: RateLimit[bytes | None] = RateLimit(FLOOD_BURST, FLOOD_INTERVAL)  # by xTR-ID

    def map_request(self, request: MapRequest, arrival: Datagram, now: float) -> Iterator[Effect]:
        """A Map-Request by itself: an RLOC-probe or the refresh of a mapping. An ETR answers; an RTR, to probes."""
        source = arrival.source
        # RFC 9301 section 6.1, S-bit: it solicits a Map-Request from an ITR or PITR, and asks nothing itself.
        if request.smr:
            handled = self._itr.solicited(request, arrival, now) if self._itr else None
            yield from handled or self._context.drop("solicit-map-request", now, source=source)
            return
        # RFC 9301 section 5.2: a Map-Resolver or Map-Server drops a Map-Request with the probe-bit set. Section 8.4:
        # others reach it encapsulated. Section 7.1: an ETR answers a probe. A PETR is one for the sites that use it; an
        # RTR is probed as the next hop to any EID, and has no mapping of its own.
        if self._etr is None and not (request.probe and self._context.config.roles & {Role.PETR, Role.RTR}):
            yield from self._context.drop("probe" if request.probe else "map-request-bare", now, source=source)
            return
        probed = arrival.destination if request.probe else None
        groups: list[Group] = []
        for question in request.records[:MAX_QUESTIONS]:
            if every_mac(question.address):  # RFC 8060 section 4.10.2; no ETR here has one
                continue
            if self._etr and (found := self._etr.verdict(question.prefix, probed)):
                more = () if request.probe else self._etr.inside(found[0])
                groups.append((question.prefix, filled(question.prefix, found[1], more)))
        # RFC 9301 section 5.2: a probe is always answered; the mapping goes with it if there is one.
        if groups or request.probe:
            yield from self._reply(request, groups, arrival.source_port, now)
        else:
            yield from self._context.drop("map-request-foreign-eid", now, source=source)

    def encapsulated(self, ecm: EncapsulatedControlMessage, arrival: Datagram, now: float) -> Iterator[Effect]:
        """An Encapsulated Control Message: a Map-Request on its way through the mapping system."""
        source = arrival.source
        inner = ecm.unwrap()
        # RFC 9301 section 5.8: the inner destination port of a Map-Request is 4342; its source port is for the reply.
        if inner.destination_port != CONTROL_PORT or not inner.source_port:
            yield from self._context.drop("ecm-inner-port", now, source=source)
            return
        request = decode(inner.message)
        if not isinstance(request, MapRequest):
            yield from self._context.drop("ecm-inner-type", now, source=source, type=type(request).__name__)
            return
        # RFC 9301 section 5.8: RLOC-probes are never inside an Encapsulated Control Message. Section 6.1: nor are SMRs.
        if request.probe or request.smr:
            yield from self._context.drop("probe" if request.probe else "solicit-map-request", now, source=source)
            return
        if self._etr:
            self._etr.map_request(request)
        if wants_notification(request) and (yield from self._subscription(request, arrival, inner, now)):
            return
        groups: list[Group] = []
        onward: set[IPAddress] = set()
        for question in request.records[:MAX_QUESTIONS]:  # answers to more would not fit a Map-Reply
            # RFC 8060 section 4.10.2: a MAC address, by itself or in an instance, is an EID as well.
            if every_mac(question.address):
                if record := self._mappings.answer_about_mac(question.address):
                    groups.append((None, (record,)))
                else:
                    yield from self._context.drop("map-request-foreign-eid", now, source=source, eid=question.address)
                continue
            answer = self._mappings.answer(question.prefix, request.authoritative)
            if answer is None:
                yield from self._context.drop("map-request-foreign-eid", now, source=source, eid=question.prefix)
            elif not isinstance(answer, Forward):
                groups.append((question.prefix, answer))
            elif ahead := [one for one in answer.destinations if not self._loops(one, request, arrival)]:
                # A retransmission goes to another Map-Server: the first one may be dead.
                asker = self._context.reply_address(request.itr_rlocs)
                onward.add(self._turns.choose((asker, question.prefix), ahead))
            else:
                yield from self._context.drop("map-request-loop", now, source=source, eid=question.prefix)
        if groups:
            yield from self._reply(request, groups, inner.source_port, now)
        # RFC 9301 section 8.3: encapsulated again and not altered, so that the Map-Reply goes straight to the ITR.
        for destination in sorted(onward, key=str) if len(onward) > 1 else onward:
            yield Send(EncapsulatedControlMessage(ecm.inner).encode(), destination)

    def _subscription(
        self, request: MapRequest, arrival: Datagram, inner: InnerControl, now: float
    ) -> Generator[Effect, None, bool]:
        """A Map-Request that subscribes (RFC 9437 section 5); returns whether that is all that becomes of it."""
        question = request.records[0]
        if self._subscribers is None or every_mac(question.address):
            return False
        eid, records = question.prefix, self._mappings.published(question.prefix)
        if records is None and self._etr and self._etr.verdict(eid):
            return False  # it has arrived where it is answered by a Map-Reply
        # RFC 9437 section 1.1: Map-Resolver and Map-Server look whether the xTR may do that, and be who it says.
        action = self._subscribers.refusal(request, arrival.source)
        if action is not None:
            yield from self._context.drop("subscription-refused", now, source=arrival.source, eid=eid)
            # Section 5: a negative Map-Reply, Drop/Policy-Denied or Drop/Auth-Failure.
            if not is_withdrawal(request):
                refusal = EidRecord.of(eid, REFUSAL_TTL, action=action)
                yield from self._reply(request, [(eid, (refusal,))], inner.source_port, now)
            return True
        if self._publisher is None or records is None:
            return False
        if is_withdrawal(request):
            # RFC 9437 section 7.2: whoever asks in an xTR's name has it told of no more than so many ends.
            if self._ends_limit.allows(request.xtr_id, now):
                yield from self._publisher.request(request, (), inner.source, now)
            else:
                yield from self._context.drop("map-reply-rate", now, eid=eid)
            return True
        destination = self._context.reply_address(request.itr_rlocs)
        if destination is None:
            return False
        records = fitting([(eid, records)], payload_limit(destination) - NOTIFY_OVERHEAD)
        if not self._publisher.has_room(request, records[0].prefix):
            return False
        # RFC 9437 section 7.2: as often as Map-Replies.
        limits = self._flood_limit.allows(destination, now), self._limit.allows((destination, eid), now, records[0])
        if all(limits):
            yield from self._publisher.request(request, records, inner.source, now)
        else:
            yield from self._context.drop("map-reply-rate", now, destination=destination, eid=eid)
        return True

    def _loops(self, destination: IPAddress, request: MapRequest, arrival: Datagram) -> bool:
        """Whether forwarding there would send the request round: to this node, or back to who forwarded it.

        An xTR that asks for an EID of its own site is no loop: it gets its own request back, as ETR.
        """
        back = destination == arrival.source and arrival.source not in request.itr_rlocs
        return back or destination in self._context.config.rlocs

    def _reply(self, request: MapRequest, groups: list[Group], port: int, now: float) -> Iterator[Effect]:
        # RFC 9301 section 5.3: a Map-Request without an ITR-RLOC is dropped; so is one that this node cannot answer.
        destination = self._context.reply_address(request.itr_rlocs)
        if destination is None:
            yield from self._context.drop("map-request-no-usable-itr-rloc", now)
            return
        # RFC 9301 section 5.2, D-bit.
        if request.dont_reply:
            return
        records = fitting(groups, payload_limit(destination))
        # RFC 9301 section 5.4: Map-Replies are rate-limited: each EID on its own, all of them together far above that.
        limit = self._probe_limit if request.probe else self._limit
        first = request.records[0]
        about = first.address if every_mac(first.address) else first.prefix
        said = None if request.probe else records[0]
        if not (self._flood_limit.allows(destination, now) and limit.allows((destination, about), now, said)):
            yield from self._context.drop("map-reply-rate", now, destination=destination, eid=about)
            return
        # RFC 9301 section 5.5: the nonce is copied, the destination port is the request's source port.
        reply = MapReply(request.nonce, records, probe=request.probe)
        yield Send(reply.encode(), destination, port, from_control_port=True)


def fitting(groups: Iterable[Group], limit: int) -> tuple[EidRecord, ...]:
    """As many answers as fit a Map-Reply of ``limit`` bytes (RFC 9301 section 5); the first one always does."""
    records: tuple[EidRecord, ...] = ()
    for eid, answer in groups:
        if not records and len(answer) == 1:
            records = answer
            continue
        # Where the more-specifics do not fit, the EID that was asked for is answered alone: its ITR then caches nothing
        # that hides one of them.
        choices = [answer] if len(answer) == 1 or eid is None else [answer, (narrowed(answer[0], eid),)]
        fits = [more for more in choices if _fits(records + more, limit)]
        if fits or not records:
            records += (fits or choices[-1:])[0]
    return records


def _fits(records: tuple[EidRecord, ...], limit: int) -> bool:
    return len(records) <= MAX_RECORDS and len(MapReply(0, records).encode()) <= limit
