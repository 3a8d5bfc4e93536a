"""Longest-prefix match over EID-prefixes: one table for map-cache, database and registrations."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Generic, TypeVar

from nodes.lisp.eid import EidPrefix, IPAddress

V = TypeVar("V")

_WIDTH = {4: 32, 6: 128}


class _Family(Generic[V]):
    """The prefixes of one instance and address family: a dictionary per prefix length, keyed by the prefix's bits.

    A lookup costs one dictionary probe per prefix length in use, whatever the number of prefixes.
    """

    __slots__ = ("descending", "lengths", "width")

    def __init__(self, version: int) -> None:
        self.width = _WIDTH[version]
        self.lengths: dict[int, dict[int, tuple[EidPrefix, V]]] = {}
        self.descending: list[int] = []

    def bits(self, prefix: EidPrefix) -> int:
        return int(prefix.network.network_address) >> (self.width - prefix.network.prefixlen)

    def set(self, prefix: EidPrefix, value: V) -> None:
        length = prefix.network.prefixlen
        if length not in self.lengths:
            self.lengths[length] = {}
            insort(self.descending, length, key=lambda item: -item)
        self.lengths[length][self.bits(prefix)] = (prefix, value)

    def get(self, prefix: EidPrefix) -> tuple[EidPrefix, V] | None:
        return self.lengths.get(prefix.network.prefixlen, {}).get(self.bits(prefix))

    def pop(self, prefix: EidPrefix) -> tuple[EidPrefix, V] | None:
        length = prefix.network.prefixlen
        if length not in self.lengths:
            return None
        found = self.lengths[length].pop(self.bits(prefix), None)
        if not self.lengths[length]:
            del self.lengths[length]
            self.descending.remove(length)
        return found

    def around(self, prefix: EidPrefix) -> Iterator[tuple[EidPrefix, V]]:
        address, longest = int(prefix.network.network_address), prefix.network.prefixlen
        for length in self.descending:
            if length <= longest and (found := self.lengths[length].get(address >> (self.width - length))):
                yield found

    def match(self, address: int, longest: int) -> tuple[EidPrefix, V] | None:
        for length in self.descending:
            if length <= longest and (found := self.lengths[length].get(address >> (self.width - length))):
                return found
        return None

    def under(self, prefix: EidPrefix) -> Iterator[tuple[EidPrefix, V]]:
        shortest, bits = prefix.network.prefixlen, self.bits(prefix)
        for length, entries in self.lengths.items():
            if length == shortest and bits in entries:
                yield entries[bits]
            elif length > shortest:
                yield from (entry for key, entry in entries.items() if key >> (length - shortest) == bits)


class EidTable(Generic[V]):
    """Values by EID-prefix, each instance-ID and address family on its own (RFC 9300 section 8)."""

    __slots__ = ("_families",)

    def __init__(self) -> None:
        self._families: dict[tuple[int, int], _Family[V]] = {}

    def set(self, prefix: EidPrefix, value: V) -> None:
        """Store ``value`` under ``prefix``, replacing what was there."""
        key = (prefix.instance_id, prefix.network.version)
        if key not in self._families:
            self._families[key] = _Family(prefix.network.version)
        self._families[key].set(prefix, value)

    def get(self, prefix: EidPrefix) -> V | None:
        """The value stored under exactly this prefix, or None."""
        family = self._families.get((prefix.instance_id, prefix.network.version))
        found = family.get(prefix) if family else None
        return found[1] if found else None

    def pop(self, prefix: EidPrefix) -> V | None:
        """Take exactly this prefix out and return its value; None if it was not there."""
        key = (prefix.instance_id, prefix.network.version)
        family = self._families.get(key)
        found = family.pop(prefix) if family else None
        if family and not family.lengths:
            del self._families[key]
        return found[1] if found else None

    def lookup(self, eid: EidPrefix) -> tuple[EidPrefix, V] | None:
        """The longest prefix that covers ``eid``, with its value, or None."""
        family = self._families.get((eid.instance_id, eid.network.version))
        return family.match(int(eid.network.network_address), eid.network.prefixlen) if family else None

    def lookup_address(self, instance_id: int, address: IPAddress) -> tuple[EidPrefix, V] | None:
        """The longest prefix that holds ``address``, with its value, or None. Made for every packet."""
        family = self._families.get((instance_id, address.version))
        return family.match(int(address), family.width) if family else None

    def covered(self, prefix: EidPrefix) -> list[tuple[EidPrefix, V]]:
        """All stored prefixes inside ``prefix``, itself included, with their values; looks at every longer prefix."""
        family = self._families.get((prefix.instance_id, prefix.network.version))
        return list(family.under(prefix)) if family else []

    def covering(self, prefix: EidPrefix) -> list[tuple[EidPrefix, V]]:
        """All stored prefixes that cover ``prefix``, itself included, with their values, the longest one first."""
        family = self._families.get((prefix.instance_id, prefix.network.version))
        return list(family.around(prefix)) if family else []

    def items(self) -> Iterator[tuple[EidPrefix, V]]:
        """Everything, instance by instance and family by family, in address order."""
        for _, family in sorted(self._families.items()):
            entries = [entry for by_bits in family.lengths.values() for entry in by_bits.values()]
            yield from sorted(entries, key=lambda entry: (int(entry[0].address), entry[0].mask_len))

    def __len__(self) -> int:
        return sum(len(by_bits) for family in self._families.values() for by_bits in family.lengths.values())

    def __contains__(self, prefix: object) -> bool:
        if not isinstance(prefix, EidPrefix):
            return False
        family = self._families.get((prefix.instance_id, prefix.network.version))
        return family is not None and family.get(prefix) is not None
