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


def peers_of(
    uses: Iterable[tuple[int, IPAddress, IPAddress, float]], prefix: EidPrefix, now: float
) -> tuple[IPAddress, ...]:
    """The RLOCs that data of EIDs inside ``prefix`` went to or came from within the last minute, in order."""
    found = {
        rloc
        for instance_id, eid, rloc, last in uses
        if now - last <= SECONDS and instance_id == prefix.instance_id and prefix.contains(eid)
    }
    return tuple(sorted(found, key=lambda rloc: (rloc.version, int(rloc))))


class Contacts:
    """All contacts. Bounded: who sends from ever new addresses makes the oldest be forgotten."""

    def __init__(self, most: int = _MOST) -> None:
        """Set the bound."""
        self._most = most
        self._by_ends: dict[tuple[int, IPAddress, IPAddress], Contact] = {}

    def between(self, instance_id: int, eid: IPAddress, rloc: IPAddress, now: float) -> Contact:
        """The contact of an EID of this site with an RLOC; made when there is none yet."""
        ends = (instance_id, eid, rloc)
        found = self._by_ends.get(ends)
        if found is None:
            if len(self._by_ends) >= self._most:
                self._forget(now)
            found = self._by_ends[ends] = Contact(now)
        return found

    def last_uses(self) -> Iterator[tuple[int, IPAddress, IPAddress, float]]:
        """Instance-ID, EID of this site, RLOC, and when data last went between the two."""
        for (instance_id, eid, rloc), contact in self._by_ends.items():
            yield instance_id, eid, rloc, contact.last

    def _forget(self, now: float) -> None:
        """Make room: without those that are over, and if all are fresh without the older half."""
        by_age = sorted(self._by_ends.items(), key=lambda item: -item[1].last)
        fresh = [item for item in by_age if now - item[1].last <= SECONDS]
        self._by_ends = dict(fresh[: self._most // 2])
