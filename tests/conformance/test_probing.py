"""Locators that are lost and come back, by probes, ICMP errors and routes; path MTUs; Locator-Status-Bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from testbed.act.echo import Pinger
from testbed.lab import Lab
from testbed.model import Side
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import PATIENCE_S
from tests.conformance.tester.daemons import map_cache
from tests.conformance.tester.places import rloc
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Watch

INTERVAL = 1.0
"""Seconds between probes in this world."""
_PACE = 0.02
_SLACK = 0.3
"""Seconds for what a busy machine does in between."""
_AT_ONCE = 0.5


@pytest.fixture(scope="module")
def lab(dataplane: str, boot: Callable[..., Lab]) -> Lab:
    """By each data path."""
    started = boot("probing", dataplane=dataplane)
    for router in ("xtr1", "xtr2"):
        assert started.show(router, "statistics")["dataplane"]["runs"] == dataplane
    assert started.run("h1", ["ping", "-c", "1", "-W", "10", str(started["h2"].address)]).returncode == 0
    eventually(lambda: len(locators(started)) == 2, "both RLOCs answer a probe")
    return started


def better(lab: Lab) -> str:
    return str(rloc(lab, "xtr2"))


def locators(lab: Lab) -> dict[str, dict[str, Any]]:
    """What xtr1 knows of the RLOCs that ever answered a probe."""
    return {row["rloc"]: row for row in lab.show("xtr1", "locators") if row["probes_answered"]}


def state(lab: Lab) -> str:
    return str(locators(lab)[better(lab)]["state"])


def ip(lab: Lab, node: str, *words: str) -> None:
    done = lab.run(node, ["ip", *words])
    assert done.returncode == 0, done.stderr


@contextmanager
def without_a_way(lab: Lab, kind: str) -> Iterator[None]:
    """While it lasts, core3 does not forward to the better RLOC."""
    ip(lab, "core3", "route", "add", kind, f"{better(lab)}/32")
    try:
        yield
    finally:
        ip(lab, "core3", "route", "del", kind, f"{better(lab)}/32")


@contextmanager
def link_down(lab: Lab, node: str, link: str) -> Iterator[None]:
    ip(lab, node, "link", "set", link, "down")
    try:
        yield
    finally:
        ip(lab, node, "link", "set", link, "up")


def lost_for(pinger: Pinger, lab: Lab, within: float) -> float:
    """Echoes from h1 to h2 every 20 ms: seconds until they are answered one after the other."""
    began = time.monotonic()
    answered = 0
    while answered < 3:
        echo = pinger.send("h1", lab["h2"].address)
        assert echo.sent - began < within, f"no answers within {within:g} s"
        pinger.wait([echo], echo.sent + _PACE)
        Event().wait(max(0.0, echo.sent + _PACE - time.monotonic()))
        answered = answered + 1 if echo.rtt is not None else 0
    return pinger.echoes[-3].sent - began


def destinations(lab: Lab) -> set[str]:
    """To which RLOCs an echo from h1 goes."""
    with Watch(lab, ["core3"]) as watch, Pinger(lab) as pinger:
        echo = pinger.send("h1", lab["h2"].address)
        assert pinger.wait([echo], echo.sent + PATIENCE_S)
        watch.drain()
        to_xtr2 = [one for _, one in watch.datagrams(packets.DATA) if one.source == rloc(lab, "xtr1")]
        return {str(one.destination) for one in to_xtr2}


@pytest.mark.requirement("C37")
def test_rtts_are_recorded(lab: Lab) -> None:
    for row in locators(lab).values():
        assert row["state"] == "up"
        assert row["rtt_ms"] > 0
    eventually(lambda: all(row["last_answer_s"] <= INTERVAL for row in locators(lab).values()), "answers are new")


@pytest.mark.requirement("C13", "C14", "C30", "C36")
def test_probes_go_straight_to_the_rloc(lab: Lab) -> None:
    """The P-bit, a nonce of its own, the RLOC as destination; the answer has P, A and p-bit."""
    with Watch(lab, ["xtr1", "xtr2", "msmr"]) as watch:
        asked = watch.until(lambda: watch.control(wire.MAP_REQUEST, "xtr2"), "a probe")[0]
        told = watch.until(
            lambda: [one for one in watch.control(wire.MAP_REPLY, "xtr1") if one.message.nonce == asked.message.nonce],
            "its answer",
        )[0]
        with clause("C30"):
            assert not watch.control(wire.ECM, "msmr")
    assert asked.message.word & 1 << 25
    assert told.message.word & 1 << 27
    (record,) = told.message.records
    with clause("C13"):
        assert record.authoritative
    with clause("C14"):
        assert {str(one.rloc): one.bits >> 1 & 1 for one in record.locators}[str(asked.outer.destination)] == 1
        assert sum(one.bits >> 1 & 1 for one in record.locators) == 1


@pytest.mark.alone
@pytest.mark.requirement("C37")
def test_a_silent_loss_moves_flows_within_two_intervals_and_back(lab: Lab) -> None:
    """The core drops without a word; the next best takes over; the next answered probe brings the better back."""
    assert destinations(lab) == {better(lab)}
    with Pinger(lab) as pinger:
        with without_a_way(lab, "blackhole"):
            assert lost_for(pinger, lab, within=PATIENCE_S) <= 2 * INTERVAL + _SLACK
            assert state(lab) == "down"
            assert better(lab) not in destinations(lab)
        eventually(lambda: state(lab) == "up", "the better RLOC is up", within=INTERVAL + _SLACK)
    assert destinations(lab) == {better(lab)}


@pytest.mark.alone
@pytest.mark.requirement("C35")
def test_an_icmp_unreachable_moves_flows_at_once(lab: Lab) -> None:
    with Pinger(lab) as pinger:
        with without_a_way(lab, "unreachable"):
            assert lost_for(pinger, lab, within=PATIENCE_S) <= _AT_ONCE
            assert locators(lab)[better(lab)]["why"] == "ICMP unreachable"
        eventually(lambda: state(lab) == "up", "the better RLOC is up", within=INTERVAL + _SLACK)


@pytest.mark.alone
@pytest.mark.requirement("S05")
def test_a_link_down_moves_flows_at_once(lab: Lab) -> None:
    """The link of the sender's own RLOC. Its flows leave by the other one, and no locator counts as lost."""
    link = next(one.name for one in lab["xtr1"].interfaces if one.side is Side.CORE)
    with Pinger(lab) as pinger:
        with link_down(lab, "xtr1", link):
            assert lost_for(pinger, lab, within=PATIENCE_S) <= _AT_ONCE
            Event().wait(1.5 * INTERVAL)
            assert lost_for(pinger, lab, within=PATIENCE_S) < _PACE
            assert state(lab) == "up"
        lab.wait_for("routes-restored", "xtr1", timeout=PATIENCE_S)
        assert lost_for(pinger, lab, within=PATIENCE_S) <= _AT_ONCE


@pytest.mark.alone
@pytest.mark.requirement("C36")
def test_weights_reach_the_itr_by_one_probe(lab: Lab) -> None:
    """The receiving site changes a weight, and no Solicit-Map-Request gets through."""
    rules = "table ip smr { chain in { type filter hook input priority 0; udp dport 4342 @th,64,8 0x11 drop; }; }"
    assert lab.run("xtr1", ["nft", rules]).returncode == 0
    try:
        prefix = str(lab.topology.sites["right"].eid_prefixes[0].network)
        before = {one["weight"] for one in map_cache(lab, "xtr1")[prefix]["locators"]}
        weight = max(before) + 7
        lab.set_locator("xtr2", prefix, better(lab), weight=weight)
        eventually(
            lambda: weight in {one["weight"] for one in map_cache(lab, "xtr1")[prefix]["locators"]},
            "the new weight",
            within=INTERVAL + _SLACK,
        )
    finally:
        lab.run("xtr1", ["nft", "delete", "table", "ip", "smr"])


@pytest.mark.requirement("D19")
def test_path_mtu(lab: Lab) -> None:
    """A core link takes 1400 bytes; the second large packet with DF is answered by the xTR, with 1364."""
    big = ["ping", "-n", "-i", "0.1", "-W", "1", "-s", "1380", str(lab["h2"].address)]
    ends = (("core3", "core1"), ("core1", "core3"))
    for node, link in ends:
        ip(lab, node, "link", "set", link, "mtu", "1400")
    try:
        said = lab.run("h1", [*big, "-c", "3", "-M", "do"]).stdout
        assert "mtu = 1364" in said or "mtu=1364" in said
        assert locators(lab)[better(lab)]["path_mtu"] == 1400
        # D17: without DF it is cut before encapsulation, to the path's size.
        ip(lab, "h1", "route", "flush", "cache")
        with Watch(lab, ["core1"]) as watch:
            assert lab.run("h1", [*big, "-c", "1", "-M", "dont"]).returncode == 0
            watch.drain()
            sizes = [len(one.data) - 14 for one in watch.frames if one.interface == "core3"]
        assert max(sizes) <= 1400
    finally:
        for node, link in ends:
            ip(lab, node, "link", "set", link, "mtu", "1500")


@pytest.mark.requirement("D09", "D10")
def test_locator_status_bits_tell_which_links_are_up(lab: Lab) -> None:
    """Router xtr2 sends them; xtr1 does not, and takes no notice."""

    def bits() -> set[tuple[str, int | None]]:
        with Watch(lab, ["core1", "core2", "core3"]) as watch, Pinger(lab) as pinger:
            echo = pinger.send("h1", lab["h2"].address)
            assert pinger.wait([echo], echo.sent + PATIENCE_S)
            watch.drain()
            found: set[tuple[str, int | None]] = set()
            for _, one in watch.datagrams(packets.DATA):
                first, second = one.payload[0], int.from_bytes(one.payload[4:8], "big")
                sender = "xtr2" if one.source in lab["xtr2"].lisp.rlocs else "xtr1"  # type: ignore[union-attr]
                found.add((sender, second if first & 0x40 else None))
            return found

    ours = sorted(lab["xtr2"].lisp.rlocs)  # type: ignore[union-attr]
    before = bits()
    with clause("D09"):
        assert {one for one in before if one[0] == "xtr2"} == {("xtr2", 0b11)}
    with clause("D10"):
        assert {one for one in before if one[0] == "xtr1"} == {("xtr1", None)}
    link = [one.name for one in lab["xtr2"].interfaces if one.side is Side.CORE][1]
    with link_down(lab, "xtr2", link):
        gone = ours.index(lab["xtr2"].lisp.rlocs[1])  # type: ignore[union-attr]
        with clause("D09"):
            eventually(lambda: ("xtr2", 0b11 & ~(1 << gone)) in bits(), "the bit is cleared")
    with clause("D09"):
        eventually(lambda: ("xtr2", 0b11) in bits(), "the bit is set")
