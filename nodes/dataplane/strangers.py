"""Sources inside dynamic prefixes whose hosts are not known to be here (requirement X01)."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodes.lisp.eid import EidPrefix

MOST_STRANGERS = 256
"""Of which the daemon is told within a second. Small: the source of a packet is whatever its sender wrote."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A frame came in from the site whose source nobody has answered for yet.

    Attributes:
        eid: The source.
        interface: The index of the interface that the frame came in by; 0 where that is not known.
    """

    eid: EidPrefix
    interface: int = field(default=0, compare=False)
