"""Where everything stands: the core in the middle, sites at its left and right, hosts outermost.

Graphviz is not used: once sites are clusters, its dot keeps neither the core's columns nor the order of hosts, draws
links through the lines of other sites, and asks the machine for its fonts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.graph.figure import Area, Box, Figure, Look, Wire
from testbed.graph.frame import Frame
from testbed.graph.order import Order, order_of
from testbed.graph.text import height_of, width_of
from testbed.graph.wires import Curve, curves

_ROW_GAP = 12.0  # between boxes of a column
_AREA_GAP = 16.0
_PADDING = 12.0  # inside an area
_INNER_GAP = 30.0  # between columns of a site
_OUTER_GAP = 48.0  # between the core and the sites
_ROUTER_GAP = 34.0  # between core routers of a column; between columns, their lines stand


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a figure's parts stand, y downwards.

    Attributes:
        width: Of the whole and ``height`` of the whole, in pixels.
        boxes: The frame of each box, by name.
        areas: The frame of each area, by name.
        wires: A Bezier curve for each wire, in order.
        right: The areas at the right of the core.
        core_lines: The middle of the upper edge of the core's lines.
    """

    width: float
    height: float
    boxes: Mapping[str, Frame]
    areas: Mapping[str, Frame]
    wires: tuple[Curve, ...]
    right: frozenset[str]
    core_lines: tuple[float, float]


def place(figure: Figure) -> Placed:
    """Place a figure."""
    return _Placing(figure, order_of(figure)).placed()


class _Placing:
    """One figure on its way to its place: the core's left column stands around x = 0 until all is moved at the end."""

    def __init__(self, figure: Figure, order: Order) -> None:
        self.figure = figure
        self.order = order
        self.boxes: dict[str, Frame] = {}
        self.areas: dict[str, Frame] = {}
        self.core_lines = (0.0, 0.0)
        self.core = next((area for area in figure.areas if area.look is Look.CORE), None)
        routers = set(self.core.members) if self.core else set()
        of_core, to_core, of_sites = (
            [wire for wire in figure.wires if len({wire.a, wire.b} & routers) == number] for number in (2, 1, 0)
        )
        self.inner_gap = _gap(_INNER_GAP, of_sites)
        self.outer_gap = _gap(_OUTER_GAP, to_core)
        self.core_gap = _gap(_OUTER_GAP, of_core)
        self.router_gap = max([_ROUTER_GAP, *(height_of(wire.label) + 16 for wire in of_core)])
        rows = {name: row for column in order.columns for row, name in enumerate(column)}
        # Links that only go round leave the middle of two columns to the core's lines.
        self.ring = len(set(rows.values())) == 2 and all(
            rows[wire.a] == rows[wire.b] or self._same_column(wire) for wire in of_core
        )

    def placed(self) -> Placed:
        """Place everything, then move it all to where nothing is negative."""
        pitch, left_edge, right_edge = self._core_widths()
        self._side([stub for stub in self.order.stubs if stub.name not in self.order.right], left_edge, -1)
        self._side([stub for stub in self.order.stubs if stub.name in self.order.right], right_edge, 1)
        self._core(pitch)
        frames = [*self.boxes.values(), *self.areas.values()]
        x, y = min(frame.x for frame in frames), min(frame.y for frame in frames)
        boxes = {name: frame.moved(-x, -y) for name, frame in self.boxes.items()}
        areas = {name: frame.moved(-x, -y) for name, frame in self.areas.items()}
        frames = [*boxes.values(), *areas.values()]
        return Placed(
            width=max(frame.x + frame.width for frame in frames),
            height=max(frame.y + frame.height for frame in frames),
            boxes=boxes,
            areas=areas,
            wires=curves(self.figure.wires, boxes),
            right=self.order.right,
            core_lines=(self.core_lines[0] - x, self.core_lines[1] - y),
        )

    def _box(self, name: str) -> Box:
        return self.figure.boxes[name]

    def _same_column(self, wire: Wire) -> bool:
        return any({wire.a, wire.b} <= set(column) for column in self.order.columns)

    def _core_widths(self) -> tuple[float, float, float]:
        """The distance of the core's columns, and where the sites of each side begin."""
        stacks = self.order.stacks
        if not stacks:
            return 0.0, -self.outer_gap / 2, self.outer_gap / 2
        lines = width_of(self.core.lines) if self.core else 0.0
        widths = [max(self._box(name).width for name in stack) for stack in stacks]
        routers = [max(self._box(name).width for name in column) for column in self.order.columns]
        if len(stacks) == 1:
            half = max(widths[0], routers[0] + 2 * _PADDING, lines + 2 * _PADDING) / 2 + self.outer_gap
            return 0.0, -half, half
        between = max(lines + 2 * _PADDING, self.core_gap)
        pitch = max(sum(routers) / 2 + between, sum(widths) / 2 + _AREA_GAP)
        halves = [max(one, two + 2 * _PADDING) / 2 + self.outer_gap for one, two in zip(widths, routers, strict=True)]
        return pitch, -halves[0], pitch + halves[1]

    def _side(self, stubs: Sequence[Area], edge: float, sign: int) -> None:
        """Stack areas from above to below, their routers towards the core; around y = 0 together."""
        blocks = [self._block(stub, sign) for stub in stubs]
        y = -(sum(frame.height for frame, _ in blocks) + _AREA_GAP * (len(blocks) - 1)) / 2
        for stub, (frame, boxes) in zip(stubs, blocks, strict=True):
            x = edge if sign > 0 else edge - frame.width
            if stub.lines:
                self.areas[stub.name] = frame.moved(x, y)
            self.boxes.update((name, box.moved(x, y)) for name, box in boxes.items())
            y += frame.height + _AREA_GAP

    def _block(self, stub: Area, sign: int) -> tuple[Frame, dict[str, Frame]]:
        """An area by itself: its columns side by side, the lines above."""
        columns: dict[int, list[Box]] = {}
        for name in stub.members:
            columns.setdefault(self.order.distance[name], []).append(self._box(name))
        in_order = [columns[away] for away in sorted(columns, reverse=sign < 0)]
        padding = _PADDING if stub.lines else 0.0
        head = height_of(stub.lines) + 14 if stub.lines else 0.0
        tall = max(_tall(column) for column in in_order)
        boxes: dict[str, Frame] = {}
        x = padding
        for column in in_order:
            wide = max(box.width for box in column)
            y = head + (tall - _tall(column)) / 2
            for box in column:
                boxes[box.name] = Frame(x + (wide - box.width) / 2, y, box.width, box.height)
                y += box.height + _ROW_GAP
            x += wide + self.inner_gap
        width = x - self.inner_gap + padding
        least = width_of(stub.lines) + 2 * padding
        if least > width:
            # The boxes stay at the side of the core.
            boxes = {name: frame.moved(least - width if sign < 0 else 0, 0) for name, frame in boxes.items()}
        return Frame(0, 0, max(width, least), head + tall + padding), boxes

    def _core(self, pitch: float) -> None:
        """Each row of routers where the sites of these routers are, on average, as far as there is room."""
        if self.core is None:
            return
        columns = self.order.columns
        tall = [
            max(self._box(column[row]).height for column in columns if row < len(column))
            for row in range(max(map(len, columns)))
        ]
        gap = self.router_gap
        if self.ring:
            gap = max(gap, height_of(self.core.lines) + 16 - min(tall))
        wanted = [self._wanted({column[row] for column in columns if row < len(column)}) for row in range(len(tall))]
        ys: list[float] = []
        for row, height in enumerate(tall):
            least = ys[-1] + (tall[row - 1] + height) / 2 + gap if ys else wanted[row]
            ys.append(max(wanted[row], least))
        # What was pushed down comes back up by half: the rows stand around their sites.
        drift = (ys[-1] - wanted[-1]) / 2
        ys = [y - drift for y in ys]
        for number, column in enumerate(columns):
            for name, y in zip(column, ys, strict=False):
                self._centre(name, number * pitch, y)
        self.areas[self.core.name] = self._core_frame()
        self._ends(pitch, self.areas[self.core.name])

    def _wanted(self, routers: set[str]) -> float:
        """The mean height of the boxes that have links to these routers."""
        ends = [end for wire in self.figure.wires for end in ((wire.a, wire.b), (wire.b, wire.a))]
        heights = [self.boxes[other].middle[1] for name, other in ends if name in routers and other in self.boxes]
        return sum(heights) / len(heights) if heights else 0.0

    def _core_frame(self) -> Frame:
        """The area around the routers, with room for its lines: in the middle of two columns, above one."""
        assert self.core is not None
        frames = [self.boxes[name] for name in self.core.members]
        lines = self.core.lines
        head = height_of(lines)
        x0 = min(frame.x for frame in frames) - _PADDING
        x1 = max(frame.x + frame.width for frame in frames) + _PADDING
        y0 = min(frame.y for frame in frames) - _PADDING
        y1 = max(frame.y + frame.height for frame in frames) + _PADDING
        top = (y0 + y1 - head) / 2
        if len(self.order.columns) == 1:
            y0 -= head
            top = y0 + 6
            x0, x1 = min(x0, -width_of(lines) / 2 - _PADDING), max(x1, width_of(lines) / 2 + _PADDING)
        elif not self.ring:
            # Links cross the middle: the lines stand below them.
            top = y1
            y1 += head + _PADDING
        self.core_lines = ((x0 + x1) / 2, top)
        return Frame(x0, y0, x1 - x0, y1 - y0)

    def _ends(self, pitch: float, core: Frame) -> None:
        """The lone nodes above and below the columns."""
        for number, (stack, column) in enumerate(zip(self.order.stacks, self.order.columns, strict=True)):
            for name in stack:
                if name in column:
                    continue
                height = self._box(name).height
                above = stack.index(name) < stack.index(column[0])
                y = core.y - 26 - height / 2 if above else core.y + core.height + 26 + height / 2
                self._centre(name, number * pitch, y)

    def _centre(self, name: str, x: float, y: float) -> None:
        box = self._box(name)
        self.boxes[name] = Frame(x - box.width / 2, y - box.height / 2, box.width, box.height)


def _tall(column: Sequence[Box]) -> float:
    return sum(box.height for box in column) + _ROW_GAP * (len(column) - 1)


def _gap(least: float, wires: Sequence[Wire]) -> float:
    """The room between columns that these links and their labels need."""
    return max([least, *(width_of(wire.label) + 32 for wire in wires if wire.label)])
