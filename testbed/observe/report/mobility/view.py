"""What the page of a run shows, made from its timeline: times in microseconds, for scripts to draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from testbed.act.mobility.moved import Moved
from testbed.model import Topology
from testbed.observe.capture import Frame
from testbed.observe.report.mobility.findings import Findings, Gap
from testbed.observe.report.mobility.words import NAMES, milliseconds, sentence
from testbed.observe.scapy_lisp.telling import dissected
from testbed.observe.timeline import Event, Probe

MOST_ROWS = 160
"""Events of a move that the ladder shows."""
_MOST_STEPS = 24
_KEPT = 512
"""Octets of a packet that are shown."""
_HAIR = 1e-6
_BEFORE, _LEAST, _MOST = 0.01, 0.03, 2.0
"""Seconds: what a plot shows before a move begins, and of the time after it."""
_COLORS = {
    "map-register": "register", "detected": "register", "map-notify": "notify", "map-notify-ack": "notify",
    "solicit-map-request": "request", "map-request": "request", "map-reply": "reply", "map-cache": "reply",
    "first-frame": "data", "first-packet": "data",
}  # fmt: skip
_EACH_NODE = ("map-cache", "first-packet", "host-left")
_EACH_PEER = ("map-notify", "solicit-map-request")
"""Kinds of which a step is shown for each node, and for each that is told; of the others, the first alone."""
_NEWS = {"map-notify": "PubSub: Map-Notify", "solicit-map-request": "SMR"}
"""The messages by which a router learns that a mapping is another now."""


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)


class MoveView:
    """One move of a run, and what followed until the next.

    Attributes:
        move: The move.
        begin: When it began, in seconds on the timeline, and ``end``: when the next one did, or the run ended.
        events: What happened in between.
    """

    def __init__(self, findings: Findings, topology: Topology, number: int) -> None:
        timeline = findings.timeline
        self.findings, self.topology, self._number = findings, topology, number
        self.move: Moved = timeline.moves[number]
        self.begin, *later = findings.begins[number:]
        last = max((self.begin, *(one.at for one in timeline.events)))
        self.end = later[0] if later else last + _MOST
        # Times are differences of floating point numbers: the first event of a move may be a hair early.
        self.events = [one for one in timeline.events if self.begin - _HAIR <= one.at < self.end - _HAIR]

    def to_json(self, frames: Sequence[Frame], kept: str) -> dict[str, Any]:
        """What the scripts draw.

        Args:
            frames: The packets that events name by their numbers.
            kept: Where they are kept.
        """
        steps = list(self.steps())
        return {
            "steps": steps,
            "near": {"from": 0, "to": max([1000.0, *(one["at"] for one in steps)])},
            "marks": list(self.marks()),
            "panels": list(self.panels()),
            "evidence": self.evidence(frames) | {"file": kept},
        }

    def steps(self) -> Iterator[dict[str, Any]]:
        """The first event of each kind; of some kinds, of each node or to each."""
        seen: set[tuple[str, str]] = set()
        for one in self.events:
            key = (one.kind, one.node if one.kind in _EACH_NODE else one.peer if one.kind in _EACH_PEER else "")
            if key not in seen and len(seen) < _MOST_STEPS:
                seen.add(key)
                color = _COLORS.get(one.kind, "native")
                yield {"at": _us(one.at - self.begin), "name": sentence(one), "color": color}

    def marks(self) -> Iterator[dict[str, Any]]:
        """The times that the plots show as lines, with a letter each; those that are close stand side by side."""
        wanted = {"link-down": "unplugged", "link-up": "plugged in", "map-register": "registered", "map-notify": "told"}
        letters = iter("abcdefgh")
        seen: set[str] = set()
        for one in self.events:
            if one.kind in wanted and one.kind not in seen:
                seen.add(one.kind)
                at = one.at - self.begin
                yield {"at": _us(at), "letter": next(letters), "name": f"{wanted[one.kind]}, {milliseconds(at)}"}

    def told(self) -> Iterator[tuple[str, str, str, str]]:
        """Of each router that learned of it: its name, by which message, when, and when its map-cache was right."""
        for name in dict.fromkeys(one.peer for one in self.events if one.kind in _NEWS):
            first = next(one for one in self.events if one.kind in _NEWS and one.peer == name)
            if self.topology[name].site == self.move.site:
                continue
            right = [one.at for one in self.events if one.node == name and one.kind == "map-cache"]
            after = next((one for one in right if one >= first.at), None)
            leaves = self.topology[name].site == self.move.origin
            words = "Map-Notify: its host has left" if leaves and first.kind == "map-notify" else _NEWS[first.kind]
            yield (
                name,
                f"{words}, from {first.node}",
                milliseconds(first.at - self.begin),
                "" if after is None else milliseconds(after - self.begin),
            )

    def panels(self) -> Iterator[dict[str, Any]]:
        """The probes of each correspondent, around the longest of their blackouts."""
        for name in self.findings.correspondents:
            probes = [one for one in self.findings.datagrams if one.correspondent == name]
            gaps = [self.findings.gap(one, self._number) for one in probes]
            longest = max((gap[1] for gap in gaps if gap), default=_MOST)
            extent = min(_MOST, self.end - self.begin, max(_LEAST, 2 * longest))
            strips = [self._strip(one, gap, extent) for one, gap in zip(probes, gaps, strict=True)]
            yield {
                "name": name,
                "sub": f"in {self.topology[name].site}",
                "window": {"from": _us(-_BEFORE), "to": _us(extent)},
                "strips": strips,
                "words": f"{name}: {'; '.join(one['title'] for one in strips)}",
            }

    def _strip(self, probe: Probe, gap: Gap | None, extent: float) -> dict[str, Any]:
        shown = [one for one in probe.samples if -_BEFORE <= one.at - self.begin <= extent]
        lost = sum(one.delay is None for one in probe.samples if self.begin - _BEFORE <= one.at < self.end - _BEFORE)
        way = f"from {self.move.node}" if probe.direction == "to" else f"to {self.move.node}"
        silence = f"silence of {milliseconds(gap[1] - gap[0])}, " if gap else ""
        return {
            "way": way,
            "version": probe.version,
            "title": f"{way} by IPv{probe.version}: {silence}{lost} lost",
            "gap": gap and {"from": _us(gap[0]), "to": _us(gap[1])},
            "samples": [[_us(one.at - self.begin), None if one.delay is None else _us(one.delay)] for one in shown],
        }

    def evidence(self, frames: Sequence[Frame]) -> dict[str, Any]:
        """What ``evidenceView`` of the page's scripts shows: the events, those on a wire with their packets.

        What says the same between the same nodes stands where it was said first, with its number.
        """
        alike: dict[tuple[str, ...], list[Event]] = {}
        for one in self.events:
            alike.setdefault((one.kind, one.node, one.peer, one.text), []).append(one)
        shown = [(same[0], len(same)) for same in list(alike.values())[:MOST_ROWS]]
        used = [name for one, _ in shown for name in (one.node, one.peer or one.node)]
        return {
            "nodes": list(self._lanes(dict.fromkeys(used))),
            "packets": [self._row(one, count, frames) for one, count in shown],
            "left_out": len(self.events) - sum(count for _, count in shown),
            "lost": 0,
            "end": 0,
            "bands": [],
        }

    def _row(self, event: Event, count: int, frames: Sequence[Frame]) -> dict[str, Any]:
        row = {
            "at": _us(event.at - self.begin), "from": event.node, "to": event.peer or event.node,
            "kind": NAMES[event.kind], "words": event.text, "color": _COLORS.get(event.kind, "native"), "count": count,
        }  # fmt: skip
        if event.packet is not None and event.packet < len(frames):
            data = frames[event.packet].data[:_KEPT]
            row |= {"size": len(frames[event.packet].data), "hex": data.hex(), "layers": dissected(data)}
        return row

    def _lanes(self, used: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The nodes from left to right: the host, where it was, the mapping system and proxies, where it is, others."""
        order = [self.move.origin, "core", self.move.site]

        def place(name: str) -> tuple[int, bool]:
            node = self.topology[name]
            if name == self.move.node:
                return -1, False
            site = order.index(node.site) if node.site in order else len(order)
            return site, node.lisp is None

        for name in sorted(used, key=place):
            node = self.topology[name]
            roles = " ".join(sorted(node.lisp.roles)) if node.lisp else node.kind.value
            yield {"name": name, "sub": roles, "core": False}
