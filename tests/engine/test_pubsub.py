"""PubSub (RFC 9437): who subscribed is told of each change at once, and believes nobody else."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise

import pytest

from nodes.lisp.config import (
    Algorithm,
    DatabaseMapping,
    DynamicEid,
    Key,
    Locator,
    NodeConfig,
    Subscriber,
)
from nodes.lisp.effects import Forwarding, Persist, Send
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.inputs import ChangeLocator, HostSeen, Miss, StrayData
from nodes.lisp.wire import (
    Action,
    EidRecord,
    EncapsulatedControlMessage,
    LocatorRecord,
    MapNotify,
    MapNotifyAck,
    MapRegister,
    MapReply,
    MapRequest,
    NoAddress,
    RequestRecord,
    sign,
)
from tests.engine.world import (
    DC1,
    DC2,
    H1,
    H2,
    KEY,
    MR,
    MS,
    PXTR,
    STRANGER,
    XTR1,
    XTR2,
    Packet,
    World,
    ip_address,
    map_resolver,
    map_server,
    pxtr,
    site,
    xtr,
)

XTR3 = ip_address("10.0.6.1")
BRANCH = EidPrefix.of("192.168.3.0/24")
SUBNET = EidPrefix.of("192.168.7.0/24")
HOST = host_prefix("192.168.7.10")
SECRET = Key(1, Algorithm.HMAC_SHA_256_128_HKDF_SHA256, "open barley")
OTHER_SECRET = Key(2, Algorithm.HMAC_SHA_256_128, "open rye")
PORT = "hosts"


def subscribing(config: NodeConfig, *keys: Key) -> NodeConfig:
    xtr_id = config.xtr_id or f"{int(config.rlocs[0]):032x}"
    return replace(config, subscription_keys=keys or (SECRET,), xtr_id=xtr_id)


def subscriber(config: NodeConfig, with_keys: bool = True) -> Subscriber:
    networks = tuple(ip_network(one) for one in config.rlocs)
    return Subscriber(config.xtr_id, config.site_id, networks, config.subscription_keys if with_keys else ())


def dynamic(name: str, rloc: IPAddress) -> NodeConfig:
    """An xTR of a data centre that the subnet is stretched to."""
    return replace(
        xtr(name, rloc, SUBNET, proxy_reply=True), database=(), dynamic_eids=(DynamicEid(SUBNET, (Locator(rloc),)),)
    )


def world_of(*xtrs: NodeConfig, home: bool = False, delay: float = 0.01) -> World:
    """The subnet in two data centres, a branch and a PITR; who has a key subscribes."""
    known = [one for one in xtrs if one.subscription_keys]
    dc = site("dc", SUBNET, more=True)
    server = replace(
        map_server(dc, site("branch", BRANCH), site("dc1", DC1), site("dc2", DC2)),
        subscribers=tuple(subscriber(one) for one in known),
        subscription_resolvers=(MR,),
    )
    resolver = replace(
        map_resolver(SUBNET, BRANCH, DC1, DC2), subscribers=tuple(subscriber(one, with_keys=False) for one in known)
    )
    world = World(delay).add(server, resolver, *xtrs)
    world.run()
    return world


def stretched(home: bool = False) -> World:
    """A host in the first data centre; the branch and the PITR have resolved it."""
    first = dynamic("xtr1", XTR1)
    if home:  # the first data centre has the subnet, the other one hosts that are away
        first = replace(first, database=(DatabaseMapping(SUBNET, (Locator(XTR1),)),), dynamic_eids=())
    world = world_of(
        first,
        dynamic("xtr2", XTR2),
        subscribing(xtr("xtr3", XTR3, BRANCH, proxy_reply=True)),
        subscribing(pxtr()),
    )
    if not home:
        appears(world, "xtr1")
    world.run(1)
    for name in ("xtr3", "pxtr"):
        assert world.resolve(name, HOST).locators[0].address == XTR1
    return world


def appears(world: World, name: str, eid: EidPrefix = HOST) -> None:
    for node in world.nodes.values():
        node.present.discard(eid)
    world[name].present.add(eid)
    world.put(name, HostSeen(eid, PORT))


def used(world: World, name: str, eid: EidPrefix = HOST) -> IPAddress | Forwarding:
    """Where a node sends what is for an EID, without being asked."""
    entry = world[name].forwarding(eid)
    return entry.locators[0].address if entry.locators else entry.forwarding


def notifies(world: World, to: IPAddress) -> list[tuple[Packet, MapNotify]]:
    sent = [packet for packet in world.sent(MapNotify, MS) if packet.destination == to]
    registers = {one.nonce for packet in world.sent(MapRegister, to) if isinstance(one := packet.message, MapRegister)}
    return [(p, m) for p in sent if isinstance(m := p.message, MapNotify) and m.nonce not in registers]


def asked(world: World, by: IPAddress) -> list[MapRequest]:
    return [packet.request for packet in world.sent(EncapsulatedControlMessage, by)]


def said(message: MapNotify) -> list[tuple[EidPrefix, int, list[IPAddress]]]:
    return [(one.prefix, one.ttl_minutes, [x.address for x in one.locators]) for one in message.records]  # type: ignore[misc]


def subscriptions(world: World, name: str = "ms") -> dict[tuple[str, str], str]:
    rows = world[name].engine.show("subscriptions", world.now)
    assert isinstance(rows, list)
    return {(row["eid"], row["xtr_id"]): row["state"] for row in rows}


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


def request_of(config: NodeConfig, eid: EidPrefix = HOST, **changes: object) -> MapRequest:
    request = MapRequest(
        99 << 56,
        NoAddress(),
        config.rlocs,
        (RequestRecord.of(eid, notify=True),),
        xtr_id=bytes.fromhex(config.xtr_id),
        site_id=config.site_id,
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def ecm(request: MapRequest, source: IPAddress, eid: EidPrefix = HOST) -> bytes:
    return EncapsulatedControlMessage.wrap(request.encode(), source, 50_000, eid.address).encode()


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
    _, lost = notifies(world, XTR3)[-1]
    assert [(one.prefix, one.action, one.locators) for one in lost.records] == [(HOST, Action.DROP_AUTH_FAILURE, ())]
    assert (str(HOST.network), xtr_id) not in subscriptions(world)
    assert [one.fields for one in world["ms"].reports if one.event == "subscription-lost"] == [
        {"eid": str(HOST), "xtr_id": xtr_id}
    ]
    assert not [key for key in world["ms"].durable if key.startswith(f"subscription/{xtr_id}")]


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


@pytest.mark.requirement("X16", "X17", "X18")
@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_late_or_doubled_subscribers_end_at_the_last_place(seed: int) -> None:
    """Random moves, a third of the control messages lost, doubled, late; the Map-Server and the branch restart."""
    chance = random.Random(seed)
    world = stretched(home=seed % 4 == 3)
    world.lost = lambda _packet: chance.random() < 0.3
    world.delays = lambda _packet: [chance.uniform(0, 1) for _ in range(1 + (chance.random() < 0.3))]
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
