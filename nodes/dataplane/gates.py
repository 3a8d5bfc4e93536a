"""How the kernel learns that nothing waits in a TUN device any more: only then may a new mapping take the fast path.

A program that hands packets to the device counts them ("punted"). The daemon says how many of those it is done with
("handled"). While the two differ, a packet that took the fast path could overtake one that came before it.
"""

from __future__ import annotations

import select
from typing import Protocol


class Cells(Protocol):
    """Two 64-bit numbers that this process and the kernel share."""

    def punted(self) -> int:
        """Packets that the kernel has handed to the TUN device so far."""

    def set_handled(self, count: int) -> None:
        """Tell the kernel how many of them are done with."""


class Gate:
    """Says for one TUN device how far its reader has come."""

    def __init__(self, cells: Cells, tun: int, queue: int) -> None:
        """Keep the gate of a device.

        Args:
            cells: The shared numbers.
            tun: The device's descriptor.
            queue: How many packets wait in the device at most: after as many reads, all that were there are handled,
                although more have come.
        """
        self._cells, self._queue = cells, queue
        self._poll = select.poll()
        self._poll.register(tun, select.POLLIN)
        self._sample = 0
        self._left = 0

    @property
    def pending(self) -> bool:
        """Whether packets were read since the last word to the kernel."""
        return self._left > 0

    def begin(self) -> None:
        """Packets are about to be read."""
        if not self._left:
            self._sample = self._cells.punted()
            self._left = self._queue

    def read(self, packets: int) -> None:
        """So many were read and handled, and there may be more."""
        self._left -= packets
        if self._left <= 0:
            self.drained()

    def drained(self) -> None:
        """Nothing is left of what was there when the reading began."""
        self._left = 0
        self._cells.set_handled(self._sample)

    def settle(self) -> None:
        """Look whether the last batch was the end: nobody reads from an empty device to find that out."""
        if self._left and not self._poll.poll(0):
            self.drained()
