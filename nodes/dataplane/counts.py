"""What went by each mapping to each locator, as the Python path counts it."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.lisp.eid import EidPrefix, IPAddress

_MOST_LOCATORS = 4096
"""Locators whose counts outlive their mappings."""


@dataclass(slots=True, eq=False)
class Count:
    """Packets of one kind.

    Attributes:
        packets: How many.
        bytes: Of the inner packets.
        last: When the last of them went, in seconds of the data path's clock; 0 when none did.
    """

    packets: int = 0
    bytes: int = 0
    last: float = 0.0

    def add(self, other: Count) -> None:
        """Take in what another has counted."""
        self.packets += other.packets
        self.bytes += other.bytes
        self.last = max(self.last, other.last)


class Counts:
    """The counts of all mappings. Bounded by the map-cache: a mapping that goes takes its counts along."""

    def __init__(self) -> None:
        """Nothing went yet."""
        self._by_mapping: dict[EidPrefix, dict[IPAddress, Count]] = {}
        self._past: dict[IPAddress, Count] = {}

    def of(self, prefix: EidPrefix, locator: IPAddress) -> Count:
        """What a flow counts its packets in."""
        return self._by_mapping.setdefault(prefix, {}).setdefault(locator, Count())

    def mapping(self, prefix: EidPrefix) -> Count:
        """What went by one mapping."""
        total = Count()
        for count in self._by_mapping.get(prefix, {}).values():
            total.add(count)
        return total

    def locators(self) -> dict[IPAddress, Count]:
        """What went to each locator, by whatever mapping."""
        found: dict[IPAddress, Count] = {}
        for counts in (self._past, *self._by_mapping.values()):
            for locator, count in counts.items():
                found.setdefault(locator, Count()).add(count)
        return found

    def forget(self, prefix: EidPrefix) -> None:
        """A mapping is gone. What its locators got stays counted."""
        for locator, count in self._by_mapping.pop(prefix, {}).items():
            if locator not in self._past and len(self._past) >= _MOST_LOCATORS:
                self._past.clear()
            self._past.setdefault(locator, Count()).add(count)
