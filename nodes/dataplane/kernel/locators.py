"""The kernel's locators: each RLOC that packets are sent to has a place, whatever number of mappings it is in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nodes.dataplane.bpf.layout import MOST_LOCATORS, NUMBER, Action
from nodes.dataplane.decision import SourceOf, Tables
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel.encoding import Candidate
from nodes.dataplane.kernel.maps import KernelMap
from nodes.lisp.config import Locator
from nodes.lisp.eid import IPAddress

Choice = tuple[Action, tuple[Locator, ...]]
"""An action, and the locators it may take in the order in which the kernel has to see them."""


@dataclass(slots=True, eq=False)
class Group:
    """The candidates that some mappings share.

    Attributes:
        choice: What they have in common.
        action: What the kernel is told: to leave it to the stack, when there was no place for a locator.
        places: Where its locators are.
        packed: The candidates as bytes.
        users: How many mappings have it.
    """

    choice: Choice
    action: Action
    places: tuple[int, ...]
    packed: bytes
    users: int = 0


@dataclass(slots=True)
class _Place:
    number: int
    users: int = 0


class Locators:
    """Numbers the locators, and keeps what the kernel knows of each: source, usable or not, MTU."""

    def __init__(
        self, kernel: KernelMap, tables: Tables, source_of: SourceOf, freed: Callable[[IPAddress, int], None]
    ) -> None:
        """Know no locator yet.

        Args:
            kernel: The map ``locators``.
            tables: What decisions depend on.
            source_of: The own RLOC from which a locator is reached.
            freed: Told of a locator whose place is free again.
        """
        self._kernel, self._tables, self._source_of, self._freed = kernel, tables, source_of, freed
        self._groups: dict[Choice, Group] = {}
        self._places: dict[IPAddress, _Place] = {}
        # First in, first out: a place that was just freed may still be in the hands of a running program.
        self._free = deque(range(MOST_LOCATORS))

    def group(self, choice: Choice) -> Group:
        """The candidates for a mapping, which has to :meth:`release` them some day. New locators are written first.

        Raises:
            OSError: The kernel refused.
        """
        found = self._groups.get(choice)
        if found is None:
            found = self._groups[choice] = self._make(choice)
        found.users += 1
        return found

    def release(self, group: Group) -> None:
        """A mapping does not use the group any more. Raises OSError."""
        group.users -= 1
        if group.users:
            return
        del self._groups[group.choice]
        if group.action is Action.STACK:
            return
        for locator in group.choice[1]:
            place = self._places[locator.address]
            place.users -= 1
            if not place.users:
                del self._places[locator.address]
                self._free.append(place.number)
                self._kernel.update(NUMBER.pack(place.number), encoding.EMPTY_LOCATOR)
                self._freed(locator.address, place.number)

    def rewrite(self, locator: IPAddress) -> None:
        """Write what is known of a locator now, if it has a place. Raises OSError."""
        place = self._places.get(locator)
        if place is not None:
            self._kernel.update(NUMBER.pack(place.number), self.value(locator))

    def rewrite_all(self) -> None:
        """The same for all (requirement S05: the routes to them have changed). Raises OSError."""
        for locator in self._places:
            self.rewrite(locator)

    def clear(self) -> None:
        """Forget all of them, and leave every place in the kernel empty. Raises OSError."""
        for locator, place in self._places.items():
            self._freed(locator, place.number)
        self._groups.clear()
        self._places.clear()
        self._free = deque(range(MOST_LOCATORS))
        for number, value in list(self._kernel.items()):
            if value != encoding.EMPTY_LOCATOR:
                self._kernel.update(number, encoding.EMPTY_LOCATOR)

    def has_room_for(self, choice: Choice) -> bool:
        """Whether each of these locators has a place, or would get one."""
        new = {one.address for one in choice[1]} - self._places.keys()
        return len(new) <= len(self._free)

    def holds(self, choice: Choice) -> bool:
        """Whether mappings with this choice take the fast path: each of its locators has a place."""
        found = self._groups.get(choice)
        return found is not None and found.action is choice[0]

    def numbered(self) -> Iterator[tuple[IPAddress, int]]:
        """Every locator with its place."""
        yield from ((address, place.number) for address, place in self._places.items())

    def value(self, locator: IPAddress) -> bytes:
        """What the kernel has to know of a locator now."""
        tables = self._tables
        source = self._source_of(locator)
        usable = source is not None and locator not in tables.down
        return encoding.locator(locator, source, usable, tables.inner_mtu(locator))

    def _make(self, choice: Choice) -> Group:
        action, locators = choice
        if action is Action.STACK or not self.has_room_for(choice):
            return Group(choice, Action.STACK, (), encoding.candidates([]))
        for locator in locators:
            place = self._places.get(locator.address)
            if place is None:
                number = self._free.popleft()
                place = self._places[locator.address] = _Place(number)
                self._kernel.update(NUMBER.pack(number), self.value(locator.address))
            place.users += 1
        return Group(choice, action, *self._packed(locators))

    def _packed(self, locators: Sequence[Locator]) -> tuple[tuple[int, ...], bytes]:
        found = [Candidate(self._places[one.address].number, one.priority, one.weight) for one in locators]
        return tuple(one.place for one in found), encoding.candidates(found)
