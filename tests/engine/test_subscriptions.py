"""Subscriptions (RFC 9437): who may begin and end them, and which messages about them are believed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from nodes.lisp.config import NodeConfig
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import IPAddress, host_prefix
from nodes.lisp.engine.replies import FLOOD_BURST
from nodes.lisp.inputs import HostGone, Miss, Query, Tick
from nodes.lisp.wire import (
    Action,
    EidRecord,
    EncapsulatedControlMessage,
    LocatorRecord,
    MapNotify,
    MapNotifyAck,
    MapReply,
    MapRequest,
    NoAddress,
    RequestRecord,
    sign,
)
from tests.engine.pubsub import (
    BRANCH,
    OTHER_SECRET,
    SECRET,
    asked,
    ecm,
    notifies,
    request_of,
    said,
    stretched,
    subscriber,
    subscribing,
    subscriptions,
    used,
    world_of,
)
from tests.engine.stretched import HOST, PORT, XTR3, appears, dynamic
from tests.engine.world import (
    H1,
    KEY,
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

FORGERIES: dict[str, tuple[IPAddress, dict[str, object], Action]] = {
    "from elsewhere": (STRANGER, {}, Action.DROP_POLICY_DENIED),
    "unknown xTR-ID": (XTR3, {"xtr_id": bytes(16)}, Action.DROP_AUTH_FAILURE),
    "wrong Site-ID": (XTR3, {"site_id": 77}, Action.DROP_AUTH_FAILURE),
    "xTR-ID of another": (XTR1, {}, Action.DROP_POLICY_DENIED),
    "ITR-RLOC of a stranger": (XTR3, {"itr_rlocs": (STRANGER,)}, Action.DROP_POLICY_DENIED),
    "and one of a stranger": (XTR3, {"itr_rlocs": (XTR3, STRANGER)}, Action.DROP_POLICY_DENIED),
}


@pytest.mark.parametrize("name", ["mr", "ms"])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_who_is_not_known_does_not_subscribe(forgery: str, name: str) -> None:
    """By the Map-Resolver, and by the Map-Server if it comes past that (requirement M18)."""
    world = stretched()
    before = subscriptions(world)
    source, changes, action = FORGERIES[forgery]
    request = request_of(world["xtr3"].config, **changes)
    count = len(world.packets)
    world.inject(name, ecm(request, source), source)
    sent = world.packets[count:]
    assert [type(packet.message) for packet in sent] == [MapReply]
    reply = sent[0].message
    assert isinstance(reply, MapReply)
    assert [(one.action, one.locators) for one in reply.records] == [(action, ())]
    assert world[name].drops["subscription-refused"] == 1
    world.run(60)
    assert subscriptions(world) == before


def test_a_forged_request_from_the_right_place_changes_nothing() -> None:
    """Its sender can forge addresses, and knows every name: the xTR acknowledges only what it has asked for."""
    world = stretched()
    before = subscriptions(world)
    config = world["xtr3"].config
    for n in range(1, 9):
        world.inject("mr", ecm(request_of(config, nonce=n << 60), XTR3), XTR3)
        withdrawal = request_of(config, nonce=(n << 60) + 1, itr_rlocs=(NoAddress(),))
        world.inject("mr", ecm(withdrawal, XTR3), XTR3)
    world.run(1)
    assert subscriptions(world) == before
    # And a change in the middle of that arrives.
    appears(world, "xtr2")
    world.run(0.1)
    assert used(world, "xtr3") == XTR2
    world.run(100)
    assert subscriptions(world) == before
    appears(world, "xtr1")
    world.run(0.1)
    assert used(world, "xtr3") == XTR1


def test_who_has_no_key_confirms_nothing() -> None:
    world = stretched()
    config = world["xtr3"].config
    world.inject("mr", ecm(request_of(config, host_prefix("192.168.7.77")), XTR3), XTR3)
    world.run(0.1)
    forged = [m for _, m in notifies(world, XTR3) if m.nonce == 99 << 56]
    ack = MapNotifyAck(99 << 56, 1, KEY.algorithm, forged[0].records)
    world.inject("ms", sign(ack, "guess").encode(), XTR3)
    assert "pending" in subscriptions(world).values()
    assert world["ms"].drops["map-notify-ack-authentication"] == 1
    world.run(100)
    assert set(subscriptions(world).values()) == {"subscribed"}


def test_what_is_not_signed_by_the_map_server_or_old_or_foreign_is_not_believed() -> None:
    world = stretched()
    ((_, confirmation),) = notifies(world, XTR3)
    record = EidRecord.of(HOST, 1440, (LocatorRecord(STRANGER, 1, 100),))
    news = replace(confirmation, nonce=confirmation.nonce + 1, records=(record,), auth_data=b"")
    world.inject("xtr3", sign(news, "guess").encode(), MS, 4342)
    assert world["xtr3"].drops["map-notify-authentication"] == 1
    # A site's key is not for that either.
    world.inject("xtr3", sign(news, KEY.secret).encode(), MS, 4342)
    # With the secret: of what was not subscribed to, beside something that was, and long ahead of what was seen.
    foreign = replace(record, address=host_prefix("192.168.7.11").address)
    for forged in (
        replace(news, records=(foreign,)),
        replace(news, records=(record, foreign)),
        replace(news, nonce=news.nonce + (1 << 40)),
    ):
        world.inject("xtr3", sign(forged, SECRET.secret).encode(), MS, 4342)
    assert used(world, "xtr3") == XTR1
    assert used(world, "xtr3", host_prefix("192.168.7.11")) is Forwarding.SEND_MAP_REQUEST
    # What was true once is not true again.
    appears(world, "xtr2")
    world.run(0.1)
    appears(world, "xtr1")
    world.run(0.1)
    acks = len(world.sent(MapNotifyAck, XTR3))
    for packet, _ in notifies(world, XTR3)[:-1]:
        world.replay("xtr3", packet)
    assert used(world, "xtr3") == XTR1
    assert world["xtr3"].drops["publication-replay"] == 2
    assert len(world.sent(MapNotifyAck, XTR3)) == acks
    # The last one is acknowledged again: its acknowledgement may be lost.
    world.replay("xtr3", notifies(world, XTR3)[-1][0])
    assert len(world.sent(MapNotifyAck, XTR3)) == acks + 1


def test_a_replayed_request_is_dropped() -> None:
    world = stretched()
    (first,) = world.sent(EncapsulatedControlMessage, XTR3)
    count = len(notifies(world, XTR3))
    world.replay("mr", first)
    world.run(1)
    assert world["ms"].drops["subscription-replay"] == 1
    assert len(notifies(world, XTR3)) == count


def test_a_publication_is_repeated_and_a_dead_subscriber_is_let_go() -> None:
    world = stretched()
    world.stop("xtr3")
    xtr_id = f"{int(XTR3):032x}"
    appears(world, "xtr2")
    world.run(0.1)
    assert subscriptions(world)[str(HOST.network), xtr_id] == "unacknowledged"
    world.run(120)
    times = [packet.time for packet, m in notifies(world, XTR3) if m.records[0].locators][1:]
    assert [round(later - earlier, 6) for earlier, later in pairwise(times)] == [3, 3, 3, 6, 12, 24]
    (_, last), (_, lost) = notifies(world, XTR3)[-2:]
    assert lost.nonce == last.nonce
    assert [(one.prefix, one.action, one.locators) for one in lost.records] == [(HOST, Action.DROP_AUTH_FAILURE, ())]
    assert (str(HOST.network), xtr_id) not in subscriptions(world)
    assert [one.fields for one in world["ms"].reports if one.event == "subscription-lost"] == [
        {"eid": str(HOST), "xtr_id": xtr_id}
    ]
    assert not [key for key in world["ms"].durable if key.startswith(f"subscription/{xtr_id}")]


def test_what_nobody_needs_any_more_is_unsubscribed() -> None:
    world = stretched()
    stop = world.now + 1440 * 60 + 700
    while world.now < stop:
        world.run(600)
    assert subscriptions(world) == {}
    assert subscriptions(world, "xtr3") == {}
    last = asked(world, XTR3)[-1]
    assert (last.itr_rlocs, last.records[0]) == ((NoAddress(),), RequestRecord.of(HOST, notify=True))


def test_an_xtr_that_may_not_subscribe_resolves_all_the_same() -> None:
    stranger = subscribing(xtr("xtr3", XTR3, BRANCH))
    world = world_of(dynamic("xtr1", XTR1), dynamic("xtr2", XTR2))
    world.add(stranger)
    appears(world, "xtr1")
    world.run()
    world.put("xtr3", Miss(HOST))
    world.run(1.5)
    assert used(world, "xtr3") == XTR1
    assert [one.records[0].notify for one in asked(world, XTR3)] == [True, False]
    # It does not try for every EID.
    world.put("xtr3", Miss(H1))
    world.run(0.1)
    assert [one.records[0].notify for one in asked(world, XTR3)] == [True, False, False]


def test_another_secret() -> None:
    """The Map-Server signs with the first one that it has; the xTR takes any that it has."""
    config = subscribing(xtr("xtr3", XTR3, BRANCH, proxy_reply=True), SECRET, OTHER_SECRET)
    world = world_of(dynamic("xtr1", XTR1), dynamic("xtr2", XTR2), config)
    appears(world, "xtr1")
    world.run()
    assert world.resolve("xtr3", HOST).locators[0].address == XTR1
    server = world["ms"].config
    world.restart("ms", replace(server, subscribers=(replace(subscriber(config), keys=(OTHER_SECRET,)),)))
    appears(world, "xtr2")
    world.run(0.1)
    assert used(world, "xtr3") == XTR2
    assert [one.key_id for _, one in notifies(world, XTR3)] == [1, 2]


def test_whose_secret_is_another_resolves_all_the_same() -> None:
    """Nothing that it is told can be believed: after a while it asks without subscribing."""
    config = subscribing(xtr("xtr3", XTR3, BRANCH, proxy_reply=True))
    world = world_of(dynamic("xtr1", XTR1), dynamic("xtr2", XTR2), config)
    world.restart("xtr3", replace(config, subscription_keys=(OTHER_SECRET,)))
    appears(world, "xtr1")
    world.run()
    world.put("xtr3", Miss(HOST))
    world.run(3.5)
    assert used(world, "xtr3") == XTR1
    assert [one.records[0].notify for one in asked(world, XTR3)] == [True, True, True, False]
    assert world["xtr3"].drops["map-notify-authentication"] >= 3
    # And when both have the same one again, it subscribes by itself.
    world.run(5)
    world.restart("xtr3", config)
    world.put("xtr3", Miss(HOST))
    world.run(0.1)
    assert "subscribed" in subscriptions(world, "xtr3").values()


def test_subscriptions_are_bounded() -> None:
    world = stretched()
    config = world["xtr3"].config
    for number in range(9000):
        eid = host_prefix(ip_address(0xC0A80700 + number % 256))
        world.inject("ms", ecm(request_of(config, eid, nonce=(1 << 62) + number), XTR3, eid), XTR3)
    rows = world["ms"].engine.show("subscriptions", world.now)
    assert len(rows) <= 258
    world.run(120)
    assert set(subscriptions(world).values()) == {"subscribed"}


def withdrawal_of(config: NodeConfig, nonce: int) -> MapRequest:
    return request_of(config, nonce=nonce, itr_rlocs=(NoAddress(),))


def acknowledges(world: World, notify: MapNotify, source: IPAddress = XTR3) -> None:
    """The xTR that somebody plays has heard something."""
    ack = MapNotifyAck(notify.nonce, SECRET.key_id, SECRET.algorithm, notify.records)
    world.inject("ms", sign(ack, SECRET.secret).encode(), source)


def played() -> tuple[World, NodeConfig]:
    """Somebody plays the branch's xTR, and has subscribed as RFC 9437 section 5 says it: by the last nonce and one."""
    world = stretched()
    config = world.stop("xtr3").config
    ((_, confirmation),) = notifies(world, XTR3)
    world.inject("ms", ecm(request_of(config, nonce=confirmation.nonce + 1), XTR3), XTR3)
    acknowledges(world, notifies(world, XTR3)[-1][1])
    return world, config


def test_who_goes_on_from_the_last_nonce_misses_nothing_that_is_published_meanwhile() -> None:
    """His Map-Request has the nonce that the next publication would have had: he would drop that as a replay."""
    world, config = played()
    last = notifies(world, XTR3)[-1][1].nonce
    world.inject("ms", ecm(request_of(config, nonce=last + 1), XTR3), XTR3)
    appears(world, "xtr2")
    world.run(0.1)
    answer, publication = (notify for _, notify in notifies(world, XTR3)[-2:])
    assert (answer.nonce, said(answer)) == (last + 1, [(HOST, 1440, [XTR1])])
    assert (publication.nonce, said(publication)) == (last + 2, [(HOST, 1440, [XTR2])])
    # He has heard the answer, and perhaps nothing else: the news is told again, with a nonce that is greater still.
    acknowledges(world, answer)
    again = notifies(world, XTR3)[-1][1]
    assert (again.nonce, said(again)) == (last + 3, [(HOST, 1440, [XTR2])])
    acknowledges(world, again)
    assert subscriptions(world)[str(HOST.network), config.xtr_id] == "subscribed"
    world.run(60)
    assert notifies(world, XTR3)[-1][1] == again


def test_who_goes_on_from_the_last_nonce_may_do_so_after_a_restart_of_the_map_server() -> None:
    """What is published then has a nonce that is greater than any before the restart, kept or not."""
    world, config = played()
    world.restart("ms")
    last = notifies(world, XTR3)[-1][1].nonce
    world.inject("ms", ecm(request_of(config, nonce=last + 1), XTR3), XTR3)
    answer = notifies(world, XTR3)[-1][1]
    assert answer.nonce == last + 1
    acknowledges(world, answer)
    nonces = []
    for place in ("xtr2", "xtr1"):
        appears(world, place)
        world.run(0.1)
        nonces.append(notifies(world, XTR3)[-1][1].nonce)
        acknowledges(world, notifies(world, XTR3)[-1][1])
    assert last + 100 < nonces[0] < nonces[1] == nonces[0] + 1
    assert world["ms"].drops.get("subscription-replay", 0) == 0


def test_a_forged_request_does_not_push_publications_out_of_sight() -> None:
    """Its nonce is far ahead, or a little: whoever has subscribed goes on to believe what is published."""
    world = stretched()
    config = world["xtr3"].config
    for place, ahead in (("xtr2", 1 << 40), ("xtr1", 1 << 15), ("xtr2", 50), ("xtr1", 1)):
        last = notifies(world, XTR3)[-1][1].nonce
        world.inject("ms", ecm(request_of(config, nonce=last + ahead), XTR3), XTR3)
        appears(world, place)
        world.run(0.1)
        assert used(world, "xtr3") == {"xtr1": XTR1, "xtr2": XTR2}[place]


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
