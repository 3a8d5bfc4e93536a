"""``ci/lab bench dataplane``: measure or read an earlier run, then print the table and draw the chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ci.benches import check_output, read_earlier, versions, write_json
from ci.benches.dataplane import KEYS, MOST_ROUNDS, ROUNDS, chart, measure, table
from ci.benches.dataplane.figures import Figure, figures
from testbed.commands.values import check_writable, number
from testbed.lab import InputError
from testbed.words import echoed, one_of


def run(
    json_file: str, *, plot: str = "", rounds: str = "", only: str = "", earlier: str = "", markdown: bool = False
) -> None:
    """Measure, and tell.

    Args:
        json_file: Where everything goes.
        plot: Where the chart goes, if wanted.
        rounds: How many; five if left out.
        only: The keys that are wanted, with commas between them; all if left out.
        earlier: The JSON file of an earlier run, to be told again instead of measuring.
        markdown: Whether the table is to be one for the README.

    Raises:
        InputError: Something is not allowed.
        LabError: It could not be measured.
    """
    if plot:
        check_writable("--plot", Path(plot))
    if earlier:
        found = figures(read_earlier(earlier, "dataplane", "rounds"))
    else:
        check_output("dataplane", json_file)
        keys = [one for one in only.split(",") if one]
        for key in keys:
            if key not in KEYS:
                raise InputError(f"there is no figure {echoed(key)}; {one_of(KEYS, key, 'figures')}")
        measured = measure(number(rounds, "rounds", MOST_ROUNDS) if rounds else ROUNDS, keys)
        found = figures(measured["rounds"])
        write_json(json_file, _result(found, measured))
        print(f"raw rounds are in {json_file}")
    if markdown:
        print(table.markdown(found))
    else:
        table.show(found)
    if plot:
        Path(plot).write_text(chart.draw(found))
        print(f"the chart is in {plot}")


def _result(found: Sequence[Figure], measured: dict[str, Any]) -> dict[str, Any]:
    """What is kept: each figure by its key, then how it came about."""
    return {
        "bench": "dataplane",
        **{one.key: one.value for one in found},
        "figures": {one.key: one.to_json() for one in found},
        **measured,
        "versions": versions(),
    }
