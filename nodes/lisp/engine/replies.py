"""Map-Requests that come in: which role of this node answers, and how (RFC 9301 sections 5.5, 7.1, 8.3 and 8.4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from nodes.lisp.effects import CONTROL_PORT, Datagram, Effect, Send
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context, payload_limit
from nodes.lisp.engine.etr import Etr
from nodes.lisp.engine.map_resolver import MapResolver
from nodes.lisp.engine.map_server import MapServer
from nodes.lisp.engine.turns import Turns
from nodes.lisp.engine.verdict import Verdict, negative
from nodes.lisp.holes import NoHoleError, everything, least_specific_hole
from nodes.lisp.wire import EidRecord, EncapsulatedControlMessage, MapReply, MapRequest, decode

NO_SUCH_EID_TTL = 15
MAX_QUESTIONS = 32


class MapReplier:
    """Puts a Map-Request before the ETR, the Map-Server and the Map-Resolver of this node, whichever it has."""

    def __init__(
        self, context: Context, etr: Etr | None, map_server: MapServer | None, map_resolver: MapResolver | None
    ) -> None:
        self._context = context
        self._etr = etr
        self._map_server = map_server
        self._map_resolver = map_resolver
        self._turns = Turns()

    def map_request(self, request: MapRequest, arrival: Datagram, now: float) -> Iterator[Effect]:
        """A Map-Request by itself: an RLOC-probe or the refresh of a mapping. Only an ETR answers those."""
        source = str(arrival.source)
        # RFC 9301 section 6.1: solicit-map-request is not spoken here.
        if request.smr:
            yield from self._context.drop("solicit-map-request", now, source=source)
            return
        # RFC 9301 section 5.2: a Map-Resolver or Map-Server drops a Map-Request with the probe-bit set. Section 8.4:
        # others reach it encapsulated.
        if self._etr is None:
            yield from self._context.drop("probe" if request.probe else "map-request-bare", now, source=source)
            return
        probed = arrival.destination if request.probe else None
        found = [self._etr.verdict(record.prefix, probed) for record in request.records[:MAX_QUESTIONS]]
        records = [one[1] for one in found if one is not None]
        # RFC 9301 section 5.2: a probe is always answered; the mapping goes with it if there is one.
        if records or request.probe:
            yield from self._reply(request, records, arrival.source_port, now)
        else:
            yield from self._context.drop("map-request-foreign-eid", now, source=source)

    def encapsulated(self, ecm: EncapsulatedControlMessage, arrival: Datagram, now: float) -> Iterator[Effect]:
        """An Encapsulated Control Message: a Map-Request on its way through the mapping system."""
        source = str(arrival.source)
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
        records: list[EidRecord] = []
        onward: set[IPAddress] = set()
        asker = self._context.reply_address(request.itr_rlocs)
        for question in request.records[:MAX_QUESTIONS]:  # answers to more would not fit a Map-Reply
            verdict = self._verdict(question.prefix, request.authoritative)
            if isinstance(verdict, EidRecord):
                records.append(verdict)
            elif verdict is None:
                yield from self._context.drop("map-request-foreign-eid", now, source=source, eid=str(question.prefix))
            elif ahead := [one for one in verdict.destinations if not self._loops(one, request, arrival)]:
                # A retransmission goes to another Map-Server: the first one may be dead.
                onward.add(self._turns.choose((asker, question.prefix), ahead))
            else:
                yield from self._context.drop("map-request-loop", now, source=source, eid=str(question.prefix))
        if records:
            yield from self._reply(request, records, inner.source_port, now)
        # RFC 9301 section 8.3: encapsulated again and not altered, so that the Map-Reply goes straight to the ITR.
        for destination in sorted(onward, key=str):
            yield Send(EncapsulatedControlMessage(ecm.inner).encode(), destination)

    def _verdict(self, eid: EidPrefix, by_site: bool) -> Verdict | None:
        """The word of the role that knows the longest prefix; of equals, ETR before Map-Server before Map-Resolver."""
        try:
            said: list[tuple[EidPrefix, Verdict] | None] = [
                self._etr.verdict(eid) if self._etr else None,
                self._map_server.verdict(eid, by_site=by_site) if self._map_server else None,
                self._map_resolver.verdict(eid) if self._map_resolver else None,
            ]
            if found := [one for one in said if one is not None]:
                return max(found, key=lambda one: one[0].mask_len)[1]
            if self._map_server is None and self._map_resolver is None:
                return None
            # RFC 9301 sections 8.1 and 8.4: not in the mapping system: natively-forward for 15 minutes, for the
            # least-specific prefix that holds no configured one.
            configured = chain.from_iterable(
                role.configured() for role in (self._map_server, self._map_resolver) if role is not None
            )
            return negative(least_specific_hole(eid, configured, everything(eid)), NO_SUCH_EID_TTL)
        except NoHoleError:  # a question wider than what is known: no one mapping or hole covers it
            return None

    def _loops(self, destination: IPAddress, request: MapRequest, arrival: Datagram) -> bool:
        """Whether forwarding there would send the request round: to this node, or back to who forwarded it.

        An xTR that asks for an EID of its own site is no loop: it gets its own request back, as ETR.
        """
        back = destination == arrival.source and arrival.source not in request.itr_rlocs
        return back or destination in self._context.config.rlocs

    def _reply(self, request: MapRequest, records: list[EidRecord], port: int, now: float) -> Iterator[Effect]:
        # RFC 9301 section 5.3: a Map-Request without an ITR-RLOC is dropped; so is one that this node cannot answer.
        destination = self._context.reply_address(request.itr_rlocs)
        if destination is None:
            yield from self._context.drop("map-request-no-usable-itr-rloc", now)
            return
        # RFC 9301 section 5.2, D-bit.
        if request.dont_reply:
            return
        # RFC 9301 section 5.5: the nonce is copied, the destination port is the request's source port. Section 5:
        # the message fits 576 or 1280 bytes.
        reply = MapReply(request.nonce, tuple(records), probe=request.probe)
        while len(records) > 1 and len(reply.encode()) > payload_limit(destination):
            records = records[:-1]
            reply = MapReply(request.nonce, tuple(records), probe=request.probe)
        yield Send(reply.encode(), destination, port, from_control_port=True)
