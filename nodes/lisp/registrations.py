"""What a Map-Server is configured to accept, and what is registered now (RFC 9301 section 8.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from nodes.lisp.config import RegistrationSite
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.timers import Timers
from nodes.lisp.wire import EidRecord, MapReply


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
        registered_at: When the last Map-Register came, in seconds of the engine's clock.
    """

    record: EidRecord
    site: str
    etr: IPAddress
    xtr_id: str
    proxy_reply: bool
    use_ttl: bool
    registered_at: float

    def same_mapping(self, other: Registration | None) -> bool:
        """Whether ``other`` says the same, whenever it came."""
        return other is not None and replace(self, registered_at=other.registered_at) == other

    def same_xtr(self, other: Registration) -> bool:
        """Whether ``other`` is by the same ETR: its xTR-ID, or its RLOC if it sends none."""
        return (self.xtr_id or self.etr) == (other.xtr_id or other.etr)

    def to_json(self) -> dict[str, Any]:
        """What is kept across a restart; :meth:`from_json` reads it."""
        return {
            "site": self.site,
            "etr": str(self.etr),
            "xtr_id": self.xtr_id,
            "proxy_reply": self.proxy_reply,
            "use_ttl": self.use_ttl,
            "record": MapReply(0, (self.record,)).encode().hex(),  # any message that carries the record whole
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], now: float) -> Registration:
        """Read what :meth:`to_json` wrote, as if registered ``now``.

        Raises:
            KeyError, ValueError, TypeError, DecodeError: It was not written by :meth:`to_json`.
        """
        (record,) = MapReply.decode(bytes.fromhex(data["record"])).records
        flags = bool(data["proxy_reply"]), bool(data["use_ttl"])
        return cls(record, str(data["site"]), ip_address(data["etr"]), str(data["xtr_id"]), *flags, registered_at=now)


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
        self._expiry: Timers[EidPrefix] = Timers()
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

    def known_inside(self, prefix: EidPrefix) -> set[EidPrefix]:
        """Registered and configured prefixes inside ``prefix``, but not itself: what a hole in it has to avoid."""
        known = {inner for table in (self.configured, self._registered) for inner, _ in table.covered(prefix)}
        return known - {prefix}

    def room_for(self, site: RegistrationSite, prefixes: Iterable[EidPrefix], most: int) -> bool:
        """Whether the site can register ``prefixes`` and have ``most`` at most besides the configured ones.

        What it has registered already takes no room.
        """
        new = [one for one in prefixes if one not in self._registered and one not in self.configured]
        return not new or self._more_specifics[site.name] + len(new) <= most

    def register(self, registration: Registration) -> bool:
        """Take in a registration, replacing the one of the same prefix; whether the mapping is a new one."""
        record = registration.record
        before = self._registered.get(record.prefix)
        if before is None and record.prefix not in self.configured:
            self._more_specifics[registration.site] += 1
        self._registered.set(record.prefix, registration)
        self._expiry.set(record.prefix, self._expires_at(registration))
        return not registration.same_mapping(before)

    def withdraw(self, registration: Registration) -> bool:
        """Take out the prefix if this ETR is the one that registered it; whether anything went."""
        prefix = registration.record.prefix
        before = self._registered.get(prefix)
        if before is None or not before.same_xtr(registration):
            return False
        self._take_out(prefix)
        self._expiry.cancel(prefix)
        return True

    def expire(self, now: float) -> list[Registration]:
        """Take out the registrations of silent ETRs and return them."""
        gone = [self._take_out(prefix) for prefix in self._expiry.due(now)]
        return [registration for registration in gone if registration is not None]

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

    def _take_out(self, prefix: EidPrefix) -> Registration | None:
        gone = self._registered.pop(prefix)
        if gone is not None and prefix not in self.configured:
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
            "expires_s": round(self._expires_at(registration) - now, 1),
        }
