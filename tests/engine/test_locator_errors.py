"""ICMP errors about locators, and path MTUs (RFC 9301 section 7, RFC 9300 section 7.2)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nodes.lisp.eid import IPAddress
from nodes.lisp.engine.probing import ICMP_BURST, ICMP_INTERVAL, PARDON
from nodes.lisp.inputs import TooBig, Unreachable
from tests.engine.test_probing import INTERVAL, SECOND, cut, joined, probes
from tests.engine.world import (
    MS,
    XTR1,
    XTR2,
)

# ICMP errors


@pytest.mark.requirement("C35")
def test_an_icmp_unreachable_takes_a_locator_down_at_once_and_a_probe_brings_it_back() -> None:
    world = joined()
    world.run(INTERVAL)
    before = len(probes(world, XTR2))
    world.put("xtr1", Unreachable(XTR2))
    assert world["xtr1"].down == {XTR2}
    assert len(probes(world, XTR2)) == before + 1
    world.run(0.1)
    assert world["xtr1"].down == set()


def test_a_locator_that_is_gone_stays_down_and_comes_back() -> None:
    world = joined()
    world.run(INTERVAL)
    world.lost = cut(XTR2)
    world.put("xtr1", Unreachable(XTR2))
    world.run(5 * INTERVAL)
    assert world["xtr1"].down == {XTR2}
    world.lost = cut()
    world.run(INTERVAL + 0.1)
    assert world["xtr1"].down == set()


def test_a_router_that_restarts_is_found_soon() -> None:
    """Its kernel answers with port unreachable meanwhile: found when a quarter of its absence has passed again."""
    world = joined()
    world.run(INTERVAL)
    world.lost = cut(XTR2)
    world.put("xtr1", Unreachable(XTR2))
    world.run(0.8)
    world.lost = cut()
    assert world["xtr1"].down == {XTR2}
    world.run(0.25)
    assert world["xtr1"].down == set()


def test_a_locator_that_is_down_costs_little() -> None:
    world = joined()
    world.run(INTERVAL)
    before = len(probes(world, XTR2))
    world.lost = cut(XTR2)
    world.run(100 * INTERVAL)
    assert len(probes(world, XTR2)) - before <= 100 / 0.8 + 30


@pytest.mark.requirement("C35")
def test_forged_errors_do_no_lasting_harm() -> None:
    """Believed three times at once, then once in ten seconds, each time for one round trip."""
    world = joined()
    world.run(INTERVAL)
    harm = 0.0
    for _ in range(1000):
        world.put("xtr1", Unreachable(XTR2))
        was_down = XTR2 in world["xtr1"].down
        world.run(0.03)
        harm += 0.03 * was_down
    assert world["xtr1"].engine.counters["locators-down"] <= ICMP_BURST + 30 / ICMP_INTERVAL + 1
    assert harm < 0.3
    assert world["xtr1"].down == set()


def test_an_error_about_no_locator_changes_nothing() -> None:
    world = joined()
    world.run(INTERVAL)
    before = len(world.packets)
    for rloc in (MS, XTR1, ip_address("10.0.66.6"), ip_address("2001:db8::1")):
        world.put("xtr1", Unreachable(rloc))
    assert world["xtr1"].down == set()
    assert world["xtr1"].drops == {"icmp-unreachable-no-locator": 4}
    assert len(world.packets) == before


def test_an_error_about_the_only_locator_left_changes_nothing() -> None:
    """There is nowhere to move to: what goes on being sent arrives as soon as the path is whole again."""
    world = joined(probing=0)
    world.lost = cut(XTR2)
    for rloc in (XTR2, SECOND):
        world.put("xtr1", Unreachable(rloc))
    assert world["xtr1"].down == {XTR2}
    assert world["xtr1"].drops == {"icmp-unreachable-only-locator": 1}


@pytest.mark.requirement("C35")
def test_without_probing_a_map_request_brings_it_back() -> None:
    """As section 7 has it: retry by Map-Request, at once and then each ten seconds."""
    world = joined(probing=0)
    world.put("xtr1", Unreachable(XTR2))
    world.run(0.1)
    assert world["xtr1"].down == set()
    assert len(probes(world)) == 1
    world.lost = cut(XTR2)
    world.put("xtr1", Unreachable(XTR2))
    world.run(25)
    assert world["xtr1"].down == {XTR2}
    assert 10 <= len(probes(world)) - 1 <= 25
    world.lost = cut()
    world.run(10.1)
    assert world["xtr1"].down == set()
    before = len(probes(world))
    world.run(100)
    assert len(probes(world)) == before, "it is not probed for ever"


def test_without_probing_time_brings_it_back_as_well() -> None:
    """An ETR that answers no probes is not lost for ever to a forged error."""
    world = joined(probing=0)
    world.lost = cut(XTR2)
    world.put("xtr1", Unreachable(XTR2))
    world.run(PARDON - 5)
    assert world["xtr1"].down == {XTR2}
    world.run(20)
    assert world["xtr1"].down == set()


# Path MTU


@pytest.mark.requirement("D19")
def test_path_mtu_is_learned_lowered_and_forgotten() -> None:
    world = joined(path_mtu_discovery=True)
    world.put("xtr1", TooBig(XTR2, 1400))
    assert world["xtr1"].path_mtus == {XTR2: 1400}
    world.put("xtr1", TooBig(XTR2, 1450))
    assert world["xtr1"].path_mtus == {XTR2: 1400}, "an error never raises it"
    world.run(300)
    world.put("xtr1", TooBig(XTR2, 1300))
    assert world["xtr1"].path_mtus == {XTR2: 1300}
    world.run(599)
    assert world["xtr1"].path_mtus == {XTR2: 1300}
    world.run(2)
    assert world["xtr1"].path_mtus == {}


@pytest.mark.parametrize(
    ("rloc", "mtu"), [(XTR2, 575), (XTR2, 0), (XTR2, 1500), (XTR2, 65535), (MS, 1400), (XTR1, 1400)]
)
def test_what_cannot_be_a_path_mtu_is_not_believed(rloc: IPAddress, mtu: int) -> None:
    world = joined(path_mtu_discovery=True)
    world.put("xtr1", TooBig(rloc, mtu))
    assert world["xtr1"].path_mtus == {}


def test_stateless_is_the_default() -> None:
    world = joined()
    world.put("xtr1", TooBig(XTR2, 1400))
    assert world["xtr1"].path_mtus == {}
