"""What a scenario of mobility leaves: events, probes and moves on one clock, as values and as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.act.mobility.moved import Moved

KINDS = (
    "link-down",
    "link-up",
    "first-frame",
    "detected",
    "map-register",
    "map-notify",
    "map-notify-ack",
    "solicit-map-request",
    "map-request",
    "map-reply",
    "map-cache",
    "host-left",
    "first-packet",
)
"""What an event can be, in the order in which a move brings them about."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        at: Seconds since the first move's unplugging.
        node: Where it happened: of a message, who sent it.
        kind: One of :data:`KINDS`.
        text: A few words for a person.
        peer: Of a message, whom it was sent to; else "".
        packet: Of what was seen on a wire, the number of its frame in the capture beside this file, from 0; else None.
    """

    at: float
    node: str
    kind: str
    text: str
    peer: str = ""
    packet: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One datagram of a probe, or what TCP had delivered at one moment.

    Attributes:
        at: When it was sent, in seconds since the first move's unplugging.
        delay: Seconds until it arrived, None if it never did.
    """

    at: float
    delay: float | None


@dataclass(frozen=True, slots=True)
class Probe:
    """Traffic between the host that moves and one correspondent, one way.

    Attributes:
        correspondent: The node at the other end.
        direction: "to" the correspondent, or "from" it.
        version: The IP version, 4 or 6.
        protocol: "udp" or "tcp".
        sent: Datagrams sent (UDP), or 0.
        received: Different datagrams that arrived.
        lost: Datagrams that never arrived.
        duplicated: Arrivals of what had arrived before.
        reordered: Arrivals of what was sent before something that had arrived.
        blackout_s: The longest time without an arrival, in seconds.
        sessions_lost: TCP connections that ended before their time.
        bytes: Bytes that arrived (TCP), or 0.
        bytes_wrong: Those of them that were not what was sent.
        samples: What was sent, in order.
    """

    correspondent: str
    direction: str
    version: int
    protocol: str
    sent: int = 0
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    blackout_s: float = 0.0
    sessions_lost: int = 0
    bytes: int = 0
    bytes_wrong: int = 0
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run.

    Attributes:
        events: What happened, in the order of time.
        probes: What the traffic noticed of it.
        moves: The moves, in order; their times are monotonic seconds.
        title: One line that says what was shown.
        topology: The topology's name.
        dataplane: What the routers forwarded by.
    """

    events: tuple[Event, ...]
    probes: tuple[Probe, ...]
    moves: tuple[Moved, ...]
    title: str
    topology: str
    dataplane: str

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Timeline:
        """Read what :meth:`write` wrote."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Timeline:
        """Make one of the JSON value."""
        probes = (one | {"samples": tuple(Sample(**sample) for sample in one["samples"])} for one in data["probes"])
        return cls(
            events=tuple(Event(**one) for one in data["events"]),
            probes=tuple(Probe(**one) for one in probes),
            moves=tuple(Moved(**one) for one in data["moves"]),
            title=data["title"],
            topology=data["topology"],
            dataplane=data["dataplane"],
        )
