"""What a Map-Reply holds where prefixes overlap, what fits into it, and how often one is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from nodes.lisp.config import DatabaseMapping, Locator
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.engine.context import payload_limit
from nodes.lisp.engine.mappings import MOST_RECORDS, filled
from nodes.lisp.engine.replies import fitting
from nodes.lisp.rate_limit import RateLimit
from nodes.lisp.wire import (
    Action,
    EidRecord,
    EncapsulatedControlMessage,
    LocatorRecord,
    MapReply,
    MapRequest,
    NoAddress,
    RequestRecord,
)
from tests.engine.world import (
    DC1,
    MS,
    PXTR,
    STRANGER,
    XTR1,
    XTR2,
    World,
    ip_address,
    map_resolver,
    map_server,
    site,
    two_sites,
    xtr,
)

WIDE = EidPrefix.of("172.16.0.0/16")


def overlapping(*texts: str, proxy_reply: bool = False) -> World:
    """An xTR with these prefixes of the database, and one that asks."""
    prefixes = [EidPrefix.of(text) for text in texts]
    target = xtr("xtr2", XTR2, WIDE, proxy_reply=proxy_reply)
    database = tuple(
        DatabaseMapping(prefix, (Locator(XTR2, 1, n % 256),), ttl_minutes=100 + n) for n, prefix in enumerate(prefixes)
    )
    world = World().add(
        map_server(site("dc1", DC1), site("dc2", *prefixes)),
        map_resolver(DC1, *prefixes),
        replace(target, database=database),
        xtr("xtr1", XTR1, DC1),
    )
    world.run()
    assert world["xtr2"].engine.registered
    return world


def replies(world: World) -> list[MapReply]:
    return [p.message for p in world.sent(MapReply) if isinstance(p.message, MapReply)]


def request(eid: EidPrefix, nonce: int = 5, **flags: bool) -> bytes:
    return MapRequest(nonce, NoAddress(), (STRANGER,), (RequestRecord.of(eid),), **flags).encode()


def wrapped(eid: EidPrefix, nonce: int = 5) -> bytes:
    return EncapsulatedControlMessage.wrap(request(eid, nonce), STRANGER, 5555, eid.address).encode()


@pytest.mark.requirement("C17")
@pytest.mark.parametrize("proxy_reply", [False, True])
@pytest.mark.parametrize(
    ("eid", "expected"),
    [
        ("172.16.1.1", ["172.16.1.0/24"]),
        ("172.16.5.5", ["172.16.0.0/16", "172.16.1.0/24", "172.16.2.0/24"]),
        ("172.9.9.9", ["172.0.0.0/8", "172.16.0.0/16", "172.16.1.0/24", "172.16.2.0/24"]),
    ],
)
def test_best_match_comes_with_its_more_specifics(eid: str, expected: list[str], proxy_reply: bool) -> None:
    """The example of RFC 9301 section 5.5, by the ETR and by the Map-Server; one TTL for all."""
    world = overlapping("172.0.0.0/8", "172.16.0.0/16", "172.16.1.0/24", "172.16.2.0/24", proxy_reply=proxy_reply)
    entry = world.resolve("xtr1", host_prefix(eid))
    (reply,) = replies(world)
    assert [str(record.prefix) for record in reply.records] == expected
    assert len({record.ttl_minutes for record in reply.records}) == 1
    assert {record.authoritative for record in reply.records} == {not proxy_reply}
    assert str(entry.prefix) == expected[0]
    assert len(world["xtr1"].data_path) == 1 + len(expected)


@pytest.mark.requirement("C17", "M08")
def test_more_specifics_that_others_answer_for_are_asked_for() -> None:
    """A proxied prefix with another site's inside: registered without the P-bit, or not at all."""
    inner, empty = EidPrefix.of("172.16.1.0/24"), EidPrefix.of("172.16.2.0/24")
    world = World().add(
        map_server(site("dc1", DC1), site("wide", WIDE), site("inner", inner, empty)),
        map_resolver(DC1, WIDE),
        xtr("xtr2", XTR2, WIDE, proxy_reply=True),
        xtr("xtr3", PXTR, inner),
        xtr("xtr1", XTR1, DC1),
    )
    world.run()
    assert world.resolve("xtr1", host_prefix("172.16.9.9")).locators == (Locator(XTR2),)
    assert world["xtr1"].forwarding(host_prefix("172.16.1.1")).forwarding is Forwarding.SEND_MAP_REQUEST
    assert world.resolve("xtr1", host_prefix("172.16.1.1")).locators == (Locator(PXTR),)
    assert world.resolve("xtr1", host_prefix("172.16.2.2")).forwarding is Forwarding.NATIVE


@pytest.mark.requirement("C40")
@pytest.mark.parametrize("proxy_reply", [False, True])
def test_more_specifics_that_do_not_fit_leave_the_queried_host_alone(proxy_reply: bool) -> None:
    """300 host routes under a /16; an EID between them is answered as a host route that hides none of them."""
    hosts = [f"172.16.{n // 250}.{n % 250 + 1}" for n in range(300)]
    world = overlapping(str(WIDE), *hosts, proxy_reply=proxy_reply)
    one, between = host_prefix("172.16.0.7"), host_prefix("172.16.200.1")
    assert world.resolve("xtr1", one).prefix == one
    assert world.resolve("xtr1", between).prefix == between
    assert world["xtr1"].forwarding(between).locators == (Locator(XTR2, 1, 0),)
    assert [len(reply.records) for reply in replies(world)] == [1, 1]
    assert max(len(p.payload) for p in world.packets) <= 576 - 28
    assert world["xtr1"].forwarding(host_prefix("172.16.200.2")).forwarding is Forwarding.SEND_MAP_REQUEST


def record(text: str, ttl: int = 60, locators: Iterable[LocatorRecord] = (LocatorRecord(XTR2, 1, 1),)) -> EidRecord:
    return EidRecord.of(EidPrefix.of(text), ttl, locators)


@pytest.mark.requirement("C17")
def test_filled_takes_the_first_of_equals_and_the_least_ttl() -> None:
    """ETR before Map-Server before Map-Resolver."""
    best, inner = record("172.16.0.0/16", 60), record("172.16.1.0/24", 5)
    elsewhere = EidRecord.of(EidPrefix.of("172.16.1.0/24"), 1440, action=Action.SEND_MAP_REQUEST)
    assert filled(WIDE, best, [inner], [elsewhere]) == (replace(best, ttl_minutes=5), inner)


@pytest.mark.requirement("C40")
@pytest.mark.parametrize(
    ("inside", "read", "answered"), [(MOST_RECORDS - 1, MOST_RECORDS - 1, MOST_RECORDS), (10_000, MOST_RECORDS, 1)]
)
def test_an_answer_that_cannot_fit_is_not_put_together(inside: int, read: int, answered: int) -> None:
    """A question costs no more where ten thousand hosts are inside the prefix; what fits is all there."""
    taken = 0

    def more_specifics() -> Iterator[EidRecord]:
        nonlocal taken
        for number in range(inside):
            taken += 1
            yield EidRecord.of(host_prefix(ip_address(0xAC100000 + number)), 60)

    found = filled(host_prefix("172.16.200.1"), record(str(WIDE), locators=()), more_specifics())
    assert (taken, len(found)) == (read, answered)
    assert len(MapReply(0, found).encode()) <= payload_limit(ip_address("::1"))


@pytest.mark.requirement("C40")
def test_fitting_takes_whole_answers() -> None:
    """What does not fit is narrowed to its EID, or left out; the first answer is always there."""
    eids = [host_prefix(f"172.{n}.9.9") for n in range(3)]
    groups = [
        (eid, (record(f"172.{n}.0.0/16"), *(record(f"172.{n}.{m}.0/24") for m in range(8))))
        for n, eid in enumerate(eids)
    ]
    answers = fitting(groups, 548)
    assert answers[:18] == groups[0][1] + groups[1][1]
    assert [one.prefix for one in answers[18:]] == eids[2:]
    assert [one.prefix for one in fitting(groups, 70)] == eids[:2]
    assert [one.prefix for one in fitting(groups, 10)] == eids[:1]
    many = tuple(record(f"172.16.{n // 256}.{n % 256}/32") for n in range(256))
    assert [one.prefix for one in fitting([(eids[0], many)], 1 << 16)] == eids[:1]


@pytest.mark.requirement("C09")
def test_burst_of_requests_gets_three_replies_and_then_one_in_three_seconds() -> None:
    """As often as somebody asks, for the same mapping."""
    world = two_sites()
    for nonce in range(100):
        world.inject("xtr2", wrapped(EidPrefix.of("192.168.2.22/32"), nonce), MS)
        world.run(0.1)
    assert len(replies(world)) in (6, 7)
    assert world["xtr2"].drops == {"map-reply-rate": 100 - len(replies(world))}


@pytest.mark.requirement("C09")
def test_eids_behind_one_xtr_do_not_wait_for_each_other() -> None:
    """The text's one Map-Reply per RLOC in 3 s, taken literally, would make ten EIDs wait 30 s."""
    world = overlapping(*(f"172.16.{n}.0/24" for n in range(10)))
    for n in range(10):
        world.inject("xtr2", wrapped(host_prefix(f"172.16.{n}.1"), n), MS)
    assert len(replies(world)) == 10
    world.inject("mr", wrapped(host_prefix("198.51.100.1"), 1))
    assert len(replies(world)) == 11


@pytest.mark.requirement("C09")
def test_ever_other_eids_are_a_flood_as_well() -> None:
    """Requests in somebody's name, each for another EID: a hundred replies a second, and a burst."""
    world = two_sites()
    for n in range(1000):
        world.inject("xtr2", wrapped(host_prefix(f"192.168.2.{n % 256}"), n), MS)
    assert len(replies(world)) == 300
    world.run(1)
    for n in range(1000):
        world.inject("mr", wrapped(host_prefix(f"198.51.100.{n % 256}"), n))
    assert len(replies(world)) == 600


@pytest.mark.requirement("C09")
def test_one_asker_does_not_use_up_what_another_gets() -> None:
    """Counted for each destination RLOC."""
    world = two_sites()
    for nonce in range(10):
        world.inject("xtr2", wrapped(EidPrefix.of("192.168.2.22/32"), nonce), MS)
    assert world.resolve("xtr1", host_prefix("192.168.2.22")).locators == (Locator(XTR2, 1, 100),)


@pytest.mark.requirement("C09")
def test_second_question_does_not_refill_the_bucket() -> None:
    """Only a change of the mapping does, and that is not the asker's to make."""
    world = two_sites()
    for nonce in range(20):
        other = host_prefix(f"192.168.2.{nonce % 2}")
        questions = tuple(RequestRecord.of(eid) for eid in (host_prefix("192.168.2.22"), other, other)[: 2 + nonce % 2])
        asked = MapRequest(nonce, NoAddress(), (STRANGER,), questions).encode()
        inside = EncapsulatedControlMessage.wrap(asked, STRANGER, 5555, other.address).encode()
        world.inject("xtr2", inside, MS)
    assert len(replies(world)) == 3


@pytest.mark.requirement("C09", "C36")
def test_probes_have_a_bucket_of_their_own() -> None:
    """A probe each second, and requests beside it, are all answered; a flood of probes is not."""
    world = two_sites()
    eid = EidPrefix.of("192.168.2.0/24")
    for nonce in range(20):
        world.inject("xtr2", request(eid, nonce, probe=True))
        world.run(1)
    world.inject("xtr2", wrapped(eid), MS)
    assert len(replies(world)) == 21
    for nonce in range(100):
        world.inject("xtr2", request(eid, nonce, probe=True))
    assert len(replies(world)) == 31
    assert world["xtr2"].drops == {"map-reply-rate": 90}


@pytest.mark.requirement("C17")
def test_refresh_that_comes_bare_gets_the_more_specifics_as_well() -> None:
    """A Map-Request straight to the ETR."""
    world = overlapping("172.16.0.0/16", "172.16.1.0/24")
    world.inject("xtr2", request(WIDE))
    (reply,) = replies(world)
    assert [str(one.prefix) for one in reply.records] == ["172.16.0.0/16", "172.16.1.0/24"]


@pytest.mark.requirement("C09", "C32")
def test_rate_limit() -> None:
    """A burst, the pace, the bound, and news."""
    limit: RateLimit[str] = RateLimit(burst=3, interval=3.0, max_buckets=2)
    assert [limit.allows("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert limit.next("a", 0.0) == 3.0
    assert [limit.allows("a", at) for at in (2.9, 3.0, 3.1, 6.0)] == [False, True, False, True]
    assert limit.allows("a", 6.1, "news")
    assert limit.next("a", 6.1, "news") == 6.1
    assert limit.next("b", 7.0) == 7.0
    assert limit.allows("b", 7.0)
    assert limit.allows("c", 7.0)
    assert len(limit) == 2
    assert [limit.allows("a", 100.0) for _ in range(4)] == [True, True, True, False]
