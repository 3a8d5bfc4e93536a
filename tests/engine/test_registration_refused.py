"""What registers nothing: replays, wrong keys, what is not the site's; forged Map-Notifies (RFC 9301 section 5.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodes.lisp.config import Algorithm, Key
from nodes.lisp.effects import CONTROL_PORT, Send
from nodes.lisp.eid import EidPrefix
from nodes.lisp.engine import map_server as map_server_module
from nodes.lisp.engine.map_server import MAX_XTRS_PER_SITE
from nodes.lisp.wire import (
    EidRecord,
    LocatorRecord,
    MapNotify,
    MapNotifyAck,
    MapRegister,
    sign,
)
from tests.engine.test_registration import OTHER_KEY, is_notify, register, states
from tests.engine.world import (
    DC1,
    DC2,
    KEY,
    MS,
    STRANGER,
    XTR1,
    XTR2,
    Packet,
    World,
    map_server,
    site,
    two_sites,
    xtr,
)


@pytest.mark.requirement("C19")
def test_replayed_register_is_dropped_and_logged() -> None:
    """A nonce that is not greater than the last one, whoever sends it from where."""
    world = two_sites()
    captured = world.sent(MapRegister, XTR2)[0]
    assert not [e for e in world.replay("ms", captured) if isinstance(e, Send)]
    world.inject("ms", captured.payload, STRANGER)
    assert world["ms"].drops == {"map-register-replay": 2}
    assert [r.fields["reason"] for r in world["ms"].reports if r.event == "dropped"] == ["map-register-replay"]
    assert states(world)["192.168.2.0/24"] == str(XTR2)


@pytest.mark.requirement("C39")
def test_without_xtr_id_the_nonce_belongs_to_source_and_key() -> None:
    """Two ETRs of a site that send no xTR-ID do not replay each other."""
    world = World().add(map_server())
    world.inject("ms", register(9, DC1, at=XTR1), XTR1)
    world.inject("ms", register(5, DC1, at=XTR2), XTR2)
    assert (world["ms"].drops, states(world)["192.168.1.0/24"]) == ({}, str(XTR2))
    world.inject("ms", register(9, DC1, at=XTR1), XTR1)
    assert world["ms"].drops == {"map-register-replay": 1}


@pytest.mark.requirement("C19", "C39")
def test_without_xtr_id_a_register_is_replayed_from_nowhere() -> None:
    """The MAC does not cover the source; it has to be one of the locators, which the MAC covers."""
    world = World().add(map_server())
    captured = register(9, DC1, at=XTR1)
    world.inject("ms", captured, XTR1)
    kept = dict(world["ms"].durable)
    for source in (STRANGER, XTR2, ip_address("2001:db8::9")):
        assert not [e for e in world.inject("ms", captured, source) if isinstance(e, Send)]
    assert world["ms"].drops == {"map-register-foreign-source": 3}
    world.inject("ms", captured, XTR1)
    assert world["ms"].drops == {"map-register-foreign-source": 3, "map-register-replay": 1}
    assert (states(world)["192.168.1.0/24"], world["ms"].durable) == (str(XTR1), kept)


@pytest.mark.requirement("C39")
def test_without_xtr_id_every_record_has_the_source_as_locator() -> None:
    """One record that has it says nothing of the others; a record without locators, nothing at all."""
    world = World().add(map_server(site("dc1", DC1, more=True)))
    host = EidPrefix.of("192.168.1.7/32")
    records = (
        EidRecord.of(DC1, 60, (LocatorRecord(XTR1, 1, 1),)),
        EidRecord.of(host, 60, (LocatorRecord(XTR2, 1, 1),)),
    )
    world.inject("ms", sign(MapRegister(1, KEY.key_id, KEY.algorithm, records), KEY.secret).encode(), XTR1)
    world.inject("ms", register(2, DC1, at=None), XTR1)
    assert world["ms"].drops == {"map-register-foreign-source": 2}
    world.inject("ms", register(3, DC1, at=None, xtr_id=bytes(16)), XTR1)
    assert states(world)["192.168.1.0/24"] == str(XTR1)


@pytest.mark.requirement("C10", "C39")
def test_without_xtr_id_a_withdrawal_needs_no_locators() -> None:
    """A TTL of 0 from the RLOC that registered; from another one it is foreign."""
    world = World().add(map_server())
    world.inject("ms", register(1, DC1, at=XTR1), XTR1)
    world.inject("ms", register(2, DC1, ttl=0, at=None), XTR2)
    assert (world["ms"].drops, states(world)["192.168.1.0/24"]) == ({"map-register-foreign-source": 1}, str(XTR1))
    world.inject("ms", register(2, DC1, ttl=0, at=None), XTR1)
    assert states(world)["192.168.1.0/24"] == "not registered"


@pytest.mark.requirement("C20", "C39")
@pytest.mark.parametrize(
    "key",
    [
        replace(KEY, secret="guess"),
        replace(KEY, algorithm=Algorithm.HMAC_SHA_256_128),
        replace(KEY, key_id=9),
    ],
    ids=["wrong secret", "wrong algorithm", "unknown key"],
)
def test_wrong_key_is_refused(key: Key) -> None:
    """Secret, algorithm and Key ID have to be those of the site; nothing is kept of the message."""
    world = World().add(map_server(), xtr("xtr1", XTR1, DC1, key))
    world.run()
    assert set(world["ms"].drops) == {"map-register-authentication"}
    assert states(world)["192.168.1.0/24"] == "not registered"
    assert world["ms"].durable == {}
    assert not world.sent(MapNotify)
    assert "guess" not in str(world["ms"].reports)


@pytest.mark.requirement("M03")
@pytest.mark.parametrize(
    ("prefixes", "more", "accepted"),
    [
        (("192.168.1.0/24",), False, True),
        (("192.168.1.7/32",), True, True),
        (("192.168.1.7/32",), False, False),
        (("192.168.0.0/16",), True, False),
        (("192.168.2.0/24",), True, False),
        (("192.168.1.0/24", "192.168.2.0/24"), True, False),
        (("172.16.0.0/24",), True, False),
    ],
)
def test_only_configured_prefixes_of_the_site(prefixes: tuple[str, ...], more: bool, accepted: bool) -> None:
    """A foreign prefix spoils the whole message; more-specifics only where they are allowed."""
    world = World().add(map_server(site("dc1", DC1, more=more), site("dc2", DC2, keys=(OTHER_KEY,))))
    world.inject("ms", register(1, *(EidPrefix.of(text) for text in prefixes)))
    assert (str(STRANGER) in states(world).values()) is accepted
    assert bool(world["ms"].drops) is not accepted


@pytest.mark.requirement("C10", "X05")
def test_withdrawal_is_for_the_etr_that_registered() -> None:
    """TTL 0 takes the registration out, but not another ETR's."""
    world = World().add(map_server())
    world.inject("ms", register(1, DC1, at=XTR1), XTR1)
    world.inject("ms", register(1, DC1, ttl=0, at=XTR2), XTR2)
    assert states(world)["192.168.1.0/24"] == str(XTR1)
    world.inject("ms", register(2, DC1, ttl=0, at=XTR1), XTR1)
    assert states(world)["192.168.1.0/24"] == "not registered"
    assert "registration/192.168.1.0/24" not in world["ms"].durable


@pytest.mark.requirement("C15")
def test_forbidden_locator_is_not_registered() -> None:
    """A broadcast or multicast RLOC."""
    world = World().add(map_server())
    for nonce, address in enumerate(("255.255.255.255", "224.0.0.1"), start=1):
        locators = (LocatorRecord(STRANGER, 1, 1), LocatorRecord(ip_address(address), 1, 1))
        records = (EidRecord.of(DC1, 60, locators),)
        message = MapRegister(nonce, KEY.key_id, KEY.algorithm, records)
        world.inject("ms", sign(message, KEY.secret).encode())
    assert world["ms"].drops == {"map-register-forbidden-locator": 2}
    assert states(world)["192.168.1.0/24"] == "not registered"


def tampered(packet: Packet) -> bytes:
    return packet.payload[:-1] + bytes([packet.payload[-1] ^ 1])


def other_key(packet: Packet) -> bytes:
    return sign(replace(packet.message, key_id=OTHER_KEY.key_id, algorithm_id=OTHER_KEY.algorithm), "x").encode()


@pytest.mark.requirement("C25", "C39")
@pytest.mark.parametrize("forge", [tampered, other_key])
def test_notify_that_does_not_authenticate_acknowledges_nothing(forge: Callable[[Packet], bytes]) -> None:
    """The Map-Notify carries a MAC of the same key."""
    world = World().add(map_server(), xtr("xtr1", XTR1, DC1))
    world.lost = is_notify
    world.run(0.5)
    world.inject("xtr1", forge(world.sent(MapNotify)[0]), MS, CONTROL_PORT)
    assert world["xtr1"].drops == {"map-notify-authentication": 1}
    assert not world["xtr1"].engine.registered


@pytest.mark.requirement("C26")
def test_notifies_out_of_the_blue() -> None:
    """A Map-Notify that acknowledges nothing is dropped; nobody expects a Map-Notify-Ack."""
    world = two_sites()
    world.replay("xtr1", world.sent(MapNotify)[0])
    assert world["xtr1"].drops == {"map-notify-unknown-nonce": 1}
    ack = sign(MapNotifyAck(1, KEY.key_id, KEY.algorithm, ()), KEY.secret)
    world.inject("ms", ack.encode())
    assert world["ms"].drops == {"map-notify-ack-unexpected": 1}


@pytest.mark.requirement("C19")
def test_xtrs_of_a_site_are_bounded() -> None:
    """Who holds a site's key can make the Map-Server remember so many nonces, and no more."""
    world = World().add(map_server())
    for number in range(MAX_XTRS_PER_SITE + 5):
        world.inject("ms", register(1, DC1, xtr_id=number.to_bytes(16, "big"), want_notify=False))
    assert world["ms"].drops == {"map-register-too-many-xtrs": 5}
    assert sum(key.startswith("nonce/") for key in world["ms"].durable) == MAX_XTRS_PER_SITE


@pytest.mark.requirement("M03")
def test_more_specifics_of_a_site_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ETR registers so many prefixes inside those of its site; then the whole message is refused, aloud."""
    monkeypatch.setattr(map_server_module, "MAX_MORE_SPECIFICS_PER_SITE", 5)
    world = World().add(map_server(site("dc1", DC1, more=True), site("dc2", DC2, more=True, keys=(OTHER_KEY,))))
    hosts = [EidPrefix.of(f"192.168.1.{n}/32") for n in range(9)]
    world.inject("ms", register(1, DC1, *hosts[:4]))
    for nonce, prefixes in enumerate((hosts[4:6], hosts[:6], [hosts[5], hosts[4], hosts[5]]), start=2):
        assert not [e for e in world.inject("ms", register(nonce, *prefixes)) if isinstance(e, Send)]
    assert world["ms"].drops == {"map-register-too-many-prefixes": 3}
    assert [r.fields["site"] for r in world["ms"].reports if r.event == "dropped"] == ["dc1"]
    # What is registered can be refreshed; the configured prefix does not count; other sites have their own bound.
    world.inject("ms", register(5, DC1, *hosts[:5]))
    world.inject("ms", register(1, EidPrefix.of("192.168.2.9/32"), key=OTHER_KEY))
    assert list(states(world).values()).count(str(STRANGER)) == 7
    # What goes makes room: by withdrawal and by silence.
    world.inject("ms", register(6, hosts[0], ttl=0))
    world.inject("ms", register(7, hosts[5]))
    world.inject("ms", register(8, hosts[6]))
    assert world["ms"].drops == {"map-register-too-many-prefixes": 4}
    world.run(200)
    world.inject("ms", register(9, *hosts[4:]))
    assert world["ms"].drops == {"map-register-too-many-prefixes": 4}
    ms = world.restart("ms")
    world.inject("ms", register(10, hosts[0]))
    assert ms.drops == {"map-register-too-many-prefixes": 1}
