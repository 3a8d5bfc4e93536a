"""Subscriptions (RFC 9437): who may begin them, and which messages about them are believed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import IPAddress, host_prefix
from nodes.lisp.inputs import Miss
from nodes.lisp.wire import (
    Action,
    EidRecord,
    EncapsulatedControlMessage,
    LocatorRecord,
    MapNotifyAck,
    MapReply,
    NoAddress,
    sign,
)
from tests.engine.pubsub import (
    BRANCH,
    OTHER_SECRET,
    SECRET,
    acknowledges,
    asked,
    ecm,
    notifies,
    played,
    request_of,
    said,
    stretched,
    subscriber,
    subscribing,
    subscriptions,
    used,
    world_of,
)
from tests.engine.stretched import HOST, XTR3, appears, dynamic
from tests.engine.world import (
    H1,
    KEY,
    MS,
    STRANGER,
    XTR1,
    XTR2,
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
