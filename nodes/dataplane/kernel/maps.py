"""The kernel's maps as the writers see them: bytes to bytes. A dictionary will do for a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

LPM_TABLES = ("map_cache", "local", "native", "aggregates")


class KernelMap(Protocol):
    """One map. Keys and values are as long as ``bpf/maps.h`` says; every call may raise OSError."""

    def update(self, key: bytes, value: bytes) -> None:
        """Write an entry, replacing what was there."""

    def delete(self, key: bytes) -> bool:
        """Take an entry out; False when there was none."""

    def lookup(self, key: bytes) -> bytes | None:
        """The value under exactly this key (of a trie: under the longest prefix), or None."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything."""


KernelMaps = Mapping[str, KernelMap]
"""The maps by their names in ``bpf/``."""
