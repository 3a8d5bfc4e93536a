"""Registration: what the Map-Servers are told, until they acknowledge it, and again each minute (RFC 9301, 5.6)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nodes.lisp.config import Key, MapServerPeer
from nodes.lisp.effects import Effect, Persist, Report, Send
from nodes.lisp.eid import EidPrefix
from nodes.lisp.engine.context import Context, payload_limit
from nodes.lisp.inputs import Datagram
from nodes.lisp.rate_limit import RateLimit
from nodes.lisp.timers import Timers
from nodes.lisp.wire import EidRecord, MapNotify, MapRegister, sealed, verify

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
MAX_OUTSTANDING = 16
FEW, GATHERING = 4, 0.02
"""So many messages with news go to a Map-Server at once, then one in so many seconds, with all the news there are by
then: where hundreds of hosts come at once, each message would be answered."""
MAX_RECORDS = 255
NONCE_KEY = "register-nonce"
_UNSENT = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """A Map-Register that may yet be acknowledged.

    Attributes:
        at: When it went out.
        prefixes: What it told.
        whole: Whether that was everything the chunk had.
    """

    at: float
    prefixes: tuple[EidPrefix, ...]
    whole: bool


@dataclass(slots=True, eq=False)
class Chunk:
    """What one Map-Register carries: some EID-prefixes, for one Map-Server.

    Attributes:
        peer: The Map-Server.
        room: Bytes left in the message.
        records: What is registered; a Record TTL of 0 withdraws the prefix, and leaves with the acknowledgement.
        pending: The prefixes whose record has not been acknowledged as it is now, each with the first nonce that it
            went with, or 0: it is yet to go.
        sent: What may yet be acknowledged, by nonce, the oldest first.
        refreshed: When the last acknowledged message with every record went out.
        backoff: Seconds until the next retransmission.
        acknowledged_at: When the last Map-Notify came, or None.
    """

    peer: MapServerPeer
    room: int
    records: dict[EidPrefix, EidRecord] = field(default_factory=dict)
    pending: dict[EidPrefix, int] = field(default_factory=dict)
    sent: dict[int, Sent] = field(default_factory=dict)
    refreshed: float = 0.0
    backoff: float = FIRST_BACKOFF
    acknowledged_at: float | None = None

    @property
    def news(self) -> list[EidPrefix]:
        """What is yet to go."""
        return [prefix for prefix, nonce in self.pending.items() if nonce == _UNSENT]


class Registrar:
    """Keeps every configured Map-Server informed of the site's mappings."""

    def __init__(self, context: Context, durable: Mapping[str, Any], start_time: float) -> None:
        """Make one that has nothing to register.

        Args:
            context: What the node's roles share.
            durable: What an earlier run kept.
            start_time: Wall-clock seconds.
        """
        self._context = context
        # RFC 9301 section 5.6: nonces increase across restarts: the last one is kept, and if the storage was lost,
        # the start time in the high 32 bits is later than any kept one.
        kept = durable.get(NONCE_KEY, 0)
        self._nonce = self._before = max(kept if isinstance(kept, int) else 0, int(start_time * (1 << 32)))
        self._keys: dict[MapServerPeer, Key] = {peer: peer.key for peer in context.config.map_servers}
        self._around = {
            peer: max(len(self._message(peer, key, (), 0)) for key in _keys(peer))
            for peer in context.config.map_servers
        }
        self._chunks: list[Chunk] = []
        self._homes: dict[EidPrefix, list[Chunk]] = {}  # of each prefix: one for each Map-Server
        self._by_nonce: dict[int, Chunk] = {}
        self._timers: Timers[Chunk] = Timers()
        self._news: RateLimit[MapServerPeer] = RateLimit(FEW, GATHERING)
        self._gathering: Timers[MapServerPeer] = Timers()

    def register(self, records: Iterable[EidRecord], now: float) -> Iterator[Effect]:
        """Register these mappings with every Map-Server at once, replacing those of the same prefixes."""
        for record in records:
            for peer in self._context.config.map_servers:
                chunk = self._chunk_for(peer, record)
                chunk.records[record.prefix] = record
                # An acknowledgement of what was sent before says nothing about what has changed since.
                chunk.pending[record.prefix] = _UNSENT
                if self._gathering.get(peer) is None:
                    self._gathering.set(peer, self._news.next(peer, now))
        yield from self._tell_news(now)

    def _tell_news(self, now: float) -> Iterator[Effect]:
        for peer in self._gathering.due(now):
            self._news.allows(peer, now)
            for chunk in [one for one in self._chunks if one.peer is peer]:
                if news := chunk.news:
                    chunk.backoff = FIRST_BACKOFF
                    again = self._timers.get(chunk) if chunk.sent else None
                    yield from self._transmit(chunk, news, now)
                    if again is not None:
                        self._timers.set(chunk, min(again, now + chunk.backoff))

    def withdraw(self, prefix: EidPrefix, now: float) -> Iterator[Effect]:
        """Tell every Map-Server that this node does not serve the prefix any more."""
        homes = self._homes.get(prefix)
        if homes:
            # RFC 9301 section 5.4: a Record TTL of 0.
            yield from self.register([replace(homes[0].records[prefix], ttl_minutes=0)], now)

    def forget(self, prefix: EidPrefix) -> EidRecord | None:
        """Register a prefix no more, and say nothing; returns what was registered."""
        forgotten = None
        for chunk in self._homes.get(prefix, [])[:]:
            forgotten = self._take_out(chunk, prefix)
            if not chunk.records:
                self._end(chunk)
        return forgotten

    def sent(self, nonce: int) -> bool:
        """Whether this nonce was one of ours, however long ago: what brings it is an answer, and no news."""
        return self._before < nonce <= self._nonce

    def key_ids(self) -> list[int]:
        """The Key IDs of the secrets that are shared with every Map-Server."""
        shared = [{key.key_id for key in _keys(peer)} for peer in self._keys]
        return sorted(set.intersection(*shared)) if shared else []

    def change_key(self, key_id: int, now: float) -> Iterator[Effect]:
        """Sign with another secret, one of :meth:`key_ids`, and register everything with it at once.

        What is registered stays so meanwhile: a Map-Server that knows both secrets takes either.
        """
        for peer in self._keys:
            self._keys[peer] = next(key for key in _keys(peer) if key.key_id == key_id)
        for chunk in self._chunks:
            chunk.pending = dict.fromkeys(chunk.records, _UNSENT)
            self._forget_sent(chunk)
            chunk.backoff = FIRST_BACKOFF
            yield from self._transmit(chunk, chunk.records, now)

    def map_notify(
        self, notify: MapNotify, arrival: Datagram, now: float
    ) -> Generator[Effect, None, tuple[EidPrefix, ...]]:
        """A Map-Server acknowledges a Map-Register; returns what every Map-Server knows now, and did not before."""
        # RFC 9301 section 5.7: the Map-Notify copies the nonce; one for any transmission since the last change will do.
        chunk = self._by_nonce.get(notify.nonce)
        if chunk is None:
            yield from self._context.drop("map-notify-unknown-nonce", now, source=arrival.source)
            return ()
        # RFC 9301 section 5.7: if the Authentication Data fails to validate, the message is dropped.
        key = self._keys[chunk.peer]
        if (notify.key_id, notify.algorithm_id) != (key.key_id, key.algorithm) or not verify(
            arrival.payload, notify, key.secret
        ):
            yield from self._context.drop("map-notify-authentication", now, source=arrival.source)
            return ()
        sent = chunk.sent.pop(notify.nonce)
        del self._by_nonce[notify.nonce]
        known = [one for one in sent.prefixes if _UNSENT < chunk.pending.get(one, _UNSENT) <= notify.nonce]
        for prefix in known:
            del chunk.pending[prefix]
        if sent.whole:  # with what is repeated of it since, it ends
            chunk.refreshed = max(one.at for one in (sent, *chunk.sent.values()) if one.whole)
        chunk.acknowledged_at = now
        if chunk.pending:
            # The others have their time from when they went out.
            since = min((one.at for one in chunk.sent.values()), default=now)
            self._timers.set(chunk, max(self._timers.get(chunk) or now, since + chunk.backoff))
        elif not any(one.whole and one.at > chunk.refreshed for one in chunk.sent.values()):
            self._forget_sent(chunk)
            # RFC 9301 section 8.2: registrations are repeated each minute.
            self._timers.set(chunk, chunk.refreshed + self._context.config.registration_interval)
        yield from self._settle(chunk, known)
        return tuple(one for one in known if self.acknowledged(one))

    def tick(self, now: float) -> Iterator[Effect]:
        """Tell the news that were gathered; register again, or retransmit what was not acknowledged."""
        yield from self._tell_news(now)
        for chunk in self._timers.due(now):
            if not chunk.sent:
                chunk.backoff = FIRST_BACKOFF
                yield from self._transmit(chunk, chunk.records, now)
                continue
            # RFC 9301 section 5.7: no Map-Notify after 1 second: retransmit, with exponential back-off up to 1 minute.
            chunk.backoff = min(2 * chunk.backoff, LONGEST_BACKOFF)
            yield from self._transmit(chunk, chunk.pending or chunk.records, now)
            if chunk.acknowledged_at is not None and not self._is_fresh(chunk, now):
                chunk.acknowledged_at = None
                chunk.pending = dict.fromkeys(chunk.records, next(iter(chunk.sent))) | chunk.pending
                yield Report("registration-lost", {"map_server": str(chunk.peer.address)})

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        deadlines = (self._timers.deadline(), self._gathering.deadline())
        return min((one for one in deadlines if one is not None), default=None)

    @property
    def registered(self) -> bool:
        """Whether every Map-Server has acknowledged every EID-prefix as it is now."""
        return not any(chunk.pending for chunk in self._chunks)

    def registers(self, prefix: EidPrefix) -> bool:
        """Whether this EID-prefix is registered, or is to be."""
        return prefix in self._homes

    def acknowledged(self, prefix: EidPrefix) -> bool:
        """Whether every Map-Server has acknowledged this EID-prefix as it is now."""
        return not any(prefix in chunk.pending for chunk in self._homes.get(prefix, ()))

    def rows(self, prefix: EidPrefix, now: float) -> list[dict[str, Any]]:
        """The state of one EID-prefix with each Map-Server, as a table."""
        return [self._row(chunk, prefix, now) for chunk in self._homes.get(prefix, ())]

    def _row(self, chunk: Chunk, prefix: EidPrefix, now: float) -> dict[str, Any]:
        ack = None if prefix in chunk.pending else chunk.acknowledged_at
        return {
            "address": str(chunk.peer.address),
            "state": "registered" if ack is not None and self._is_fresh(chunk, now) else "pending",
            "last_ack_s": None if ack is None else round(now - ack, 1),
            "proxy_reply": chunk.peer.proxy_reply,
        }

    def _is_fresh(self, chunk: Chunk, now: float) -> bool:
        ack = chunk.acknowledged_at
        return ack is not None and now - ack < self._context.config.registration_timeout

    def _settle(self, chunk: Chunk, known: Sequence[EidPrefix]) -> Iterator[Report]:
        """The Map-Server knows this of the chunk: report it, and let go of what was withdrawn."""
        withdrawn = [prefix for prefix in known if chunk.records[prefix].ttl_minutes == 0]
        for event, prefixes in (("registered", set(known).difference(withdrawn)), ("withdrawn", withdrawn)):
            if prefixes:
                fields = {"map_server": str(chunk.peer.address), "eids": sorted(str(prefix) for prefix in prefixes)}
                yield Report(event, fields)
        for prefix in withdrawn:
            self._take_out(chunk, prefix)
        if not chunk.records:
            self._end(chunk)

    def _take_out(self, chunk: Chunk, prefix: EidPrefix) -> EidRecord:
        record = chunk.records.pop(prefix)
        chunk.pending.pop(prefix, None)
        chunk.room += len(record.encode())
        self._homes[prefix].remove(chunk)
        if not self._homes[prefix]:
            del self._homes[prefix]
        return record

    def _end(self, chunk: Chunk) -> None:
        self._forget_sent(chunk)
        self._chunks.remove(chunk)
        self._timers.cancel(chunk)

    def _transmit(self, chunk: Chunk, prefixes: Iterable[EidPrefix], now: float) -> Iterator[Effect]:
        """Send these of the chunk's records.

        News goes alone. What else is registered may have gone elsewhere a moment ago: to register it once more with
        each news of another host would call it back, when hundreds of hosts move at once.
        """
        # RFC 9301 section 5.6: each Map-Register has a greater nonce, retransmissions too: the Map-Server may have
        # seen the last one, and would drop it as a replay for ever.
        self._nonce += 1
        sent = tuple(prefixes)
        chunk.sent[self._nonce] = Sent(now, sent, len(sent) == len(chunk.records))
        chunk.pending |= {one: self._nonce for one in sent if chunk.pending.get(one) == _UNSENT}
        self._by_nonce[self._nonce] = chunk
        if len(chunk.sent) > MAX_OUTSTANDING:
            oldest = next(iter(chunk.sent))
            del chunk.sent[oldest], self._by_nonce[oldest]
        self._timers.set(chunk, now + chunk.backoff)
        yield Persist(NONCE_KEY, self._nonce)
        key = self._keys[chunk.peer]
        register = self._message(chunk.peer, key, tuple(chunk.records[one] for one in sent), self._nonce)
        yield Send(register, chunk.peer.address)

    def _forget_sent(self, chunk: Chunk) -> None:
        for nonce in chunk.sent:
            del self._by_nonce[nonce]
        chunk.sent.clear()

    def _message(self, peer: MapServerPeer, key: Key, records: tuple[EidRecord, ...], nonce: int) -> bytes:
        config = self._context.config
        register = MapRegister(
            nonce,
            key.key_id,
            key.algorithm,
            records,
            proxy_reply=peer.proxy_reply,
            # RFC 9301 section 5.6, I-bit: an xTR that is configured with an xTR-ID and Site-ID includes them.
            xtr_id=bytes.fromhex(config.xtr_id) if config.xtr_id else None,
            site_id=config.site_id,
            want_notify=True,
        )
        return sealed(register, key.secret)

    def _chunk_for(self, peer: MapServerPeer, record: EidRecord) -> Chunk:
        """Where the record has its place: a prefix keeps its chunk, a new one goes where there is room."""
        homes = self._homes.setdefault(record.prefix, [])
        home = next((chunk for chunk in homes if chunk.peer is peer), None)
        if home is not None:
            home.room += len(home.records[record.prefix].encode())
        size = len(record.encode())
        # RFC 9301 section 5: a message fits 576 or 1280 bytes. Section 5.6: and holds 255 records at most.
        chunks = (chunk for chunk in self._chunks if chunk.peer is peer)
        fitting = (chunk for chunk in chunks if chunk.room >= size and len(chunk.records) < MAX_RECORDS)
        chunk = home or next(fitting, None)
        if chunk is None:
            chunk = Chunk(peer, payload_limit(peer.address) - self._around[peer])
            self._chunks.append(chunk)
        if home is None:
            homes.append(chunk)
        chunk.room -= size
        return chunk


def _keys(peer: MapServerPeer) -> tuple[Key, ...]:
    """Every key that is shared with a Map-Server."""
    return (peer.key, *peer.other_keys)
