"""RLOC-probing, with engines joined in memory (RFC 9301 section 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from random import Random

import pytest

from nodes.lisp.config import DatabaseMapping, Locator, NodeConfig
from nodes.lisp.effects import LocatorState, Send
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.probing import MOST_LOCATORS
from nodes.lisp.inputs import ChangeLocator, Datagram, TooBig, Unreachable
from nodes.lisp.wire import EidRecord, EncapsulatedControlMessage, LocatorRecord, MapReply, MapRequest
from tests.engine.world import (
    DC1,
    DC2,
    H2,
    MS,
    PXTR,
    XTR1,
    XTR2,
    Packet,
    World,
    map_resolver,
    map_server,
    pxtr,
    site,
    xtr,
)

SECOND = ip_address("10.0.22.1")
"""The backup RLOC of the second site."""
INTERVAL = 10.0


def multihomed(probing: float = INTERVAL, first: int = 1, second: int = 2) -> NodeConfig:
    locators = (Locator(XTR2, first, 100), Locator(SECOND, second, 100))
    return replace(
        xtr("xtr2", XTR2, DC2), rlocs=(XTR2, SECOND), database=(DatabaseMapping(DC2, locators),), probing=probing
    )


def joined(probing: float = INTERVAL, **itr: object) -> World:
    """An ITR with the mapping of a site with two RLOCs in its map-cache, and data on its way there."""
    configured = replace(xtr("xtr1", XTR1, DC1), probing=probing, **itr)  # type: ignore[arg-type]
    world = World().add(map_server(), map_resolver(), configured, multihomed(probing), pxtr())
    world.run()
    assert world.resolve("xtr1", H2).locators
    world["xtr1"].in_use.add(XTR2)
    return world


def probes(world: World, rloc: IPAddress | None = None) -> list[Packet]:
    found = [one for one in world.sent(MapRequest, XTR1) if isinstance(one.message, MapRequest) and one.message.probe]
    return [one for one in found if rloc in (None, one.destination)]


def cut(*rlocs: IPAddress) -> Callable[[Packet], bool]:
    return lambda packet: packet.destination in rlocs


@pytest.mark.requirement("C30", "C36")
def test_locators_of_mappings_in_use_are_probed_straight() -> None:
    """P-bit, random nonces, never encapsulated, the cached EID-prefix; the backup RLOC as well."""
    world = joined()
    world.run(10 * INTERVAL)
    assert len({one.message.nonce for one in probes(world)}) == len(probes(world))
    for rloc in (XTR2, SECOND):
        sent = probes(world, rloc)
        assert 9 <= len(sent) <= 13  # one in an interval of 8 to 10 seconds
        assert {one.message.records[0].prefix for one in sent} == {DC2}
        gaps = [later.time - one.time for one, later in pairwise(sent)]
        assert all(0.8 * INTERVAL <= gap <= INTERVAL for gap in gaps)
        assert len({round(gap, 3) for gap in gaps}) > 3, "jittered"
    assert world["xtr1"].down == set()
    row = world["xtr1"].engine.show("locators", world.now)[0]
    assert (row["rloc"], row["state"], row["rtt_ms"]) == (str(XTR2), "up", 20.0)
    assert row["probes_answered"] == row["probes_sent"] > 8


def test_what_is_not_in_use_is_not_probed() -> None:
    world = joined()
    world["xtr1"].in_use.clear()
    world.run(5 * INTERVAL)
    assert probes(world) == []


def test_probing_ends_with_the_use() -> None:
    world = joined()
    world.run(3 * INTERVAL)
    world["xtr1"].in_use.clear()
    world.run(INTERVAL)
    before = len(probes(world))
    assert before
    world.run(5 * INTERVAL)
    assert len(probes(world)) == before


def test_zero_switches_probing_off() -> None:
    world = joined(probing=0)
    world.run(5 * INTERVAL)
    assert probes(world) == []


@pytest.mark.requirement("C37")
@pytest.mark.parametrize("seed", range(5))
def test_a_lost_locator_is_down_within_two_intervals_and_comes_back_with_the_next_probe(seed: int) -> None:
    world = joined()
    world.run(3 * INTERVAL + seed * 1.7)
    world.lost = cut(XTR2)
    world.run(2 * INTERVAL)
    assert world["xtr1"].down == {XTR2}
    (row,) = [one for one in world["xtr1"].engine.show("locators", world.now) if one["rloc"] == str(XTR2)]
    assert (row["state"], row["why"]) == ("down", "3 probes unanswered")
    cached = [one for one in world["xtr1"].engine.show("map-cache", world.now) if one["eid"] == str(DC2)]
    assert [one["state"] for one in cached[0]["locators"]] == ["down", "up"]
    # Nobody sends there any more, and it is probed all the same.
    world["xtr1"].in_use.clear()
    world.run(20 * INTERVAL)
    assert world["xtr1"].down == {XTR2}
    world.lost = cut()
    world.run(INTERVAL + 0.1)
    assert world["xtr1"].down == set()


def test_a_mapping_that_has_just_come_into_use_is_watched_within_two_intervals() -> None:
    for start in range(8):
        world = joined()
        world["xtr1"].in_use.clear()
        world.run(3 * INTERVAL + start)
        world["xtr1"].in_use.add(XTR2)
        world.lost = cut(XTR2)
        world.run(2 * INTERVAL)
        assert world["xtr1"].down == {XTR2}


def test_all_locators_can_be_down() -> None:
    world = joined()
    world.run(INTERVAL)
    world.lost = cut(XTR2, SECOND)
    world.run(2 * INTERVAL)
    assert world["xtr1"].down == {XTR2, SECOND}


@pytest.mark.requirement("C37")
@pytest.mark.parametrize("seed", range(20))
def test_random_loss_never_outlasts_itself(seed: int) -> None:
    """A property: whatever is lost, two intervals after the last loss every locator is up."""
    random = Random(seed)
    world = joined()
    world._random = Random(seed + 1000)
    share = random.random()
    world.lost = lambda packet: packet.destination in (XTR2, SECOND, XTR1) and random.random() < share
    for _ in range(20):
        world.run(random.uniform(0, 3 * INTERVAL))
        states = {row["rloc"]: row["state"] for row in world["xtr1"].engine.show("locators", world.now)}
        assert {ip_address(rloc) for rloc, state in states.items() if state == "down"} == world["xtr1"].down
    world.lost = cut()
    world.run(2 * INTERVAL)
    assert world["xtr1"].down == set()


def test_a_single_loss_takes_nothing_down() -> None:
    world = joined()
    counted = {XTR2: 0}

    def every_third_arrives(packet: Packet) -> bool:
        if packet.destination != XTR2 or not isinstance(packet.message, MapRequest):
            return False
        counted[XTR2] += 1
        return counted[XTR2] % 3 != 0

    world.lost = every_third_arrives
    world.run(20 * INTERVAL)
    assert counted[XTR2] > 30
    assert world["xtr1"].engine.counters["locators-down"] == 0


@pytest.mark.requirement("C36")
def test_the_receiving_site_changes_a_weight_and_one_probe_brings_it() -> None:
    """No Solicit-Map-Request arrives."""
    world = joined()
    world.run(INTERVAL)
    world.lost = lambda packet: isinstance(packet.message, MapRequest) and packet.message.smr
    world.put("xtr2", ChangeLocator(DC2, XTR2, 1, 7, (XTR1,), token=1))
    installed = world["xtr1"].forwarding(H2)
    world.run(INTERVAL + 0.1)
    now = world["xtr1"].forwarding(H2)
    assert now != installed
    assert [one.weight for one in now.locators if one.address == XTR2] == [7]


def test_an_unchanged_mapping_is_not_written_again() -> None:
    """A probe a second for each of many locators must not make the data path forget its flows."""
    world = joined()
    world.run(INTERVAL)
    reports = len(world["xtr1"].reports)
    first = world["xtr1"].engine.show("map-cache", world.now)
    world.run(5 * INTERVAL)
    later = world["xtr1"].engine.show("map-cache", world.now)
    (one,), (other,) = ([row for row in rows if row["eid"] == str(DC2)] for rows in (first, later))
    assert len(world["xtr1"].reports) == reports
    assert other["uptime_s"] > one["uptime_s"] + 4 * INTERVAL
    assert other["expires_s"] >= 1440 * 60 - INTERVAL, "the Record TTL begins anew"


def last_probe(world: World, rloc: IPAddress) -> MapRequest:
    """A probe that waits for its answer, which the network keeps."""
    world.lost = cut(rloc)
    before = len(probes(world, rloc))
    while len(probes(world, rloc)) == before:
        world.run(0.1)
    message = probes(world, rloc)[-1].message
    assert isinstance(message, MapRequest)
    return message


def record(*rlocs: IPAddress, probed: tuple[IPAddress, ...], authoritative: bool = True) -> EidRecord:
    locators = [LocatorRecord(one, 1, 50, probed=one in probed) for one in rlocs]
    return EidRecord.of(DC2, 1440, locators, authoritative=authoritative)


BAD = {
    "map-reply-unknown-nonce": lambda nonce: MapReply(nonce ^ 1, (record(XTR2, probed=(XTR2,)),), probe=True),
    "map-reply-not-of-probe": lambda nonce: MapReply(nonce, (record(XTR2, probed=(XTR2,)),)),
    "probe-reply-not-authoritative": lambda nonce: MapReply(
        nonce, (record(XTR2, probed=(XTR2,), authoritative=False),), probe=True
    ),
    "probe-reply-other-locator": lambda nonce: MapReply(nonce, (record(XTR2, SECOND, probed=(SECOND,)),), probe=True),
    "map-reply-other-eid": lambda nonce: MapReply(nonce, (EidRecord.of(DC1, 5, authoritative=True),), probe=True),
    "map-reply-forbidden-locator": lambda nonce: MapReply(
        nonce, (record(XTR2, ip_address("224.0.0.9"), probed=(XTR2,)),), probe=True
    ),
}


@pytest.mark.requirement("C07", "C13", "C14", "C15")
@pytest.mark.parametrize("reason", BAD)
def test_a_bad_probe_reply_changes_nothing(reason: str) -> None:
    """What is not an answer to this probe is dropped, and the locator goes down as before."""
    world = joined()
    world.run(INTERVAL)
    probe = last_probe(world, XTR2)
    before = world["xtr1"].forwarding(H2)
    effects = world.inject("xtr1", BAD[reason](probe.nonce).encode(), XTR2, 4342, 50_000)
    assert world["xtr1"].drops == {reason: 1}
    assert not [one for one in effects if isinstance(one, LocatorState | Send)]
    world.run(2 * INTERVAL)
    assert world["xtr1"].forwarding(H2) == before
    assert world["xtr1"].down == {XTR2}


@pytest.mark.requirement("C14")
def test_of_several_p_bits_the_first_one_counts() -> None:
    world = joined()
    world.run(INTERVAL)
    probe = last_probe(world, XTR2)
    both = MapReply(probe.nonce, (record(XTR2, SECOND, probed=(XTR2, SECOND)),), probe=True)
    world.inject("xtr1", both.encode(), XTR2, 4342, 50_000)
    assert world["xtr1"].drops == {}
    assert [one.weight for one in world["xtr1"].forwarding(H2).locators] == [50, 50]


def test_a_reply_counts_once() -> None:
    world = joined()
    world.run(INTERVAL)
    probe = last_probe(world, XTR2)
    reply = MapReply(probe.nonce, (record(XTR2, SECOND, probed=(XTR2,)),), probe=True).encode()
    world.inject("xtr1", reply, XTR2, 4342, 50_000)
    world.inject("xtr1", reply, XTR2, 4342, 50_000)
    assert world["xtr1"].drops == {"map-reply-unknown-nonce": 1}


def test_an_etr_without_the_mapping_answers_and_is_up() -> None:
    """RFC 9301 section 5.2: a probe is always answered; the mapping stays, the mapping system knows better."""
    world = joined()
    world.run(INTERVAL)
    before = world["xtr1"].forwarding(H2)
    probe = last_probe(world, XTR2)
    world.inject("xtr1", MapReply(probe.nonce, (), probe=True).encode(), XTR2, 4342, 50_000)
    world.lost = cut()
    world.run(INTERVAL)
    assert world["xtr1"].down == set()
    assert world["xtr1"].forwarding(H2) == before


def test_many_mappings_of_one_rloc_share_its_probes() -> None:
    """One exchange in an interval, whatever number of EID-prefixes is behind an RLOC; each has its turn."""
    prefixes = [EidPrefix.of(f"192.168.2.{16 * n}/28") for n in range(6)]
    mappings = tuple(DatabaseMapping(one, (Locator(XTR2, 1, 100),)) for one in prefixes)
    world = World().add(
        map_server(site("dc1", DC1), site("dc2", DC2, more=True)),
        map_resolver(),
        replace(xtr("xtr1", XTR1, DC1), probing=INTERVAL),
        replace(multihomed(), database=mappings, rlocs=(XTR2,)),
    )
    world.run()
    for one in prefixes:
        world.resolve("xtr1", EidPrefix.of(f"{one.address + 1}"))
    world["xtr1"].in_use.add(XTR2)
    world.run(6.2 * INTERVAL)
    assert 5 <= len(probes(world)) <= 8
    asked = [one.message.records[0].prefix for one in probes(world)]
    assert set(asked[:6]) == set(prefixes[: len(asked)]), "each in its turn"


def test_a_pitr_probes_and_a_petr_answers() -> None:
    """RFC 9301 section 7.1: an ITR or PITR; RFC 6832 section 6: a PETR is an ETR to the sites that use it."""
    world = joined(petrs=(PXTR,))
    world["xtr1"].in_use.clear()
    world["xtr1"].in_use.add(PXTR)
    world.resolve("pxtr", H2)
    world["pxtr"].in_use.add(XTR2)
    world.run(3 * INTERVAL)
    (row,) = world["xtr1"].engine.show("locators", world.now)
    assert (row["rloc"], row["state"]) == (str(PXTR), "up")
    assert row["probes_answered"] == row["probes_sent"] >= 2
    of_pitr = [one.message for one in world.sent(MapRequest, PXTR) if one.destination == XTR2]
    assert of_pitr
    assert all(isinstance(one, MapRequest) and one.probe and one.pitr for one in of_pitr)
    world.lost = cut(PXTR)
    world.run(2 * INTERVAL)
    assert world["xtr1"].down == {PXTR}


@pytest.mark.requirement("C30")
def test_a_map_server_without_an_etr_answers_no_probe() -> None:
    world = joined()
    world.run(INTERVAL)
    probe = last_probe(world, XTR2)
    assert [one for one in world.inject("ms", probe.encode(), XTR1, 50_000) if isinstance(one, Send)] == []
    assert world["ms"].drops == {"probe": 1}
    assert [one for one in world.packets if one.destination == MS and one.source == XTR1 and one in probes(world)] == []


def test_the_answer_is_asked_to_another_own_rloc_when_none_comes() -> None:
    """The link of an own RLOC may be down: that does not take every locator down."""
    other = ip_address("10.0.11.1")
    world = joined(rlocs=(XTR1, other))
    world.lost = cut(XTR1)
    world.run(20 * INTERVAL)
    assert len(probes(world)) > 30
    assert world["xtr1"].engine.counters["locators-down"] == 0
    assert world["xtr1"].down == set()


def test_at_most_so_many_locators_are_probed() -> None:
    """Bounded work, however large the world is."""
    world = joined()
    node = world["xtr1"]
    rlocs = [ip_address(f"10.9.{n // 250}.{n % 250 + 1}") for n in range(3 * MOST_LOCATORS)]
    for n, rloc in enumerate(rlocs):
        prefix = EidPrefix.of(f"192.168.2.{n % 250}/32") if n < 250 else EidPrefix.of(f"192.168.3.{n % 250}/32")
        found = EidRecord.of(prefix, 60, [LocatorRecord(rloc, 1, 1)])
        itr = node.engine._itr
        assert itr is not None
        list(itr.map_cache.store(found, world.now))
    node.in_use.clear()
    node.in_use.update(rlocs)
    # Nobody answers them, so the mapping system is asked; it would say that there are no such EIDs.
    world.lost = lambda packet: isinstance(packet.message, EncapsulatedControlMessage)
    world.run(4 * INTERVAL)
    assert len({one.destination for one in probes(world)}) == MOST_LOCATORS
    assert len(node.engine.show("locators", world.now)) == MOST_LOCATORS


def test_a_locator_that_no_mapping_has_any_more_is_forgotten() -> None:
    """Should another mapping have it, it begins anew."""
    world = joined()
    world.run(INTERVAL)
    world.lost = cut(XTR2)
    world.run(2 * INTERVAL)
    assert world["xtr1"].down == {XTR2}
    probe = last_probe(world, SECOND)
    world.inject(
        "xtr1", MapReply(probe.nonce, (record(SECOND, probed=(SECOND,)),), probe=True).encode(), SECOND, 4342, 50_000
    )
    world.run(INTERVAL)
    assert world["xtr1"].down == set()


def test_hostile_input_raises_nothing() -> None:
    """Any datagram at any moment: the engine takes it."""
    world = joined()
    random = Random(3)
    for _ in range(300):
        world.run(random.uniform(0, 3))
        sent = probes(world)
        payload = sent[-1].payload if sent else b""
        spoiled = bytearray(
            MapReply(random.getrandbits(64), (record(XTR2, XTR2, probed=(XTR2,)),), probe=True).encode()
        )
        if payload and random.random() < 0.7:
            spoiled[4:12] = payload[4:12]
        for _ in range(random.randrange(4)):
            spoiled[random.randrange(len(spoiled))] = random.randrange(256)
        world.put("xtr1", Datagram(bytes(spoiled), XTR2, 4342, XTR1, 50_000))
        if random.random() < 0.1:
            world.put("xtr1", random.choice([Unreachable(XTR2), TooBig(SECOND, random.randrange(2000))]))
