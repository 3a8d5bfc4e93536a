"""What a scenario of mobility leaves: events, probes and moves on one clock, as values and as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, pairwise
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

_SECOND_US = 1_000_000


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
        """Keep it as JSON, as the dataclasses say; but of a probe's samples, tens of thousands, stand two lists.

        ``sent_us`` has when each was sent, in whole microseconds since the one before it, the first since the begin of
        the first move; ``delay_us`` the whole microseconds until it arrived, null where it never did.
        """
        data = asdict(replace(self, probes=()))
        data["probes"] = [asdict(replace(one, samples=())) | {"samples": _columns(one.samples)} for one in self.probes]
        path.write_text(json.dumps(data, separators=(",", ":")), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Timeline:
        """Read what :meth:`write` wrote."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Timeline:
        """Make one of the JSON value."""
        probes = (one | {"samples": tuple(_samples(one["samples"]))} for one in data["probes"])
        return cls(
            events=tuple(Event(**one) for one in data["events"]),
            probes=tuple(Probe(**one) for one in probes),
            moves=tuple(Moved(**one) for one in data["moves"]),
            title=data["title"],
            topology=data["topology"],
            dataplane=data["dataplane"],
        )


def _columns(samples: Sequence[Sample]) -> dict[str, list[int] | list[int | None]]:
    """Samples as they are kept."""
    sent = [round(one.at * _SECOND_US) for one in samples]
    return {
        "sent_us": [after - before for before, after in pairwise([0, *sent])],
        "delay_us": [None if one.delay is None else round(one.delay * _SECOND_US) for one in samples],
    }


def _samples(kept: Mapping[str, Sequence[Any]]) -> Iterator[Sample]:
    """What was kept, with times to the microsecond."""
    for sent, delay in zip(accumulate(kept["sent_us"]), kept["delay_us"], strict=True):
        yield Sample(sent / _SECOND_US, None if delay is None else delay / _SECOND_US)
