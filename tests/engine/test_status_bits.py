"""Locator-Status-Bits of another site: a locator that it says is down is not sent to (RFC 9300 section 10)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nodes.lisp.effects import LocatorState
from nodes.lisp.eid import IPAddress, host_prefix
from nodes.lisp.engine.probing import BY_STATUS_BIT, ICMP_BURST
from nodes.lisp.inputs import StatusBits
from tests.engine.test_probing import INTERVAL, SECOND, cut, joined, probes
from tests.engine.world import H2, XTR2, World

FIRST_DOWN, SECOND_DOWN, NEITHER, BOTH = 0b10, 0b01, 0b00, 0b11


def tell(world: World, bits: int, rloc: IPAddress = SECOND) -> list[LocatorState]:
    """Packets come with these bits; what becomes of locators."""
    return [one for one in world.put("xtr1", StatusBits(H2, rloc, bits)) if isinstance(one, LocatorState)]


@pytest.mark.requirement("D09")
def test_a_cleared_bit_takes_its_locator_down_until_it_is_set_again() -> None:
    """At once both times, in the order of the Map-Reply; a probe that goes unanswered keeps it down."""
    world = joined(locator_status_bits=True)
    assert tell(world, BOTH) == []
    world.lost = cut(XTR2)
    assert tell(world, FIRST_DOWN) == [LocatorState(XTR2, False)]
    assert tell(world, FIRST_DOWN) == []
    world.run(INTERVAL / 2)
    (row,) = [one for one in world["xtr1"].engine.show("locators", world.now) if one["rloc"] == str(XTR2)]
    assert (row["state"], row["why"]) == ("down", BY_STATUS_BIT)
    assert tell(world, BOTH) == [LocatorState(XTR2, True)]


@pytest.mark.requirement("D09")
def test_a_probe_that_is_answered_says_more() -> None:
    """Sent at once: no lasting harm by bits that somebody forged."""
    world = joined(locator_status_bits=True)
    before = len(probes(world, XTR2))
    assert tell(world, FIRST_DOWN) == [LocatorState(XTR2, False)]
    assert len(probes(world, XTR2)) == before + 1
    world.run(1.0)
    assert world["xtr1"].down == set()
    assert tell(world, BOTH) == []


def test_forged_bits_are_believed_seldom_and_never_of_all_locators() -> None:
    world = joined(locator_status_bits=True)
    assert tell(world, NEITHER) == [LocatorState(XTR2, False)], "the last usable one stays"
    changes = []
    for _ in range(20):
        world.run(0.2)
        changes += [one for one in tell(world, FIRST_DOWN) if not one.up]
    assert len(changes) == ICMP_BURST - 1
    world.run(1.0)
    assert world["xtr1"].down == set()


def test_the_site_may_send_from_another_rloc() -> None:
    world = joined(locator_status_bits=True)
    assert tell(world, FIRST_DOWN, ip_address("2001:db8:99::1")) == [LocatorState(XTR2, False)]


def test_what_is_not_cached_has_no_locators() -> None:
    world = joined(locator_status_bits=True)
    assert world.put("xtr1", StatusBits(host_prefix("192.168.77.1"), SECOND, NEITHER)) == []


@pytest.mark.requirement("D10")
def test_they_mean_nothing_where_they_are_switched_off() -> None:
    assert tell(joined(), FIRST_DOWN) == []


def test_a_down_locator_is_not_brought_back_by_its_bit_if_something_else_took_it_down() -> None:
    """The link of the site is there, the path to it is not."""
    world = joined(locator_status_bits=True)
    world.lost = cut(XTR2)
    world.run(2 * INTERVAL)
    assert XTR2 in world["xtr1"].down
    assert tell(world, BOTH) == []
    assert XTR2 in world["xtr1"].down
