"""The figures as a table: on the terminal, and in Markdown for the README."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ci.benches.dataplane.figures import Figure, Measure, by_measure
from ci.benches.dataplane.worlds import EBPF, PLAIN
from testbed.observe.tables import draw

TICK, CROSS = "✓", "✗"


def show(found: Sequence[Figure]) -> None:
    """Print them for people."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("", "Goal", "eBPF", "", "Python", "Beside", "Key"):
        drawn.add_column(title, justify="right" if title in ("Goal", "eBPF", "Python", "Beside") else "left")
    for measure, ebpf, python in by_measure(found):
        met = "" if ebpf is None or measure.goal is None else TICK if ebpf.met else CROSS
        drawn.add_row(
            measure.title, goal(measure), spread(ebpf), met, spread(python), beside(ebpf or python), measure.key
        )
    draw(drawn, "Data plane: medians (least to most), ratios to plain kernel routing within each round")


def markdown(found: Sequence[Figure]) -> str:
    """The README's table."""
    lines = ["| | goal | eBPF | Python | compared with |", "|---|---|---|---|---|"]
    for measure, ebpf, python in by_measure(found):
        cells = (f"{measure.title} (`{measure.key}`)", goal(measure), spread(ebpf), spread(python))
        lines.append(f"| {' | '.join(cells)} | {beside(ebpf or python)} |")
    return "\n".join(lines)


def goal(measure: Measure) -> str:
    """What is to be reached."""
    if measure.goal is None:
        return ""
    return f"{'at least' if measure.at_least else 'at most'} {measure.goal:,g}".replace(",", " ")


def spread(figure: Figure | None) -> str:
    """A value, and between what it lay."""
    if figure is None:
        return ""
    if min(figure.values) == max(figure.values):
        return number(figure, figure.value)
    least, most = number(figure, min(figure.values)), number(figure, max(figure.values))
    return f"{number(figure, figure.value)} ({least} to {most})"


def number(figure: Figure, value: float) -> str:
    """A value with as many digits as it deserves."""
    if figure.measure.unit in ("packets", "1/s") and not figure.measure.against:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.2f}"


def beside(figure: Figure | None) -> str:
    """What a ratio's other side was, in its unit."""
    if figure is None or figure.measure.against is None:
        return ""
    values = figure.raw[figure.measure.against]
    name = "plain" if figure.measure.against == PLAIN else f"10 mappings, {'eBPF' if figure.path == EBPF else 'Python'}"
    return f"{name}: {statistics.median(values):.3g} {figure.measure.unit}"
