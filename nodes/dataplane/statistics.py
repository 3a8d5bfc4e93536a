"""What the data path counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from nodes.dataplane.kernel.counters import FastCounts


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


def merged(slow: Statistics, fast: FastCounts | None) -> tuple[dict[str, Any], dict[str, int]]:
    """Counters and drops of both paths: each name is their sum, and more rows say what the kernel did of it.

    Args:
        slow: What the Python path counted.
        fast: What the kernel's programs counted; None where none run.
    """
    data, drops = slow.data(), Counter(slow.drops)
    if fast is not None:
        data["encapsulated_packets"] += fast.encapsulated
        data["encapsulated_bytes"] += fast.encapsulated_bytes
        data["decapsulated_packets"] += fast.decapsulated
        data["decapsulated_bytes"] += fast.decapsulated_bytes
        data["natively_forwarded_packets"] += fast.forwarded_natively
        data["reencapsulated_packets"] += fast.reencapsulated
        data |= {
            "encapsulated_fast_packets": fast.encapsulated,
            "decapsulated_fast_packets": fast.decapsulated,
            "natively_forwarded_fast_packets": fast.forwarded_natively,
            "reencapsulated_fast_packets": fast.reencapsulated,
            "left_to_stack_packets": fast.to_stack,
            "lost_events": fast.events_lost,
        }
        drops.update(fast.drops)
    return data, dict(sorted(drops.items()))
