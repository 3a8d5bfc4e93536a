"""What a run says: whether sessions lived, whether everybody found the host again, how long they did not hear of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from testbed.observe.report.mobility.words import milliseconds, several
from testbed.observe.timeline import Probe, Timeline

_BEFORE = 1.0
"""Seconds before a move in which datagrams arrived, or a gap has no begin."""
_SETTLING = 0.25
"""Seconds after the begin of a move: a silence that begins later is not of the move, but of a busy machine."""
_SETTLED = 0.1
"""Seconds: in the last of these before the next move, or the end, something must have arrived."""

Gap = tuple[float, float]
"""From one arrival to the next, in seconds."""


@dataclass(frozen=True)
class Findings:
    """The verdict over a run."""

    timeline: Timeline

    @cached_property
    def sessions_lost(self) -> int:
        """TCP sessions that ended before their time."""
        return sum(one.sessions_lost for one in self.timeline.probes)

    @cached_property
    def bytes_wrong(self) -> int:
        """Bytes that TCP delivered and nobody had sent so."""
        return sum(one.bytes_wrong for one in self.timeline.probes)

    @cached_property
    def begins(self) -> tuple[float, ...]:
        """When each move began, in seconds on the timeline."""
        return tuple(one.unplugged - self.timeline.moves[0].unplugged for one in self.timeline.moves)

    @property
    def datagrams(self) -> list[Probe]:
        """The probes by UDP."""
        return [one for one in self.timeline.probes if one.protocol == "udp"]

    def gap(self, probe: Probe, number: int) -> Gap | None:
        """The blackout of a probe by a move: the longest silence that began before it settled, counted from its begin.

        None where nothing arrived. What did not arrive until the next move, or the end, is silent until then.
        """
        begin = self.begins[number]
        end = self.begins[number + 1] if number + 1 < len(self.begins) else math.inf
        arrivals = sorted(
            one.at + one.delay - begin
            for one in probe.samples
            if one.delay is not None and begin - _BEFORE <= one.at < end
        )
        last = max((one.at for one in probe.samples), default=begin)
        until = min(end, last) - begin
        around = [(a, b) for a, b in pairwise([*arrivals, until]) if b >= 0 and a <= _SETTLING]
        return max(around, key=lambda pair: pair[1] - pair[0], default=None)

    @cached_property
    def strayed(self) -> tuple[str, ...]:
        """Which datagrams did not arrive any more when a move was over: of which correspondent, which way."""
        return tuple(dict.fromkeys(self._strayed()))

    def _strayed(self) -> Iterator[str]:
        for probe in self.datagrams:
            last = max((one.at for one in probe.samples), default=0.0)
            for end in (*self.begins[1:], last):
                shown = [one for one in probe.samples if end - _SETTLED <= one.at < end]
                if not any(one.delay is not None for one in shown):
                    yield f"{probe.correspondent}, {probe.direction} it by IPv{probe.version}"

    @property
    def ok(self) -> bool:
        """Whether all is as it should be."""
        return not (self.sessions_lost or self.bytes_wrong or self.strayed)

    @property
    def correspondents(self) -> list[str]:
        """Who talked with the host."""
        return list(dict.fromkeys(one.correspondent for one in self.timeline.probes))

    @cached_property
    def worst(self) -> tuple[float, Probe] | None:
        """The longest blackout of a move in seconds, and whose it was."""
        gaps = [(self.gap(one, number), one) for number in range(len(self.begins)) for one in self.datagrams]
        return max(((gap[1] - gap[0], one) for gap, one in gaps if gap), key=lambda pair: pair[0], default=None)

    def sentences(self) -> Iterator[str]:
        """The verdict in words."""
        streams = [one for one in self.timeline.probes if one.protocol == "tcp"]
        # Each way of a session is a probe, and each says so when it was lost.
        sessions = {(one.correspondent, one.version): one.sessions_lost for one in streams}
        if self.sessions_lost:
            yield f"{sum(map(bool, sessions.values()))} of {several(len(sessions), 'TCP session')} were lost."
        else:
            yield f"{several(len(sessions), 'TCP session')} lived."
        octets = sum(one.bytes for one in streams)
        if self.bytes_wrong:
            yield f"{self.bytes_wrong:,} of {octets:,} bytes were wrong.".replace(",", " ")
        else:
            yield f"{octets:,} bytes arrived as they were sent.".replace(",", " ")
        if self.strayed:
            yield f"Not found again: {'; '.join(self.strayed)}."
        else:
            yield f"{several(len(self.correspondents), 'correspondent')} found the host again each time."
        if self.worst is not None:
            yield f"Longest blackout of UDP: {milliseconds(self.worst[0])} ({self.worst[1].correspondent})."
