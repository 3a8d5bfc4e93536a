"""Two xTRs in each data centre: what one finds the other knows, and one of them is the hosts' gateway (X09)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from nodes.lisp.config import DatabaseMapping, DynamicEid, Locator, NodeConfig
from nodes.lisp.effects import CONTROL_PORT
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.election import DEAD, HELLO, Election, Peer
from nodes.lisp.engine.solicitor import PATIENCE
from nodes.lisp.inputs import CoreLinks, Datagram, HostGone, HostSeen, StrayData
from nodes.lisp.wire import (
    EidRecord,
    EncapsulatedControlMessage,
    LocatorRecord,
    MapNotify,
    MapRegister,
    MapReply,
    MapRequest,
    NoAddress,
    RequestRecord,
    sign,
)
from tests.engine.stretched import HOST, PORT, SUBNET, XTR3, notifies, registered, to
from tests.engine.world import DC1, DC2, KEY, MS, Packet, World, ip_address, map_resolver, map_server, site, xtr

GROUP = ip_address("239.1.1.7")
RLOCS: dict[str, IPAddress] = {
    name: ip_address(rloc)
    for name, rloc in (("a1", "10.0.1.1"), ("a2", "10.0.1.2"), ("b1", "10.0.2.1"), ("b2", "10.0.2.2"))
}
SITES = {"a": ("a1", "a2"), "b": ("b1", "b2")}


def member(name: str) -> NodeConfig:
    """An xTR of a data centre that has two."""
    locators = tuple(Locator(RLOCS[one], 1, 50) for one in SITES[name[0]])
    return replace(
        xtr(name, RLOCS[name], SUBNET, proxy_reply=True),
        database=(),
        dynamic_eids=(DynamicEid(SUBNET, locators),),
        map_notify_group=GROUP,
        site_id=ord(name[0]),
    )


def data_centres() -> World:
    """The subnet in two data centres of two xTRs each, and a branch."""
    world = World().add(
        map_server(site("dc", SUBNET, more=True), site("branch", DC1)),
        map_resolver(SUBNET, DC1),
        *(member(name) for name in RLOCS),
        xtr("branch", XTR3, DC1),
    )
    world.run()
    return world


def gateways(world: World) -> list[str]:
    return [name for name in RLOCS if name in world.nodes and world[name].gateway]


def knowing(world: World, eid: EidPrefix = HOST) -> list[str]:
    """The xTRs that have the host's route."""
    return [name for name in RLOCS if name in world.nodes and eid in world[name].hosts]


def moves(world: World, place: str, by: str = "") -> None:
    """The host comes to a data centre; one of its xTRs hears it, or both."""
    for name in RLOCS:
        if name in world.nodes:
            world[name].present.discard(HOST)
    for name in SITES[place]:
        if name in world.nodes:
            world[name].present.add(HOST)
            if by in ("", name):
                world.put(name, HostSeen(HOST, PORT))


# The election, by itself


@pytest.mark.requirement("X09")
def test_the_lowest_rank_is_the_gateway_once_it_has_listened() -> None:
    election = Election((4, 1), 100.0)
    assert not election.active
    assert not election.is_settled
    assert election.deadline() == 100.0 + DEAD
    election.tick(100.0 + DEAD)
    assert election.active
    assert election.heard(b"better", Peer((4, 0), able=True, active=False, heard_at=101.0), 101.0)
    assert election.active, "the better one has not taken over yet"
    assert not election.heard(b"better", Peer((4, 0), able=True, active=True, heard_at=101.1), 101.1)
    assert not election.active
    assert election.tick(101.1 + DEAD) == [b"better"]
    assert election.active
    election.set_able(False, 102.0)
    assert not election.active
    assert election.is_settled
    assert election.heard(b"better", Peer((4, 0), able=False, active=False, heard_at=103.0), 103.0)
    election.set_able(True, 103.0)
    assert election.active, "a better one that does not reach the core is no gateway"


def test_a_worse_one_does_not_take_over_and_is_not_waited_for() -> None:
    election = Election((4, 1), 0.0)
    election.heard(b"worse", Peer((6, 0), able=True, active=True, heard_at=DEAD), DEAD)
    assert election.active


# Two xTRs


@pytest.mark.requirement("X09")
@pytest.mark.parametrize("by", ["a1", "a2"])
def test_what_one_finds_the_other_knows_and_the_gateway_registers(by: str) -> None:
    world = data_centres()
    assert gateways(world) == ["a1", "b1"]
    moves(world, "a", by)
    world.run(0.1)
    assert knowing(world) == ["a1", "a2"]
    assert registered(world) == str(RLOCS["a1"])
    (row,) = [row for row in world["ms"].engine.show("registrations", 0.0) if row["eid"] == str(HOST)]
    assert [one["rloc"] for one in row["locators"]] == [str(RLOCS["a1"]), str(RLOCS["a2"])]
    world.run(120)
    hosts = [
        packet
        for packet in world.sent(MapRegister)
        if isinstance(packet.message, MapRegister) and HOST in [one.prefix for one in packet.message.records]
    ]
    assert {packet.source for packet in hosts} == {RLOCS["a1"]}
    assert notifies(world) == []
    assert knowing(world) == ["a1", "a2"]


@pytest.mark.requirement("X09", "X03")
def test_both_xtrs_of_the_data_centre_that_a_host_left_know_it() -> None:
    world = data_centres()
    moves(world, "a")
    world.run(1)
    assert to(world, "branch") in (RLOCS["a1"], RLOCS["a2"])
    for name in SITES["a"]:
        world[name].contacts.add(XTR3)
    moves(world, "b", "b2")
    world.run(0.2)
    assert knowing(world) == ["b1", "b2"]
    assert [packet.destination for packet in notifies(world)] == [RLOCS["a1"]]
    for name in (*SITES["a"], "branch"):
        assert [one.address for one in world[name].forwarding(HOST).locators] == [RLOCS["b1"], RLOCS["b2"]]


@pytest.mark.requirement("X09", "X05")
def test_a_host_that_is_gone_is_gone_for_both() -> None:
    world = data_centres()
    moves(world, "a")
    world.run(1)
    world.put("a2", HostGone(HOST, PORT))
    world.run(1)
    assert knowing(world) == ["a1", "a2"], "it may answer the gateway"
    world.put("a1", HostGone(HOST, PORT))
    world.run(1)
    assert knowing(world) == []
    assert registered(world) is None


@pytest.mark.requirement("X09")
def test_the_other_one_takes_over_within_a_second_and_registers_the_hosts() -> None:
    world = data_centres()
    moves(world, "a")
    world.run(1)
    world.stop("a1")
    world.run(DEAD - 2 * HELLO)
    assert gateways(world) == ["b1"]
    world.run(2 * HELLO)
    assert gateways(world) == ["a2", "b1"]
    world.run(0.1)
    assert registered(world) == str(RLOCS["a2"])
    assert notifies(world) == [], "nothing has moved"
    # It comes back, learns of the hosts first, and takes over; there is a gateway all the while.
    world.add(member("a1"))
    for _ in range(20):
        world.run(0.1)
        assert {"a1", "a2"} & set(gateways(world))
    assert gateways(world) == ["a1", "b1"]
    assert knowing(world) == ["a1", "a2"]
    assert registered(world) == str(RLOCS["a1"])


@pytest.mark.requirement("X09")
def test_one_that_has_lost_its_core_link_leaves_it_to_the_other_at_once() -> None:
    world = data_centres()
    world.put("a1", CoreLinks(False))
    world.run(0.01)
    assert gateways(world) == ["a2", "b1"]
    world.put("a1", CoreLinks(True))
    world.run(0.01)
    assert gateways(world) == ["a1", "b1"]


@pytest.mark.requirement("X09")
@pytest.mark.parametrize("cut", SITES["a"])
def test_others_are_told_which_rlocs_are_cut_off(cut: str) -> None:
    """By the R-bits of what the other xTR registers (RFC 9301 section 5.4): nobody waits until a probe is missed."""
    world = data_centres()
    moves(world, "a")
    world.run(1)
    (left,) = {*SITES["a"]} - {cut}
    assert to(world, "branch") in (RLOCS["a1"], RLOCS["a2"])
    world[left].contacts.add(XTR3)
    # In a hurry while packets are lost; later when the gateway is another one again, which has to register first.
    for up, usable, gateway, within in ((False, [left], left, 0.2), (True, ["a1", "a2"], "a1", PATIENCE + 0.2)):
        world.put(cut, CoreLinks(up))
        world.run(within)
        assert registered(world) == str(RLOCS[gateway])
        assert [one.address for one in world["branch"].forwarding(HOST).locators] == [RLOCS[one] for one in usable]
        assert notifies(world) == [], "nothing has moved"


@pytest.mark.requirement("X09")
def test_who_registers_no_hosts_solicits_nobody_before_the_gateway_has() -> None:
    """Of three, one loses the core, and the gateway's word of that is lost; the other's is none about hosts."""
    all_three = {name: rloc for name, rloc in RLOCS.items() if name in SITES["a"]} | {"a3": ip_address("10.0.1.3")}
    locators = tuple(Locator(rloc, 1, 33) for rloc in all_three.values())
    world = World().add(
        map_server(site("dc", SUBNET, DC2, more=True), site("branch", DC1)),
        map_resolver(SUBNET, DC1, DC2),
        *(
            replace(
                member("a1"),
                name=name,
                rlocs=(rloc,),
                xtr_id=f"{int(rloc):032x}",
                dynamic_eids=(DynamicEid(SUBNET, locators),),
                database=(DatabaseMapping(DC2, locators),),
            )
            for name, rloc in all_three.items()
        ),
        xtr("branch", XTR3, DC1),
    )
    world.run()
    world.put("a1", HostSeen(HOST, PORT))
    world.run(1)
    assert to(world, "branch") in all_three.values()
    for name in all_three:
        world[name].contacts.add(XTR3)
    cut_at = world.now
    world.lost = lambda packet: packet.source == RLOCS["a1"] and packet.destination == MS and packet.time < cut_at + 1
    world.put("a3", CoreLinks(False))
    world.run(0.5)
    told = [packet.message for packet in world.sent(MapRequest, RLOCS["a2"])]
    assert [[one.prefix for one in m.records] for m in told if isinstance(m, MapRequest) and m.smr] == [[DC2]]
    world.run(1)
    assert [one.address for one in world["branch"].forwarding(HOST).locators] == [RLOCS["a1"], RLOCS["a2"]]


@pytest.mark.requirement("X09")
def test_after_a_cut_of_the_lan_one_is_the_gateway_again_and_both_know_all_hosts() -> None:
    world = data_centres()
    world.lost = lambda packet: packet.destination == GROUP
    world.run(1)
    assert gateways(world) == ["a1", "a2", "b1", "b2"]
    moves(world, "a", "a2")
    world.run(1)
    assert knowing(world) == ["a2"]
    world.lost = lambda _packet: False
    world.run(0.5)
    assert gateways(world) == ["a1", "b1"]
    assert knowing(world) == ["a1", "a2"]
    assert registered(world) == str(RLOCS["a1"])


# What is not believed


def spoken(world: World, source: IPAddress) -> list[Packet]:
    return [packet for packet in world.sent(MapNotify, source) if packet.destination == GROUP]


def hear(world: World, name: str, payload: bytes) -> None:
    arrival = Datagram(payload, ip_address("192.168.7.66"), CONTROL_PORT, GROUP, CONTROL_PORT, interface=PORT)
    world.put(name, arrival)


@pytest.mark.requirement("X09")
def test_what_is_not_authentic_changes_nothing() -> None:
    world = data_centres()
    message = spoken(world, RLOCS["a2"])[-1].message
    assert isinstance(message, MapNotify)
    host = EidRecord.of(HOST, 60, message.records[0].locators)
    newer = replace(message, nonce=message.nonce + 1000, records=(message.records[0], host), auth_data=b"")
    boast = replace(newer, records=(replace(newer.records[0], authoritative=True),))
    for forged in (newer, boast):
        for secret in ("guess", KEY.secret):  # the secret of the Map-Server is not that of the group
            hear(world, "a1", sign(forged, secret).encode())
    assert world["a1"].drops["group-authentication"] == 4
    other_site = replace(newer, site_id=7)
    hear(world, "a1", sign(other_site, f"{KEY.secret} map-notify-group").encode())
    assert world["a1"].drops["group-foreign"] == 1
    assert knowing(world) == []
    assert gateways(world) == ["a1", "b1"]
    # The same, signed as the group does, is heard.
    hear(world, "a1", sign(newer, f"{KEY.secret} map-notify-group").encode())
    assert knowing(world) == ["a1"]


@pytest.mark.requirement("X09", "S01")
def test_hosts_do_not_reach_the_control_plane_by_the_groups_address() -> None:
    """They hear the group and can send to it; of any node's messages, only those of the group are taken there."""
    world = data_centres()
    moves(world, "a")
    world.run(1)
    asks = MapRequest(7, NoAddress(), (XTR3,), (RequestRecord.of(HOST),))
    inside = EncapsulatedControlMessage.wrap(asks.encode(), XTR3, 5555, HOST.address)
    messages = [asks, replace(asks, probe=True), replace(asks, smr=True), inside, MapReply(7, ())]
    sent = len(world.packets)
    for message in messages:
        hear(world, "a1", message.encode())
    assert world.packets[sent:] == []
    assert world["a1"].drops == {"group-foreign": len(messages)}


@pytest.mark.requirement("X09")
def test_what_was_said_before_changes_nothing() -> None:
    """A dead gateway's last word, again and again, keeps nobody from taking over; nor after a restart."""
    world = data_centres()
    moves(world, "a")
    world.run(60)
    old = spoken(world, RLOCS["a1"])
    world.stop("a1")
    for _ in range(20):
        world.run(0.1)
        hear(world, "a2", old[-1].payload)
        hear(world, "a2", old[0].payload)
    assert gateways(world) == ["a2", "b1"]
    assert world["a2"].drops["group-replay"] == 20
    world.restart("a2")
    for packet in old[:20]:
        hear(world, "a2", packet.payload)
    assert world["a2"].drops["group-replay"] == 20
    world.run(DEAD + 0.1)
    assert gateways(world) == ["a2", "b1"]


def test_a_message_of_the_group_is_no_word_of_the_map_server() -> None:
    world = data_centres()
    moves(world, "a")
    world.run(1)
    message = spoken(world, RLOCS["a1"])[-1].message
    assert isinstance(message, MapNotify)
    away = EidRecord.of(HOST, 60, (LocatorRecord(RLOCS["b1"], 1, 100),))
    said = replace(message, nonce=(1 << 63) + (1 << 62), records=(message.records[0], away), auth_data=b"")
    world.inject("a1", sign(said, f"{KEY.secret} map-notify-group").encode())
    assert knowing(world) == ["a1", "a2"]
    assert world["a1"].drops["map-notify-unknown-nonce"] == 1


# Whatever happens


@pytest.mark.requirement("X09")
@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_lost_late_or_doubled_all_agree_in_the_end(seed: int) -> None:
    """Moves at random, xTRs that restart or lose the core, a third of messages lost, doubled or late; then quiet."""
    chance = random.Random(seed)
    world = data_centres()
    world.be_unreliable(chance)
    place = "a"
    for _ in range(chance.randrange(1, 6)):
        place = chance.choice("ab")
        moves(world, place, chance.choice((*SITES[place], "")))
        if chance.random() < 0.4:
            world.restart(chance.choice([*RLOCS, "ms"]))
        if chance.random() < 0.4:
            world.put(chance.choice([*RLOCS]), CoreLinks(chance.random() < 0.5))
        world.run(chance.choice((0.01, 0.3, 2.0, 10.0)))
    world.lost = lambda _packet: False
    world.delays = lambda _packet: [0.01]
    for name in RLOCS:
        world.put(name, CoreLinks(True))
    for _ in range(70):
        world.put(SITES[place][chance.randrange(2)], HostSeen(HOST, PORT))
        world.run(1)
        used = to(world, "branch")
        for name, rloc in RLOCS.items():
            if used == rloc and HOST not in world[name].hosts:
                world.put(name, StrayData(HOST, XTR3))
    assert gateways(world) == ["a1", "b1"]
    assert knowing(world) == list(SITES[place])
    assert registered(world) == str(RLOCS[SITES[place][0]])
    assert to(world, "branch") in [RLOCS[name] for name in SITES[place]]
