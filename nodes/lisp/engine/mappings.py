"""What one node, with all its roles, has to say about an EID (RFC 9301 sections 5.5, 8.3 and 8.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from nodes.lisp.eid import EidPrefix
from nodes.lisp.engine.etr import Etr
from nodes.lisp.engine.map_resolver import MapResolver
from nodes.lisp.engine.map_server import MapServer
from nodes.lisp.engine.verdict import Forward, Verdict, negative
from nodes.lisp.holes import NoHoleError, everything, least_specific_hole
from nodes.lisp.wire import Action, Address, EidRecord, every_mac

NO_SUCH_EID_TTL = 15
MOST_RECORDS = 76
"""As many of the smallest EID-Records, of 16 bytes, fit a Map-Reply of 1280 bytes with headers (RFC 9301 section 5).
An answer that would have more is not put together: of a subnet with hundreds of hosts, or thousands, each question
would cost a Map-Server milliseconds, and anybody may ask."""


class Mappings:
    """The word of the ETR, the Map-Server and the Map-Resolver of this node, whichever it has, as one."""

    def __init__(self, etr: Etr | None, map_server: MapServer | None, map_resolver: MapResolver | None) -> None:
        self._etr = etr
        self._map_server = map_server
        self._map_resolver = map_resolver
        self._roles = tuple(role for role in (etr, map_server, map_resolver) if role is not None)
        self._mapping_system = tuple(role for role in (map_server, map_resolver) if role is not None)

    def answer(self, eid: EidPrefix, by_site: bool = False) -> tuple[EidRecord, ...] | Forward | None:
        """What is said to a question for ``eid``.

        Args:
            eid: The EID or EID-prefix asked for.
            by_site: The site itself is to answer (the A-bit of a Map-Request).

        Returns:
            Records, the one that covers ``eid`` first; or whom to forward the question to; or None if nothing is known.
        """
        try:
            found = self._verdict(eid, by_site)
        except NoHoleError:  # a question wider than what is known: no one mapping or hole covers it
            return None
        if found is None:
            return None
        prefix, verdict = found
        if isinstance(verdict, Forward):
            return verdict
        # RFC 9301 section 5.5: the best match comes with all its more-specifics. A hole has none.
        return filled(eid, verdict, *(role.inside(prefix) for role in self._roles)) if verdict.locators else (verdict,)

    def published(self, eid: EidPrefix) -> tuple[EidRecord, ...] | None:
        """What the Map-Server of this node answers itself, and can tell the changes of; None if it is not the one.

        Whose site has no proxy replies tells its mappings itself (RFC 9437 section 3).
        """
        try:
            found = self._map_server.verdict(eid) if self._map_server else None
        except NoHoleError:
            return None
        if self._map_server is None or found is None:
            return None
        prefix, record = found
        delegated = self._map_resolver.verdict(eid) if self._map_resolver else None
        if isinstance(record, Forward) or (delegated and delegated[0].mask_len > prefix.mask_len):
            return None
        return filled(eid, record, self._map_server.inside(prefix)) if record.locators else (record,)

    def answer_about_mac(self, address: Address) -> EidRecord | None:
        """What is said to a question for a MAC address: the same as to one for an EID outside every EID-prefix.

        Nothing here registers MAC addresses as EIDs: the least-specific prefix that holds none is that of all of them,
        in the instance that was asked about.

        Returns:
            A negative record; None if the address is no MAC address, or this node is none of the mapping system.

        Raises:
            DecodeError: The instance-ID does not fit 24 bits.
        """
        hole = every_mac(address)
        if hole is None or not self._mapping_system:
            return None
        return EidRecord(*hole, NO_SUCH_EID_TTL, action=Action.NATIVELY_FORWARD)

    def _verdict(self, eid: EidPrefix, by_site: bool) -> tuple[EidPrefix, Verdict] | None:
        """The word of the role that knows the longest prefix; of equals, ETR before Map-Server before Map-Resolver."""
        said: list[tuple[EidPrefix, Verdict] | None] = [
            self._etr.verdict(eid) if self._etr else None,
            self._map_server.verdict(eid, by_site=by_site) if self._map_server else None,
            self._map_resolver.verdict(eid) if self._map_resolver else None,
        ]
        if found := [one for one in said if one is not None]:
            return max(found, key=lambda one: one[0].mask_len) if len(found) > 1 else found[0]
        if not self._mapping_system:
            return None
        # RFC 9301 sections 8.1 and 8.4: not in the mapping system: natively-forward for 15 minutes, for the
        # least-specific prefix that holds no configured one.
        configured = chain.from_iterable(role.configured() for role in self._mapping_system)
        hole = least_specific_hole(eid, configured, everything(eid))
        return hole, negative(hole, NO_SUCH_EID_TTL)


def filled(eid: EidPrefix, record: EidRecord, *more_specifics: Iterable[EidRecord]) -> tuple[EidRecord, ...]:
    """A record and its more-specifics in address order, all with the least Record TTL (RFC 9301 section 5.5).

    Args:
        eid: What was asked for: if there are more than fit a message, it is answered alone.
        record: The best match.
        more_specifics: What each role knows inside its prefix; of equals, the first one's word counts.
    """
    inside: dict[EidPrefix, EidRecord] = {}
    for one in chain.from_iterable(more_specifics):
        inside.setdefault(one.prefix, one)
        if len(inside) >= MOST_RECORDS:
            return (narrowed(record, eid),)
    ordered = sorted(inside, key=lambda prefix: (int(prefix.address), prefix.mask_len))
    records = (record, *(inside[prefix] for prefix in ordered))
    ttl_minutes = min(one.ttl_minutes for one in records)
    return tuple(one if one.ttl_minutes == ttl_minutes else replace(one, ttl_minutes=ttl_minutes) for one in records)


def narrowed(record: EidRecord, eid: EidPrefix) -> EidRecord:
    """The same mapping for ``eid`` alone: true whatever more-specifics its prefix has."""
    return replace(EidRecord.of(eid, record.ttl_minutes, record.locators), authoritative=record.authoritative)
