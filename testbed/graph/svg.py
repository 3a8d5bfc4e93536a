"""Draws a placed figure as SVG: one style sheet, one group for each box, area and wire."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from testbed.graph.figure import Area, Box, Figure, Look, Wire
from testbed.graph.frame import Frame
from testbed.graph.layout import Placed
from testbed.graph.text import Line, height_of, width_of
from testbed.graph.wires import Curve, Point

_MARGIN = 20.0

_COLOURS: dict[Look, tuple[str, str, str, str]] = {
    # fill of the area, fill of the box, stroke, text of the area
    Look.CORE: ("#eef2fb", "#dbe5fa", "#33508f", "#33508f"),
    Look.SITE: ("#e8f4ea", "#c9e8cf", "#256b36", "#256b36"),
    Look.PLAIN: ("#f3f4f6", "#e4e7eb", "#52606d", "#52606d"),
    Look.MAPPING: ("#fdf3e3", "#fbe2b6", "#8a5a0b", "#8a5a0b"),
    Look.PROXY: ("#f1e9fb", "#dfcff6", "#5a31a0", "#5a31a0"),
    Look.FABRIC: ("#ffffff", "#ffffff", "#52606d", "#1f2933"),
    Look.HOST: ("#ffffff", "#ffffff", "#1f2933", "#1f2933"),
}

_MARKED = ("#ffe3cc", "#c2410c")
"""Fill and stroke of what a drawing is about."""

_TENANTS = (
    "#fff3bf",
    "#d0ebff",
    "#ffe3e3",
    "#e5dbff",
    "#d3f9d8",
    "#ffe8cc",
    "#c5f6fa",
    "#ffdeeb",
    "#e9fac8",
    "#dee2e6",
)
"""The colours of tenants' hosts, by instance-ID."""

_LEGEND = (
    (Look.SITE, "LISP site"),
    (Look.PLAIN, "non-LISP site"),
    (Look.CORE, "core router"),
    (Look.MAPPING, "mapping system"),
    (Look.PROXY, "proxy"),
)


def draw(figure: Figure, placed: Placed) -> str:
    """Draw a figure."""
    head = height_of(figure.title) + 14
    width = max(placed.width, width_of(figure.title)) + 2 * _MARGIN
    height = placed.height + head + 2 * _MARGIN + 26
    return "\n".join(_document(figure, placed, width, height, head)) + "\n"


def _document(figure: Figure, placed: Placed, width: float, height: float, head: float) -> Iterator[str]:
    size = f'width="{width:.0f}" height="{height:.0f}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {size}>'
    yield f"<title>{escape(figure.title[0].text)}</title>"
    yield from _style(any(box.marked for box in figure.boxes.values()))
    yield f'<rect {size} fill="#ffffff"/>'
    yield from _lines(figure.title, _MARGIN, _MARGIN, "title")
    shift = (width - placed.width) / 2
    yield f'<g transform="translate({shift:.1f} {_MARGIN + head:.1f})">'
    for area in figure.areas:
        yield from _area(area, placed.areas[area.name], placed)
    for wire, curve in zip(figure.wires, placed.wires, strict=True):
        yield from _wire(wire, curve)
    for box in figure.boxes.values():
        yield from _box(box, placed.boxes[box.name])
    for wire, curve in zip(figure.wires, placed.wires, strict=True):
        if wire.label:
            yield from _label(wire.label, _middle(curve))
    yield "</g>"
    yield from _legend(figure, height - _MARGIN)
    yield "</svg>"


def _style(marked: bool) -> Iterator[str]:
    yield "<style>"
    yield "text { font-family: 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif; fill: #1f2933 }"
    yield ".bold { font-weight: bold }"
    yield ".wire path { fill: none; stroke: #7b8794; stroke-width: 1.6 }"
    yield ".wire.core path { stroke: #5b7bc0; stroke-width: 2.6 }"
    yield ".box rect { stroke-width: 1.5 } .area rect { stroke-width: 1 }"
    for look, (area, box, stroke, text) in _COLOURS.items():
        yield (
            f".area.{look} rect {{ fill: {area}; stroke: {stroke} }} .area.{look} text {{ fill: {text} }}"
            f" .box.{look} rect {{ fill: {box}; stroke: {stroke} }}"
        )
    if marked:
        yield f".box.marked rect {{ fill: {_MARKED[0]}; stroke: {_MARKED[1]}; stroke-width: 3 }}"
    yield "</style>"


def _area(area: Area, frame: Frame, placed: Placed) -> Iterator[str]:
    """A frame and its lines: on the side away from the core, where no link comes in."""
    yield f'<g class="area {area.look}">'
    yield _rect(frame, 10)
    if area.look is Look.CORE:
        yield from _lines(area.lines, *placed.core_lines, anchor="middle")
    elif area.name in placed.right:
        yield from _lines(area.lines, frame.x + frame.width - 10, frame.y + 6, anchor="end")
    else:
        yield from _lines(area.lines, frame.x + 10, frame.y + 6)
    yield "</g>"


def _box(box: Box, frame: Frame) -> Iterator[str]:
    """A node; a box of cards has no frame of its own."""
    yield f'<g class="box {box.look}{" marked" if box.marked else ""}"><title>{escape(box.hint)}</title>'
    fill = f' style="fill: {_TENANTS[box.tenant % len(_TENANTS)]}"' if box.tenant else ""
    if not box.cards:
        yield _rect(frame, 6, fill)
    yield from _lines(box.lines, frame.x + frame.width / 2, frame.y + 5, anchor="middle")
    yield "</g>"
    for card, x, y in box.placed_cards():
        yield from _box(card, Frame(frame.x + x, frame.y + y, *box.card_size))


def _rect(frame: Frame, radius: float, extra: str = "") -> str:
    return (
        f'<rect x="{frame.x:.1f}" y="{frame.y:.1f}" width="{frame.width:.1f}" height="{frame.height:.1f}"'
        f' rx="{radius:g}"{extra}/>'
    )


def _wire(wire: Wire, curve: Curve) -> Iterator[str]:
    start, *others = (f"{x:.1f} {y:.1f}" for x, y in curve)
    yield f'<g class="wire{" core" if wire.core else ""}"><title>{escape(wire.hint)}</title>'
    yield f'<path d="M{start} C{", ".join(others)}"/></g>'


def _middle(curve: Curve) -> Point:
    """The point half way along a Bezier curve."""
    a, b, c, d = curve
    return (a[0] + 3 * b[0] + 3 * c[0] + d[0]) / 8, (a[1] + 3 * b[1] + 3 * c[1] + d[1]) / 8


def _label(lines: tuple[Line, ...], at: Point) -> Iterator[str]:
    width, height = width_of(lines) + 8, height_of(lines) + 2
    yield _rect(Frame(at[0] - width / 2, at[1] - height / 2, width, height), 3, ' fill="#ffffff" fill-opacity="0.9"')
    yield from _lines(lines, at[0], at[1] - height / 2 + 1, anchor="middle")


def _lines(lines: tuple[Line, ...], x: float, y: float, name: str = "", anchor: str = "start") -> Iterator[str]:
    """Lines of text, one below the other, from y downwards."""
    for line in lines:
        baseline = y + line.height - 0.35 * line.size
        y += line.height
        names = " ".join(filter(None, ["bold" if line.bold else "", name]))
        yield (
            f'<text x="{x:.1f}" y="{baseline:.1f}" font-size="{line.size:g}"'
            + (f' class="{names}"' if names else "")
            + (f' text-anchor="{anchor}"' if anchor != "start" else "")
            + f">{escape(line.text)}</text>"
        )


def _legend(figure: Figure, y: float) -> Iterator[str]:
    """What the colours mean, of those that occur."""
    looks = {box.look for box in figure.boxes.values()} | {area.look for area in figure.areas}
    x = _MARGIN
    for look, meaning in _LEGEND:
        if look not in looks:
            continue
        _, fill, stroke, _ = _COLOURS[look]
        yield _rect(Frame(x, y - 9, 14, 10), 2, f' fill="{fill}" stroke="{stroke}"')
        line = Line(meaning, 10.5)
        yield f'<text x="{x + 20:.1f}" y="{y:.1f}" font-size="{line.size:g}">{meaning}</text>'
        x += 20 + line.width + 18
