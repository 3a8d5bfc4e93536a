"""PubSub (RFC 9437): who subscribed is told of each change at once, whatever is lost, late or restarted."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from nodes.lisp.config import NodeConfig, Role
from nodes.lisp.effects import Forwarding, Persist, Send
from nodes.lisp.eid import host_prefix
from nodes.lisp.inputs import ChangeLocator, HostSeen, Miss, StrayData
from nodes.lisp.wire import (
    EidRecord,
    EncapsulatedControlMessage,
    LocatorRecord,
    MapNotifyAck,
    MapRegister,
    MapReply,
    MapRequest,
    sign,
)
from tests.engine.pubsub import (
    BRANCH,
    asked,
    notifies,
    said,
    stretched,
    subscribing,
    subscriptions,
    used,
    world_of,
)
from tests.engine.stretched import HOST, PORT, SUBNET, XTR3, appears, dynamic
from tests.engine.world import (
    AGGREGATE,
    DC1,
    DC2,
    H2,
    KEY,
    MR,
    MS,
    PXTR,
    XTR1,
    XTR2,
    ip_address,
    xtr,
)


def test_a_subscription_is_confirmed_and_acknowledged() -> None:
    world = stretched()
    (request,) = asked(world, XTR3)
    config = world["xtr3"].config
    assert (request.xtr_id, request.site_id) == (bytes.fromhex(config.xtr_id), config.site_id)
    assert [one.notify for one in request.records] == [True]
    # The Map-Resolver passes it on as it is.
    assert asked(world, MR)[0] == request
    ((packet, confirmation),) = notifies(world, XTR3)
    assert (packet.port, confirmation.nonce) == (4342, request.nonce)
    assert said(confirmation) == [(HOST, 1440, [XTR1])]
    (ack,) = [one.message for one in world.sent(MapNotifyAck, XTR3)]
    assert isinstance(ack, MapNotifyAck)
    assert (ack.nonce, ack.records) == (request.nonce, confirmation.records)
    assert not world.sent(MapReply)
    for name in ("xtr3", "pxtr"):
        xtr_id = world[name].config.xtr_id
        assert subscriptions(world)[str(HOST.network), xtr_id] == "subscribed"
        assert subscriptions(world, name) == {(str(HOST.network), xtr_id): "subscribed"}


def test_an_rtr_subscribes_as_well() -> None:
    rloc = ip_address("10.0.9.1")
    config = NodeConfig("rtr", frozenset({Role.RTR}), (rloc,), map_resolvers=(MR,), eid_aggregates=(AGGREGATE,))
    world = world_of(dynamic("xtr1", XTR1), dynamic("xtr2", XTR2), subscribing(config))
    appears(world, "xtr1")
    world.run(1)
    assert world.resolve("rtr", HOST).locators[0].address == XTR1
    assert list(subscriptions(world, "rtr").values()) == ["subscribed"]
    appears(world, "xtr2")
    world.run(0.05)
    assert used(world, "rtr") == XTR2
    assert len(asked(world, rloc)) == 1
    assert len(world.sent(MapNotifyAck, rloc)) == 2


def test_each_change_is_published_at_once_and_acknowledged() -> None:
    world = stretched()
    nonces = [notifies(world, to)[0][1].nonce for to in (XTR3, PXTR)]
    start = world.now
    appears(world, "xtr2")
    world.run(0.05)
    assert [used(world, name) for name in ("xtr3", "pxtr")] == [XTR2, XTR2]
    for to, nonce in zip((XTR3, PXTR), nonces, strict=True):
        _, (packet, publication) = notifies(world, to)
        # One hop after the Map-Register left: nothing was waited for.
        assert packet.time == pytest.approx(start + world.delay)
        assert publication.nonce == nonce + 1
        assert said(publication) == [(HOST, 1440, [XTR2])]
    world.run(120)
    assert [len(notifies(world, to)) for to in (XTR3, PXTR)] == [2, 2]
    assert not [one for one in asked(world, XTR3)[1:] if one.smr_invoked]


def test_the_old_place_and_the_subscribers_hear_before_anything_else_is_done() -> None:
    """Before files are written; the old xTR first, which sends on what the others still send it, the new one last."""
    world = stretched()
    appears(world, "xtr2")
    register = world.sent(MapRegister, XTR2)[-1]
    effects = world.inject("ms", register.payload, XTR2)
    sends = [one for one in effects if isinstance(one, Send)]
    assert [one.destination for one in sends] == [XTR1, XTR3, PXTR, XTR2]
    kept = [n for n, one in enumerate(effects) if isinstance(one, Persist) and not one.required]
    assert min(kept) > effects.index(sends[2])


def test_what_is_published_to_who_knows_it_can_wait() -> None:
    """The new xTR has said it, the old one is told as such; here both are the same subscriber, one after the other."""
    configs = map(subscribing, (dynamic("xtr1", XTR1), dynamic("xtr2", XTR2), xtr("xtr3", XTR3, BRANCH)))
    world = world_of(*configs)
    appears(world, "xtr1")
    world.run(1)
    for name in ("xtr2", "xtr3"):
        assert world.resolve(name, HOST).locators[0].address == XTR1
    for new, old in (("xtr2", XTR1), ("xtr1", XTR2)):
        appears(world, new)
        rloc = world[new].config.rlocs[0]
        register = world.sent(MapRegister, rloc)[-1]
        sends = [one for one in world.inject("ms", register.payload, rloc) if isinstance(one, Send)]
        assert sends[0].destination == old
        assert {one.destination: one.can_wait for one in sends[1:-1]} == {XTR2: True, XTR3: False}
        assert [one.can_wait for one in sends[1:-1]] == [False, True]
        assert (sends[-1].destination, sends[0].can_wait, sends[-1].can_wait) == (rloc, False, False)
        world.run(5)
        assert used(world, "xtr3") == rloc


def test_where_data_is_published_the_old_place_solicits_who_goes_on_sending_there_only() -> None:
    world = world_of(subscribing(dynamic("xtr1", XTR1)), dynamic("xtr2", XTR2), xtr("xtr3", XTR3, BRANCH))
    appears(world, "xtr1")
    world.run(1)
    world["xtr1"].contacts.add(XTR3)
    appears(world, "xtr2")
    world.run(0.2)
    world.put("xtr1", StrayData(HOST, XTR3))
    world.run(0.5)
    assert not [one for one in world.sent(MapRequest, XTR1) if one.destination == XTR3]
    world.put("xtr1", StrayData(HOST, XTR3))
    world.run(1)
    (solicited,) = [one.message for one in world.sent(MapRequest, XTR1) if one.destination == XTR3]
    assert isinstance(solicited, MapRequest)
    assert solicited.smr


@pytest.mark.parametrize("published", [True, False])
def test_where_data_is_published_the_new_place_solicits_nobody(published: bool) -> None:
    """The Map-Server has told subscribers before it acknowledged; without subscriptions, nobody else would."""
    configs = (dynamic("xtr1", XTR1), dynamic("xtr2", XTR2))
    world = world_of(*(map(subscribing, configs) if published else configs), xtr("xtr3", XTR3, BRANCH))
    appears(world, "xtr1")
    world.run(1)
    world["xtr2"].contacts.add(XTR3)
    appears(world, "xtr2")
    world.run(3)
    solicited = [one.message for one in world.sent(MapRequest, XTR2) if one.destination == XTR3]
    assert any(isinstance(one, MapRequest) and one.smr for one in solicited) is not published


def test_a_withdrawal_and_a_registration_that_ends_are_published() -> None:
    world = stretched()
    world.stop("xtr1")
    world.run(185)
    *_, (_, publication) = notifies(world, XTR3)
    assert said(publication) == [(HOST, 0, [])]
    assert used(world, "xtr3") is Forwarding.SEND_MAP_REQUEST


def test_a_more_specific_is_published_to_those_who_subscribed_to_the_whole() -> None:
    """The home site has the subnet; a host goes away and comes back (requirements X10, X14)."""
    world = stretched(home=True)
    assert subscriptions(world)[str(SUBNET.network), world["xtr3"].config.xtr_id] == "subscribed"
    appears(world, "xtr2")
    world.run(0.05)
    assert used(world, "xtr3") == XTR2
    assert used(world, "xtr3", host_prefix("192.168.7.11")) == XTR1
    config = world["xtr2"].config
    record = replace(EidRecord.of(HOST, 0, (LocatorRecord(XTR2, 1, 100, local=True),)), authoritative=True)
    nonce = max(one.nonce for p in world.sent(MapRegister, XTR2) if isinstance(one := p.message, MapRegister)) + 1
    withdrawal = MapRegister(
        nonce, 1, KEY.algorithm, (record,), True, xtr_id=bytes.fromhex(config.xtr_id), site_id=config.site_id
    )
    world.inject("ms", sign(withdrawal, KEY.secret).encode(), XTR2)
    world.run(0.05)
    assert used(world, "xtr3") == XTR1


def test_a_host_that_was_not_there_is_published_when_it_comes() -> None:
    world = world_of(dynamic("xtr1", XTR1), dynamic("xtr2", XTR2), subscribing(xtr("xtr3", XTR3, BRANCH)))
    assert world.resolve("xtr3", HOST).forwarding is Forwarding.NATIVE
    (row,) = world["ms"].engine.show("subscriptions", world.now)
    assert row["eid"] == str(SUBNET.network)  # type: ignore[index]
    appears(world, "xtr2")
    world.run(0.05)
    assert used(world, "xtr3") == XTR2
    world.run(0.05)
    # The subscription to the hole ends; that to the host does not.
    world.run(1000)
    assert subscriptions(world) == {(str(HOST.network), world["xtr3"].config.xtr_id): "subscribed"}
    appears(world, "xtr1")
    world.run(0.05)
    assert used(world, "xtr3") == XTR1


def test_a_part_of_a_mapping_hears_of_the_whole() -> None:
    """A mapping with more more-specifics than a message holds is answered for the EID alone (requirement C40)."""
    away = [host_prefix(ip_address(f"192.168.7.{n}")) for n in range(100, 140)]
    world = stretched(home=True)
    for eid in away:
        appears(world, "xtr2", eid)
    world.run(1)
    late = host_prefix("192.168.7.20")
    world.restart("xtr3")
    assert world.resolve("xtr3", late).locators[0].address == XTR1
    assert (str(late.network), world["xtr3"].config.xtr_id) in subscriptions(world)
    world.put("xtr1", ChangeLocator(SUBNET, XTR1, None, 7, (), token=1))
    world.run(0.1)
    (locator,) = world["xtr3"].forwarding(late).locators
    assert locator.weight == 7


def test_a_site_without_proxy_replies_is_resolved_as_ever() -> None:
    """Requirement M07: the Map-Request reaches the ETR as it was, and a Map-Reply comes back."""
    world = world_of(subscribing(xtr("xtr1", XTR1, DC1)), xtr("xtr2", XTR2, DC2))
    assert world.resolve("xtr1", H2).locators[0].address == XTR2
    assert [packet.request for packet in world.sent(EncapsulatedControlMessage, MS)] == asked(world, XTR1)
    assert len(world.sent(MapReply, XTR2)) == 1
    assert subscriptions(world) == {}


def test_an_xtr_whose_acknowledgements_are_lost_subscribes_again() -> None:
    world = stretched()
    world.lost = lambda packet: packet.source == XTR3 and isinstance(packet.message, MapNotifyAck)
    appears(world, "xtr2")
    world.run(53.5)
    world.lost = lambda _packet: False
    world.run(5)
    assert used(world, "xtr3") == XTR2
    appears(world, "xtr1")
    world.run(0.1)
    assert used(world, "xtr3") == XTR1


@pytest.mark.parametrize("storage", ["kept", "lost"])
def test_a_map_server_that_restarts(storage: str) -> None:
    world = stretched()
    before = subscriptions(world)
    world.restart("ms", lose_storage=storage == "lost")
    assert subscriptions(world) == (before if storage == "kept" else {})
    if storage == "lost":
        # What is in use is asked for again.
        world["xtr3"].in_use.add(XTR1)
        world.run(310)
    appears(world, "xtr2")
    world.run(0.1)
    assert used(world, "xtr3") == XTR2
    appears(world, "xtr1")
    world.run(0.1)
    assert used(world, "xtr3") == XTR1


def test_what_a_map_server_could_not_tell_before_it_restarted_it_tells_then() -> None:
    world = stretched()
    world.lost = lambda packet: packet.destination == XTR3
    appears(world, "xtr2")
    world.run(1)
    world.lost = lambda _packet: False
    world.restart("ms")
    world.run(0.1)
    assert used(world, "xtr3") == XTR2


def test_an_xtr_that_restarts_subscribes_again() -> None:
    world = stretched()
    world.restart("xtr3")
    world.run(2)
    assert world.resolve("xtr3", HOST).locators[0].address == XTR1
    assert world["ms"].drops.get("subscription-replay", 0) == 0
    appears(world, "xtr2")
    world.run(0.1)
    assert used(world, "xtr3") == XTR2


def test_an_old_xtr_that_answers_a_probe_late_takes_nothing_back() -> None:
    """What it said of the mapping before the host left is older than the publication that came meanwhile."""
    world = stretched()
    world["xtr3"].in_use.add(XTR1)
    world.run(1)
    world.delays = lambda one: (0.1 if isinstance(one.message, MapReply) and one.source == XTR1 else 0.01,)
    answered = len(world.sent(MapReply, XTR1))
    while len(world.sent(MapReply, XTR1)) == answered:
        world.run(0.01)
    appears(world, "xtr2")
    world.run(0.05)
    assert used(world, "xtr3") == XTR2
    world.run(1)
    assert used(world, "xtr3") == XTR2


def test_two_hundred_hosts_of_one_subnet() -> None:
    """Many records go into one Map-Notify, and many of those are under way at a time."""
    world = stretched(home=True)
    hosts = [host_prefix(ip_address(f"192.168.7.{number}")) for number in range(1, 201)]
    chance = random.Random(1)
    world.delays = lambda packet: (
        chance.uniform(0.005, 0.02) if XTR3 in (packet.source, packet.destination) else 0.01,
    )
    for eid in hosts:
        appears(world, "xtr2", eid)
    world.run(0.5)
    assert {used(world, "xtr3", eid) for eid in hosts} == {XTR2}
    world.run(30)
    assert set(subscriptions(world).values()) == {"subscribed"}


@pytest.mark.requirement("X16", "X17", "X18")
@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_late_or_doubled_subscribers_end_at_the_last_place(seed: int) -> None:
    """Random moves, a third of the control messages lost, doubled, late; the Map-Server and the branch restart."""
    chance = random.Random(seed)
    world = stretched(home=seed % 4 == 3)
    world.be_unreliable(chance)
    place = "xtr1"
    for _ in range(chance.randrange(1, 8)):
        place = chance.choice(("xtr1", "xtr2")) if seed % 4 != 3 else "xtr2"
        appears(world, place)
        if chance.random() < 0.25:
            world.restart("ms")
        if chance.random() < 0.1:
            world.restart("xtr3")
        world.run(chance.choice((0.01, 0.3, 2.0, 10.0)))
        for name in ("xtr3", "pxtr"):
            world.put(name, Miss(HOST))
    # The network heals; the host goes on to speak, and subscribers to send. No Solicit-Map-Request helps: nobody is
    # told of as a contact, and no stray data is.
    world.lost = lambda _packet: False
    for name in ("xtr3", "pxtr"):
        world[name].in_use.update((XTR1, XTR2))
    for _ in range(400):
        world.put(place, HostSeen(HOST, PORT))
        world.run(1)
        for name in ("xtr3", "pxtr"):
            world.put(name, Miss(HOST))
    rloc = {"xtr1": XTR1, "xtr2": XTR2}[place]
    assert [used(world, name) for name in ("xtr3", "pxtr")] == [rloc, rloc]
    assert set(subscriptions(world).values()) == {"subscribed"}
    # And what comes next comes at once.
    other = "xtr2" if place == "xtr1" else "xtr1"
    if seed % 4 != 3:
        world.delays = lambda _packet: (0.01,)
        world.run(5)
        appears(world, other)
        world.run(0.1)
        rloc = {"xtr1": XTR1, "xtr2": XTR2}[other]
        assert [used(world, name) for name in ("xtr3", "pxtr")] == [rloc, rloc]


def test_an_xtr_that_restarts_within_a_second_is_no_replay_of_itself() -> None:
    """Its nonces go on from its start, whatever part of the second that is (RFC 9437 section 5)."""
    world = stretched()
    for _ in range(2):
        world.now += 0.05
        world.restart("xtr3")
        world.run(0.05)
        world.put("xtr3", Miss(HOST))
        world.run(0.1)
        assert used(world, "xtr3") == XTR1
    assert "subscription-replay" not in world["ms"].drops
