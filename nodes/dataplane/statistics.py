"""What the data path counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Statistics:
    """Packets since the daemon started; bytes are those of the inner packets.

    Attributes:
        encapsulated: Packets sent inside a LISP header.
        decapsulated: Packets taken out of one and passed on, delivered or natively forwarded.
        reencapsulated: Packets taken out of one LISP header and sent on to be put into another (RTR).
        forwarded_natively: Packets given back to the kernel's routing: from the site, or out of a LISP header (PETR).
        held: Packets that had to wait for a mapping.
        icmp_sent: ICMP errors sent about dropped packets.
        neighbours_answered: ARP and neighbour requests answered for hosts that are elsewhere.
        drops: Dropped packets by reason.
    """

    encapsulated: int = 0
    encapsulated_bytes: int = 0
    decapsulated: int = 0
    decapsulated_bytes: int = 0
    reencapsulated: int = 0
    forwarded_natively: int = 0
    held: int = 0
    icmp_sent: int = 0
    neighbours_answered: int = 0
    drops: Counter[str] = field(default_factory=Counter)

    def data(self) -> dict[str, Any]:
        """The counters but the drops, as shown."""
        return {
            "encapsulated_packets": self.encapsulated,
            "encapsulated_bytes": self.encapsulated_bytes,
            "decapsulated_packets": self.decapsulated,
            "decapsulated_bytes": self.decapsulated_bytes,
            "reencapsulated_packets": self.reencapsulated,
            "natively_forwarded_packets": self.forwarded_natively,
            "icmp_errors_sent": self.icmp_sent,
            "neighbour_requests_answered": self.neighbours_answered,
        }
