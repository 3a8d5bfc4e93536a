"""ETR: registers the site's EID-prefixes and answers for them (RFC 9301 sections 5.5 to 5.7 and 8.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from nodes.lisp.config import DatabaseMapping, MapServerPeer
from nodes.lisp.effects import Datagram, Effect, Persist, Report, Send
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.engine.context import Context, payload_limit
from nodes.lisp.timers import Timers
from nodes.lisp.wire import EidRecord, LocatorRecord, MapNotify, MapRegister, sign, sorted_locators, verify

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
MAX_OUTSTANDING = 16
NONCE_KEY = "register-nonce"


@dataclass(slots=True, eq=False)
class Registrar:
    """The registration of some EID-prefixes with one Map-Server: what fits into one Map-Register.

    Attributes:
        peer: The Map-Server.
        records: What is registered.
        nonces: The nonces sent since the last acknowledgement, oldest first; a Map-Notify for any of them counts.
        last_sent: When the last of them went out.
        backoff: Seconds until the next retransmission.
        acknowledged_at: When the last Map-Notify came, or None.
    """

    peer: MapServerPeer
    records: tuple[EidRecord, ...]
    nonces: list[int] = field(default_factory=list)
    last_sent: float = 0.0
    backoff: float = FIRST_BACKOFF
    acknowledged_at: float | None = None


class Etr:
    """The site's database, registered with every configured Map-Server."""

    def __init__(self, context: Context, durable: Mapping[str, Any], start_time: int) -> None:
        """Make one that has sent nothing.

        Args:
            context: What the node's roles share.
            durable: What an earlier run kept.
            start_time: Wall-clock seconds.
        """
        config = context.config
        self._context = context
        # RFC 9301 section 5.6: nonces increase across restarts: the last one is kept, and if the storage was lost,
        # the start time in the high 32 bits is later than any kept one.
        kept = durable.get(NONCE_KEY, 0)
        self._nonce = max(kept if isinstance(kept, int) else 0, start_time << 32)
        self._database: EidTable[DatabaseMapping] = EidTable()
        for mapping in config.database:
            self._database.set(mapping.prefix, mapping)
        self._registrars = [Registrar(peer, records) for peer in config.map_servers for records in self._split(peer)]
        self._by_nonce: dict[int, Registrar] = {}
        self._timers: Timers[Registrar] = Timers()

    def start(self, now: float) -> Iterator[Effect]:
        """Send the first Map-Registers."""
        for registrar in self._registrars:
            yield from self._begin(registrar, now)

    def verdict(self, eid: EidPrefix, probed: IPAddress | None = None) -> tuple[EidPrefix, EidRecord] | None:
        """The site's mapping for ``eid``, as an ETR tells it, and its prefix; None if the EID is not of this site.

        Args:
            eid: The EID or EID-prefix asked for.
            probed: The RLOC that an RLOC-probe came to.
        """
        found = self._database.lookup(eid)
        if found is None:
            return None
        # RFC 9301 section 5.4: A and L are an ETR's to set; p marks the one locator that was probed.
        record = _record(found[1], self._context.config.rlocs)
        locators = tuple(replace(one, probed=one.address == probed) for one in record.locators)
        return found[0], replace(record, locators=locators, authoritative=True)

    def map_notify(self, notify: MapNotify, arrival: Datagram, now: float) -> Iterator[Effect]:
        """A Map-Server acknowledges a Map-Register."""
        # RFC 9301 section 5.7: the Map-Notify copies the nonce; one for any transmission since the last
        # acknowledgement will do.
        registrar = self._by_nonce.get(notify.nonce)
        if registrar is None:
            yield from self._context.drop("map-notify-unknown-nonce", now, source=str(arrival.source))
            return
        # RFC 9301 section 5.7: if the Authentication Data fails to validate, the message is dropped.
        key = registrar.peer.key
        if (notify.key_id, notify.algorithm_id) != (key.key_id, key.algorithm) or not verify(
            arrival.payload, notify, key.secret
        ):
            yield from self._context.drop("map-notify-authentication", now, source=str(arrival.source))
            return
        self._forget_nonces(registrar)
        first = registrar.acknowledged_at is None
        registrar.acknowledged_at = now
        # RFC 9301 section 8.2: registrations are repeated each minute.
        self._timers.set(registrar, registrar.last_sent + self._context.config.registration_interval)
        if first:
            yield Report("registered", {"map_server": str(registrar.peer.address)})

    def tick(self, now: float) -> Iterator[Effect]:
        """Register again, or retransmit what was not acknowledged."""
        for registrar in self._timers.due(now):
            if not registrar.nonces:
                yield from self._begin(registrar, now)
                continue
            # RFC 9301 section 5.7: no Map-Notify after 1 second: retransmit, with exponential back-off up to 1 minute.
            registrar.backoff = min(2 * registrar.backoff, LONGEST_BACKOFF)
            yield from self._transmit(registrar, now)
            if registrar.acknowledged_at is not None and not self._is_registered(registrar, now):
                registrar.acknowledged_at = None
                yield Report("registration-lost", {"map_server": str(registrar.peer.address)})

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        return self._timers.deadline()

    @property
    def registered(self) -> bool:
        """Whether every Map-Server has acknowledged every EID-prefix."""
        return all(registrar.acknowledged_at is not None for registrar in self._registrars)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """The database as a table: what is registered with whom."""
        return [
            {
                "eid": str(prefix.network),
                "instance_id": prefix.instance_id,
                "locators": [
                    {"rloc": str(one.address), "priority": one.priority, "weight": one.weight}
                    for one in _record(mapping, ()).locators
                ],
                "ttl_minutes": mapping.ttl_minutes,
                "map_servers": [
                    self._peer_row(one, now)
                    for one in self._registrars
                    if any(record.prefix == prefix for record in one.records)
                ],
            }
            for prefix, mapping in self._database.items()
        ]

    def _peer_row(self, registrar: Registrar, now: float) -> dict[str, Any]:
        ack = registrar.acknowledged_at
        return {
            "address": str(registrar.peer.address),
            "state": "registered" if self._is_registered(registrar, now) else "pending",
            "last_ack_s": None if ack is None else round(now - ack, 1),
            "proxy_reply": registrar.peer.proxy_reply,
        }

    def _is_registered(self, registrar: Registrar, now: float) -> bool:
        ack = registrar.acknowledged_at
        return ack is not None and now - ack < self._context.config.registration_timeout

    def _begin(self, registrar: Registrar, now: float) -> Iterator[Effect]:
        registrar.backoff = FIRST_BACKOFF
        yield from self._transmit(registrar, now)

    def _transmit(self, registrar: Registrar, now: float) -> Iterator[Effect]:
        # RFC 9301 section 5.6: each Map-Register has a greater nonce, retransmissions too: the Map-Server may have
        # seen the last one, and would drop it as a replay for ever.
        self._nonce += 1
        registrar.nonces.append(self._nonce)
        registrar.last_sent = now
        self._by_nonce[self._nonce] = registrar
        if len(registrar.nonces) > MAX_OUTSTANDING:
            del self._by_nonce[registrar.nonces.pop(0)]
        self._timers.set(registrar, now + registrar.backoff)
        yield Persist(NONCE_KEY, self._nonce)
        yield Send(self._message(registrar.peer, registrar.records, self._nonce), registrar.peer.address)

    def _forget_nonces(self, registrar: Registrar) -> None:
        for nonce in registrar.nonces:
            del self._by_nonce[nonce]
        registrar.nonces.clear()

    def _message(self, peer: MapServerPeer, records: tuple[EidRecord, ...], nonce: int) -> bytes:
        config = self._context.config
        register = MapRegister(
            nonce,
            peer.key.key_id,
            peer.key.algorithm,
            records,
            proxy_reply=peer.proxy_reply,
            # RFC 9301 section 5.6, I-bit: an xTR that is configured with an xTR-ID and Site-ID includes them.
            xtr_id=bytes.fromhex(config.xtr_id) if config.xtr_id else None,
            site_id=config.site_id,
            want_notify=True,
        )
        return sign(register, peer.key.secret).encode()

    def _split(self, peer: MapServerPeer) -> Iterator[tuple[EidRecord, ...]]:
        """The database in pieces that fit one Map-Register each (RFC 9301 section 5)."""
        records = iter([_record(mapping, self._context.config.rlocs) for _, mapping in self._database.items()])
        limit = payload_limit(peer.address)
        piece: tuple[EidRecord, ...] = tuple(islice(records, 1))
        for record in records:
            if len(self._message(peer, (*piece, record), 0)) > limit:
                yield piece
                piece = ()
            piece = (*piece, record)
        if piece:
            yield piece


def _record(mapping: DatabaseMapping, own: tuple[IPAddress, ...]) -> EidRecord:
    """A mapping as it is registered: locators sorted (RFC 9301 section 5.5), the node's own with the L-bit."""
    locators = (
        LocatorRecord(one.address, one.priority, one.weight, local=one.address in own) for one in mapping.locators
    )
    return EidRecord.of(mapping.prefix, mapping.ttl_minutes, sorted_locators(locators))
