"""``ci/lab bench mobility``: measure, keep every round, print the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ci.benches import check_output, read_earlier, versions, write_json
from ci.benches.mobility import KEYS, MOST_MOVES, MOVES, measure
from ci.benches.mobility.figures import Figure, figures, p95
from testbed.commands.values import number
from testbed.lab import InputError
from testbed.observe.tables import draw
from testbed.words import echoed, one_of

TICK, CROSS = "✓", "✗"


def run(json_file: str, *, rounds: str = "", only: str = "", earlier: str = "", markdown: bool = False) -> None:
    """Measure, and tell.

    Args:
        json_file: Where everything goes.
        rounds: How many moves; 30 if left out.
        only: The keys that are wanted, with commas between them; all if left out.
        earlier: The JSON file of an earlier run, to be told again instead of measuring.
        markdown: Whether the table is to be one for the README.

    Raises:
        InputError: Something is not allowed.
        LabError: It could not be measured.
    """
    if earlier:
        found = figures(read_earlier(earlier, "mobility", "parts"))
    else:
        check_output("mobility", json_file)
        keys = [one for one in only.split(",") if one]
        for key in keys:
            if key not in KEYS:
                raise InputError(f"there is no figure {echoed(key)}; {one_of(KEYS, key, 'figures')}")
        parts = measure(number(rounds, "rounds", MOST_MOVES) if rounds else MOVES, keys)
        found = figures(parts)
        write_json(json_file, _result(found, parts))
        print(f"raw rounds are in {json_file}")
    if markdown:
        print(_markdown(found))
    else:
        _show(found)


def _result(found: Sequence[Figure], parts: dict[str, Any]) -> dict[str, Any]:
    """What is kept: the median of each figure by its key, each with its spread, then how it came about."""
    return {
        "bench": "mobility",
        **{one.key: statistics.median(one.values) for one in found},
        "figures": {one.key: one.to_json() for one in found},
        "parts": parts,
        "versions": versions(),
    }


def _cells(one: Figure) -> tuple[str, str, str, str]:
    """The goal, and median, 95th percentile and the most."""
    goals = [f"median {one.median:g}"] if one.median is not None else []
    goals += [f"p95 {one.p95:g}"] if one.p95 is not None else []
    if len(one.values) == 1:
        return (f"{one.median:g}" if one.median is not None else "", f"{one.values[0]:g}", "", "")
    spread = statistics.median(one.values), p95(one.values), max(one.values)
    median, high, most = (f"{value:.0f}" if value >= 100 else f"{value:.1f}" for value in spread)
    return ", ".join(goals), median, high, most


def _show(found: Sequence[Figure]) -> None:
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("", "At most", "Median", "p95", "Max", "Unit", "", "Key"):
        drawn.add_column(title, justify="right" if title in ("Median", "p95", "Max") else "left")
    for one in found:
        met = "" if one.met is None else TICK if one.met else CROSS
        drawn.add_row(one.title, *_cells(one), one.unit, met, one.key)
    draw(drawn, "Mobility: a host moves there and back")


def _markdown(found: Sequence[Figure]) -> str:
    """The README's table."""
    lines = ["| | at most | median | p95 | max | |", "|---|---|---|---|---|---|"]
    lines += [f"| {one.title} (`{one.key}`) | {' | '.join(_cells(one))} | {one.unit} |" for one in found]
    return "\n".join(lines)
