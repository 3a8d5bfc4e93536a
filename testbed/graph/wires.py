"""How links run from box to box: straight down a column, in an S from column to column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testbed.graph.figure import Wire
from testbed.graph.frame import Frame

Point = tuple[float, float]
Curve = tuple[Point, Point, Point, Point]
"""A cubic Bezier curve."""

_SPREAD = 14.0  # the most between two links at one side of a box


def curves(wires: Sequence[Wire], boxes: Mapping[str, Frame]) -> tuple[Curve, ...]:
    """A curve for each link. Links at one side of a box stand apart, in the order of their far ends."""
    faces = [_faces(boxes, boxes[wire.a], boxes[wire.b]) for wire in wires]
    at: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for number, (wire, face) in enumerate(zip(wires, faces, strict=True)):
        for end, (name, far) in enumerate(((wire.a, wire.b), (wire.b, wire.a))):
            axis = 1 if face[end] in "we" else 0
            at.setdefault((name, face[end]), []).append((boxes[far].middle[axis], number, end))
    points: dict[tuple[int, int], Point] = {}
    for (name, face_name), ends in at.items():
        frame = boxes[name]
        room = (frame.height if face_name in "we" else frame.width) - 16
        step = min(_SPREAD, room / len(ends))
        for place, (_, number, end) in enumerate(sorted(ends)):
            points[number, end] = _point(frame, face_name, (place - (len(ends) - 1) / 2) * step)
    return tuple(_curve(points[number, 0], points[number, 1], faces[number]) for number in range(len(wires)))


def _faces(boxes: Mapping[str, Frame], a: Frame, b: Frame) -> str:
    """Which side of each box a link is at: north, south, west or east."""
    if a.x + a.width < b.x:
        return "ew"
    if b.x + b.width < a.x:
        return "we"
    upper, lower = (a, b) if a.y < b.y else (b, a)
    x = a.middle[0]
    for other in boxes.values():
        if other.x < x < other.x + other.width and upper.y + upper.height < other.middle[1] < lower.y:
            return "ww"  # something stands between: around it
    return "sn" if upper is a else "ns"


def _point(frame: Frame, face: str, offset: float) -> Point:
    x, y = frame.middle
    match face:
        case "e":
            return frame.x + frame.width, y + offset
        case "w":
            return frame.x, y + offset
        case "s":
            return x + offset, frame.y + frame.height
        case _:
            return x + offset, frame.y


def _curve(start: Point, end: Point, faces: str) -> Curve:
    if faces == "ww":
        x = min(start[0], end[0]) - 36
        return start, (x, start[1]), (x, end[1]), end
    if faces in ("ew", "we"):
        half = (end[0] - start[0]) / 2
        return start, (start[0] + half, start[1]), (end[0] - half, end[1]), end
    half = (end[1] - start[1]) / 2
    return start, (start[0], start[1] + half), (end[0], end[1] - half), end
