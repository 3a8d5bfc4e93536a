"""Two worlds in turn, in short slices: what slows a machine down for a second slows both sides of a ratio.

One after the other, then the other way round (a b, b a, a b, ...): what grows or falls steadily does so to both. A pair
is two slices that are next to each other in time; a round's ratio is the median of its pairs' ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

PAIRS = 12
"""In a round."""

WARM_UP, WINDOW = 0.05, 0.2
"""Seconds: until queues and caches are those of this world, and of what is counted."""


def in_turn(measure: Mapping[str, Callable[[], float]], pairs: int = PAIRS) -> dict[str, list[float]]:
    """Measure a slice of each world, again and again; the slices of one number are a pair.

    Args:
        measure: What measures one slice, by world.
        pairs: How many of each.
    """
    found: dict[str, list[float]] = {world: [] for world in measure}
    for number in range(pairs):
        for world in list(measure)[:: -1 if number % 2 else 1]:
            found[world].append(measure[world]())
    return found


def ratio(slices: Sequence[float], against: Sequence[float]) -> float:
    """The median of the ratios of the pairs."""
    return statistics.median(one / other for one, other in zip(slices, against, strict=True))
