"""Packets that wait for a mapping: bounded for each EID and in all, released in the order they came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nodes.lisp.eid import EidPrefix

PER_EID = 4096
IN_ALL = 16384
MOST_EIDS = 4096
SECONDS = 12.0
"""How long packets wait: past ten retransmissions of the Map-Request (RFC 9301 section 5.2) nothing comes any more."""

Handle = Callable[[bytes], None]
"""Takes a packet again."""


@dataclass(slots=True)
class Waiting:
    """The packets held for one EID.

    Attributes:
        eid: The host prefix of their destination.
        expires: When they are given up, in the clock of the caller.
        entries: Each packet with what takes it again, oldest first.
    """

    eid: EidPrefix
    expires: float
    entries: list[tuple[Handle, bytes]] = field(default_factory=list)

    @property
    def packets(self) -> Iterator[bytes]:
        """The packets alone."""
        return (packet for _, packet in self.entries)

    def handle_again(self) -> None:
        """What they waited for is known: each goes where it came from, in order."""
        for handle, packet in self.entries:
            handle(packet)


class Holding:
    """All packets that wait.

    Attributes:
        in_all: How many packets are held now.
        overflows: How many were refused because a bound was reached.
    """

    def __init__(
        self, per_eid: int = PER_EID, in_all: int = IN_ALL, eids: int = MOST_EIDS, seconds: float = SECONDS
    ) -> None:
        """Set the bounds: packets for each EID, packets in all, EIDs, and how long packets wait."""
        self._per_eid, self._bound, self._eids, self._seconds = per_eid, in_all, eids, seconds
        self._waiting: dict[EidPrefix, Waiting] = {}
        self.in_all = 0
        self.overflows = 0

    def queue(self, eid: EidPrefix, now: float) -> tuple[Waiting | None, bool]:
        """The queue of an EID, and whether it is new: then the control plane has to be told.

        A host that scans a prefix would make one for each address: when there are too many, there is no new one.
        """
        found = self._waiting.get(eid)
        if found is not None:
            return found, False
        if len(self._waiting) >= self._eids:
            self.overflows += 1
            return None, False
        found = self._waiting[eid] = Waiting(eid, now + self._seconds)
        return found, True

    def hold(self, waiting: Waiting, packet: bytes, handle: Handle) -> bool:
        """Add a packet to a queue, and what takes it again; False when a bound is reached and the packet is lost."""
        if len(waiting.entries) >= self._per_eid or self.in_all >= self._bound:
            self.overflows += 1
            return False
        waiting.entries.append((handle, packet))
        self.in_all += 1
        return True

    def release(self, eid: EidPrefix) -> Waiting | None:
        """Take out the queue of one EID; None when nothing waits."""
        waiting = self._waiting.pop(eid, None)
        if waiting is not None:
            self.in_all -= len(waiting.entries)
        return waiting

    def covered(self, prefix: EidPrefix) -> list[EidPrefix]:
        """The EIDs inside ``prefix`` that packets wait for, in the order of their first packets."""
        return [eid for eid in self._waiting if prefix.covers(eid)] if self._waiting else []

    def expired(self, now: float) -> list[EidPrefix]:
        """The EIDs whose packets have waited too long."""
        return [eid for eid, waiting in self._waiting.items() if waiting.expires <= now]

    def deadline(self) -> float | None:
        """When the next queue expires, or None when nothing waits."""
        return next(iter(self._waiting.values())).expires if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)
