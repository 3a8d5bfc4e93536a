"""Map-Server: accepts registrations and says who answers a Map-Request (RFC 9301 sections 5.6, 5.7, 8.2 and 8.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nodes.lisp.config import Key, RegistrationSite
from nodes.lisp.effects import CONTROL_PORT, Effect, Persist, Report, Send
from nodes.lisp.eid import EidPrefix
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.moves import Moves, proxied
from nodes.lisp.engine.notifier import Notifier
from nodes.lisp.engine.publisher import Publisher
from nodes.lisp.engine.verdict import Forward, Verdict, elsewhere, negative
from nodes.lisp.errors import DecodeError
from nodes.lisp.holes import least_specific_hole
from nodes.lisp.inputs import Datagram
from nodes.lisp.locators import forbidden, last_hop
from nodes.lisp.registrations import Registration, Registrations
from nodes.lisp.wire import (
    EidRecord,
    MapNotify,
    MapNotifyAck,
    MapRegister,
    every_mac,
    sealed,
    verify,
)

NOT_REGISTERED_TTL = 1
MAX_XTRS_PER_SITE = 1024
MAX_MORE_SPECIFICS_PER_SITE = 10_000
NONCES, REGISTRATIONS = "nonce/", "registration/"


class MapServer:
    """The registrations of the configured sites, kept across restarts."""

    def __init__(self, context: Context, durable: Mapping[str, Any], now: float, start_time: float) -> None:
        """Make one that remembers what an earlier run kept.

        Args:
            context: What the node's roles share.
            durable: What an earlier run kept: nonces and registrations.
            now: Seconds of the engine's clock.
            start_time: Wall-clock seconds.
        """
        self._context = context
        self._notifier = Notifier(context, start_time)
        self._registrations = Registrations(context.config.sites, context.config.registration_timeout)
        self._moves = Moves(self._registrations, self._notifier)
        # RFC 9301 section 5.6: the last nonce of each xTR and key is saved in persistent storage.
        self._nonces: dict[str, int] = {}
        self._xtrs: Counter[str] = Counter()
        for key, value in durable.items():
            if key.startswith(NONCES) and isinstance(value, int):
                self._remember_nonce(key, value)
        self.publisher = Publisher(context, durable, now, self._word, self._registrations.match)
        self._lost = [key for key in durable if key.startswith(REGISTRATIONS) and not self._restore(durable[key], now)]

    def start(self, now: float) -> Iterator[Effect]:
        """Forget kept registrations that the configuration no longer allows; say what an earlier run could not."""
        yield from (Persist(key, None) for key in self._lost)
        yield from self.publisher.start(now)
        if len(self._registrations):
            yield Report("registrations-restored", {"count": len(self._registrations)})

    def map_register(self, register: MapRegister, arrival: Datagram, now: float) -> Iterator[Effect]:
        """An ETR registers EID-prefixes: all of them are accepted, or none."""
        source = arrival.source
        # RFC 9301 section 8.2: only EID-prefixes that are configured for that ETR; MAC addresses (RFC 8060 section
        # 4.10.2) are configured for none.
        if macs := [str(record.address) for record in register.records if every_mac(record.address)]:
            yield from self._context.drop("map-register-foreign-prefix", now, source=source, eids=macs)
            return
        prefixes = [record.prefix for record in register.records]
        site = self._registrations.site_for(prefixes[0]) if prefixes else None
        if site is None or any(self._registrations.site_for(prefix) != site for prefix in prefixes):
            yield from self._context.drop(
                "map-register-foreign-prefix", now, source=source, eids=[str(prefix) for prefix in prefixes]
            )
            return
        # RFC 9301 section 5.7: if the Authentication Data fails to validate, the message is dropped.
        key = _key(site, register, arrival.payload)
        if key is None:
            yield from self._context.drop(
                "map-register-authentication", now, source=source, site=site.name, key_id=register.key_id
            )
            return
        if register.xtr_id is None and not all(self._at_home(record, arrival) for record in register.records):
            yield from self._context.drop("map-register-foreign-source", now, source=source, site=site.name)
            return
        # RFC 9301 section 5.6: a nonce that is not greater than the saved one may be a replay.
        slot = _nonce_key(site, register, arrival)
        if register.nonce <= self._nonces.get(slot, -1):
            yield from self._context.drop("map-register-replay", now, source=source, site=site.name)
            return
        if slot not in self._nonces and self._xtrs[site.name] >= MAX_XTRS_PER_SITE:
            yield from self._context.drop("map-register-too-many-xtrs", now, source=source, site=site.name)
            return
        self._remember_nonce(slot, register.nonce)
        # A Map-Register whose nonce is not kept could be replayed after a restart: it is not acknowledged.
        yield Persist(slot, register.nonce, required=True)
        # RFC 9301 section 5.4: a locator is not a broadcast or multicast address.
        if any(forbidden(record.locators) for record in register.records):
            yield from self._context.drop("map-register-forbidden-locator", now, source=source, site=site.name)
            return
        # RFC 9301 section 8.2: more-specifics of a configured prefix; an ETR could make up as many as it has addresses.
        lasting = {record.prefix for record in register.records if record.ttl_minutes}
        if not self._registrations.room_for(site, lasting, MAX_MORE_SPECIFICS_PER_SITE):
            yield from self._context.drop("map-register-too-many-prefixes", now, source=source, site=site.name)
            return
        registrations = [_registration(record, site, key, register, arrival, now) for record in register.records]
        if not all(self._registrations.room_to_merge(one) for one in registrations):
            yield from self._context.drop("map-register-too-many-locators", now, source=source, site=site.name)
            return
        yield from self._take(registrations, now)
        # RFC 9301 section 5.7: a Map-Notify only if the M-bit asks for it; it is not retransmitted.
        if register.want_notify:
            notify = MapNotify(register.nonce, register.key_id, register.algorithm_id, register.records)
            # RFC 9301 section 8.2: to port 4342, not to the port that the Map-Register came from.
            yield Send(sealed(notify, key.secret), arrival.source, CONTROL_PORT, from_control_port=True)

    def map_notify_ack(self, ack: MapNotifyAck, arrival: Datagram, now: float) -> Iterator[Effect]:
        """An xTR has heard what it was told unasked (RFC 9301 section 5.7)."""
        if not (yield from self.publisher.map_notify_ack(ack, arrival, now)):
            yield from self._notifier.map_notify_ack(ack, arrival, now)

    def verdict(self, eid: EidPrefix, *, by_site: bool = False) -> tuple[EidPrefix, Verdict] | None:
        """Who answers for ``eid``, and the prefix that decides it; None outside every configured prefix.

        Args:
            eid: The EID or EID-prefix asked for.
            by_site: The site itself is to answer, even if it asked for proxy replies (the A-bit of a Map-Request).
        """
        found = self._registrations.lookup(eid)
        if found is None:
            return None
        prefix, registration = found
        # RFC 9301 section 8.3: configured, and nobody registered it: natively-forward for 1 minute. Section 8.4: the
        # least-specific prefix around the EID that holds nothing known.
        if registration is None:
            hole = least_specific_hole(eid, self._registrations.known_inside(prefix), prefix)
            return prefix, negative(hole, NOT_REGISTERED_TTL)
        # RFC 9301 section 8.3: an ETR asked for proxy replies: the Map-Server answers.
        if registration.proxy_reply and not by_site:
            return prefix, proxied(registration)
        # RFC 9301 section 8.3: otherwise the Map-Request goes to the ETR. Section 5.2: so it does with the A-bit.
        return prefix, Forward(tuple(dict.fromkeys(part.etr for part in self._registrations.parts(prefix))))

    def inside(self, prefix: EidPrefix) -> Iterator[EidRecord]:
        """The records of all known more-specifics of ``prefix``; those that others answer for are to be asked for."""
        for known in self._registrations.known_inside(prefix):
            yield self._word(known) or elsewhere(known)

    def configured(self) -> Iterator[EidPrefix]:
        """Every configured EID-prefix."""
        yield from (prefix for prefix, _ in self._registrations.configured.items())

    def tick(self, now: float) -> Iterator[Effect]:
        """Forget ETRs that fell silent (RFC 9301 section 8.2)."""
        expired = self._registrations.expire(now)
        yield from self.publisher.publish({one.record.prefix: None for one in expired}, now)
        for registration in expired:
            prefix = registration.record.prefix
            yield self._kept(prefix)
            yield Report("registration-expired", {"site": registration.site, "eid": str(prefix)})
            if not self._registrations.parts(prefix):
                self._moves.ended(prefix)
        yield from self._moves.tell(now)
        yield from self._notifier.tick(now)
        yield from self.publisher.tick(now)

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        deadlines = (self._registrations.deadline(), self._notifier.deadline(), self.publisher.deadline())
        return min((one for one in deadlines if one is not None), default=None)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """The registrations as a table."""
        return self._registrations.rows(now)

    def subscription_rows(self, now: float) -> list[dict[str, Any]]:
        """The subscriptions as a table."""
        return self.publisher.rows(now)

    def _word(self, prefix: EidPrefix) -> EidRecord | None:
        """What is said of a prefix that is registered: its mapping, or that its ETR answers; None if it is not."""
        registration = self._registrations.get(prefix)
        if registration is None:
            return None
        return proxied(registration) if registration.proxy_reply else elsewhere(prefix)

    def _take(self, registrations: Collection[Registration], now: float) -> Iterator[Effect]:
        """Take in what one Map-Register says, and tell the xTRs whose hosts another one has now (requirement X03)."""
        changed: list[EidPrefix] = []
        done: list[tuple[Registration, str]] = []
        for registration in registrations:
            prefix = registration.record.prefix
            before, word = self._registrations.parts(prefix), self._word(prefix)
            done += self._register(registration)
            if self._moves.is_return(registration):
                for other in self._registrations.parts(prefix):
                    done += self._register(replace(other, record=registration.record))
            if self._word(prefix) != word:
                changed.append(prefix)
            # Whoever registers a host has it: what it was told of another place is over.
            self._notifier.forget(registration.etr, prefix)
            self._moves.note(registration, before)
        # The old place first, which sends on what others still send there; then those; files and logs last.
        knowing = {one.etr for one in registrations} | self._moves.receivers
        yield from self._moves.tell(now)
        yield from self.publisher.publish(changed, now, knowing)
        for registration, event in done:
            prefix = registration.record.prefix
            yield self._kept(prefix)
            yield Report(event, {"site": registration.site, "eid": str(prefix), "etr": str(registration.etr)})

    def _register(self, registration: Registration) -> Iterator[tuple[Registration, str]]:
        """Take in a registration or a withdrawal; if that changed something, it comes back with the event's name."""
        # RFC 9301 section 5.4: a Record TTL of 0 removes the mapping; only the ETR that registered it may.
        if registration.record.ttl_minutes == 0:
            if self._registrations.withdraw(registration):
                yield registration, "registration-withdrawn"
        elif self._registrations.register(registration):
            yield registration, "registration-changed"

    def _kept(self, prefix: EidPrefix) -> Persist:
        """What is kept of a prefix across a restart: what each ETR registered, or nothing any more."""
        parts = [one.to_json() for one in self._registrations.parts(prefix)]
        return Persist(f"{REGISTRATIONS}{prefix}", parts or None)

    def _at_home(self, record: EidRecord, arrival: Datagram) -> bool:
        """Whether the source of a Map-Register without xTR-ID (I-bit 0) is an RLOC of what it registers.

        A decision of ours (requirement C39): without an xTR-ID the nonce is kept per source RLOC, and the MAC does not
        cover the source. A captured message, sent again from elsewhere, would find no nonce there and be accepted. The
        locators are under the MAC: the source has to be one of them, and there the nonce is known. A withdrawal, whose
        locator-set may be empty, comes from the RLOC that registered. ETRs of one site that list each other's RLOCs
        and send no xTR-ID are told apart by nothing better: they should send one.
        """
        # The way may lead through RTRs: what counts is where it ends.
        if any(last_hop(locator.address) == arrival.source for locator in record.locators):
            return True
        registered = self._registrations.get(record.prefix) if record.ttl_minutes == 0 else None
        return registered is not None and registered.etr == arrival.source

    def _remember_nonce(self, slot: str, nonce: int) -> None:
        if slot not in self._nonces:
            self._xtrs[slot.removeprefix(NONCES).split("/", 1)[0]] += 1
        self._nonces[slot] = nonce

    def _restore(self, kept: Any, now: float) -> bool:
        """Take back what was kept of a prefix; it lives on for one time-out, in which its ETR registers again.

        Without it, a restarted Map-Server would answer "not registered" for sites that are, and ITRs would believe it.
        """
        try:
            registrations = [Registration.from_json(one, now) for one in kept]
            sites = [self._registrations.site_for(one.record.prefix) for one in registrations]
        except (KeyError, ValueError, TypeError, DecodeError):
            return False
        if any(site is None or site.name != one.site for one, site in zip(registrations, sites, strict=True)):
            return False
        for one in registrations:
            self._registrations.register(one)
        return bool(registrations)


def _key(site: RegistrationSite, register: MapRegister, payload: bytes) -> Key | None:
    """The site's key that authenticates the message (RFC 9301 section 5.6); its algorithm is not the sender's choice.

    A site in two data centres may have two secrets of one Key ID: one each.
    """
    named = (key for key in site.keys if (key.key_id, key.algorithm) == (register.key_id, register.algorithm_id))
    return next((key for key in named if verify(payload, register, key.secret)), None)


def _nonce_key(site: RegistrationSite, register: MapRegister, arrival: Datagram) -> str:
    """Where the last nonce is kept: per Site-ID, xTR-ID and key; per source RLOC and key if the I-bit is 0."""
    xtr = f"{register.site_id}/{register.xtr_id.hex()}" if register.xtr_id is not None else str(arrival.source)
    return f"{NONCES}{site.name}/{xtr}/{register.key_id}"


def _registration(
    record: EidRecord, site: RegistrationSite, key: Key, register: MapRegister, arrival: Datagram, now: float
) -> Registration:
    return Registration(
        record=record,
        site=site.name,
        etr=arrival.source,
        xtr_id=register.xtr_id.hex() if register.xtr_id is not None else "",
        proxy_reply=register.proxy_reply,
        use_ttl=register.use_ttl,
        merge=register.merge,
        key=site.keys.index(key),
        registered_at=now,
    )
