"""With whom data was exchanged lately: whom a change of mapping has to be told (RFC 9301 section 6.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nodes.lisp.eid import EidPrefix, IPAddress

SECONDS = 60.0
"""What "lately" is: the ETR tells those sites that data went to within the last minute (requirement C34)."""

_MOST = 8192


@dataclass(slots=True, eq=False)
class Contact:
    """One EID of this site and one RLOC that data of this EID went to or came from.

    Attributes:
        last: When it last did, in seconds of the data path's clock; written for each packet.
    """

    last: float


Use = tuple[IPAddress, float]
"""An RLOC, and when data last went to it or came from it."""


def peers_of(uses: Iterable[Use], now: float) -> tuple[IPAddress, ...]:
    """The RLOCs that data went to or came from within the last minute, in order."""
    found = {rloc for rloc, last in uses if now - last <= SECONDS}
    return tuple(sorted(found, key=lambda rloc: (rloc.version, int(rloc))))


class Contacts:
    """All contacts, by the EID. Bounded: who sends from ever new addresses makes the oldest be forgotten."""

    def __init__(self, most: int = _MOST) -> None:
        """Set the bound."""
        self._most = most
        self._by_eid: dict[tuple[int, IPAddress], dict[IPAddress, Contact]] = {}
        self._count = 0

    def between(self, instance_id: int, eid: IPAddress, rloc: IPAddress, now: float) -> Contact:
        """The contact of an EID of this site with an RLOC; made when there is none yet."""
        known = self._by_eid.get((instance_id, eid))
        found = known.get(rloc) if known else None
        if found is None:
            if self._count >= self._most:
                self._forget(now)
            found = self._by_eid.setdefault((instance_id, eid), {})[rloc] = Contact(now)
            self._count += 1
        return found

    def of(self, prefix: EidPrefix) -> Iterator[Use]:
        """The RLOCs that data of the EIDs inside ``prefix`` went to or came from."""
        if prefix.mask_len == prefix.network.max_prefixlen:
            hosts = [self._by_eid.get((prefix.instance_id, prefix.address), {})]
        else:
            inside = (host for host in self._by_eid if host[0] == prefix.instance_id and prefix.contains(host[1]))
            hosts = [self._by_eid[host] for host in inside]
        for contacts in hosts:
            yield from ((rloc, contact.last) for rloc, contact in contacts.items())

    def last_uses(self) -> Iterator[tuple[int, IPAddress, IPAddress, float]]:
        """Instance-ID, EID of this site, RLOC, and when data last went between the two."""
        for (instance_id, eid), contacts in self._by_eid.items():
            for rloc, contact in contacts.items():
                yield instance_id, eid, rloc, contact.last

    def _forget(self, now: float) -> None:
        """Make room: without those that are over, and if all are fresh without the older half."""
        everything = [(host, rloc, one) for host, contacts in self._by_eid.items() for rloc, one in contacts.items()]
        everything.sort(key=lambda item: -item[2].last)
        kept = [item for item in everything if now - item[2].last <= SECONDS][: self._most // 2]
        self._by_eid, self._count = {}, len(kept)
        for host, rloc, contact in kept:
            self._by_eid.setdefault(host, {})[rloc] = contact
