"""How subscriptions end (RFC 9437): by who has them, by who repeats in vain, and never by who has no say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodes.lisp.config import NodeConfig
from nodes.lisp.effects import Forwarding
from nodes.lisp.engine.replies import FLOOD_BURST
from nodes.lisp.inputs import HostGone, Miss, Query, Tick
from nodes.lisp.wire import (
    Action,
    EidRecord,
    EncapsulatedControlMessage,
    MapNotify,
    MapRequest,
    NoAddress,
    RequestRecord,
    sign,
)
from tests.engine.pubsub import (
    BRANCH,
    SECRET,
    acknowledges,
    asked,
    ecm,
    notifies,
    played,
    request_of,
    said,
    stretched,
    subscribing,
    subscriptions,
    used,
    world_of,
)
from tests.engine.stretched import HOST, PORT, XTR3, appears, dynamic
from tests.engine.world import (
    MS,
    PXTR,
    STRANGER,
    XTR1,
    XTR2,
    Packet,
    World,
    ip_address,
    xtr,
)


def withdrawal_of(config: NodeConfig, nonce: int) -> MapRequest:
    return request_of(config, nonce=nonce, itr_rlocs=(NoAddress(),))


def test_what_nobody_needs_any_more_is_unsubscribed() -> None:
    world = stretched()
    stop = world.now + 1440 * 60 + 700
    while world.now < stop:
        world.run(600)
    assert subscriptions(world) == {}
    assert subscriptions(world, "xtr3") == {}
    last = asked(world, XTR3)[-1]
    assert (last.itr_rlocs, last.records[0]) == ((NoAddress(),), RequestRecord.of(HOST, notify=True))


def test_an_end_is_told_to_where_it_was_asked_from() -> None:
    """RFC 9437 section 5: to the source of the Map-Request. One that is no RLOC of the xTR's is told nothing."""
    second = ip_address("10.0.6.2")
    config = subscribing(replace(xtr("xtr3", XTR3, BRANCH), rlocs=(XTR3, second)))
    world = world_of(dynamic("xtr1", XTR1), dynamic("xtr2", XTR2), config)
    appears(world, "xtr1")
    world.run(1)
    assert world.resolve("xtr3", HOST).locators[0].address == XTR1
    world.stop("xtr3")
    nonce = notifies(world, XTR3)[-1][1].nonce
    for source, expected in ((STRANGER, XTR3), (second, second)):
        nonce += 1
        count = len(world.sent(MapNotify, MS))
        world.inject("ms", ecm(withdrawal_of(config, nonce), source), XTR3)
        (packet,) = world.sent(MapNotify, MS)[count:]
        assert packet.destination == expected
    (ending,) = [one for _, one in notifies(world, second)]
    assert said(ending) == [(HOST, 0, [])]
    acknowledges(world, ending)
    assert subscriptions(world) == {}


def test_a_flood_of_forged_ends_is_no_flood_of_map_notifies() -> None:
    """RFC 9437 section 7.2. And the xTR itself ends its subscription soon after."""
    world, config = played()
    count, last = len(notifies(world, XTR3)), notifies(world, XTR3)[-1][1].nonce
    for number in range(1, 2001):
        world.inject("ms", ecm(withdrawal_of(config, last + number), STRANGER), XTR3)
    assert len(notifies(world, XTR3)) - count <= FLOOD_BURST
    assert world["ms"].drops["map-reply-rate"] >= 2000 - FLOOD_BURST
    world.run(1)
    world.inject("ms", ecm(withdrawal_of(config, last + 3000), XTR3), XTR3)
    acknowledges(world, notifies(world, XTR3)[-1][1])
    assert (str(HOST.network), config.xtr_id) not in subscriptions(world)


def test_after_its_end_a_subscription_is_not_begun_by_an_old_request() -> None:
    world, config = played()
    last = notifies(world, XTR3)[-1][1].nonce
    world.inject("ms", ecm(withdrawal_of(config, last + 1), XTR3), XTR3)
    acknowledges(world, notifies(world, XTR3)[-1][1])
    ended = subscriptions(world)
    assert (str(HOST.network), config.xtr_id) not in ended
    count = len(notifies(world, XTR3))
    for replayed in (request_of(config, nonce=last), withdrawal_of(config, last + 1)):
        world.inject("ms", ecm(replayed, XTR3), XTR3)
    assert (len(notifies(world, XTR3)), subscriptions(world)) == (count, ended)
    assert world["ms"].drops["subscription-replay"] == 2
    world.run(5)
    world.inject("ms", ecm(request_of(config, nonce=last + 2), XTR3), XTR3)
    assert notifies(world, XTR3)[-1][1].nonce == last + 2


def unneeded() -> World:
    """The branch has nothing cached any more of what it has subscribed to, and looks after that in five minutes."""
    world = stretched()
    world.put("xtr1", HostGone(HOST, PORT))
    world.run(0.1)
    assert used(world, "xtr3") is Forwarding.SEND_MAP_REQUEST
    return world


@pytest.mark.parametrize("kind", [EncapsulatedControlMessage, MapNotify])
def test_an_unsubscription_that_is_lost_is_sent_again(kind: type) -> None:
    """The same one, each second, until it is answered."""
    world = unneeded()
    ends: list[Packet] = []

    def lost(packet: Packet) -> bool:
        if packet.source == XTR3 and isinstance(packet.message, EncapsulatedControlMessage):
            ends.append(packet)
        return XTR3 in (packet.source, packet.destination) and isinstance(packet.message, kind) and len(ends) < 3

    world.lost = lost
    world.run(310)
    assert [round(one.time - ends[0].time, 3) for one in ends] == ([0, 1, 2] if kind is not MapNotify else [0, 1, 2, 3])
    assert len({one.request.nonce for one in ends}) == 1
    assert all(one.request.itr_rlocs == (NoAddress(),) for one in ends)
    assert (str(HOST.network), world["ms"].config.subscribers[0].xtr_id) not in subscriptions(world)


def test_an_unsubscription_that_the_network_doubles_is_no_replay() -> None:
    """Whoever watches for replays is not to be shown copies."""
    world = unneeded()

    def copies(packet: Packet) -> tuple[float, ...]:
        to_resolver = packet.source == XTR3 and isinstance(packet.message, EncapsulatedControlMessage)
        return (world.delay,) * (2 if to_resolver and packet.request.itr_rlocs == (NoAddress(),) else 1)

    world.delays = copies
    world.run(310)
    assert (str(HOST.network), f"{int(XTR3):032x}") not in subscriptions(world)
    assert world["ms"].drops["subscription-copy"] == 1
    assert "subscription-replay" not in world["ms"].drops


def test_nobody_answers_an_unsubscription() -> None:
    world = unneeded()
    count = len(asked(world, XTR3))
    world.stop("ms")
    world.run(400)
    ends = [one for one in asked(world, XTR3)[count:] if one.itr_rlocs == (NoAddress(),)]
    assert len(ends) == 4


def test_who_wants_it_again_is_not_unsubscribed_by_a_late_answer() -> None:
    """The Map-Notify that answers the end comes when the xTR has asked anew: it is not acknowledged any more."""
    world = unneeded()
    world.lost = lambda packet: packet.destination == XTR3 and isinstance(packet.message, MapNotify)
    while not [one for one in asked(world, XTR3) if one.itr_rlocs == (NoAddress(),)]:
        world.run(0.1)
    world.run(0.1)
    late = world.sent(MapNotify, MS)[-1]
    world.lost = lambda _packet: False
    appears(world, "xtr2")
    world.put("xtr3", Miss(HOST))
    world.replay("xtr3", late)
    world.run(10)
    assert subscriptions(world)[str(HOST.network), world["xtr3"].config.xtr_id] == "subscribed"
    appears(world, "xtr1")
    world.run(0.1)
    assert used(world, "xtr3") == XTR1


def test_the_word_that_a_subscription_is_lost_cannot_be_played_again() -> None:
    """It has the nonce of what was not acknowledged (RFC 9437 section 5); what came since has a greater one."""
    world = stretched()
    ((_, confirmation),) = notifies(world, XTR3)
    refusal = EidRecord.of(HOST, 1, action=Action.DROP_AUTH_FAILURE)
    old = sign(replace(confirmation, records=(refusal,), auth_data=b""), SECRET.secret)
    appears(world, "xtr2")
    world.run(0.1)
    count = len(asked(world, XTR3))
    world.inject("xtr3", old.encode(), MS, 4342)
    world.run(1)
    assert (len(asked(world, XTR3)), world["xtr3"].drops["publication-replay"]) == (count, 1)
    news = notifies(world, XTR3)[-1][1]
    lost = sign(replace(news, records=(refusal,), auth_data=b""), SECRET.secret)
    world.inject("xtr3", lost.encode(), MS, 4342)
    assert len(asked(world, XTR3)) == count + 1


@pytest.mark.requirement("M18")
def test_who_asks_just_when_its_publication_is_given_up_breaks_nothing() -> None:
    """Both are due in one moment: what ended with the subscription is not repeated, and ends once."""
    world = stretched()
    config = world["xtr3"].config
    world.stop("xtr3")
    appears(world, "xtr2")
    world.run(96.05)
    world.inject("mr", ecm(request_of(config, nonce=99 << 56), XTR3), XTR3)
    world.run(0.1)
    engine = world["ms"].engine
    engine.step(Tick(), world.now + 3)  # some 10 ms late, as a busy machine is
    world.now += 3
    world.run(300)
    assert subscriptions(world) == {(str(HOST.network), f"{int(PXTR):032x}"): "subscribed"}


@pytest.mark.requirement("M18")
def test_who_asks_anew_while_its_old_subscription_is_given_up_is_subscribed() -> None:
    """Its Map-Notify-Ack is under way at that moment."""
    world = stretched()
    world.lost = lambda packet: XTR3 in (packet.source, packet.destination)
    appears(world, "xtr2")
    world.run(98.975)  # 10 ms to the Map-Server, 99 s of repetitions; asking and answering takes 40 ms
    world.lost = lambda _packet: False
    world.put("xtr3", Query(HOST, 7))
    world.run(1)
    ours = str(HOST.network), f"{int(XTR3):032x}"
    assert subscriptions(world)[ours] == subscriptions(world, "xtr3")[ours] == "subscribed"
    appears(world, "xtr1")
    world.run(1)
    assert used(world, "xtr3") == XTR1
