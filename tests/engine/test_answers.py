"""What an ITR makes of answers: which it believes, what they do to the map-cache (RFC 9301 section 5.4)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodes.lisp.config import Locator
from nodes.lisp.effects import CONTROL_PORT, Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.inputs import Miss
from nodes.lisp.wire import (
    Action,
    EidRecord,
    EncapsulatedControlMessage,
    LocatorRecord,
    MapReply,
)
from tests.engine.world import (
    AGGREGATE,
    DC1,
    DC2,
    H2,
    MS,
    REQUEST_PORT,
    STRANGER,
    XTR1,
    XTR2,
    World,
    two_sites,
)


@pytest.mark.requirement("C07")
def test_spoofed_reply_does_not_install() -> None:
    """An off-path attacker does not know the nonce."""
    world = two_sites()
    world.put("xtr1", Miss(H2))
    forged = EidRecord.of(DC2, 1440, (LocatorRecord(STRANGER, 1, 100),))
    nonce = world.sent(EncapsulatedControlMessage, XTR1)[0].request.nonce
    for guess in (0, nonce ^ 1, nonce >> 1):
        world.inject("xtr1", MapReply(guess, (forged,)).encode(), XTR2, CONTROL_PORT, REQUEST_PORT)
    assert world["xtr1"].forwarding(H2).forwarding is Forwarding.SEND_MAP_REQUEST
    assert world["xtr1"].drops == {"map-reply-unknown-nonce": 3}
    world.run()
    assert world["xtr1"].forwarding(H2).locators == (Locator(XTR2, 1, 100),)


@pytest.mark.requirement("C07")
def test_nonce_counts_once() -> None:
    """A captured Map-Reply is worth nothing after its resolution."""
    world = two_sites()
    world.resolve("xtr1", H2)
    before = world["xtr1"].engine.show("map-cache", world.now)
    world.replay("xtr1", world.sent(MapReply)[0])
    assert world["xtr1"].drops == {"map-reply-unknown-nonce": 1}
    assert world["xtr1"].engine.show("map-cache", world.now) == before


UNREQUESTED = [
    (EidRecord.of(DC1, 60, (LocatorRecord(XTR2, 1, 1),)),),
    (),
    (EidRecord.of(DC2, 60, (LocatorRecord(XTR2, 1, 1),)), EidRecord.of(AGGREGATE, 60)),
    (EidRecord.of(replace(DC2, instance_id=9), 60, (LocatorRecord(XTR2, 1, 1),)),),
    *(
        (EidRecord.of(DC2, 60, (LocatorRecord(ip_address(bad), 1, 1),)),)
        for bad in ("255.255.255.255", "224.0.0.1", "0.0.0.0", "127.0.0.1", "ff02::1", "::", "::1")
    ),
]


@pytest.mark.requirement("C07", "C15")
@pytest.mark.parametrize("records", UNREQUESTED)
def test_reply_that_is_not_about_the_question_is_refused_and_the_right_one_still_counts(
    records: tuple[EidRecord, ...],
) -> None:
    """Other EIDs, wider company, another instance, forbidden locators; even with the right nonce."""
    world = two_sites()
    world.put("xtr1", Miss(H2))
    nonce = world.sent(EncapsulatedControlMessage, XTR1)[0].request.nonce
    world.inject("xtr1", MapReply(nonce, records).encode(), XTR2, CONTROL_PORT, REQUEST_PORT)
    assert len(world["xtr1"].data_path) == 1
    assert sum(world["xtr1"].drops.values()) == 1
    world.run()
    assert world["xtr1"].forwarding(H2).locators == (Locator(XTR2, 1, 100),)


def answer(world: World, *records: EidRecord, eid: EidPrefix = H2) -> None:
    """xtr1 asks for an EID, and this is the answer."""
    world.lost = lambda packet: isinstance(packet.message, EncapsulatedControlMessage)
    world.put("xtr1", Miss(eid))
    nonce = world.sent(EncapsulatedControlMessage, XTR1)[-1].request.nonce
    world.inject("xtr1", MapReply(nonce, records).encode(), MS, CONTROL_PORT, REQUEST_PORT)


@pytest.mark.requirement("C12")
@pytest.mark.parametrize(
    ("action", "forwarding", "reason"),
    [
        (Action.NO_ACTION, Forwarding.DROP, "no-action"),
        (Action.NATIVELY_FORWARD, Forwarding.NATIVE, ""),
        (Action.SEND_MAP_REQUEST, Forwarding.SEND_MAP_REQUEST, ""),
        (Action.DROP_NO_REASON, Forwarding.DROP, "no-reason"),
        (Action.DROP_POLICY_DENIED, Forwarding.DROP, "policy-denied"),
        (Action.DROP_AUTH_FAILURE, Forwarding.DROP, "auth-failure"),
        (6, Forwarding.DROP, "no-action"),
        (7, Forwarding.DROP, "no-action"),
    ],
)
def test_action_of_a_negative_reply(action: int, forwarding: Forwarding, reason: str) -> None:
    """What each ACT code makes the data path do."""
    world = two_sites()
    answer(world, EidRecord.of(DC2, 1, action=action))
    assert world["xtr1"].forwarding(H2) == ForwardingEntry(DC2, forwarding, reason=reason)


@pytest.mark.requirement("C08", "C12")
def test_send_map_request_lets_held_packets_go_and_asks_once_a_second() -> None:
    """ACT 2 answers nothing; each later packet asks again, no faster than the pace."""
    world = two_sites()
    answer(world, EidRecord.of(DC2, 1, action=Action.SEND_MAP_REQUEST))
    assert world["xtr1"].unresolved == [H2]
    for _ in range(30):
        world.put("xtr1", Miss(H2))
        world.run(0.1)
    assert len(world.sent(EncapsulatedControlMessage, XTR1)) == 4


@pytest.mark.requirement("C10")
def test_ttl_0_removes_at_once_and_all_ones_is_a_day() -> None:
    """Record TTL."""
    world = two_sites()
    answer(world, EidRecord.of(DC2, 0xFFFFFFFF, action=Action.SEND_MAP_REQUEST))
    assert world["xtr1"].engine.show("map-cache", world.now)[1]["expires_s"] == 86400.0
    world.run(2)
    answer(world, EidRecord.of(DC2, 0))
    assert [p for p, _ in world["xtr1"].data_path.items()] == [EidPrefix.of("0.0.0.0/0")]


@pytest.mark.requirement("C18")
def test_later_less_specific_ends_with_its_more_specifics() -> None:
    """No less-specific entry outlives the more-specifics that it was cached beside."""
    world = two_sites()
    other = EidPrefix.of("192.168.2.128/25")
    answer(world, EidRecord.of(other, 1, action=Action.SEND_MAP_REQUEST), eid=host_prefix("192.168.2.200"))
    world.run(2)
    answer(world, EidRecord.of(DC2, 60, (LocatorRecord(XTR2, 1, 100),)))
    rows = {row["eid"]: row["expires_s"] for row in world["xtr1"].engine.show("map-cache", world.now)}
    assert rows["192.168.2.0/24"] == rows["192.168.2.128/25"] == 58.0


def test_less_specific_answer_replaces_what_was_cached_for_the_eid() -> None:
    """RFC 9301 section 5.5, X14: a more-specific that is no longer in the answer does not hide it."""
    world = two_sites()
    answer(world, EidRecord.of(EidPrefix.of("192.168.2.0/25"), 1, action=Action.SEND_MAP_REQUEST))
    world.run(2)
    answer(world, EidRecord.of(DC2, 60, (LocatorRecord(XTR2, 1, 100),)))
    assert world["xtr1"].forwarding(H2) == ForwardingEntry(DC2, Forwarding.ENCAPSULATE, (Locator(XTR2, 1, 100),))


@pytest.mark.requirement("C12")
@pytest.mark.parametrize(
    "locator", [LocatorRecord(XTR2, 1, 1, reachable=False), LocatorRecord(XTR2, 255, 1), LocatorRecord(XTR1, 1, 1)]
)
def test_unusable_locators_are_cached_but_not_used(locator: LocatorRecord) -> None:
    """R=0, priority 255 and the own RLOC are no way to encapsulate."""
    world = two_sites()
    answer(world, EidRecord.of(DC2, 1, (locator,)))
    assert world["xtr1"].forwarding(H2) == ForwardingEntry(DC2, Forwarding.DROP, reason="no-usable-locator")
    assert len(world["xtr1"].engine.show("map-cache", world.now)[1]["locators"]) == 1
