"""Data for hosts that are not here: who sent it goes by a mapping that is out of date (requirement X06)."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.lisp.eid import EidPrefix, IPAddress

MOST_ABSENCES = 1024
"""Of which the daemon is told within a second."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A packet came out of a LISP header for a host of a dynamic prefix that is not here.

    Attributes:
        eid: The host prefix of its destination.
        rloc: Who sent it: the outer source.
    """

    eid: EidPrefix
    rloc: IPAddress
