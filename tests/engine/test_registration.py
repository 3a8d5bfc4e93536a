"""ETR and Map-Server together: who may register what, for how long, and what outlives a restart."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from nodes.lisp.config import Algorithm, DatabaseMapping, Key, Locator, MapServerPeer, NodeConfig, Role
from nodes.lisp.effects import CONTROL_PORT, Forwarding, Send
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.inputs import ChangeKey
from nodes.lisp.wire import (
    EidRecord,
    EncapsulatedControlMessage,
    LocatorRecord,
    MapNotify,
    MapRegister,
    MapReply,
    sign,
    verify,
)
from tests.engine.world import (
    DC1,
    DC2,
    H1,
    H2,
    KEY,
    MS,
    REQUEST_PORT,
    STRANGER,
    XTR1,
    XTR2,
    Packet,
    World,
    map_resolver,
    map_server,
    site,
    two_sites,
    xtr,
)

OTHER_KEY = Key(2, Algorithm.HMAC_SHA_256_128, "another")


def is_notify(packet: Packet) -> bool:
    return isinstance(packet.message, MapNotify)


def states(world: World) -> dict[str, str]:
    """What the Map-Server shows: EID-prefix to ETR, or to its state."""
    return {row["eid"]: row["etr"] or row["state"] for row in world["ms"].engine.show("registrations", world.now)}


def register(
    nonce: int, *prefixes: EidPrefix, key: Key = KEY, ttl: int = 1440, at: IPAddress | None = STRANGER, **fields: Any
) -> bytes:
    """A Map-Register that an ETR at 10.0.66.6, or ``at`` another RLOC, could send, had it the key."""
    locators = (LocatorRecord(at, 1, 1),) if at else ()
    records = tuple(EidRecord.of(prefix, ttl, locators) for prefix in prefixes)
    return sign(MapRegister(nonce, key.key_id, key.algorithm, records, **fields), key.secret).encode()


@pytest.mark.requirement("C01", "C20", "C22", "C26", "C39")
@pytest.mark.parametrize("algorithm", Algorithm)
def test_registration_and_its_acknowledgement(algorithm: Algorithm) -> None:
    """All three algorithms; xTR-ID and Site-ID; one Map-Notify, from and to port 4342."""
    key = Key(7, algorithm, "open sesame")
    config = xtr("xtr1", XTR1, DC1, key)
    world = World().add(map_server(site("dc1", DC1, keys=(key,))), config)
    assert not world["xtr1"].engine.registered
    world.run()
    assert world["xtr1"].engine.registered
    (sent,) = world.sent(MapRegister)
    (back,) = world.sent(MapNotify)
    message, notify = sent.message, back.message
    assert (message.key_id, message.algorithm_id, message.want_notify) == (7, algorithm, True)
    assert (message.xtr_id, message.site_id) == (bytes.fromhex(config.xtr_id), config.site_id)
    assert verify(sent.payload, message, key.secret)
    assert not verify(sent.payload[:-1] + b"\xff", MapRegister.decode(sent.payload[:-1] + b"\xff"), key.secret)
    assert (sent.destination, sent.port, back.source_port, back.port) == (MS, CONTROL_PORT, CONTROL_PORT, CONTROL_PORT)
    assert (notify.nonce, notify.key_id, notify.records) == (message.nonce, 7, message.records)
    assert states(world) == {"192.168.1.0/24": str(XTR1)}


@pytest.mark.requirement("C26")
def test_no_notify_unless_asked_for() -> None:
    """The M-bit."""
    world = World().add(map_server())
    assert not [e for e in world.inject("ms", register(1, DC1, want_notify=False)) if isinstance(e, Send)]
    assert states(world)["192.168.1.0/24"] == str(STRANGER)
    assert [e for e in world.inject("ms", register(2, DC1)) if isinstance(e, Send)]


@pytest.mark.requirement("M01")
def test_registration_is_repeated_and_ends_when_the_etr_falls_silent() -> None:
    """Each 60 s; gone after 180 s without one."""
    world = two_sites()
    world.run(240)
    at = [p.time for p in world.sent(MapRegister, XTR2)]
    assert [round(b - a, 3) for a, b in pairwise(at)] == [60.0] * 4
    world.stop("xtr2")
    silent_since = at[-1]
    world.run(silent_since + 170 - world.now)
    assert states(world)["192.168.2.0/24"] == str(XTR2)
    world.run(20)
    assert states(world)["192.168.2.0/24"] == "not registered"
    assert world.resolve("xtr1", H2).forwarding is Forwarding.NATIVE
    assert not [key for key in world["ms"].durable if key.startswith("registration/192.168.2")]


@pytest.mark.requirement("C23")
def test_use_ttl_bit_lets_the_record_ttl_decide() -> None:
    """T=1 and a TTL of one minute."""
    world = World().add(map_server())
    world.inject("ms", register(1, DC1, ttl=1, use_ttl=True))
    world.run(59)
    assert states(world)["192.168.1.0/24"] == str(STRANGER)
    world.run(1)
    assert states(world)["192.168.1.0/24"] == "not registered"


@pytest.mark.requirement("C19", "C25")
def test_back_off_until_the_notify_comes() -> None:
    """1, 2, 4 to 60 s; each retransmission has a greater nonce; a Map-Notify for any of them ends it."""
    world = World().add(map_server(), xtr("xtr1", XTR1, DC1))
    world.lost = is_notify
    world.run(240)
    sent = world.sent(MapRegister)
    assert [round(b.time - a.time, 3) for a, b in pairwise(sent)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    nonces = [p.message.nonce for p in sent]
    assert nonces == sorted(set(nonces))
    assert len({p.message.auth_data for p in sent}) == len(sent)
    assert world["ms"].drops == {}
    assert not world["xtr1"].engine.registered
    first_notify = world.sent(MapNotify)[0]
    world.replay("xtr1", first_notify)
    assert world["xtr1"].engine.registered
    # What goes out next is a refresh, and waits for its answer as the first one did.
    world.run(8)
    times = [one.time for one in world.sent(MapRegister)[len(sent) - 1 :]]
    assert [round(b - a, 3) for a, b in pairwise(times)] == [60.0, 1.0, 2.0]
    world.lost = lambda _packet: False
    world.run(10)
    count = len(world.sent(MapRegister))
    world.run(60)
    assert len(world.sent(MapRegister)) == count + 1


@pytest.mark.requirement("C25")
def test_half_of_all_messages_are_lost_and_all_still_register() -> None:
    """Registration over a lossy path."""
    world = World()
    rng = random.Random(5)
    world.lost = lambda _packet: rng.random() < 0.5
    world.add(map_server(), map_resolver(), xtr("xtr1", XTR1, DC1), xtr("xtr2", XTR2, DC2))
    world.run(120)
    assert world["xtr1"].engine.registered
    assert world["xtr2"].engine.registered


@pytest.mark.requirement("C25", "M01")
def test_registration_lost_is_noticed() -> None:
    """When no Map-Notify has come for the whole time-out, the ETR does not count as registered."""
    world = two_sites()
    world.stop("ms")
    world.run(300)
    assert not world["xtr1"].engine.registered
    (peer,) = world["xtr1"].engine.show("database", world.now)[0]["map_servers"]
    assert (peer["address"], peer["state"], peer["last_ack_s"]) == (str(MS), "pending", None)


@pytest.mark.requirement("C38")
def test_restarted_map_server_remembers_nonces_and_registrations() -> None:
    """The replay is still one, and no site has vanished meanwhile."""
    world = two_sites()
    captured = world.sent(MapRegister, XTR2)[0]
    world.run(200)
    world.restart("ms")
    before = states(world)
    world.replay("ms", captured)
    assert world["ms"].drops == {"map-register-replay": 1}
    assert before == states(world) == {"192.168.1.0/24": str(XTR1), "192.168.2.0/24": str(XTR2)}
    assert world.resolve("xtr1", H2).locators == (Locator(XTR2, 1, 100),)
    world.run(600)
    assert all(world[name].engine.registered for name in ("xtr1", "xtr2"))


@pytest.mark.requirement("C38", "M01")
def test_restored_registration_ends_if_its_etr_never_comes_back() -> None:
    """What was kept lives for one time-out."""
    world = two_sites()
    world.stop("xtr2")
    world.restart("ms")
    world.run(181)
    assert states(world)["192.168.2.0/24"] == "not registered"


@pytest.mark.requirement("C38", "M03")
def test_restored_registrations_are_checked_against_the_configuration() -> None:
    """A site that was taken away, and storage that was damaged."""
    world = two_sites()
    world.stop("xtr1")
    world.stop("xtr2")
    world["ms"].durable["registration/10.9.9.0/24"] = {"record": "zz"}
    world["ms"].durable["registration/10.9.8.0/24"] = 5
    world["ms"].durable["nonce/x"] = "text"
    ms = world.restart("ms", map_server(site("dc1", DC1), site("other", DC2)))
    assert states(world) == {"192.168.1.0/24": str(XTR1), "192.168.2.0/24": "not registered"}
    assert [key for key in ms.durable if key.startswith("registration/")] == ["registration/192.168.1.0/24"]


@pytest.mark.requirement("C19", "C38")
@pytest.mark.parametrize("lose_storage", [False, True])
def test_restarted_etr_goes_on_with_greater_nonces(lose_storage: bool) -> None:
    """Out of storage, or, if that is lost, from the start time in the high bits."""
    world = two_sites()
    world.run(300)
    last = world.sent(MapRegister, XTR1)[-1].message.nonce
    world.restart("xtr1", lose_storage=lose_storage)
    world.run()
    assert world.sent(MapRegister, XTR1)[-1].message.nonce > last
    assert world["xtr1"].engine.registered
    assert world["ms"].drops == {}


@pytest.mark.requirement("C38")
def test_restart_within_a_second_and_a_clock_that_went_back() -> None:
    """The kept nonce wins over a start time that is no later."""
    world = two_sites()
    before = world.now
    for _ in range(3):
        world.restart("xtr1")
    world.now = before - 900
    world.restart("xtr1")
    nonces = [p.message.nonce for p in world.sent(MapRegister, XTR1)]
    assert nonces == sorted(set(nonces))


@pytest.mark.requirement("C21")
def test_key_rollover_without_outage() -> None:
    """The Map-Server takes both keys while the ETR changes over; the site is registered all the time."""
    world = World().add(map_server(site("dc1", DC1, keys=(KEY, OTHER_KEY))), xtr("xtr1", XTR1, DC1))
    registered = []

    def watch(seconds: float) -> None:
        for _ in range(round(seconds)):
            world.run()
            registered.append(states(world)["192.168.1.0/24"])

    watch(90)
    world.restart("xtr1", xtr("xtr1", XTR1, DC1, OTHER_KEY))
    watch(90)
    world.restart("ms", map_server(site("dc1", DC1, keys=(OTHER_KEY,))))
    watch(300)
    assert set(registered) == {str(XTR1)}
    assert world["ms"].drops == {}
    assert world.sent(MapNotify)[-1].message.key_id == OTHER_KEY.key_id
    world.inject("ms", register(1 << 63, DC1))
    assert world["ms"].drops == {"map-register-authentication": 1}


@pytest.mark.requirement("C21")
def test_two_secrets_of_one_key_id() -> None:
    """A subnet in two data centres is one site of the Map-Server; each xTR has a key of its own."""
    second = replace(KEY, secret="open barley")
    halves = [EidPrefix.of(f"192.168.1.{n}/25") for n in (0, 128)]
    world = World().add(
        map_server(site("both", DC1, keys=(KEY, second), more=True)),
        xtr("xtr1", XTR1, halves[0]),
        xtr("xtr2", XTR2, halves[1], second),
    )
    world.run()
    assert {row["eid"] for row in world["ms"].engine.show("registrations", world.now) if row["etr"]} == {
        str(half) for half in halves
    }
    assert world["xtr1"].engine.registered
    assert world["xtr2"].engine.registered
    assert world["ms"].drops == {}


@pytest.mark.requirement("C40")
def test_many_prefixes_are_split_to_fit() -> None:
    """Every Map-Register and Map-Notify fits 576 bytes, and together they register everything."""
    prefixes = [EidPrefix.of(f"192.168.{n}.0/24") for n in range(60)]
    database = tuple(DatabaseMapping(prefix, (Locator(XTR1),)) for prefix in prefixes)
    world = World().add(map_server(site("dc1", *prefixes)), replace(xtr("xtr1", XTR1, DC1), database=database))
    world.run()
    assert world["xtr1"].engine.registered
    assert set(states(world).values()) == {str(XTR1)}
    sent = world.sent(MapRegister)
    assert len(sent) == 4
    assert max(len(p.payload) for p in (*sent, *world.sent(MapNotify))) <= 576 - 28


@pytest.mark.requirement("C39")
def test_two_map_servers_each_with_its_own_key() -> None:
    """Registered means that both acknowledged."""
    second: IPAddress = host_prefix("10.0.5.2").address
    config = replace(
        xtr("xtr1", XTR1, DC1),
        map_servers=(MapServerPeer(MS, KEY), MapServerPeer(second, OTHER_KEY, proxy_reply=True)),
    )
    other = replace(map_server(site("dc1", DC1, keys=(OTHER_KEY,))), name="ms2", rlocs=(second,))
    world = World().add(map_server(), config)
    world.run()
    assert not world["xtr1"].engine.registered
    world.add(other)
    world.run(2.5)
    assert world["xtr1"].engine.registered
    (row,) = world["xtr1"].engine.show("database", world.now)
    assert [(peer["state"], peer["proxy_reply"]) for peer in row["map_servers"]] == [
        ("registered", False),
        ("registered", True),
    ]


@pytest.mark.requirement("M01")
def test_show_registrations() -> None:
    """The table in the field's words."""
    world = two_sites(proxy_reply=True)
    row = world["ms"].engine.show("registrations", world.now)[0]
    expected = {"site": "dc1", "eid": "192.168.1.0/24", "instance_id": 0, "state": "registered", "proxy_reply": True}
    assert expected.items() <= row.items()
    assert row["locators"] == [{"rloc": str(XTR1), "priority": 1, "weight": 100}]
    assert row["age_s"] + row["expires_s"] == pytest.approx(180.0, abs=0.11)


@pytest.mark.requirement("M08")
def test_ingress_policy_of_the_registering_site_reaches_the_itr() -> None:
    """Priorities and weights travel unchanged through the mapping system."""
    locators = (Locator(XTR1, 1, 75), Locator(XTR2, 1, 25), Locator(STRANGER, 2, 100))
    config = replace(xtr("xtr1", XTR1, DC1, proxy_reply=True), database=(DatabaseMapping(DC1, locators),))
    pitr = NodeConfig("asks", frozenset({Role.ITR}), (host_prefix("10.0.9.1").address,), map_resolvers=(MS,))
    world = World().add(map_server(), config, pitr)
    world.run()
    assert world.resolve("asks", H1).locators == locators
    assert [p.source for p in world.sent(MapReply)] == [MS]
    assert len(world.sent(EncapsulatedControlMessage)) == 1


@pytest.mark.requirement("C01")
def test_control_port_is_one_of_the_two() -> None:
    """Source or destination port 4342; anything else is no control message."""
    world = World().add(map_server(), xtr("xtr1", XTR1, DC1))
    world.lost = is_notify
    world.run(0.1)
    notify = world.sent(MapNotify)[0]
    world.inject("xtr1", notify.payload, MS, 999, REQUEST_PORT)
    assert world["xtr1"].drops == {"not-a-control-port": 1}
    world.inject("xtr1", notify.payload, MS, CONTROL_PORT, REQUEST_PORT)
    assert world["xtr1"].engine.registered


@pytest.mark.requirement("C21")
def test_an_etr_changes_its_key_and_loses_no_registration() -> None:
    """The Map-Server knows both: it takes the next nonce with the new one, and the old one's replay is still one."""
    old, new = KEY, Key(9, Algorithm.HMAC_SHA_256_128, "the next secret")
    config = xtr("xtr1", XTR1, DC1)
    (peer,) = config.map_servers
    config = replace(config, map_servers=(replace(peer, other_keys=(new,)),))
    world = World().add(map_server(site("dc1", DC1, keys=(old, new))), config)
    world.run()
    captured = world.sent(MapRegister, XTR1)[0]
    world.put("xtr1", ChangeKey(9, token=3))
    assert world["xtr1"].answers[-1].result == {"key_id": 9, "map_servers": [str(MS)]}
    assert states(world) == {"192.168.1.0/24": str(XTR1)}
    world.run(400)
    later = [one.message for one in world.sent(MapRegister, XTR1) if one.time > captured.time]
    assert {(one.key_id, one.algorithm_id) for one in later if isinstance(one, MapRegister)} == {(9, new.algorithm)}
    assert all(verify(one.payload, one.message, new.secret) for one in world.sent(MapNotify, MS)[1:])  # type: ignore[arg-type]
    assert world["xtr1"].engine.registered
    assert states(world) == {"192.168.1.0/24": str(XTR1)}
    assert world["ms"].drops == {}
    world.replay("ms", captured)
    assert world["ms"].drops == {"map-register-replay": 1}


@pytest.mark.requirement("C21")
def test_a_key_that_a_map_server_does_not_share_cannot_be_changed_to() -> None:
    """Nothing is sent; who asked is told which ones can."""
    world = two_sites()
    before = len(world.sent(MapRegister, XTR1))
    world.put("xtr1", ChangeKey(9, token=3))
    answer = world["xtr1"].answers[-1]
    assert (answer.result, answer.error) == (None, "Key ID 9 is not shared with every Map-Server; 1 is")
    assert len(world.sent(MapRegister, XTR1)) == before
