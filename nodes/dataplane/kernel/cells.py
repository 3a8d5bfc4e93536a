"""The gates of a router's TUN devices, in memory that the daemon shares with the programs."""

from __future__ import annotations

from collections.abc import Iterable


class MappedCells:
    """One ``struct gate``."""

    def __init__(self, gates: memoryview, place: int) -> None:
        """Take the gate at a place of the mapped array."""
        self._cells, self._punted, self._handled = gates.cast("Q"), 2 * place, 2 * place + 1

    def punted(self) -> int:
        """Packets that the programs have handed to the TUN device so far."""
        count: int = self._cells[self._punted]
        return count

    def set_handled(self, count: int) -> None:
        """Tell the programs how many of them are done with."""
        self._cells[self._handled] = count


def places(instances: Iterable[int], first: int = 0) -> dict[int, int]:
    """The place of each instance's gate, from ``first`` on."""
    return {instance_id: place for place, instance_id in enumerate(sorted(instances), first)}
