"""A host that two xTRs find: in two places, or moving there and back faster than messages do."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.lisp.engine.handover import FIRST_YIELD
from nodes.lisp.inputs import HostSeen
from tests.engine.stretched import HOST, PORT, appears, at_one_place, notifies, registered, stretched
from tests.engine.world import XTR1, XTR2, World


def duplicates(world: World) -> list[tuple[str, dict[str, Any]]]:
    """Who has said that there are two of a host, and what."""
    return [
        (name, one.fields)
        for name in ("xtr1", "xtr2")
        for one in world[name].reports
        if one.event == "dynamic-eid-duplicate"
    ]


def test_a_host_that_goes_there_and_back_again_and_again_is_no_duplicate() -> None:
    """Sooner than its absence is taken for granted, but not as soon as an answer comes from who never left."""
    world = at_one_place()
    for place in ("xtr2", "xtr1") * 12:
        world.run(0.4)
        appears(world, place)
        world.run(0.1)
        assert registered(world) == str({"xtr1": XTR1, "xtr2": XTR2}[place])
    assert not duplicates(world)


@pytest.mark.parametrize(
    ("delay", "answered_after", "most"), [(0.01, None, 14), (0.4, None, 20), (0.01, 0.35, 94), (0.01, 0.5, 68)]
)
def test_a_host_in_both_places_stays_with_the_lower_rloc(delay: float, answered_after: float | None, most: int) -> None:
    """Whoever comes last, and however slow it is: a bounded number of claims, and somebody says what is wrong."""
    for first, second in (("xtr1", "xtr2"), ("xtr2", "xtr1")):
        world = stretched()
        world.delay, world.answered_after = delay, answered_after
        for name in (first, second):
            world[name].present.add(HOST)
            world.put(name, HostSeen(HOST, PORT))
            world.run(3)
        for _ in range(40):  # both go on to speak
            for name in ("xtr1", "xtr2"):
                world.put(name, HostSeen(HOST, PORT))
            world.run(1)
        assert registered(world) == str(XTR1)
        assert (HOST in world["xtr1"].hosts, HOST in world["xtr2"].hosts) == (True, False)
        assert duplicates(world) == [("xtr2", {"eid": str(HOST), "kept_by": [str(XTR1)]})]
        assert len(notifies(world)) <= most


@pytest.mark.parametrize("gap", [0.0, 0.005, 0.02, 0.1, 0.15, 0.25])
@pytest.mark.parametrize("moves", [5, 6, 21, 22])
def test_a_host_that_moves_faster_than_messages_is_found_where_it_comes_to_rest(gap: float, moves: int) -> None:
    """It looks as if it were in two places; who leaves it to the other looks a second later, though it is silent.

    Nobody says that there are two of it, unless it has gone on so until then.
    """
    world = at_one_place()
    for number in range(moves):
        world.run(gap)
        place = ("xtr2", "xtr1")[number % 2]
        appears(world, place)
    world.run(6)
    assert registered(world) == str({"xtr1": XTR1, "xtr2": XTR2}[place])
    assert [name for name in ("xtr1", "xtr2") if HOST in world[name].hosts] == [place]
    assert not duplicates(world) or moves * gap > FIRST_YIELD
