"""The figures of a run, by their keys: medians, 95th percentiles and worst cases, beside what is to be reached."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        key: Its key in the JSON file.
        title: What it says.
        unit: Of its values.
        values: One for each move, or one in all.
        median: What the median may be at most, and ``p95`` the 95th percentile; None where that is only shown.
        p95: See ``median``.
        parts: The same for a part of the rounds or of the correspondents.
    """

    key: str
    title: str
    unit: str
    values: tuple[float, ...]
    median: float | None = None
    p95: float | None = None
    parts: Mapping[str, tuple[float, ...]] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goals are reached; None if there are none."""
        found = [
            value <= goal
            for value, goal in ((statistics.median(self.values), self.median), (p95(self.values), self.p95))
            if goal is not None
        ]
        return all(found) if found else None

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        goals = {name: goal for name, goal in (("median", self.median), ("p95", self.p95)) if goal is not None}
        told = {"title": self.title, "unit": self.unit, **spread(self.values)}
        told |= {"goals_at_most": goals, "met": self.met} if goals else {}
        return told | {name: spread(values) for name, values in (self.parts or {}).items()} | {"values": self.values}


def p95(values: Sequence[float]) -> float:
    """The 95th percentile: the smallest value that 95 per cent of them do not exceed."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and the most."""
    return {"median": statistics.median(values), "p95": p95(values), "max": max(values)}


def figures(parts: Mapping[str, Any]) -> list[Figure]:
    """Every figure for which there are rounds.

    Args:
        parts: What each part of the bench found, by its name.
    """
    found: list[Figure] = []
    for name, title, goal in (("pubsub", "PubSub", 5.0), ("smr", "SMR", 15.0)):
        if name in parts:
            values = tuple(_worst(one["convergence_ms"]) for one in parts[name]["rounds"])
            title = f"First frame at the new place to the last correspondent's data plane right, {title}"
            found.append(Figure(f"convergence_{name}_ms", title, "ms", values, median=goal))
    if "pubsub" in parts:
        found.append(_blackout("blackout_ms", "UDP blackout, worst correspondent, PubSub", parts["pubsub"], 10.0, 30.0))
    if "smr" in parts:
        found.append(_blackout("blackout_smr_ms", "The same, SMR", parts["smr"], 10.0, 30.0))
    if "baseline" in parts:
        found.append(_blackout("baseline_ms", "The same move within one bridged LAN", parts["baseline"]))
    with_tcp = [one for one in parts.values() if "tcp_lost" in one]
    if with_tcp:
        found += [
            Figure("tcp_lost", "TCP sessions lost", "sessions", (sum(one["tcp_lost"] for one in with_tcp),), median=0),
            Figure("bytes_wrong", "TCP bytes wrong", "bytes", (sum(one["bytes_wrong"] for one in with_tcp),), median=0),
        ]
    for name, title in (("smr", "SMR"), ("pubsub", "PubSub")):
        if (slow := parts.get(f"{name}_delayed")) is not None:
            trips = tuple(_worst(one["convergence_ms"]) / slow["rtt_ms"] for one in slow["rounds"])
            title = f"Convergence over a core that delays by 20 ms, in round trips of 40 ms, {title}"
            found.append(Figure(f"{name}_rtts", title, "round trips", trips))
    if "mass" in parts:
        values = tuple(one["all_right_ms"] for one in parts["mass"]["rounds"])
        found.append(
            Figure("mass_move_ms", "200 hosts at once until all correspondents are right", "ms", values, 2000.0)
        )
    return found


def _worst(values: Mapping[str, float]) -> float:
    """The worst of them; a correspondent that was right before the host showed itself waited for nothing."""
    return max(0.0, *values.values())


def _blackout(
    key: str, title: str, part: Mapping[str, Any], median: float | None = None, high: float | None = None
) -> Figure:
    def worst(*versions: str) -> tuple[float, ...]:
        return tuple(
            max(value for name, value in one["blackout_ms"].items() if name.endswith(versions))
            for one in part["rounds"]
        )

    by_version = {"ipv4": worst("IPv4"), "ipv6": worst("IPv6")}
    return Figure(key, title, "ms", worst("IPv4", "IPv6"), median, high, by_version)
