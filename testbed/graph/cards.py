"""Many small sites in little room: each is a card, and the links of the cards at one router are drawn as one."""

from __future__ import annotations

from dataclasses import replace

from testbed.graph.figure import Area, Box, Figure, Look, Wire, label_of
from testbed.graph.text import Line

_MANY = 24  # sites: up to here each has a frame of its own
_FEW = 4  # sites at one router: fewer keep their frames
_SMALL = 4  # nodes of a site that fits a card


def with_cards(figure: Figure) -> Figure:
    """The same figure, with cards for its small sites if it has many."""
    sites = [area for area in figure.areas if area.look in (Look.SITE, Look.PLAIN)]
    if len(sites) <= _MANY:
        return figure
    routers = {name for area in figure.areas if area.look is Look.CORE for name in area.members}
    at: dict[str, list[tuple[Area, Wire]]] = {}
    for area in sites:
        out = [wire for wire in figure.wires if (wire.a in area.members) != (wire.b in area.members)]
        ends = {out[0].a, out[0].b} & routers if len(out) == 1 else set()
        if ends and len(area.members) <= _SMALL:
            at.setdefault(ends.pop(), []).append((area, out[0]))
    for router, members in at.items():
        if len(members) < _FEW:
            continue
        figure = _gathered(figure, router, members)
    return figure


def _gathered(figure: Figure, router: str, members: list[tuple[Area, Wire]]) -> Figure:
    """The figure with these sites as the cards of one area."""
    areas = [area for area, _ in members]
    gone = {name for area in areas for name in area.members}
    name = f"sites at {router}"
    cards = Box(name, Look.SITE, (), name, cards=tuple(_card(figure, area) for area in areas))
    lines = (
        Line(f"{len(areas)} sites at {router}", 12.5, bold=True),
        Line(f"each xTR has a link of its own to {router}"),
    )
    boxes = {key: box for key, box in figure.boxes.items() if key not in gone} | {name: cards}
    labels = {wire.label for _, wire in members}
    alike = labels.pop() if len(labels) == 1 else ()
    wire = Wire(
        router,
        name,
        label=(*label_of(f"{len(members)} links"), *alike),
        hint="\n".join(wire.hint for _, wire in members),
        core=False,
    )
    return replace(
        figure,
        boxes=boxes,
        areas=(*(area for area in figure.areas if area not in areas), Area(name, Look.SITE, lines, (name,))),
        wires=(*(one for one in figure.wires if not {one.a, one.b} & gone), wire),
    )


def _card(figure: Figure, area: Area) -> Box:
    """A site in a few lines: its own, then one for each node."""
    head, *about = area.lines
    lines = [Line(head.text, 10, bold=True), *(Line(line.text, 9) for line in about)]
    for name in area.members:
        box = figure.boxes[name]
        lines.append(Line(" · ".join(line.text for line in box.lines if not line.text.startswith("gateway ")), 9))
    return Box(area.name, area.look, tuple(lines), "\n".join(figure.boxes[name].hint for name in area.members))
