"""Addresses inside dynamic prefixes whose hosts are not known to be here, and may be (requirement X01)."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodes.lisp.eid import EidPrefix

MOST_STRANGERS = 256
"""Of which the daemon is told within a second. Small: the source of a packet is whatever its sender wrote."""

MOST_SOUGHT = 256
"""Of hosts that data came for and that may be here, within a second. Not counted with strangers: who sends to addresses
that nobody has does not keep hosts of the site from being found."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A frame came in from the site whose source nobody has answered for yet.

    Attributes:
        eid: The source.
        interface: The index of the interface that the frame came in by; 0 where that is not known.
    """

    eid: EidPrefix
    interface: int = field(default=0, compare=False)
