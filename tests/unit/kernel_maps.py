"""The kernel's maps without a kernel: dictionaries that can be full, and can refuse."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from nodes.dataplane.bpf.layout import MAPS, MOST_LOCATORS, NUMBER, Statistic

ARRAYS = {"locators": MOST_LOCATORS, "locator_counters": MOST_LOCATORS, "settings": 1, "statistics": len(Statistic)}


class FakeMap:
    """One map. What has the wrong length is refused as by the real one."""

    def __init__(self, name: str, most: int = 1 << 20) -> None:
        key, value = MAPS[name]
        self._sizes, self._most = (key.size, value.size), most
        self.entries: dict[bytes, bytes] = {}
        self.refuse = 0
        self.writes: list[tuple[bytes, bytes | None]] = []
        for number in range(ARRAYS.get(name, 0)):
            self.entries[NUMBER.pack(number)] = bytes(value.size)

    def update(self, key: bytes, value: bytes) -> None:
        assert (len(key), len(value)) == self._sizes
        self._maybe_refuse()
        if key not in self.entries and len(self.entries) >= self._most:
            raise OSError(errno.ENOSPC, "full")
        self.entries[key] = value
        self.writes.append((key, value))

    def delete(self, key: bytes) -> bool:
        assert len(key) == self._sizes[0]
        self._maybe_refuse()
        self.writes.append((key, None))
        return self.entries.pop(key, None) is not None

    def lookup(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        yield from list(self.entries.items())

    def split(self, value: bytes) -> Sequence[bytes]:
        return [value]

    def _maybe_refuse(self) -> None:
        if self.refuse:
            self.refuse -= 1
            raise OSError(errno.ENOMEM, "no memory")


def fake_maps(**most: int) -> dict[str, FakeMap]:
    """All of them; of those that are named, with room for so many entries."""
    return {name: FakeMap(name, most.get(name, 1 << 20)) for name in MAPS}
