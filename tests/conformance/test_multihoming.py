"""Several RLOCs: which the packets go to and which they come from (S05, D21, D22, C16), and who learns of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.mappings import resolved
from tests.conformance.tester.packets import read_frame
from tests.conformance.tester.places import facing, rloc
from tests.conformance.tester.traffic import SINK, inject, sink
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Watch, inner_request

FLOWS = 2000
SHARE_POINTS = 0.03


@pytest.fixture(scope="module")
def lab(boot: Callable[[str], Lab]) -> Lab:
    started = boot("multihomed")
    assert started.run("h1", ["ping", "-c", "1", "-W", "10", str(started["h2"].address)]).returncode == 0
    return started


def rlocs(lab: Lab, node: str) -> dict[str, Any]:
    """The RLOCs of a node by the core router that they face."""
    config = lab[node].lisp
    assert config is not None
    return dict(zip(config.core_interfaces, config.rlocs, strict=True))


def flows(lab: Lab, count: int) -> list[bytes]:
    """Packets from h1 to h2, each a flow of its own."""
    h1, h2 = lab["h1"].address, lab["h2"].address
    return [packets.datagram(h1, h2, (20000 + number, SINK), b"flow") for number in range(count)]


def outers(lab: Lab, sent: list[bytes]) -> list[packets.Datagram]:
    """Send packets from h1; the outer headers that the core saw come from xtr1, each once."""
    own = set(rlocs(lab, "xtr1").values())
    first_hops = [router.name for router in lab.topology.core]
    with sink(lab, "h2"), Watch(lab, first_hops) as watch:
        seen: list[packets.Datagram] = []

        def from_xtr1() -> list[packets.Datagram]:
            # Only what came straight from xtr1: the interface has its name.
            seen.extend(
                one
                for frame in watch.frames
                if frame.interface == "xtr1" and (one := read_frame(frame.data)) and one.source in own
            )
            watch.frames.clear()
            return seen if len(seen) >= len(sent) else []

        for start in range(0, len(sent), 500):
            inject(lab, "h1", *sent[start : start + 500])
        found = watch.until(from_xtr1, f"{len(sent)} LISP packets")
        assert len(found) == len(sent)
        return found


def settles(lab: Lab, sent: list[bytes], what: Callable[[packets.Datagram], Any], wanted: set[Any]) -> None:
    """Packets go as they should, once the router has heard of the route that was changed."""
    eventually(lambda: {what(one) for one in outers(lab, sent)} == wanted, f"packets go by {wanted}")


@pytest.mark.requirement("D21")
def test_the_best_priority_wins_and_weights_share(lab: Lab) -> None:
    """Priorities 1, 1 and 2, weights 75 and 25: 2000 flows, within 3 percentage points."""
    shares = Counter(one.destination for one in outers(lab, flows(lab, FLOWS)))
    there = rlocs(lab, "xtr2")
    assert set(shares) == {there["core1"], there["core2"]}
    assert abs(shares[there["core1"]] / FLOWS - 0.75) <= SHARE_POINTS


@pytest.mark.requirement("D02", "D22")
def test_one_flow_has_one_locator_and_one_source(lab: Lab) -> None:
    for packet in flows(lab, 8):
        found = outers(lab, [packet] * 20)
        with clause("D22"):
            assert len({(one.source, one.destination) for one in found}) == 1
        with clause("D02"):
            assert len({one.source_port for one in found}) == 1


@pytest.mark.requirement("S05")
def test_the_route_to_the_rloc_comes_first_and_gives_the_source(lab: Lab) -> None:
    """Each locator by another link; the source RLOC is that link's, and follows when the route changes."""
    own, there = rlocs(lab, "xtr1"), rlocs(lab, "xtr2")
    sent = flows(lab, 60)
    assert {one.source for one in outers(lab, sent)} == {own["core1"]}
    route = [f"{there['core2']}/32", "via", str(facing(lab, "core2", "xtr1"))]
    assert lab.run("xtr1", ["ip", "route", "add", *route]).returncode == 0
    try:
        ends = {(own[core], there[core]) for core in ("core1", "core2")}
        settles(lab, sent, lambda one: (one.source, one.destination), ends)
    finally:
        assert lab.run("xtr1", ["ip", "route", "del", *route]).returncode == 0
    settles(lab, sent, lambda one: one.source, {own["core1"]})


@pytest.mark.requirement("D21", "S05")
def test_a_locator_without_a_route_is_not_used(lab: Lab) -> None:
    """The next best takes its flows; when it is reachable again they come back."""
    there = rlocs(lab, "xtr2")
    sent = flows(lab, 60)
    null = [["unreachable", f"{there[core]}/32"] for core in ("core1", "core2")]
    for route in null:
        assert lab.run("xtr1", ["ip", "route", "add", *route]).returncode == 0
    try:
        settles(lab, sent, lambda one: one.destination, {there["core3"]})
    finally:
        for route in null:
            assert lab.run("xtr1", ["ip", "route", "del", *route]).returncode == 0
    settles(lab, sent, lambda one: one.destination, {there["core1"], there["core2"]})


@pytest.mark.requirement("C04", "C16")
def test_locators_are_sorted_by_address(lab: Lab) -> None:
    """In Map-Register, Map-Notify and Map-Reply, whatever the order of the links, all L-bits set."""
    with Watch(lab, ["msmr", "xtr1", "xtr2", *(router.name for router in lab.topology.core)]) as watch:
        lab.restart("xtr2")
        resolved(lab, "xtr1", lab["h2"].address)
        watch.drain()
        kinds = {kind: watch.control(kind) for kind in (wire.MAP_REGISTER, wire.MAP_NOTIFY, wire.MAP_REPLY)}
    wanted = sorted(rlocs(lab, "xtr2").values())
    assert wanted != list(rlocs(lab, "xtr2").values())
    prefix = lab.topology.sites["right"].eid_prefixes[0].network
    for kind, seen in kinds.items():
        records = [record for one in seen for record in one.message.records if record.prefix == prefix]
        assert records, kind
        for record in records:
            with clause("C16"):
                assert [one.rloc for one in record.locators] == wanted
            with clause("C04"):
                assert record.reserved == 0
                assert {one.bits & ~0b010 for one in record.locators} == {0b101}  # a probe may have been answered
            by_rloc = {one.rloc: (one.priority, one.weight) for one in record.locators}
            there = rlocs(lab, "xtr2")
            assert [by_rloc[there[core]] for core in ("core1", "core2", "core3")] == [(1, 75), (1, 25), (2, 100)]


@pytest.mark.requirement("C05")
def test_a_map_request_names_every_rloc(lab: Lab) -> None:
    """Two ITR-RLOCs, and IRC says one more than the first; the reply comes to the first."""
    answered = resolved(lab, "xtr1", lab["h2"].address + 66)
    request, reply = inner_request(answered.question), answered.reply
    assert request.word == wire.MAP_REQUEST << 28 | 1 << 8 | 1
    assert request.itr_rlocs == tuple(rlocs(lab, "xtr1").values())
    assert reply.outer.destination == rloc(lab, "xtr1")


def test_packets_to_any_rloc_of_the_etr_are_delivered(lab: Lab) -> None:
    """All three of xtr2's."""
    h1, h2 = lab["h1"].address, lab["h2"].address
    with sink(lab, "h2"), Watch(lab, ["h2"]) as watch:
        for number, (core, address) in enumerate(rlocs(lab, "xtr2").items()):
            inner = packets.datagram(h1, h2, (7, SINK), bytes([number]))
            inject(lab, core, packets.lisp(rloc(lab, "xtr1"), address, inner))
        watch.until(lambda: {one.payload for _, one in watch.datagrams(SINK)} == {b"\0", b"\1", b"\2"}, "three packets")
