"""A site registers its subnet, other sites find its hosts: who is away, who has come home (requirements X10, X14)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.inputs import HostGone, HostSeen, StrayData
from nodes.lisp.wire import EidRecord, LocatorRecord, MapNotify, MapRegister, sign
from tests.engine.stretched import (
    HOST,
    PORT,
    SUBNET,
    XTR3,
    appears,
    dynamic,
    notifies,
    registered,
    solicitations,
    to,
)
from tests.engine.world import DC1, KEY, MS, XTR1, XTR2, World, ip_address, map_resolver, map_server, site, xtr

XTR4 = ip_address("10.0.7.1")
NEIGHBOUR = host_prefix("192.168.7.20")
PLACES: dict[str, IPAddress] = {"home": XTR1, "away": XTR2, "further": XTR4}


def world_with_home(proxy_reply: bool = True) -> World:
    """The subnet's own site, two that find its hosts, and a branch that talks to one of them."""
    home = replace(xtr("home", XTR1, SUBNET, proxy_reply=proxy_reply), roaming=(SUBNET,))
    world = World().add(
        map_server(site("subnet", SUBNET, more=True), site("branch", DC1)),
        map_resolver(SUBNET, DC1),
        home,
        dynamic("away", XTR2),
        dynamic("further", XTR4),
        xtr("branch", XTR3, DC1),
    )
    world.run()
    appears(world, "home")
    assert to(world, "branch") == XTR1
    world["home"].contacts.add(XTR3)
    world.run()
    return world


def goes(world: World, name: str = "away") -> None:
    """The host shows itself elsewhere, and talks to the branch from there."""
    appears(world, name)
    world[name].contacts.add(XTR3)
    world.run(1)


def cached(world: World, name: str) -> set[str]:
    """The prefixes of the mappings that a node has learned."""
    rows = world[name].engine.show("map-cache", world.now)
    return {str(row["eid"]) for row in rows if isinstance(row, dict) and row["source"] == "map-reply"}


def everybody_sends(world: World) -> None:
    """Whoever sends to where the host is not is told so (requirement X06)."""
    for name, sender in (PLACES | {"branch": XTR3}).items():
        used = to(world, name)
        for place, rloc in PLACES.items():
            absent = HOST in world[place].away if place == "home" else HOST not in world[place].hosts
            if used == rloc and absent and name != place:
                world.put(place, StrayData(HOST, sender))


@pytest.mark.requirement("X10")
def test_the_home_site_registers_the_subnet_and_no_host() -> None:
    world = world_with_home()
    appears(world, "home", NEIGHBOUR)
    world.run(200)
    records = [
        one.prefix
        for packet in world.sent(MapRegister, XTR1)
        if isinstance(packet.message, MapRegister)
        for one in packet.message.records
    ]
    assert set(records) == {SUBNET}
    assert not world["home"].hosts
    assert not world["home"].away


@pytest.mark.requirement("X10", "X14")
@pytest.mark.parametrize("proxy_reply", [True, False])
def test_home_hears_of_a_host_that_is_away_and_sends_to_it(proxy_reply: bool) -> None:
    """Its host route overrides the subnet's, at home and in the map-cache of who sent to it; its neighbour stays."""
    world = world_with_home(proxy_reply)
    goes(world)
    (told,) = notifies(world)
    assert told.destination == XTR1
    assert world["home"].away == {HOST}
    assert [to(world, name) for name in ("home", "branch")] == [XTR2, XTR2]
    assert {str(SUBNET), str(HOST)} <= cached(world, "branch")
    assert to(world, "branch", NEIGHBOUR) == XTR1
    assert solicitations(world, XTR1) == [XTR3]
    assert registered(world, SUBNET) == str(XTR1)


@pytest.mark.requirement("X10", "X14")
@pytest.mark.parametrize("proxy_reply", [True, False])
def test_a_return_leaves_nothing_but_the_subnet(proxy_reply: bool) -> None:
    """Within a second: at the Map-Server, at the site that it was at, and with those who sent to it there."""
    world = world_with_home(proxy_reply)
    goes(world)
    before = len(solicitations(world, XTR2))
    appears(world, "home")
    world.run(1)
    assert registered(world) is None
    assert registered(world, SUBNET) == str(XTR1)
    assert not world["home"].away
    assert not world["away"].hosts
    for name in PLACES.keys() | {"branch"}:
        assert str(HOST) not in cached(world, name), name
    assert [to(world, name) for name in ("away", "branch")] == [XTR1, XTR1]
    assert solicitations(world, XTR2)[before:] == [XTR3]
    # The site that it was at does not register it again.
    world.run(200)
    assert registered(world) is None
    assert not notifies(world)[2:]


@pytest.mark.requirement("X10")
def test_onward_and_home() -> None:
    """Both the site that it left and its home are told; after its return nobody thinks that it is elsewhere."""
    world = world_with_home()
    goes(world)
    goes(world, "further")
    assert [to(world, name) for name in ("home", "away", "branch")] == [XTR4] * 3
    appears(world, "home")
    world.run(1)
    everybody_sends(world)
    world.run(1)
    assert [to(world, name) for name in ("away", "further", "branch")] == [XTR1] * 3
    assert registered(world) is None


@pytest.mark.requirement("X10", "X05")
@pytest.mark.parametrize("how", ["withdrawn", "expired"])
def test_a_host_that_is_nowhere_is_at_home(how: str) -> None:
    """The other site says that it is gone, or says nothing any more: then it is part of its subnet again."""
    world = world_with_home()
    goes(world)
    if how == "withdrawn":
        world["away"].present.discard(HOST)
        world.put("away", HostGone(HOST, PORT))
        world.run(1)
    else:
        world.stop("away")
        world.run(200)
    assert not world["home"].away
    assert registered(world) is None
    assert str(HOST) not in cached(world, "home")


@pytest.mark.requirement("X10", "X18")
def test_home_remembers_across_a_restart_who_is_away() -> None:
    world = world_with_home()
    goes(world)
    world.restart("home")
    world.run(0.5)
    assert world["home"].away == {HOST}
    assert to(world, "home") == XTR2
    # And finds at once who came home meanwhile.
    world["home"].present.add(HOST)
    world["away"].present.discard(HOST)
    world.restart("home")
    world.run(1)
    assert not world["home"].away
    assert registered(world) is None
    world.restart("home")
    world.run(1)
    assert not world["home"].away


@pytest.mark.requirement("X10", "X18")
@pytest.mark.parametrize("silent", [20.0, 100.0])
def test_home_that_was_not_there_is_told_when_it_is(silent: float) -> None:
    """Nobody acknowledges: the Map-Server tells with the next registration of the subnet, even if it restarted."""
    world = world_with_home()
    home = world.stop("home")
    home.present.discard(HOST)
    goes(world)
    world.run(silent)
    world.restart("ms")
    world.nodes["home"] = home
    world.restart("home")
    world.run(1)
    assert world["home"].away == {HOST}
    told = len(notifies(world))
    world.run(300)
    assert len(notifies(world)) == told


def test_whoever_has_not_registered_the_subnet_withdraws_nobody() -> None:
    """A third site's withdrawal, and a replay of the home's, change nothing."""
    world = world_with_home()
    goes(world)
    record = EidRecord.of(HOST, 0, (LocatorRecord(XTR4, 1, 100, local=True),))
    register = MapRegister(2**63, KEY.key_id, KEY.algorithm, (record,), xtr_id=b"\7" * 16, want_notify=True)
    world.inject("ms", sign(register, KEY.secret).encode(), XTR4)
    world.run(1)
    assert registered(world) == str(XTR2)
    appears(world, "home")
    world.run(1)
    (withdrawal,) = [
        packet
        for packet in world.sent(MapRegister, XTR1)
        if isinstance(packet.message, MapRegister) and any(not one.ttl_minutes for one in packet.message.records)
    ]
    goes(world)
    world.replay("ms", withdrawal)
    world.run(1)
    assert registered(world) == str(XTR2)
    assert world["home"].away == {HOST}


def test_a_forged_map_notify_sends_nobody_away() -> None:
    world = world_with_home()
    record = EidRecord.of(NEIGHBOUR, 1440, (LocatorRecord(XTR4, 1, 100),))
    forged = sign(MapNotify(2**63 + 2**62, KEY.key_id, KEY.algorithm, (record,)), "guess")
    world.inject("home", forged.encode(), MS, 4342)
    assert not world["home"].away
    # Nor does a true one of a prefix in which nobody else finds hosts.
    other = EidPrefix.of("192.168.8.0/24")
    record = EidRecord.of(host_prefix(other.network[9]), 1440, (LocatorRecord(XTR4, 1, 100),))
    world.inject("home", sign(replace(forged, records=(record,), auth_data=b""), KEY.secret).encode(), MS, 4342)
    assert not world["home"].away


def test_a_host_that_is_here_and_there_stays_with_the_lower_rloc() -> None:
    world = world_with_home()
    for name in ("home", "away"):
        world[name].present.add(HOST)
    for _ in range(20):
        for name in ("home", "away"):
            world.put(name, HostSeen(HOST, PORT))
        world.run(1)
    assert not world["home"].away
    assert not world["away"].hosts
    assert registered(world) is None
    duplicates = [one for one in world["away"].reports if one.event == "dynamic-eid-duplicate"]
    assert [one.fields for one in duplicates] == [{"eid": str(HOST), "kept_by": [str(XTR1)]}]


def test_two_hundred_leave_and_return_at_once() -> None:
    world = world_with_home()
    hosts = [host_prefix(ip_address(f"192.168.7.{number}")) for number in range(1, 201)]
    for eid in hosts:
        appears(world, "away", eid)
    world.run(5)
    assert world["home"].away == set(hosts)
    assert max(len(packet.payload) for packet in notifies(world)) <= 576 - 28
    for eid in hosts:
        appears(world, "home", eid)
    world.run(5)
    assert not world["home"].away
    assert not world["away"].hosts
    assert {registered(world, eid) for eid in hosts} == {None}


@pytest.mark.requirement("X10", "X14")
@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_late_or_doubled_the_last_place_counts(seed: int) -> None:
    """Out, onward and home at random, nodes that restart, a third of the messages lost, doubled or late; then quiet."""
    chance = random.Random(seed)
    world = world_with_home(proxy_reply=seed % 2 == 0)
    world.be_unreliable(chance)
    place = "home"
    for _ in range(chance.randrange(1, 7)):
        place = chance.choice(list(PLACES))
        appears(world, place)
        world[place].contacts.add(XTR3)
        if chance.random() < 0.3:
            world.restart(chance.choice(["ms", "home", place]))
            world.run(chance.uniform(0, 0.1))
            world.put(place, HostSeen(HOST, PORT))
        world.run(chance.choice((0.01, 0.3, 2.0, 10.0)))
    # The network heals; the host goes on to speak, and the branch to send.
    world.lost = lambda _packet: False
    for _ in range(140):
        world.put(place, HostSeen(HOST, PORT))
        world.run(1)
        everybody_sends(world)
    assert registered(world) == (None if place == "home" else str(PLACES[place]))
    assert world["home"].away == (set() if place == "home" else {HOST})
    assert [name for name in ("away", "further") if HOST in world[name].hosts] == [place][: place != "home"]
    others = [name for name in (*PLACES, "branch") if name != place]
    assert {name: to(world, name) for name in others} == dict.fromkeys(others, PLACES[place])
    if place == "home":
        assert {name for name in others if str(HOST) in cached(world, name)} == set()
