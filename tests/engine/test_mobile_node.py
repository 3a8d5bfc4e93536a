"""A node whose RLOCs change while it runs (draft-ietf-lisp-mn, RFC 9301 section 6.1, requirement S15)."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from nodes.lisp.config import DatabaseMapping, DynamicEid, Locator
from nodes.lisp.effects import Forwarding, Install
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.inputs import ChangeLocator, HostSeen, Miss
from nodes.lisp.wire import EncapsulatedControlMessage, MapNotify, MapRegister, MapReply, MapRequest
from tests.engine.pubsub import subscriber, subscribing
from tests.engine.world import DC2, H2, MR, MS, PXTR, XTR2, Packet, World, map_resolver, map_server, pxtr, site, xtr

EID = host_prefix("192.168.1.1")
WIFI, LTE, HOME = (ip_address(f"10.1.{n}.2") for n in (1, 2, 3))
WIFI6 = ip_address("2001:db8:1::2")
XTR2_V6 = ip_address("2001:db8:2::2")


def mobile(proxy_reply: bool = False, *correspondents: str) -> World:
    """A mobile node in its first network, a branch and a PITR that send to it."""
    node = replace(xtr("mn", WIFI, EID, proxy_reply=proxy_reply), petrs=(PXTR,))
    served = map_server(site("mn", EID), site("dc2", DC2)), map_resolver(EID, DC2)
    world = World().add(*served, node, xtr("xtr2", XTR2, DC2), pxtr())
    world.run()
    for name in correspondents or ("xtr2", "pxtr"):
        assert to(world, name) == [WIFI]
        world["mn"].contacts.add(world[name].rlocs[0])
    world.resolve("mn", H2)
    return world


def to(world: World, name: str) -> list[IPAddress]:
    """Where a node sends packets for the mobile node now."""
    if world[name].forwarding(EID).forwarding is Forwarding.SEND_MAP_REQUEST:
        world.resolve(name, EID, H2.address if name == "xtr2" else None)
    return [one.address for one in world[name].forwarding(EID).locators]


def registered(world: World) -> list[str]:
    """The locator-set that the Map-Server has."""
    rows = world["ms"].engine.show("registrations", world.now)
    (row,) = (row for row in rows if isinstance(row, dict) and row["eid"] == str(EID.network))
    return [one["rloc"] for one in row["locators"]]


def solicits(world: World) -> list[Packet]:
    """The Solicit-Map-Requests of the mobile node."""
    return [one for one in world.sent(MapRequest) if isinstance(one.message, MapRequest) and one.message.smr]


@pytest.mark.requirement("S15", "C34")
@pytest.mark.parametrize("proxy_reply", [False, True])
def test_whoever_sends_to_a_mobile_node_follows_it(proxy_reply: bool) -> None:
    """Three networks, there and back: nobody but the new RLOC is registered, and everybody sends there."""
    world = mobile(proxy_reply)
    for rloc in (LTE, HOME, WIFI):
        world.attach("mn", rloc)
        world.run(3)
        assert registered(world) == [str(rloc)]
        assert to(world, "xtr2") == to(world, "pxtr") == [rloc]
        assert world["mn"].engine.registered
        world.run(10)
    assert world["mn"].engine.show("roles", world.now)["rlocs"] == [str(WIFI)]  # type: ignore[call-overload]


@pytest.mark.requirement("S15", "C19", "C34")
def test_the_mapping_system_hears_it_first_and_from_the_new_rloc() -> None:
    """Register, Notify, then Solicit-Map-Requests: all by the new RLOC, under a greater nonce; idle peers hear none."""
    world = mobile(False, "xtr2")
    assert to(world, "pxtr") == [WIFI]  # it has the mapping, and no data was exchanged
    before = len(world.packets)
    world.attach("mn", LTE)
    world.run(2)
    after = world.packets[before:]
    registers = [p.message for p in world.sent(MapRegister) if p.source in (WIFI, LTE)]
    nonces = [one.nonce for one in registers if isinstance(one, MapRegister)]
    assert nonces == sorted(set(nonces))
    assert isinstance(after[0].message, MapRegister)
    assert {one.source for one in after if isinstance(one.message, MapRegister)} == {LTE}
    assert [one.destination for one in after if isinstance(one.message, MapNotify)] == [LTE]
    (told,) = solicits(world)
    assert (told.source, told.destination) == (LTE, XTR2)
    assert isinstance(told.message, MapRequest)
    assert told.message.itr_rlocs == (LTE,)
    notified = next(one for one in after if isinstance(one.message, MapNotify))
    assert told.time >= notified.time + world.delay


@pytest.mark.requirement("S15", "C31")
def test_the_correspondent_asks_the_mapping_system_and_not_who_solicited() -> None:
    """The new RLOC is in no cached locator-set: it is heard, and believed only by way of the Map-Resolver."""
    world = mobile(False, "xtr2")
    before = len(world.packets)
    world.attach("mn", LTE)
    world.run(2)
    asked = [p for p in world.packets[before:] if isinstance(p.message, EncapsulatedControlMessage)]
    assert [p.request.smr_invoked for p in asked if p.source == XTR2] == [True]
    assert to(world, "xtr2") == [LTE]


@pytest.mark.requirement("S15", "C25")
def test_a_register_that_is_lost_is_sent_again() -> None:
    world = mobile()
    at = world.now
    world.lost = lambda packet: packet.source == LTE and isinstance(packet.message, MapRegister) and world.now < at + 2
    world.attach("mn", LTE)
    world.run(10)
    assert registered(world) == [str(LTE)]
    assert to(world, "xtr2") == to(world, "pxtr") == [LTE]


@pytest.mark.requirement("S15")
def test_a_late_register_of_the_old_rloc_changes_nothing() -> None:
    """It was sent before the move and comes after it: its nonce is the smaller one (C19)."""
    world = mobile()
    last = world.sent(MapRegister, WIFI)[-1]
    world.attach("mn", LTE)
    world.run(1)
    world.replay("ms", last)
    world.run(1)
    assert registered(world) == [str(LTE)]
    assert world["ms"].drops["map-register-replay"] == 1


@pytest.mark.requirement("S15")
@pytest.mark.parametrize("back", [WIFI, LTE])
def test_a_node_that_was_in_no_network_goes_on(back: IPAddress) -> None:
    """Long enough for a resolution to fail, a registration to end, and every probe to go unanswered."""
    world = mobile()
    world["mn"].in_use.add(XTR2)
    world.attach("mn")
    world.put("mn", Miss(host_prefix("192.168.2.77"), EID.address))
    world.run(200)
    assert world["mn"].down == {XTR2}
    assert registered(world) == []
    world.attach("mn", back)
    world.run(1)
    assert registered(world) == [str(back)]
    assert world["mn"].down == set()
    # Nobody answered while it was away: that costs nothing now.
    assert world.resolve("mn", host_prefix("192.168.2.78")).forwarding is Forwarding.ENCAPSULATE
    assert to(world, "xtr2") == [back]


@pytest.mark.requirement("S15")
def test_a_question_under_way_is_answered_to_the_new_rloc() -> None:
    """Its first answer went to the old one; the next Map-Request names the new one."""
    world = mobile()
    other = EidPrefix.of("192.168.2.0/24")
    world.put("mn", Miss(host_prefix("192.168.2.9"), EID.address))
    assert world["mn"].forwarding(other).forwarding is Forwarding.ENCAPSULATE
    world.put("xtr2", Miss(EID, H2.address))
    world.attach("mn", LTE)
    world.run(3)
    asked = [p.request for p in world.sent(EncapsulatedControlMessage, LTE)]
    assert all(one.itr_rlocs == (LTE,) for one in asked)
    assert to(world, "xtr2") == [LTE]


@pytest.mark.requirement("S15")
def test_what_a_network_without_an_ip_version_can_reach() -> None:
    """By IPv6 the mapping of the branch offers a way that IPv4 alone has not: the data path hears of it."""
    both = (Locator(XTR2, 1, 100), Locator(XTR2_V6, 1, 100))
    branch = replace(xtr("xtr2", XTR2, DC2), rlocs=(XTR2, XTR2_V6), database=(DatabaseMapping(DC2, both),))
    world = World().add(
        map_server(site("mn", EID), site("dc2", DC2)), map_resolver(EID, DC2), xtr("mn", WIFI, EID), branch
    )
    world.run()
    assert [one.address for one in world.resolve("mn", H2).locators] == [XTR2]
    effects = world.attach("mn", LTE, WIFI6)
    assert [one.address for one in world["mn"].forwarding(H2).locators] == [XTR2, XTR2_V6]
    assert any(isinstance(one, Install) for one in effects)
    world.run(1)
    assert registered(world) == [str(LTE), str(WIFI6)]
    world.attach("mn", WIFI)
    assert [one.address for one in world["mn"].forwarding(H2).locators] == [XTR2]


@pytest.mark.requirement("S15")
def test_the_locator_set_follows_the_rlocs_and_nothing_else() -> None:
    """Priorities that the configuration gives stay with their RLOCs; other routers' locators stay where they are."""
    sibling = ip_address("10.0.9.9")
    told = (Locator(WIFI, 1, 75), Locator(LTE, 2, 25), Locator(sibling, 3, 5))
    config = replace(
        xtr("x", WIFI, EID),
        rlocs=(WIFI, LTE),
        database=(DatabaseMapping(EID, told),),
        dynamic_eids=(DynamicEid(DC2, told),),
    )
    moved = config.at((HOME, LTE))
    assert moved.rlocs == (HOME, LTE)
    assert moved.database[0].locators == (Locator(HOME), Locator(LTE, 2, 25), Locator(sibling, 3, 5))
    assert moved.dynamic_eids[0].locators == moved.database[0].locators
    assert config.at((WIFI,)).database[0].locators == (Locator(WIFI, 1, 75), Locator(sibling, 3, 5))
    elsewhere = replace(config, database=(DatabaseMapping(EID, (Locator(sibling),)),))
    assert elsewhere.at((HOME,)).database == elsewhere.database


@pytest.mark.requirement("S15")
def test_hosts_behind_an_xtr_that_moves_are_registered_at_its_new_rloc() -> None:
    """A router on wheels: its dynamic-EIDs move with it."""
    found = host_prefix("192.168.2.5")
    config = replace(xtr("mn", WIFI, EID), dynamic_eids=(DynamicEid(DC2, (Locator(WIFI),)),))
    both = site("mn", EID, DC2, more=True)
    world = World().add(map_server(both), map_resolver(EID, DC2), config)
    world.put("mn", HostSeen(found, "lan"))
    world.run(1)
    world.attach("mn", LTE)
    world.run(1)
    rows = world["ms"].engine.show("registrations", world.now)
    rlocs = {row["eid"]: [one["rloc"] for one in row["locators"]] for row in rows if isinstance(row, dict)}
    assert rlocs[str(EID.network)] == rlocs[str(found.network)] == [str(LTE)]


def with_subscribers() -> World:
    """The branch has subscribed to the mobile node's mapping and the mobile node to the branch's (RFC 9437)."""
    node = subscribing(xtr("mn", WIFI, EID, proxy_reply=True))
    branch = subscribing(xtr("xtr2", XTR2, DC2, proxy_reply=True))
    known = (replace(subscriber(node), rlocs=(ip_network("10.1.0.0/16"),)), subscriber(branch))
    server = replace(map_server(site("mn", EID), site("dc2", DC2)), subscribers=known, subscription_resolvers=(MR,))
    resolver = replace(map_resolver(EID, DC2), subscribers=tuple(replace(one, keys=()) for one in known))
    world = World().add(server, resolver, node, branch)
    world.run()
    assert to(world, "xtr2") == [WIFI]
    assert [one.address for one in world.resolve("mn", H2).locators] == [XTR2]
    world.run(5)
    return world


@pytest.mark.requirement("S15", "M17")
def test_a_subscriber_hears_of_a_move_before_anybody_is_solicited() -> None:
    """Two messages, one after the other: the Map-Register, and what the Map-Server publishes."""
    world = with_subscribers()
    world.attach("mn", LTE)
    world.run(2.5 * world.delay)
    assert to(world, "xtr2") == [LTE]
    assert not solicits(world)


@pytest.mark.requirement("S15", "M17")
def test_a_mobile_node_that_subscribed_is_told_where_it_is() -> None:
    """It renews those that are in use from its new RLOC: what changes afterwards is published there."""
    world = with_subscribers()
    world["mn"].in_use.add(XTR2)
    world.attach("mn", LTE)
    world.run(2)
    before = len(world.packets)
    world.put("xtr2", ChangeLocator(DC2, XTR2, None, 42, (), 1))
    world.run(2.5 * world.delay)
    assert [one.weight for one in world["mn"].forwarding(H2).locators] == [42]
    told = [p for p in world.packets[before:] if isinstance(p.message, MapNotify) and p.destination != XTR2]
    assert [p.destination for p in told] == [LTE]


@pytest.mark.requirement("S15", "C35")
def test_who_hears_no_solicitation_asks_when_nobody_answers_its_probes() -> None:
    """All Solicit-Map-Requests are lost: the old RLOC is found dead, and the mapping system knows the new one."""
    world = mobile()
    for name in ("xtr2", "pxtr"):
        world[name].in_use.add(WIFI)
    world.lost = lambda packet: isinstance(packet.message, MapRequest) and packet.message.smr
    world.attach("mn", LTE)
    world.run(30)
    assert to(world, "xtr2") == to(world, "pxtr") == [LTE]
    asked = [p for p in world.sent(EncapsulatedControlMessage, XTR2) if p.request.records[0].prefix == EID]
    assert not any(p.request.smr_invoked for p in asked)
    assert len(asked) <= 3


@pytest.mark.requirement("S15", "C35")
def test_two_mobile_nodes_that_move_at_once_find_each_other() -> None:
    """Each solicits the other where it was a moment ago: that is lost, probes are not answered, both ask again."""
    other, there, here = host_prefix("192.168.4.1"), ip_address("10.1.8.2"), ip_address("10.1.9.2")
    world = World().add(
        map_server(site("mn", EID), site("mn2", other)),
        map_resolver(EID, other),
        xtr("mn", WIFI, EID),
        xtr("mn2", there, other),
    )
    world.run()
    assert [one.address for one in world.resolve("mn", other, EID.address).locators] == [there]
    assert [one.address for one in world.resolve("mn2", EID, other.address).locators] == [WIFI]
    for name, rlocs in (("mn", (there, here)), ("mn2", (WIFI, LTE))):
        world[name].in_use.update(rlocs)
        world[name].contacts.update(rlocs)
    world.attach("mn", LTE)
    world.attach("mn2", here)
    world.run(30)
    assert [one.address for one in world["mn"].forwarding(other).locators] == [here]
    assert [one.address for one in world["mn2"].forwarding(EID).locators] == [LTE]


@pytest.mark.requirement("S15", "X17")
@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_late_or_doubled_everybody_follows(seed: int) -> None:
    """Random changes, some within a round trip, some through no network at all; then the network heals.

    A third of the control messages is lost, doubled, and up to a second late; the Map-Server restarts.
    """
    chance = random.Random(seed)
    world = mobile(chance.random() < 0.5)
    world.be_unreliable(chance)
    for name in ("xtr2", "pxtr"):
        world[name].in_use.update((WIFI, LTE, HOME))
    place = WIFI
    for _ in range(chance.randrange(1, 7)):
        if chance.random() < 0.3:
            world.attach("mn")
            world.run(chance.choice((0.1, 2.0, 15.0)))
        if chance.random() < 0.2:
            world.restart("ms")
        place = chance.choice((WIFI, LTE, HOME))
        world.attach("mn", place)
        world.run(chance.choice((0.001, 0.3, 2.0, 8.0)))
    world.attach("mn", place)
    world.lost = lambda _packet: False
    world.run(60)  # longer than a silence after unanswered Map-Requests
    assert registered(world) == [str(place)]
    assert to(world, "xtr2") == to(world, "pxtr") == [place]
    assert world["mn"].engine.registered
    # And it is quiet: registrations of each minute, probes and their answers, nothing else.
    before = len(world.packets)
    world.run(50)
    assert {type(one.message) for one in world.packets[before:] if one.source == place} <= {MapRegister, MapReply}
    assert len([one for one in world.packets[before:] if one.destination == MS]) <= 4
