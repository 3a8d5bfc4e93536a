"""Which xTRs are to hear of a host that another one has now, or that none has any more (requirements X03 and X10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from nodes.lisp.effects import Effect
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.notifier import Notifier, Receiver
from nodes.lisp.locators import rlocs_of
from nodes.lisp.registrations import Registration, Registrations, merged
from nodes.lisp.wire import Action, Address, EidRecord, sorted_locators


class Moves:
    """What a Map-Server tells xTRs unasked: the one that a host left, and the site that its subnet is of."""

    def __init__(self, registrations: Registrations, notifier: Notifier) -> None:
        """Make one that has nothing to tell."""
        self._registrations, self._notifier = registrations, notifier
        self._news: dict[Receiver, dict[EidPrefix, EidRecord]] = {}

    def is_return(self, registration: Registration) -> bool:
        """Whether a withdrawal says that a host is at home: it is by an xTR of the site that has registered its subnet.

        RFC 9301 does not say how a host route ends that another site has registered. A decision of ours: whoever has
        registered the subnet may withdraw it, with a Record TTL of 0. The other site's own word would come later, or
        never; and were the host registered from its home, every map-cache would have that for a day.
        """
        prefix = registration.record.prefix
        if registration.record.ttl_minutes or not _is_host(prefix):
            return False
        around = self._registrations.around(prefix)
        rlocs = {rloc for one in around for rloc in _rlocs(one.record)}
        return registration.etr in rlocs or registration.xtr in {one.xtr for one in around}

    def note(self, registration: Registration, before: Sequence[Registration]) -> None:
        """A registration was taken in; ``before`` is what there was of its prefix."""
        prefix = registration.record.prefix
        if not _is_host(prefix):
            self._remind(registration)
            return
        after = self._registrations.parts(prefix)
        if not after:
            if before:
                losers = [one for one in before if one.xtr != registration.xtr]
                self.ended(prefix, losers, registration.xtr)
        elif registration in after and registration.xtr not in {one.xtr for one in before}:
            known = {one.xtr for one in after}
            # X10: the site that the host's subnet belongs to sends on what still comes there.
            around = [one for one in self._registrations.around(prefix) if one.xtr != registration.xtr]
            now = proxied(merged(after))
            for one in (*(one for one in before if one.xtr not in known), *around):
                # X09: another xTR of a site that has taken over from this one; nothing has moved.
                if one.etr not in _rlocs(now):
                    self._tell(one, [now])

    def ended(self, host: EidPrefix, losers: Iterable[Registration] = (), by: str = "") -> None:
        """Nobody has a host any more: it is part of its subnet, if anybody has registered that.

        Args:
            host: The host prefix.
            losers: Who had it until another one withdrew it.
            by: The xTR that says so: it knows.
        """
        subnets = self._registrations.around(host)
        if not subnets:
            return
        subnet = proxied(merged(subnets))
        gone = EidRecord.of(host, 0, subnet.locators)  # RFC 9301 section 5.4: a Record TTL of 0 removes the mapping
        for one in losers:
            self._tell(one, [subnet, gone])
        for one in subnets:
            if one.xtr != by:
                self._tell(one, [gone])

    @property
    def receivers(self) -> set[IPAddress]:
        """Who is to be told what was noted."""
        return {receiver.rloc for receiver in self._news}

    def tell(self, now: float) -> Iterator[Effect]:
        """Send what was noted."""
        news, self._news = self._news, {}
        for receiver, records in news.items():
            yield from self._notifier.tell(receiver, records.values(), now)

    def _remind(self, registration: Registration) -> None:
        """Who registers a subnet hears of the hosts that are away from it, unless he has said that he knows."""
        prefix = registration.record.prefix
        for host in self._registrations.known_inside(prefix):
            parts = self._registrations.parts(host)
            if not parts or not _is_host(host) or self._notifier.knows(registration.etr, host):
                continue
            around = {one.xtr for one in self._registrations.around(host) if one.record.prefix == prefix}
            if registration.xtr in around - {one.xtr for one in parts}:
                self._tell(registration, [proxied(merged(parts))])

    def _tell(self, one: Registration, records: Iterable[EidRecord]) -> None:
        site = self._registrations.site_for(one.record.prefix)
        if site is not None:
            # A key that the site no longer has is heard by nobody; with its next Map-Register the ETR has another.
            receiver = Receiver(one.etr, site.keys[one.key % len(site.keys)])
            self._news.setdefault(receiver, {}).update((record.prefix, record) for record in records)


def proxied(registration: Registration) -> EidRecord:
    """What the Map-Server says for an ETR: neither A nor L is set (RFC 9301 section 5.4)."""
    record = registration.record
    locators = sorted_locators(replace(one, local=False, probed=False) for one in record.locators)
    return replace(record, locators=locators, authoritative=False, action=Action.NO_ACTION)


def _is_host(prefix: EidPrefix) -> bool:
    return prefix.mask_len == prefix.network.max_prefixlen


def _rlocs(record: EidRecord) -> set[Address]:
    """Every RLOC of a locator-set."""
    return {rloc for one in record.locators for rloc in rlocs_of(one.address)}
