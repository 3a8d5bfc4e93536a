"""What a Map-Server is configured to accept, and what is registered now (RFC 9301 section 8.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import chain
from typing import Any

from nodes.lisp.config import RegistrationSite
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.timers import Timers
from nodes.lisp.wire import Address, EidRecord, LocatorRecord, MapReply, sorted_locators

MOST_LOCATORS = 255
"""What a record has room for (RFC 9301 section 5.4)."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One EID-prefix that an ETR has registered.

    Attributes:
        record: The record as it came in the Map-Register.
        site: The name of the site it belongs to.
        etr: The RLOC that the Map-Register came from: where Map-Requests are forwarded to.
        xtr_id: The ETR's xTR-ID as 32 hexadecimal digits, or "".
        proxy_reply: Whether the Map-Server answers for this ETR (the P-bit).
        use_ttl: Whether the Record TTL is the time-out (the T-bit).
        merge: Whether its locators are merged with those of other xTRs that want it as well (the a-bit).
        key: Which of the site's keys signed it, counted from 0: what this xTR is told is signed with the same.
        registered_at: When the last Map-Register came, in seconds of the engine's clock.
    """

    record: EidRecord
    site: str
    etr: IPAddress
    xtr_id: str
    proxy_reply: bool
    use_ttl: bool
    merge: bool
    key: int
    registered_at: float

    @property
    def xtr(self) -> str:
        """Which ETR it is by: its xTR-ID, or its RLOC if it sends none."""
        return self.xtr_id or str(self.etr)

    def same_mapping(self, other: Registration | None) -> bool:
        """Whether ``other`` says the same, whenever it came."""
        return other is not None and replace(self, registered_at=other.registered_at) == other

    def to_json(self) -> dict[str, Any]:
        """What is kept across a restart; :meth:`from_json` reads it."""
        return {
            "site": self.site,
            "etr": str(self.etr),
            "xtr_id": self.xtr_id,
            "proxy_reply": self.proxy_reply,
            "use_ttl": self.use_ttl,
            "merge": self.merge,
            "key": self.key,
            "record": MapReply(0, (self.record,)).encode().hex(),  # any message that carries the record whole
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], now: float) -> Registration:
        """Read what :meth:`to_json` wrote, as if registered ``now``.

        Raises:
            KeyError, ValueError, TypeError, DecodeError: It was not written by :meth:`to_json`.
        """
        (record,) = MapReply.decode(bytes.fromhex(data["record"])).records
        flags = bool(data["proxy_reply"]), bool(data["use_ttl"]), bool(data["merge"])
        etr, key = ip_address(data["etr"]), int(data["key"])
        return cls(record, str(data["site"]), etr, str(data["xtr_id"]), *flags, key=key, registered_at=now)


def merged(parts: Sequence[Registration]) -> Registration:
    """What several xTRs have registered for one EID-prefix, as one (RFC 9301 section 5.6, a-bit).

    Of a locator that several of them have, that one's word counts whose own it is (the L-bit), else the first one's.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    locators: dict[Address, LocatorRecord] = {}
    for one in (locator for part in parts for locator in part.record.locators):
        if one.address not in locators or (one.local and not locators[one.address].local):
            locators[one.address] = one
    record = EidRecord(
        first.record.address,
        first.record.mask_len,
        min(part.record.ttl_minutes for part in parts),
        sorted_locators(locators.values()),
    )
    return replace(
        first,
        record=record,
        proxy_reply=any(part.proxy_reply for part in parts),
        registered_at=max(part.registered_at for part in parts),
    )


@dataclass(frozen=True, slots=True)
class ConfiguredPrefix:
    """A prefix out of the Map-Server's configuration, with the site it belongs to."""

    site: RegistrationSite
    accept_more_specifics: bool


class Registrations:
    """The configured EID-prefixes of all sites and the registrations inside them; nothing else can get in."""

    def __init__(self, sites: Iterable[RegistrationSite], timeout: float) -> None:
        """Make an empty table.

        Args:
            sites: The configured sites.
            timeout: Seconds after which a silent ETR's registration ends.
        """
        self.timeout = timeout
        self.configured: EidTable[ConfiguredPrefix] = EidTable()
        self._registered: EidTable[Registration] = EidTable()
        # What it is merged of, by the xTR: a single one, or several that all want that.
        self._parts: dict[EidPrefix, dict[str, Registration]] = {}
        self._expiry: Timers[tuple[EidPrefix, str]] = Timers()
        self._more_specifics: Counter[str] = Counter()
        for site in sites:
            for item in site.prefixes:
                self.configured.set(item.prefix, ConfiguredPrefix(site, item.accept_more_specifics))

    def site_for(self, prefix: EidPrefix) -> RegistrationSite | None:
        """The one site that may register ``prefix``, or None.

        That is the site of the longest configured prefix that covers it, if they are equal or more-specifics of the
        configured one are accepted (RFC 9301 section 8.2).
        """
        found = self.configured.lookup(prefix)
        if found and (found[0] == prefix or found[1].accept_more_specifics):
            return found[1].site
        return None

    def get(self, prefix: EidPrefix) -> Registration | None:
        """The registration of exactly this prefix."""
        return self._registered.get(prefix)

    def match(self, prefix: EidPrefix) -> EidPrefix | None:
        """The longest registered prefix that covers this one."""
        found = self._registered.lookup(prefix)
        return found[0] if found else None

    def lookup(self, eid: EidPrefix) -> tuple[EidPrefix, Registration | None] | None:
        """What is known of ``eid``: the matching prefix and its registration.

        Returns:
            The registered prefix with its registration; or the configured prefix and None if it is configured and
            nobody registered it; or None outside every configured prefix.
        """
        configured = self.configured.lookup(eid)
        if configured is None:
            return None
        registered = self._registered.lookup(eid)
        if registered and configured[0].covers(registered[0]):
            return registered
        return configured[0], None

    def around(self, prefix: EidPrefix) -> list[Registration]:
        """What each ETR has registered of the longest registered prefix around this one, itself not counted."""
        if not prefix.mask_len:
            return []
        wider = self._registered.lookup(EidPrefix(prefix.network.supernet(), prefix.instance_id))
        return self.parts(wider[0]) if wider else []

    def known_inside(self, prefix: EidPrefix) -> Iterator[EidPrefix]:
        """Configured and registered prefixes inside ``prefix``, but not itself: what a hole in it has to avoid.

        One that is both comes twice.
        """
        for known in chain(self.configured.covered(prefix), self._registered.covered(prefix)):
            if known[0] != prefix:
                yield known[0]

    def room_for(self, site: RegistrationSite, prefixes: Iterable[EidPrefix], most: int) -> bool:
        """Whether the site can register ``prefixes`` and have ``most`` at most besides the configured ones.

        What it has registered already takes no room.
        """
        new = [one for one in prefixes if one not in self._registered and one not in self.configured]
        return not new or self._more_specifics[site.name] + len(new) <= most

    def room_to_merge(self, registration: Registration) -> bool:
        """Whether its locators fit into one record together with those that it is to be merged with."""
        others = self._beside(registration)
        return len({one.address for part in (*others, registration) for one in part.record.locators}) <= MOST_LOCATORS

    def register(self, registration: Registration) -> bool:
        """Take in a registration; whether the mapping is a new one.

        It replaces what was registered of the same prefix, but for what other xTRs want to be merged with it.
        """
        prefix = registration.record.prefix
        before = self._registered.get(prefix)
        if before is None and prefix not in self.configured:
            self._more_specifics[registration.site] += 1
        others = {one.xtr: one for one in self._beside(registration)}
        parts = self._parts.setdefault(prefix, {})
        for xtr in [one for one in parts if one not in others and one != registration.xtr]:
            del parts[xtr]
            self._expiry.cancel((prefix, xtr))
        same = registration.same_mapping(parts.get(registration.xtr))
        parts[registration.xtr] = registration
        self._expiry.set((prefix, registration.xtr), self._expires_at(registration))
        now = merged(list(parts.values()))
        self._registered.set(prefix, now)
        return not (same and now.same_mapping(before))

    def withdraw(self, registration: Registration) -> bool:
        """Take out what this ETR has registered of the prefix; whether anything went."""
        prefix = registration.record.prefix
        if registration.xtr not in self._parts.get(prefix, ()):
            return False
        self._take_out(prefix, registration.xtr)
        return True

    def parts(self, prefix: EidPrefix) -> list[Registration]:
        """What each ETR has registered of exactly this prefix: one ETR, or several that want to be merged."""
        return list(self._parts.get(prefix, {}).values())

    def expire(self, now: float) -> list[Registration]:
        """Take out the registrations of silent ETRs and return them."""
        return [self._take_out(*ended) for ended in self._expiry.due(now)]

    def deadline(self) -> float | None:
        """When the next registration ends."""
        return self._expiry.deadline()

    def rows(self, now: float) -> list[dict[str, Any]]:
        """Every configured prefix and every registered more-specific, as a table in address order."""
        shown: EidTable[Registration | None] = EidTable()
        for prefix, _ in self.configured.items():
            shown.set(prefix, None)
        for prefix, registration in self._registered.items():
            shown.set(prefix, registration)
        return [self._row(prefix, registration, now) for prefix, registration in shown.items()]

    def __len__(self) -> int:
        return len(self._registered)

    def _beside(self, registration: Registration) -> list[Registration]:
        """What other xTRs have registered of its prefix and is merged with it."""
        parts = self.parts(registration.record.prefix) if registration.merge else []
        return [one for one in parts if one.merge and one.xtr != registration.xtr]

    def _take_out(self, prefix: EidPrefix, xtr: str) -> Registration:
        """Forget what one xTR has registered of a prefix, which it has."""
        parts = self._parts[prefix]
        gone = parts.pop(xtr)
        self._expiry.cancel((prefix, xtr))
        if parts:
            self._registered.set(prefix, merged(list(parts.values())))
            return gone
        del self._parts[prefix]
        self._registered.pop(prefix)
        if prefix not in self.configured:
            self._more_specifics[gone.site] -= 1
        return gone

    def _expires_at(self, registration: Registration) -> float:
        # RFC 9301 section 5.6, T-bit: the Record TTL instead of the default of section 8.2.
        seconds = 60.0 * registration.record.ttl_minutes if registration.use_ttl else self.timeout
        return registration.registered_at + seconds

    def _row(self, prefix: EidPrefix, registration: Registration | None, now: float) -> dict[str, Any]:
        configured = self.configured.lookup(prefix)
        row: dict[str, Any] = {
            "site": configured[1].site.name if configured else "",
            "eid": str(prefix.network),
            "instance_id": prefix.instance_id,
            "state": "not registered",
            "etr": None,
            "xtr_id": "",
            "locators": [],
            "proxy_reply": False,
            "age_s": None,
            "expires_s": None,
        }
        if registration is None:
            return row
        return row | {
            "state": "registered",
            "etr": str(registration.etr),
            "xtr_id": registration.xtr_id,
            "locators": [
                {"rloc": str(one.address), "priority": one.priority, "weight": one.weight}
                for one in registration.record.locators
            ],
            "proxy_reply": registration.proxy_reply,
            "age_s": round(now - registration.registered_at, 1),
            "expires_s": round(max(self._expires_at(one) for one in self.parts(prefix)) - now, 1),
        }
