"""The ratios as a chart in SVG: eBPF and Python beside each other, from the least round to the most, with the goals.

Drawn by hand like the topologies (``testbed.graph``): a chart of bars is no reason for a plotting library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from ci.benches.dataplane.figures import Figure, Measure, by_measure
from ci.benches.dataplane.table import number

_WIDTH, _LEFT, _RIGHT = 860, 276, 76
_PLOT = _WIDTH - _LEFT - _RIGHT
_TOP, _ROW, _BAR, _GAP = 84, 46, 13, 3
_PANEL = 58  # between two panels: an axis and a heading

# Light, and dark where the reader's page is: the picture brings its own ground, so it reads on either.
_STYLE = """
text { font-family: 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif; font-size: 12.5px; fill: #1f2933 }
.title { font-size: 16px; font-weight: bold } .heading { font-weight: bold } .small { font-size: 11px }
.ground { fill: #ffffff; stroke: #d5dae1 } .grid { stroke: #e1e5ea } .one { stroke: #7b8794; stroke-width: 1.5 }
.soft { fill: #52606d } .ebpf { fill: #2f6fd0 } .python { fill: #e08a1e }
.whisker { stroke: #1f2933; stroke-width: 1.5; fill: none }
.goal { stroke: #b4232f; stroke-width: 2.5 } .goal-text { fill: #b4232f; font-size: 11px }
"""
_DARK = """
text { fill: #e4e7eb } .ground { fill: #14191f; stroke: #3a434d } .grid { stroke: #2c343d } .one { stroke: #9aa5b1 }
.soft { fill: #9aa5b1 } .ebpf { fill: #5b9bf5 } .python { fill: #f0a64a } .whisker { stroke: #e4e7eb }
.goal { stroke: #ff6b78 } .goal-text { fill: #ff6b78 }
"""

Row = tuple[Measure, Figure | None, Figure | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows that share an axis.

    Attributes:
        heading: What the axis means.
        rows: The measures.
        end: Where the axis ends.
        step: From one line of the grid to the next.
    """

    heading: str
    rows: tuple[Row, ...]
    end: float
    step: float

    @property
    def height(self) -> int:
        """In pixels, without its heading."""
        return _ROW * len(self.rows)


def draw(found: Sequence[Figure], dark: bool = False) -> str:
    """Draw the ratios.

    Args:
        found: The figures; those that are no ratios are left to the table.
        dark: Whether to draw for dark pages only. Otherwise browsers decide by what their reader prefers.
    """
    panels = _panels([row for row in by_measure(found) if row[0].against])
    height = _TOP + sum(one.height + _PANEL for one in panels) + 6
    return "\n".join(_document(panels, height, dark)) + "\n"


def _panels(rows: list[Row]) -> list[Panel]:
    """More is better above, less is better below, each with an axis for its values."""
    made = []
    for at_least, heading, end in ((True, "Throughput, more is better", 1.2), (False, "Time, less is better", 2.0)):
        mine = tuple(row for row in rows if row[0].at_least is at_least)
        if mine:
            # The axis is that of the path with the goals; a bar of the other may be longer than the chart.
            most = max([end, *(max(row[1].values) for row in mine if row[1])])
            step = next(one * 10.0**e for e in range(-1, 9) for one in (1, 2, 5) if most / (one * 10.0**e) <= 10)
            ticks = math.ceil(most / step - 1e-9)
            made.append(Panel(f"{heading}: ratio to the same packets without LISP", mine, ticks * step, step))
    return made


def _document(panels: Sequence[Panel], height: int, dark: bool) -> Iterator[str]:
    size = f'width="{_WIDTH}" height="{height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {size}>'
    yield "<title>The LISP data planes against plain kernel routing</title>"
    yield f"<style>{_STYLE}{_DARK if dark else f'@media (prefers-color-scheme: dark) {{{_DARK}}}'}</style>"
    yield f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>'
    yield _text(20, 30, "The LISP data planes against plain kernel routing", "title")
    yield from _legend(20, 54)
    y = _TOP
    for panel in panels:
        yield _text(20, y + 10, panel.heading, "heading")
        yield from _panel(panel, y + 20)
        y += panel.height + _PANEL
    yield "</svg>"


def _legend(x: float, y: float) -> Iterator[str]:
    for name, title in (("ebpf", "eBPF"), ("python", "Python")):
        yield f'<rect class="{name}" x="{x}" y="{y - 10}" width="18" height="11" rx="2"/>'
        yield _text(x + 25, y, title)
        x += 92
    yield _whisker(x, x + 26, y - 4.5)
    yield _text(x + 34, y, "least to most of the rounds")
    yield f'<line class="goal" x1="{x + 238}" x2="{x + 238}" y1="{y - 12}" y2="{y + 3}"/>'
    yield _text(x + 248, y, "goal of eBPF")


def _panel(panel: Panel, top: float) -> Iterator[str]:
    bottom = top + panel.height
    ticks = round(panel.end / panel.step)
    for tick in range(ticks + 1):
        x, value = _x(panel, tick * panel.step), tick * panel.step
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        yield _text(x, bottom + 15, f"{value:g}" if panel.step >= 1 else f"{value:.1f}", "small soft", "middle")
    for number_, (measure, *figures) in enumerate(panel.rows):
        y = top + _ROW * number_ + (_ROW - 2 * _BAR - _GAP) / 2
        yield _text(_LEFT - 12, y + _BAR + 5, measure.title, anchor="end")
        for figure in figures:
            if figure is not None:
                yield from _bar(panel, figure, y)
            y += _BAR + _GAP
    x = _x(panel, 1)
    yield f'<line class="one" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
    for number_, (measure, *_) in enumerate(panel.rows):
        if measure.goal is None:
            continue
        x, y = _x(panel, measure.goal), top + _ROW * number_
        yield f'<line class="goal" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 5:.1f}" y2="{y + _ROW - 5:.1f}">'
        yield f"<title>goal: {'at least' if measure.at_least else 'at most'} {measure.goal:g}</title></line>"


def _bar(panel: Panel, figure: Figure, y: float) -> Iterator[str]:
    least, middle, most = min(figure.values), figure.value, max(figure.values)
    end = min(_x(panel, middle), _LEFT + _PLOT)
    yield f'<rect class="{figure.path}" x="{_LEFT}" y="{y:.1f}" width="{end - _LEFT:.1f}" height="{_BAR}" rx="2">'
    yield f"<title>{escape(figure.key)}: {number(figure, middle)}</title></rect>"
    if middle <= panel.end:
        yield _whisker(_x(panel, least), _x(panel, min(most, panel.end)), y + _BAR / 2)
    else:
        yield f'<path class="{figure.path}" d="M{end - 1:.1f} {y - 3:.1f}l11 {_BAR / 2 + 3}l-11 {_BAR / 2 + 3}z"/>'
    yield _text(_WIDTH - 20, y + _BAR - 2, number(figure, middle), anchor="end")


def _whisker(least: float, most: float, y: float) -> str:
    ends = " ".join(f"M{x:.1f} {y - 3.5:.1f}V{y + 3.5:.1f}" for x in (least, most))
    return f'<path class="whisker" d="M{least:.1f} {y:.1f}H{most:.1f} {ends}"/>'


def _x(panel: Panel, value: float) -> float:
    return _LEFT + value / panel.end * _PLOT


def _text(x: float, y: float, text: str, names: str = "", anchor: str = "start") -> str:
    more = f' class="{names}"' if names else ""
    more += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'
