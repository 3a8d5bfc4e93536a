"""Map-Notifies that this xTR did not ask for: whether they are true and new (RFC 9301 section 5.7)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from nodes.lisp.config import Key, MapServerPeer
from nodes.lisp.effects import Effect, Persist
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.map_notifies import acknowledgement
from nodes.lisp.inputs import Datagram
from nodes.lisp.wire import EidRecord, MapNotify, verify

NEWEST = "notify-nonce/"
MAX_PREFIXES = 4096


class Notices:
    """What Map-Servers have said unasked, and acknowledges it.

    Whoever captured one could send it again when it is no longer so: of each Map-Server the nonces have to increase,
    for each EID-prefix, for messages can overtake each other. The greatest is kept across restarts.
    """

    def __init__(self, context: Context, durable: Mapping[str, Any]) -> None:
        """Make one that knows the nonces that an earlier run kept."""
        self._context = context
        self._newest: dict[IPAddress, int] = {}
        for peer in context.config.map_servers:
            kept = durable.get(f"{NEWEST}{peer.address}", -1)
            self._newest[peer.address] = kept if isinstance(kept, int) else -1
        self._floor = dict(self._newest)
        self._said: dict[tuple[IPAddress, EidPrefix], int] = {}

    def take(self, notify: MapNotify, arrival: Datagram, now: float) -> Generator[Effect, None, tuple[EidRecord, ...]]:
        """Check and acknowledge one; returns the records that are news."""
        found = self._sender(notify, arrival)
        if found is None:
            yield from self._context.drop("map-notify-unknown-nonce", now, source=arrival.source)
            return ()
        peer, key = found
        news = tuple(record for record in notify.records if self._is_new(peer.address, record.prefix, notify.nonce))
        if notify.nonce > self._newest[peer.address]:
            self._newest[peer.address] = notify.nonce
            yield Persist(f"{NEWEST}{peer.address}", notify.nonce)
        # One that has been acknowledged before comes again if that was lost.
        yield acknowledgement(notify, key, arrival.source)
        return news

    def _sender(self, notify: MapNotify, arrival: Datagram) -> tuple[MapServerPeer, Key] | None:
        """The Map-Server whose secret authenticates the message; the one that it comes from, if several share it."""
        peers = sorted(self._context.config.map_servers, key=lambda peer: peer.address != arrival.source)
        for peer in peers:
            for key in (peer.key, *peer.other_keys):
                named = (key.key_id, key.algorithm) == (notify.key_id, notify.algorithm_id)
                if named and verify(arrival.payload, notify, key.secret):
                    return peer, key
        return None

    def _is_new(self, server: IPAddress, prefix: EidPrefix, nonce: int) -> bool:
        """Whether this Map-Server has said nothing as new about the prefix; it has now."""
        place = server, prefix
        if nonce <= self._said.get(place, self._floor[server]):
            return False
        self._said.pop(place, None)
        if len(self._said) >= MAX_PREFIXES:
            (oldest, _), last = next(iter(self._said.items()))
            self._floor[oldest] = max(self._floor[oldest], last)
            del self._said[next(iter(self._said))]
        self._said[place] = nonce
        return True
