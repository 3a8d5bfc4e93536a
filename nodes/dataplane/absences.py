"""Data for hosts that are not here: who sent it goes by a mapping that is out of date (requirement X06)."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.lisp.eid import EidPrefix, IPAddress

_EVERY = 1.0
_MOST = 1024


@dataclass(frozen=True, slots=True)
class Absence:
    """A packet came out of a LISP header for a host of a dynamic prefix that is not here.

    Attributes:
        eid: The host prefix of its destination.
        rloc: Who sent it: the outer source.
    """

    eid: EidPrefix
    rloc: IPAddress


class Absences:
    """Gives each absence at most once a second. Bounded: what comes while too many are remembered is not told."""

    def __init__(self, every: float = _EVERY, most: int = _MOST) -> None:
        """Set the bounds: seconds between two words on the same, and how many are remembered."""
        self._every, self._most = every, most
        self._told: dict[Absence, float] = {}
        self._new: list[Absence] = []

    def note(self, absence: Absence, now: float) -> None:
        """Such a packet came."""
        last = self._told.get(absence)
        if last is not None and now - last < self._every:
            return
        if last is None and len(self._told) >= self._most:
            self._told = {one: then for one, then in self._told.items() if now - then < self._every}
            if len(self._told) >= self._most:
                return
        self._told[absence] = now
        self._new.append(absence)

    def take(self) -> list[Absence]:
        """What is new since the last call."""
        taken, self._new = self._new, []
        return taken
