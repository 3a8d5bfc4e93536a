"""What the bench says: each figure with its goal, from the raw rounds to the median, or to the worst round."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ci.benches.dataplane import slices
from ci.benches.dataplane.worlds import EBPF, PATHS, PLAIN, PYTHON

Round = Mapping[str, Any]
"""One raw round: by measure and world."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Something measured in every round.

    Attributes:
        name: Its name in the raw rounds.
        key: The key of its figure.
        title: What it is, in words.
        unit: Of the raw values.
        goal: What the figure is to reach; None where it only stands beside the others.
        at_least: Whether the goal is a least value; otherwise a most.
        against: The world that the others are divided by, or None: the value itself is the figure.
        worst: Whether the worst round counts instead of the median.
    """

    name: str
    key: str
    title: str
    unit: str
    goal: float | None
    at_least: bool = True
    against: str | None = PLAIN
    worst: bool = False


TEN, MANY = 10, 100_000
"""Map-cache entries."""

MEASURES = (
    Measure("tcp", "tcp_ratio", "TCP, one stream", "Gbit/s", 0.95),
    Measure("udp64", "udp64_ratio", "UDP 64 B, delivered", "kpps", 0.95),
    Measure("udp1400", "udp1400_ratio", "UDP 1400 B, delivered", "kpps", 0.95),
    Measure("rtt", "rtt_ratio", "Round-trip time", "µs", 1.4, at_least=False),
    Measure("pitr_tcp", "pitr_tcp_ratio", "TCP through the PITR", "Gbit/s", 0.9),
    Measure("petr_tcp", "petr_tcp_ratio", "TCP through the PETR", "Gbit/s", 0.9),
    Measure("v6v4_tcp", "v6v4_tcp_ratio", "TCP, IPv6 over IPv4", "Gbit/s", 0.9),
    Measure("cache100k", "cache100k_ratio", "UDP 64 B, 100 000 mappings to 10", "kpps", 0.93, against="ten"),
    Measure("spread", "cache100k_spread_ratio", "the same, to 1024 EIDs in turn", "kpps", None, against="ten_spread"),
    Measure("cold_lost", "cold_lost", "Cold EID: lost of 2000 packets", "packets", 0, False, None, worst=True),
    Measure("cold_reordered", "cold_reordered", "Cold EID: reordered of them", "packets", 0, False, None, worst=True),
    Measure("cold_first", "cold_first_ms", "First ping to a cold EID, ms", "ms", 2.5, False, None),
    Measure("install", "install_per_s", "Mappings installed a second", "1/s", 50_000, against=None),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one data path.

    Attributes:
        measure: What was measured.
        path: On which data path.
        values: One for each round; where a round has several raw values, each of them.
        raw: Where it is a ratio, the raw values of its two sides by name.
    """

    measure: Measure
    path: str
    values: tuple[float, ...]
    raw: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its key in the JSON file; those of the Python path begin with its name."""
        return self.measure.key if self.path == EBPF else f"{self.path}_{self.measure.key}"

    @property
    def value(self) -> float:
        """The median, or the worst round."""
        if self.measure.worst:
            return min(self.values) if self.measure.at_least else max(self.values)
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the goal is reached, if there is one."""
        value, goal = self.value, self.measure.goal
        return goal is None or (value >= goal if self.measure.at_least else value <= goal)

    def to_json(self) -> dict[str, Any]:
        """The figure with its spread; goals are those of the eBPF path."""
        told: dict[str, Any] = {
            "value": self.value,
            "median": statistics.median(self.values),
            "min": min(self.values),
            "max": max(self.values),
            "unit": "ratio" if self.measure.against else self.measure.unit,
            "values": list(self.values),
        }
        if self.path == EBPF and self.measure.goal is not None:
            told["goal"] = f"{'at least' if self.measure.at_least else 'at most'} {self.measure.goal:g}"
            told["met"] = self.met
        if self.raw:
            told["raw_unit"] = self.measure.unit
            told["raw_medians"] = {name: statistics.median(values) for name, values in self.raw.items()}
        return told


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """Every figure that the rounds hold, in the order of the measures, eBPF before Python."""
    return [one for measure in MEASURES for path in PATHS for one in _figure(measure, path, rounds)]


def _figure(measure: Measure, path: str, rounds: Sequence[Round]) -> Iterator[Figure]:
    """A ratio is taken within each round, and there of slices that were measured in turn, pair by pair."""
    here = [one for one in rounds if path in one.get(measure.name, {})]
    if not here:
        return
    values = [one[measure.name] for one in here]
    if measure.against is None:
        yield Figure(measure, path, tuple(value for one in values for value in _several(one[path])))
        return
    # 100 000 entries are compared with ten on the same path, all else with the plain world.
    sides = (
        [(one[path][measure.name], one[path][measure.against]) for one in values] if measure.against != PLAIN else []
    )
    sides = sides or [(one[path], one[PLAIN]) for one in values]
    raw = {path: tuple(a for a, _ in sides), measure.against: tuple(b for _, b in sides)}
    in_turn = [one.get("slices", {}).get(measure.name, {}) for one in here]
    ratios = (
        slices.ratio(pairs[path], pairs[PLAIN]) if path in pairs else a / b
        for (a, b), pairs in zip(sides, in_turn, strict=True)
    )
    yield Figure(measure, path, tuple(ratios), raw)


def _several(value: Any) -> Sequence[float]:
    return value if isinstance(value, list) else [value]


def by_measure(found: Sequence[Figure]) -> list[tuple[Measure, Figure | None, Figure | None]]:
    """Each measure with its figure on eBPF and on Python, those that there are."""
    there = {(one.measure.name, one.path): one for one in found}
    pairs = [(one, there.get((one.name, EBPF)), there.get((one.name, PYTHON))) for one in MEASURES]
    return [pair for pair in pairs if pair[1] or pair[2]]
