"""Which part of a figure stands beside which: the core in one column or two, sites at its left and at its right."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from testbed.graph.figure import Area, Figure, Look

_MOST_HALVED = 12  # core routers: of more, there are too many halves to try them all
_MOST_SORTED = 6  # routers of a column: of more, there are too many orders


@dataclass(frozen=True, slots=True)
class Order:
    """Which way a drawing runs.

    Attributes:
        columns: The core's routers in one or two columns, from above.
        stacks: The columns with the lone nodes above and below them.
        stubs: The areas beside the core, from above; a lone node for which no stack had room is one as well.
        right: The names of those at the right.
        distance: How many links each node is away from the core.
    """

    columns: tuple[tuple[str, ...], ...]
    stacks: tuple[tuple[str, ...], ...]
    stubs: tuple[Area, ...]
    right: frozenset[str]
    distance: dict[str, int]


def order_of(figure: Figure) -> Order:
    """Divide the core into columns and everything else into sides."""
    return _Ordering(figure).order()


class _Ordering:
    """One figure on its way to an order."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.neighbours: dict[str, list[str]] = {name: [] for name in figure.boxes}
        for wire in figure.wires:
            self.neighbours[wire.a].append(wire.b)
            self.neighbours[wire.b].append(wire.a)
        self.sites = [area for area in figure.areas if area.name != "core"]
        self.routers = [name for area in figure.areas if area.name == "core" for name in area.members]
        within = {name for area in figure.areas for name in area.members}
        # The nodes of the mapping system and the proxies, each a stub of its own unless a column has room.
        self.lone = [Area(name, Look.CORE, (), (name,)) for name in figure.boxes if name not in within]

    def order(self) -> Order:
        columns = self._columns()
        stacks = self._stacks(columns)
        stacked = {name for stack in stacks for name in stack}
        stubs = [*self.sites, *(area for area in self.lone if area.name not in stacked)]
        place = {name: number for column in columns for number, name in enumerate(column)}
        stubs.sort(key=lambda area: min((place[name] for name in self._homes(area)), default=0))
        return Order(
            columns=columns,
            stacks=stacks,
            stubs=tuple(stubs),
            right=frozenset(self._right(stubs, columns)),
            distance=self._distances(stacked or set(list(self.figure.boxes)[:1])),
        )

    def _homes(self, area: Area) -> set[str]:
        """The core routers that an area has links to."""
        return {other for name in area.members for other in self.neighbours[name] if other in self.routers}

    def _columns(self) -> tuple[tuple[str, ...], ...]:
        """The core's routers in the columns and the order that make its links short."""
        left = self._left()
        if left is None:
            return (self._sorted(self.routers, {}, halved=False),) if self.routers else ()
        first = self._sorted([name for name in self.routers if name in left], {}, halved=True)
        beside = {name: number for number, name in enumerate(first)}
        return first, self._sorted([name for name in self.routers if name not in left], beside, halved=True)

    def _left(self) -> set[str] | None:
        """The routers of the left of two columns: the half that the fewest links leave. None for one column.

        One column it is when a site has links to both halves: it could stand at neither side.
        """
        if not 2 <= len(self.routers) <= _MOST_HALVED:
            return None
        links = [(wire.a, wire.b) for wire in self.figure.wires if wire.core]
        homes = [self._homes(area) for area in self.sites]

        def cost(half: Sequence[str]) -> tuple[int, int, int]:
            torn = sum(1 for home in homes if home & set(half) and home - set(half))
            at_left = sum(1 for home in homes if home & set(half))
            return torn, sum((a in half) != (b in half) for a, b in links), abs(2 * at_left - len(homes))

        halves = [(self.routers[0], *others) for others in combinations(self.routers[1:], (len(self.routers) - 1) // 2)]
        best = min(halves, key=cost)
        return None if cost(best)[0] else set(best)

    def _sorted(self, column: list[str], beside: dict[str, int], *, halved: bool) -> tuple[str, ...]:
        """A column in the order in which links inside it and to the column beside it are short."""
        if len(column) > _MOST_SORTED:
            return tuple(column)

        bearers = [home for area in self.lone for home in self._homes(area)]

        def length(names: Sequence[str]) -> tuple[int, int]:
            place = {name: number for number, name in enumerate(names)}
            links = sum(
                abs(place[name] - {**beside, **place}[other])
                for name in names
                for other in self.neighbours[name]
                if other in place or other in beside
            )
            # Of two as good, the one with room for lone nodes: below a column, and above unless it is the only one.
            return links, -(names[-1] in bearers or (halved and names[0] in bearers))

        return min(permutations(column), key=length)

    def _stacks(self, columns: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        """The columns with a lone node above the first router and below the last, where one hangs on that."""
        stacks = []
        for column in columns:
            stack = list(column)
            for area in self.lone:
                homes = self._homes(area)
                # Above a single column the core's own lines are in the way.
                if homes == {column[0]} and stack[0] == column[0] and len(columns) > 1:
                    stack.insert(0, area.name)
                elif homes == {column[-1]} and stack[-1] == column[-1]:
                    stack.append(area.name)
            stacks.append(tuple(stack))
        return tuple(stacks)

    def _right(self, stubs: list[Area], columns: tuple[tuple[str, ...], ...]) -> set[str]:
        """The areas at the right: those of the right column's routers, or every other one."""
        if len(columns) == 2:
            return {area.name for area in stubs if self._homes(area) and not self._homes(area) & set(columns[0])}
        right: set[str] = set()
        heights = [0, 0]
        for area in stubs:
            side = 0 if heights[0] <= heights[1] else 1
            heights[side] += sum(self.figure.boxes[name].height for name in area.members)
            if side:
                right.add(area.name)
        return right

    def _distances(self, near: set[str]) -> dict[str, int]:
        """How many links each node is away from the middle."""
        distance = dict.fromkeys(self.figure.boxes, 1)
        distance.update(dict.fromkeys(near, 0))
        seen = set(near)
        waiting = deque(sorted(near))
        while waiting:
            name = waiting.popleft()
            for other in self.neighbours[name]:
                if other not in seen:
                    seen.add(other)
                    distance[other] = distance[name] + 1
                    waiting.append(other)
        return distance
