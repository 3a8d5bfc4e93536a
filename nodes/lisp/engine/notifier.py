"""Map-Notifies that nobody asked for: an xTR is told of a mapping, again and again until it says so (RFC 9301, 5.7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nodes.lisp.config import Key
from nodes.lisp.effects import Effect, Report, Send
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.map_notifies import in_parts
from nodes.lisp.engine.repetition import Repetition
from nodes.lisp.inputs import Datagram
from nodes.lisp.timers import Timers
from nodes.lisp.wire import EidRecord, MapNotify, MapNotifyAck, sealed, verify

MAX_OUTSTANDING = 4096
MAX_KNOWN = 16_384
UNASKED = 1 << 63


@dataclass(frozen=True, slots=True)
class Receiver:
    """An xTR that is told.

    Attributes:
        rloc: Where it is.
        key: The secret that it shares with this Map-Server.
    """

    rloc: IPAddress
    key: Key


@dataclass(slots=True)
class News:
    """What one Map-Notify says, until it is acknowledged.

    Attributes:
        receiver: Who is told.
        records: The mappings; one that is overtaken by later news leaves.
        repetition: When it is sent again.
    """

    receiver: Receiver
    records: dict[EidPrefix, EidRecord]
    repetition: Repetition = field(default_factory=Repetition)


class Notifier:
    """The unsolicited Map-Notifies of a Map-Server.

    Nonces increase, from one start of the node to the next as well: a receiver tells an old message by them.
    """

    def __init__(self, context: Context, start_time: float) -> None:
        """Make one that has told nothing.

        Args:
            context: What the node's roles share.
            start_time: Wall-clock seconds.
        """
        self._context = context
        # Not one of those that Map-Registers have: an xTR knows by its nonce what answers one.
        self._nonce = UNASKED | int(start_time * (1 << 32))
        self._outstanding: dict[int, News] = {}
        self._told: dict[tuple[IPAddress, EidPrefix], int] = {}
        self._timers: Timers[int] = Timers()
        self._known: dict[tuple[IPAddress, EidPrefix], None] = {}

    def tell(self, receiver: Receiver, records: Iterable[EidRecord], now: float) -> Iterator[Effect]:
        """Tell an xTR of mappings at once; what it has not acknowledged yet about the same prefixes is overtaken."""
        for part in in_parts(records, receiver.key, receiver.rloc):
            yield from self._tell(News(receiver, {record.prefix: record for record in part}), now)

    def knows(self, rloc: IPAddress, prefix: EidPrefix) -> bool:
        """Whether this xTR has acknowledged what it was told last of a prefix, or is being told."""
        return (rloc, prefix) in self._known or (rloc, prefix) in self._told

    def _tell(self, news: News, now: float) -> Iterator[Effect]:
        rloc = news.receiver.rloc
        for prefix in news.records:
            self.forget(rloc, prefix)
        if len(self._outstanding) >= MAX_OUTSTANDING:
            # It would not be missed if the one that waits longest arrived long ago, and only its answer is lost.
            self._end(next(iter(self._outstanding)))
        self._nonce += 1
        self._outstanding[self._nonce] = news
        self._told.update(((rloc, prefix), self._nonce) for prefix in news.records)
        yield from self._send(self._nonce, news, now)

    def forget(self, rloc: IPAddress, prefix: EidPrefix) -> None:
        """What this xTR was told of a prefix is no longer so, and is not repeated."""
        self._known.pop((rloc, prefix), None)
        nonce = self._told.pop((rloc, prefix), None)
        if nonce is not None:
            del self._outstanding[nonce].records[prefix]
            if not self._outstanding[nonce].records:
                self._end(nonce)

    def map_notify_ack(self, ack: MapNotifyAck, arrival: Datagram, now: float) -> Iterator[Effect]:
        """An xTR says that it knows."""
        # RFC 9301 section 5.7: the Map-Notify-Ack has the nonce of the Map-Notify.
        news = self._outstanding.get(ack.nonce)
        if news is None:
            yield from self._context.drop("map-notify-ack-unexpected", now, source=arrival.source)
            return
        key = news.receiver.key
        if (ack.key_id, ack.algorithm_id) != (key.key_id, key.algorithm) or not verify(
            arrival.payload, ack, key.secret
        ):
            yield from self._context.drop("map-notify-ack-authentication", now, source=arrival.source)
            return
        for prefix in news.records:
            if len(self._known) >= MAX_KNOWN:  # it is told once more
                del self._known[next(iter(self._known))]
            self._known[news.receiver.rloc, prefix] = None
        self._end(ack.nonce)

    def tick(self, now: float) -> Iterator[Effect]:
        """Repeat what was not acknowledged; give up in the end."""
        for nonce in self._timers.due(now):
            news = self._outstanding[nonce]
            if not news.repetition.again():
                self._end(nonce)
                yield Report(
                    "map-notify-unacknowledged",
                    {"rloc": str(news.receiver.rloc), "eids": sorted(str(prefix) for prefix in news.records)},
                )
                continue
            yield from self._send(nonce, news, now)

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        return self._timers.deadline()

    def _send(self, nonce: int, news: News, now: float) -> Iterator[Effect]:
        key = news.receiver.key
        notify = MapNotify(nonce, key.key_id, key.algorithm, tuple(news.records.values()))
        self._timers.set(nonce, now + news.repetition.interval)
        yield Send(sealed(notify, key.secret), news.receiver.rloc, from_control_port=True)

    def _end(self, nonce: int) -> None:
        news = self._outstanding.pop(nonce)
        self._timers.cancel(nonce)
        for prefix in news.records:
            self._told.pop((news.receiver.rloc, prefix), None)
