"""What the programs have counted."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nodes.dataplane.bpf.layout import COUNTER, FLOW, LONG, NUMBER, Statistic
from nodes.dataplane.counts import Count
from nodes.dataplane.kernel.maps import KernelMap
from nodes.lisp.eid import IPAddress

_COUNTED = {
    Statistic.ENCAPSULATED: "encapsulated",
    Statistic.ENCAPSULATED_BYTES: "encapsulated_bytes",
    Statistic.DECAPSULATED: "decapsulated",
    Statistic.DECAPSULATED_BYTES: "decapsulated_bytes",
    Statistic.NATIVE: "forwarded_natively",
    Statistic.REENCAPSULATED: "reencapsulated",
    Statistic.TO_STACK: "to_stack",
    Statistic.EVENTS_LOST: "events_lost",
}
_DROPS = {
    Statistic.DROP_MALFORMED: "malformed",
    Statistic.DROP_ENCRYPTED: "encrypted",
    Statistic.DROP_CONGESTION: "congestion experienced, inner packet not ECN-capable",
    Statistic.DROP_KERNEL: "kernel refused",
}
"""What the programs drop, by the name under which the Python path counts the same."""


_PENDING = struct.Struct(f"=I{COUNTER.size}s")
_PENDING_AT = FLOW.fields["mapping"][0]


class PerCpu(KernelMap, Protocol):
    """A map with a value for each CPU."""

    def split(self, value: bytes) -> Sequence[bytes]:
        """The value of each CPU."""


@dataclass(slots=True)
class FastCounts:
    """What the programs did since they were loaded; as :class:`~nodes.dataplane.statistics.Statistics`."""

    encapsulated: int = 0
    encapsulated_bytes: int = 0
    decapsulated: int = 0
    decapsulated_bytes: int = 0
    forwarded_natively: int = 0
    reencapsulated: int = 0
    to_stack: int = 0
    events_lost: int = 0
    drops: dict[str, int] = field(default_factory=dict)


def read_statistics(kernel: PerCpu) -> FastCounts:
    """Sum up the map ``statistics``. Raises OSError."""
    found = FastCounts()
    for which in Statistic:
        value = kernel.lookup(NUMBER.pack(which))
        total = sum(LONG.unpack_from(one)[0] for one in kernel.split(value)) if value else 0
        if which in _COUNTED:
            setattr(found, _COUNTED[which], total)
        elif total:
            found.drops[_DROPS[which]] = total
    return found


class LocatorCounters:
    """What went to each locator; a locator that gives its place back takes its count along."""

    def __init__(self, kernel: KernelMap, most: int = 4096) -> None:
        """Read the map ``locator_counters``; ``most`` is how many locators are remembered that are not in use."""
        self._kernel, self._most = kernel, most
        self._past: dict[IPAddress, Count] = {}

    def freed(self, locator: IPAddress, place: int) -> None:
        """A locator gives its place back. Raises OSError."""
        count = self._at(place)
        if count.packets:
            if len(self._past) >= self._most:
                self._past.clear()
            self._past.setdefault(locator, Count()).add(count)
        self._kernel.update(NUMBER.pack(place), bytes(COUNTER.size))

    def of(self, locator: IPAddress, place: int | None) -> Count:
        """What went to a locator; ``last`` is CLOCK_MONOTONIC in seconds. Raises OSError."""
        total = Count()
        total.add(self._past.get(locator, total))
        if place is not None:
            total.add(self._at(place))
        return total

    def past(self) -> list[IPAddress]:
        """The locators that had a place once."""
        return list(self._past)

    def _at(self, place: int) -> Count:
        return count_of(self._kernel.lookup(NUMBER.pack(place)) or bytes(COUNTER.size))


def read_pending(flows: PerCpu) -> dict[int, Count]:
    """What the programs counted for flows that they know, and have not told their mappings yet; by those' numbers.

    Raises:
        OSError: The kernel refused.
    """
    found: dict[int, Count] = {}
    for _, value in flows.items():
        for one in flows.split(value):
            number, counter = _PENDING.unpack_from(one, _PENDING_AT)
            count = count_of(counter)
            if count.packets:
                found.setdefault(number, Count()).add(count)
    return found


def count_of(counter: bytes) -> Count:
    """What a ``struct counter`` says; ``last`` is CLOCK_MONOTONIC in seconds."""
    packets, length, last = COUNTER.unpack(counter)
    return Count(packets, length, last / 1e9)
