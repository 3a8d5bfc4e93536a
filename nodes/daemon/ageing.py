"""When to ask for a host that has been silent, and when it is taken for gone (requirement X05). The clock is passed in.

Hosts are found by what they send, never by asking. But one that was taken away without a word would be registered for
ever, so one that has not been heard is asked, and withdrawn when it does not answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.lisp.config import DynamicEid
from nodes.lisp.eid import EidPrefix
from nodes.lisp.eid_table import EidTable
from nodes.lisp.timers import Timers

BETWEEN_PROBES = 1.0
"""Seconds that a host has to answer, as RFC 4861 section 10 has it (RETRANS_TIMER) and the kernel for ARP."""


@dataclass(frozen=True, slots=True)
class Due:
    """The hosts that are to be asked for, and those that did not answer."""

    ask: list[EidPrefix]
    gone: list[EidPrefix]


class Ageing:
    """Keeps the time since each host was heard."""

    def __init__(self, permitted: EidTable[DynamicEid]) -> None:
        """Know no host yet.

        Args:
            permitted: The prefixes in which hosts are found, with what holds for them.
        """
        self._permitted = permitted
        self._timers: Timers[EidPrefix] = Timers()
        self._unanswered: dict[EidPrefix, int] = {}

    def heard(self, eid: EidPrefix, now: float) -> None:
        """A host has shown itself."""
        self._unanswered.pop(eid, None)
        permitted = self._permitted.lookup(eid)
        if permitted is not None and permitted[1].host_silence:
            self._timers.set(eid, now + permitted[1].host_silence)

    def forget(self, eid: EidPrefix) -> None:
        """A host is here no longer."""
        self._unanswered.pop(eid, None)
        self._timers.cancel(eid)

    def due(self, now: float) -> Due:
        """Whom to ask now, and who is gone. A host that is gone is forgotten."""
        found = Due([], [])
        for eid in self._timers.due(now):
            permitted = self._permitted.lookup(eid)
            asked = self._unanswered.get(eid, 0)
            if permitted is not None and asked < permitted[1].host_probes:
                self._unanswered[eid] = asked + 1
                self._timers.set(eid, now + BETWEEN_PROBES)
                found.ask.append(eid)
            else:
                self._unanswered.pop(eid, None)
                found.gone.append(eid)
        return found

    def deadline(self) -> float | None:
        """When :meth:`due` has something to say, or None."""
        return self._timers.deadline()
