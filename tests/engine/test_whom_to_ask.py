"""How often an ITR asks, and whom: its pace, and the next of several Map-Resolvers and Map-Servers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise

import pytest

from nodes.lisp.config import MapServerPeer
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import host_prefix
from nodes.lisp.engine.turns import Turns
from nodes.lisp.inputs import Miss
from nodes.lisp.wire import (
    EncapsulatedControlMessage,
    MapReply,
    MapRequest,
    NoAddress,
    RequestRecord,
)
from tests.engine.world import (
    DC1,
    DC2,
    H2,
    KEY,
    MR,
    MS,
    PXTR,
    STRANGER,
    XTR1,
    XTR2,
    World,
    map_resolver,
    map_server,
    two_sites,
    xtr,
)


@pytest.mark.requirement("C08")
def test_pace_retransmissions_and_the_pause() -> None:
    """One Map-Request a second, 10 retransmissions, then 30 seconds of silence; each with a nonce of its own."""
    world = two_sites()
    world.stop("mr")
    began = world.now
    for _ in range(600):
        world.put("xtr1", Miss(H2))
        world.run(0.1)
    sent = world.sent(EncapsulatedControlMessage, XTR1)
    at = [round(p.time - began, 3) for p in sent]
    assert at[:11] == [float(n) for n in range(11)]
    assert 40.0 <= at[11] <= 40.2
    assert [round(b - a, 3) for a, b in pairwise(at[11:])] == [1.0] * (len(at) - 12)
    assert len({p.request.nonce for p in sent}) == len(sent)
    assert world["xtr1"].unresolved
    assert set(world["xtr1"].unresolved) == {H2}


@pytest.mark.requirement("C08")
def test_second_resolver_is_asked_when_the_first_is_silent() -> None:
    """Retransmissions go round the configured Map-Resolvers; a late reply still counts."""
    second = ip_address("10.0.4.2")
    config = replace(xtr("xtr1", XTR1, DC1), map_resolvers=(second, MR))
    world = World().add(map_server(), map_resolver(), config, xtr("xtr2", XTR2, DC2))
    world.run()
    world.put("xtr1", Miss(H2))
    world.run(1.5)
    assert [p.destination for p in world.sent(EncapsulatedControlMessage, XTR1)] == [second, MR]
    assert world["xtr1"].forwarding(H2).forwarding is Forwarding.ENCAPSULATE


MS2 = ip_address("10.0.5.2")


def two_map_servers() -> World:
    """Both sites register with both Map-Servers, and the Map-Resolver knows both for every prefix."""
    both = (MapServerPeer(MS, KEY), MapServerPeer(MS2, KEY))
    resolver = map_resolver()
    others = tuple(replace(one, map_server=MS2) for one in resolver.delegations)
    world = World().add(
        map_server(),
        replace(map_server(), name="ms2", rlocs=(MS2,)),
        replace(resolver, delegations=(*resolver.delegations, *others)),
        *(replace(xtr(name, at, dc), map_servers=both) for name, at, dc in (("xtr1", XTR1, DC1), ("xtr2", XTR2, DC2))),
    )
    world.run()
    assert world["xtr1"].engine.registered
    assert world["xtr2"].engine.registered
    return world


@pytest.mark.requirement("C08", "S09")
@pytest.mark.parametrize("dead", ["ms", "ms2"])
def test_second_map_server_is_asked_when_the_first_is_dead(dead: str) -> None:
    """A retransmitted Map-Request reaches the other Map-Server; both have part in the work."""
    world = two_map_servers()
    world.stop(dead)
    for number in range(1, 9):
        world.put("xtr1", Miss(host_prefix(f"192.168.2.{number}")))
        world.lost = lambda packet: isinstance(packet.message, MapReply)  # each EID is asked for by itself
        world.run(1.5)
        asked = [p.destination for p in world.sent(EncapsulatedControlMessage, MR)][-2:]
        assert set(asked) == {MS, MS2}
        world.lost = lambda _packet: False
        world.run(2.5)
        assert world["xtr1"].forwarding(H2).forwarding is Forwarding.ENCAPSULATE
        world.restart("xtr1")
        world.run(2)


@pytest.mark.requirement("S09")
def test_map_servers_share_the_work_and_others_questions_do_not_disturb_the_turns() -> None:
    """Eight EIDs, four each; and a retransmission goes to the other one, whoever asked in between."""
    world = two_map_servers()
    for number in range(1, 9):
        eid = host_prefix(f"192.168.2.{number}")
        request = MapRequest(5, NoAddress(), (XTR1,), (RequestRecord.of(eid),))
        world.inject("mr", EncapsulatedControlMessage.wrap(request.encode(), XTR1, 5555, eid.address).encode(), XTR1)
    first = [p.destination for p in world.sent(EncapsulatedControlMessage, MR)]
    assert sorted(first, key=str) == [MS] * 4 + [MS2] * 4
    for asker in (STRANGER, PXTR, STRANGER, PXTR):
        request = MapRequest(5, NoAddress(), (asker,), (RequestRecord.of(H2),))
        world.inject("mr", EncapsulatedControlMessage.wrap(request.encode(), asker, 5555, H2.address).encode(), asker)
    a, b, again_a, again_b = [p.destination for p in world.sent(EncapsulatedControlMessage, MR)][8:]
    assert {a, again_a} == {b, again_b} == {MS, MS2}


@pytest.mark.requirement("C08")
def test_turns_are_bounded() -> None:
    """Strangers' questions are forgotten, the oldest first."""
    turns = Turns(most=3)
    for question in range(100):
        turns.choose(question, "ab")
    assert len(turns._last) == 3
    assert turns.choose(99, "ab") != turns.choose(99, "ab")
    assert turns.choose("x", "a") == "a"
