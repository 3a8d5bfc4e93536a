"""A host that moves: the Map-Server tells the xTR that it left, which sends on, solicits, and looks for it."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import host_prefix
from nodes.lisp.inputs import HostGone, HostSeen, Miss, StrayData
from nodes.lisp.wire import EidRecord, MapNotify, MapNotifyAck, MapRegister, MapReply, sign
from tests.engine.stretched import (
    HOST,
    PORT,
    XTR3,
    appears,
    at_one_place,
    notifies,
    registered,
    solicitations,
    stretched,
    to,
)
from tests.engine.world import KEY, MS, XTR1, XTR2, Packet, ip_address


@pytest.mark.requirement("X03", "X04", "X05", "C28")
def test_the_xtr_that_a_host_left_is_told_and_lets_it_go() -> None:
    world = at_one_place()
    appears(world, "xtr2")
    world.run(0.5)
    (told,) = notifies(world)
    assert (told.destination, told.port) == (XTR1, 4342)
    message = told.message
    assert isinstance(message, MapNotify)
    assert [(one.prefix, [x.address for x in one.locators]) for one in message.records] == [(HOST, [XTR2])]
    (acked,) = world.sent(MapNotifyAck)
    ack = acked.message
    assert isinstance(ack, MapNotifyAck)
    assert (acked.source, acked.destination, acked.port) == (XTR1, MS, 4342)
    assert (ack.nonce, ack.records) == (message.nonce, message.records)
    assert ack == sign(replace(ack, auth_data=b""), KEY.secret)
    assert HOST not in world["xtr1"].hosts
    assert world["xtr1"].left == [HOST]
    assert to(world, "xtr1") == XTR2
    # It is not registered again; its registration here is withdrawn, and that of the new place stays.
    world.run(300)
    withdrawn = [p.message for p in world.sent(MapRegister, XTR1) if p.time > told.time]
    assert [(one.prefix, one.ttl_minutes) for m in withdrawn if isinstance(m, MapRegister) for one in m.records] == [
        (HOST, 0)
    ]
    assert registered(world) == str(XTR2)
    assert len(notifies(world)) == 1


@pytest.mark.requirement("X11")
def test_neighbours_are_told_wherever_a_host_may_have_been() -> None:
    """Also by an xTR that has been restarted, and does not know that it was there; nobody else is told."""
    world = at_one_place()
    world.restart("xtr1")
    world.run(0.01)
    appears(world, "xtr2")
    world.run(1)
    assert {name: node.left for name, node in world.nodes.items() if node.left} == {"xtr1": [HOST]}


@pytest.mark.requirement("C27", "X17")
def test_a_map_notify_is_repeated_until_it_is_acknowledged() -> None:
    """Three times each 3 s, then after 6, 12 and 24 s; then it is given up, and said so."""
    world = at_one_place()
    world.stop("xtr1")
    appears(world, "xtr2")
    world.run(120)
    times = [packet.time for packet in notifies(world)]
    assert [round(later - earlier, 6) for earlier, later in pairwise(times)] == [3, 3, 3, 6, 12, 24]
    assert len({packet.payload for packet in notifies(world)}) == 1
    assert [one.fields for one in world["ms"].reports if one.event == "map-notify-unacknowledged"] == [
        {"rloc": str(XTR1), "eids": [str(HOST)]}
    ]


@pytest.mark.requirement("X17")
def test_a_map_notify_that_was_lost_arrives_with_its_repetition() -> None:
    world = at_one_place()
    lost: list[Packet] = []

    def first(packet: Packet) -> bool:
        if packet in notifies(world) and not lost:
            lost.append(packet)
        return packet in lost

    world.lost = first
    appears(world, "xtr2")
    world.run(1)
    assert HOST in world["xtr1"].hosts
    world.run(3)
    assert HOST not in world["xtr1"].hosts
    assert len(notifies(world)) == 2
    world.run(30)
    assert len(notifies(world)) == 2


@pytest.mark.requirement("X06", "C31", "C34")
def test_who_sent_to_the_host_is_solicited_and_sends_to_the_new_place() -> None:
    world = at_one_place()
    world["xtr1"].contacts.add(XTR2)  # it has the host now: nobody tells it
    appears(world, "xtr2")
    world.run(1)
    assert solicitations(world, XTR1) == [XTR3]
    assert world["xtr3"].forwarding(HOST).locators[0].address == XTR2


@pytest.mark.requirement("X06")
def test_data_for_a_host_that_left_solicits_its_sender() -> None:
    world = at_one_place()
    world["xtr1"].contacts.clear()
    appears(world, "xtr2")
    world.run(1)
    assert solicitations(world, XTR1) == []
    world.put("xtr1", StrayData(HOST, XTR3))
    world.put("xtr1", StrayData(HOST, XTR2))
    world.put("xtr1", StrayData(host_prefix("192.168.7.99"), XTR3))
    world.run(1)
    assert solicitations(world, XTR1) == [XTR3]
    assert world["xtr3"].forwarding(HOST).locators[0].address == XTR2


@pytest.mark.requirement("X06", "C32")
def test_what_is_still_under_way_solicits_nobody_twice() -> None:
    """Each question that it caused would take a token, and the next move would wait for one."""
    world = at_one_place()
    appears(world, "xtr2")
    world.run(0.2)
    for _ in range(3):
        world.put("xtr1", StrayData(HOST, XTR3))
        world.run(0.05)
    world.run(20)
    assert solicitations(world, XTR1) == [XTR3]  # and it is not repeated: who asks, asks xtr2
    world.put("xtr1", StrayData(HOST, XTR3))
    world.run(1)
    assert solicitations(world, XTR1) == [XTR3, XTR3]


@pytest.mark.requirement("X06")
def test_an_xtr_that_has_forgotten_its_host_solicits_as_well() -> None:
    """After a restart it asks the mapping system where the host is; the next packet tells its sender."""
    world = at_one_place()
    world["xtr1"].contacts.clear()
    appears(world, "xtr2")
    world.run(1)
    world.restart("xtr1")
    world.put("xtr1", StrayData(HOST, XTR3))
    world.run(1)
    assert (solicitations(world, XTR1), to(world, "xtr3")) == ([], XTR1)
    world.put("xtr1", StrayData(HOST, XTR3))
    world.put("xtr1", StrayData(HOST, XTR2))
    world.run(1)
    assert (solicitations(world, XTR1), to(world, "xtr3")) == ([XTR3], XTR2)


@pytest.mark.requirement("X06")
def test_an_answer_that_is_older_than_the_map_notify_does_not_count() -> None:
    """Whoever has just lost a host may still wait for the answer that it is here."""
    world = at_one_place()
    world.restart("xtr1")
    world.delays = lambda packet: [2.0 if isinstance(packet.message, MapReply) else 0.01]
    world.put("xtr1", Miss(HOST))
    world.run(0.5)
    appears(world, "xtr2")
    world.run(3)
    assert [packet.destination for packet in world.sent(MapReply)].count(XTR1) == 1
    assert to(world, "xtr1") == XTR2


@pytest.mark.requirement("X06")
def test_a_mapping_that_says_here_for_a_host_that_is_not_is_asked_for_again() -> None:
    world = at_one_place()
    world.restart("xtr1")
    assert to(world, "xtr1") is None
    world.run(200)  # its registration has ended: nobody is told of the new place
    appears(world, "xtr2")
    world.run(1)
    assert notifies(world) == []
    assert to(world, "xtr1") == XTR2


@pytest.mark.requirement("X01")
def test_an_answer_that_was_faster_than_the_registration_of_a_new_host() -> None:
    """The first packet leaves with the Map-Register: who answers it asks too early, and is solicited."""
    world = stretched()
    world["xtr1"].contacts.add(XTR3)
    world.delays = lambda packet: [0.05 if isinstance(packet.message, MapRegister) else 0.01]
    appears(world, "xtr1")
    world.put("xtr3", Miss(HOST))
    world.run(0.04)
    assert world["xtr3"].forwarding(HOST).forwarding is Forwarding.NATIVE
    world.run(1.2)  # a second after its last question
    assert world["xtr3"].forwarding(HOST).locators[0].address == XTR1
    world.run(60)
    assert solicitations(world, XTR1) == [XTR3]


def test_a_flood_of_forged_strays_solicits_a_bounded_number() -> None:
    world = at_one_place()
    appears(world, "xtr2")
    world.run(1)
    for number in range(2000):
        world.put("xtr1", StrayData(HOST, ip_address(0x0A090000 + number)))
    assert len(solicitations(world, XTR1)) <= 66


@pytest.mark.requirement("X14")
def test_there_and_back() -> None:
    """Nothing is left of the other place, wherever it was told."""
    world = at_one_place()
    appears(world, "xtr2")
    world.run(0.2)
    appears(world, "xtr1")
    world.run(5)
    assert registered(world) == str(XTR1)
    assert (HOST in world["xtr1"].hosts, HOST in world["xtr2"].hosts) == (True, False)
    assert to(world, "xtr2") == XTR1
    learned = world["xtr1"].engine.show("map-cache", world.now)
    assert str(HOST) not in {row["eid"] for row in learned if isinstance(row, dict)}


def test_a_forged_or_old_map_notify_moves_nobody() -> None:
    world = at_one_place()
    appears(world, "xtr2")
    world.run(0.2)
    (told,) = notifies(world)
    message = told.message
    assert isinstance(message, MapNotify)
    appears(world, "xtr1")
    world.run(2)
    acks = len(world.sent(MapNotifyAck, XTR1))
    for again in (told, replace(told, source=ip_address("10.0.66.6"))):
        world.replay("xtr1", again)
    forged = sign(replace(message, nonce=message.nonce + 100, auth_data=b""), "guess")
    world.inject("xtr1", forged.encode(), MS, 4342)
    world.run(2)
    assert HOST in world["xtr1"].hosts
    assert registered(world) == str(XTR1)
    # The true one, however late, is acknowledged; the forged one is dropped.
    assert len(world.sent(MapNotifyAck, XTR1)) == acks + 2
    assert world["xtr1"].drops["map-notify-unknown-nonce"] == 1
    # And after a restart as well.
    world.restart("xtr1")
    world["xtr1"].present.add(HOST)
    world.put("xtr1", HostSeen(HOST, PORT))
    world.run(2)
    world.replay("xtr1", told)
    world.run(2)
    assert HOST in world["xtr1"].hosts


def test_an_acknowledgement_from_nobody_ends_nothing() -> None:
    world = at_one_place()
    world.stop("xtr1")
    appears(world, "xtr2")
    world.run(1)
    message = notifies(world)[0].message
    assert isinstance(message, MapNotify)
    ack = MapNotifyAck(message.nonce, message.key_id, message.algorithm_id, message.records)
    world.inject("ms", sign(ack, "guess").encode(), XTR1)
    world.inject("ms", sign(replace(ack, nonce=ack.nonce + 1), KEY.secret).encode(), XTR1)
    world.run(3)
    assert len(notifies(world)) == 2
    assert world["ms"].drops["map-notify-ack-authentication"] == 1
    assert world["ms"].drops["map-notify-ack-unexpected"] == 1


@pytest.mark.requirement("X18")
def test_a_map_server_that_restarts_goes_on() -> None:
    world = at_one_place()
    appears(world, "xtr2")
    world.restart("ms")
    world.run(60)
    assert registered(world) == str(XTR2)
    appears(world, "xtr1")
    world.run(5)
    assert (registered(world), HOST in world["xtr2"].hosts) == (str(XTR1), False)


def records_of(packet: Packet) -> tuple[EidRecord, ...]:
    assert isinstance(packet.message, MapRegister)
    return packet.message.records


def test_two_hundred_hosts_move_at_once() -> None:
    """Whoever sends to all of them goes by the new place of all within two seconds; many are told of by one message."""
    world = stretched()
    hosts = [host_prefix(ip_address(f"192.168.7.{number}")) for number in range(1, 201)]
    for eid in hosts:
        appears(world, "xtr1", eid)
    world.run(5)
    for eid in hosts:
        world.put("xtr3", Miss(eid))
    world.run(5)
    assert {to(world, "xtr3", eid) for eid in hosts} == {XTR1}
    world["xtr1"].contacts.add(XTR3)
    registers = len(world.sent(MapRegister, XTR2))
    for eid in hosts:
        appears(world, "xtr2", eid)
    world.run(2)
    told = [records_of(one) for one in world.sent(MapRegister, XTR2)[registers:]]
    assert len(told) < len(hosts) / 8
    assert sum(map(len, told)) == len(hosts)
    assert {to(world, "xtr3", eid) for eid in hosts} == {XTR2}
    world.run(3)
    withdrawals = [one for one in world.sent(MapRegister, XTR1) if not records_of(one)[0].ttl_minutes]
    assert 0 < len(withdrawals) < len(hosts) / 8
    assert {registered(world, eid) for eid in hosts} == {str(XTR2)}
    assert not world["xtr1"].hosts
    assert set(world["xtr2"].hosts) == set(hosts)


@pytest.mark.requirement("X05")
def test_a_host_that_falls_silent_after_its_move_is_registered_by_nobody() -> None:
    """Nor by the xTR that it left, until it shows itself there; then those find it who sent to where it was."""
    world = at_one_place()
    appears(world, "xtr2")
    world.run(1)
    assert registered(world) == str(XTR2)
    world["xtr2"].present.discard(HOST)
    world.put("xtr2", HostGone(HOST, PORT))
    for _ in range(200):
        world.run(1)
        assert registered(world) is None
        assert not [name for name in ("xtr1", "xtr2") if HOST in world[name].hosts]
    appears(world, "xtr1")
    world.run(1)
    assert registered(world) == str(XTR1)
    for _ in range(3):
        world.put("xtr2", StrayData(HOST, XTR3))
        world.run(1)
    assert to(world, "xtr3") == XTR1


@pytest.mark.requirement("X07", "X17")
@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_late_or_doubled_the_last_place_counts(seed: int) -> None:
    """Random moves, with a third of the control messages lost, doubled, and up to a second late; then quiet."""
    chance = random.Random(seed)
    world = at_one_place()
    world.be_unreliable(chance)
    place = "xtr1"
    for _ in range(chance.randrange(1, 6)):
        place = chance.choice(("xtr1", "xtr2"))
        appears(world, place)
        world["xtr1"].contacts.add(XTR3)
        world["xtr2"].contacts.add(XTR3)
        world.run(chance.choice((0.01, 0.3, 2.0, 10.0)))
    # The network heals; the host goes on to speak, and the branch to send.
    world.lost = lambda _packet: False
    for _ in range(140):
        world.put(place, HostSeen(HOST, PORT))
        world.run(1)
        used = to(world, "xtr3")
        for name, rloc in (("xtr1", XTR1), ("xtr2", XTR2)):
            if used == rloc and HOST not in world[name].hosts:
                world.put(name, StrayData(HOST, XTR3))
    rloc = {"xtr1": XTR1, "xtr2": XTR2}[place]
    assert registered(world) == str(rloc)
    assert [name for name in ("xtr1", "xtr2") if HOST in world[name].hosts] == [place]
    assert to(world, "xtr3") == rloc
    assert to(world, "xtr2" if place == "xtr1" else "xtr1") == rloc
