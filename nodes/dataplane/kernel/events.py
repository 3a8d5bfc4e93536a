"""What the programs tell: sources nobody knows yet, packets for hosts that are not here, Locator-Status-Bits."""

from __future__ import annotations

import struct
from typing import Protocol

from nodes.dataplane.absences import Absence
from nodes.dataplane.bpf.layout import EventKind
from nodes.dataplane.decision import Tables, is_stranger
from nodes.dataplane.kernel.encoding import Event
from nodes.dataplane.status_bits import HeardBits
from nodes.dataplane.strangers import Stranger
from nodes.dataplane.throttle import Throttle
from nodes.lisp.eid import host_prefix
from nodes.lisp.inputs import StatusBits


class Ring(Protocol):
    """The reading end of the ring buffer ``events``."""

    def fileno(self) -> int:
        """Readable while records wait."""

    def read(self) -> list[bytes]:
        """The records that wait, oldest first. Raises OSError."""

    def close(self) -> None:
        """Let go of it."""


class Events:
    """Reads the programs' events. They come at most once a second for each source or (host, RLOC)."""

    def __init__(
        self,
        ring: Ring,
        tables: Tables,
        strangers: Throttle[Stranger],
        absences: Throttle[Absence],
        heard: HeardBits,
    ) -> None:
        """Read from a ring buffer; ``strangers``, ``absences`` and ``heard`` are those of the Python path as well."""
        self._ring, self._tables = ring, tables
        self._strangers, self._absences, self._heard = strangers, absences, heard

    def fileno(self) -> int:
        """The descriptor to wait on; then call :meth:`read`."""
        return self._ring.fileno()

    def read(self, now: float) -> None:
        """Take what has come; ``now`` is the data path's clock."""
        try:
            records = self._ring.read()
        except OSError:  # what it has given so far is gone; it says so again when more comes
            return
        for record in records:
            try:
                event = Event.read(record)
            except (ValueError, struct.error):
                continue
            eid = host_prefix(event.eid, event.instance_id)
            if event.kind is EventKind.ABSENT and event.rloc is not None:
                self._absences.note(Absence(eid, event.rloc), now)
            elif event.kind is EventKind.STATUS and event.rloc is not None:
                self._heard.note(StatusBits(eid, event.rloc, event.status_bits))
            elif event.kind is EventKind.SOURCE and is_stranger(eid, self._tables):
                self._strangers.note(Stranger(eid, event.interface), now)

    def close(self) -> None:
        """Let go of the ring buffer."""
        self._ring.close()
