"""What an ITR does when it is solicited, also by a flood (RFC 9301 section 6.1)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise

import pytest

from nodes.lisp.config import DatabaseMapping, Locator
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.requests import MAX_SMR_INVOKED, SMR_INVOKED_RETRANSMISSIONS, MapRequester
from nodes.lisp.engine.solicitations import BURST, INTERVAL, STRANGER_BURST, STRANGER_INTERVAL
from nodes.lisp.engine.subscriptions import Subscriptions
from nodes.lisp.inputs import Query
from nodes.lisp.wire import (
    EncapsulatedControlMessage,
    MapRequest,
    NoAddress,
    RequestRecord,
)
from tests.engine.test_solicitation import SECOND, change, invoked, multihomed, smr, weights
from tests.engine.world import (
    DC1,
    DC2,
    H1,
    H2,
    PXTR,
    STRANGER,
    XTR1,
    XTR2,
    World,
    map_resolver,
    map_server,
    site,
    two_sites,
    xtr,
)


@pytest.mark.requirement("C33")
def test_smr_for_what_is_not_cached_is_ignored() -> None:
    """The default entry is no cached mapping."""
    world = two_sites()
    world.inject("xtr1", smr(H2), XTR2)
    assert world["xtr1"].drops == {"solicit-map-request-not-cached": 1}
    assert not world.sent(EncapsulatedControlMessage)


@pytest.mark.requirement("C31")
def test_smr_is_no_proof_of_anything() -> None:
    """Whoever sends it, the mapping system is asked, and its answer stands."""
    world = multihomed()
    world.inject("xtr1", smr(H2))
    world.run(0.5)
    assert len(invoked(world)) == 1
    assert weights(world) == {str(XTR2): 75, str(SECOND): 25}
    assert not [p for p in world.packets if p.destination == STRANGER]


@pytest.mark.requirement("C31")
@pytest.mark.parametrize(
    ("source", "record", "asked"),
    [
        (DC2, DC2, [DC2]),  # as cached
        (H2, H2, [H2]),  # a host out of the cached prefix has moved
        (H2, DC1, [H2]),  # the record is the receiver's own EID, as some implementations have it
        (H1, DC2, [DC2]),  # the Source-EID is not cached, the record is
        (EidPrefix.of("192.168.0.0/16"), EidPrefix.of("192.168.0.0/16"), [DC2]),  # all that is cached of a wider one
    ],
)
def test_which_eid_an_smr_is_about(source: EidPrefix, record: EidPrefix, asked: list[EidPrefix]) -> None:
    """The Source-EID if that is cached, else the record; with the mask, where there is one."""
    world = multihomed()
    world.inject("xtr1", smr(source, record), XTR2)
    assert [p.request.records[0].prefix for p in invoked(world)] == asked


@pytest.mark.requirement("C32")
@pytest.mark.parametrize("probed", [False, True])
def test_flood_of_smrs_costs_one_request_in_three_seconds(probed: bool) -> None:
    """A burst of three, then the pace of the text; what comes too soon waits, and is not lost.

    That a probe is answered meanwhile, with the p-bit, is no news.
    """
    world = multihomed()
    if probed:
        world["xtr1"].in_use.add(XTR2)
    at = world.now
    for _ in range(300):
        world.inject("xtr1", smr(DC2))
        world.run(0.1)
    times = [p.time - at for p in invoked(world)]
    locators = world["xtr1"].engine.show("locators", world.now)
    assert bool(locators) == probed
    assert len(times) <= 3 + 10
    assert all(b - a >= 1 for a, b in pairwise(times))
    assert all(b - a >= 2.99 for a, b in pairwise(times[3:]))
    change(world, weight=99)
    world.run(3.5)
    assert weights(world)[str(XTR2)] == 99


@pytest.mark.requirement("C32")
def test_news_while_a_request_is_under_way_are_asked_for_once_more() -> None:
    """The answer on its way may be older than the change."""
    world = multihomed()
    world.delay = 0.1
    world.inject("xtr1", smr(DC2))
    world.inject("xtr1", smr(DC2))
    world.run(3)
    first, second = (p.time for p in invoked(world))
    assert second - first == pytest.approx(1.0)


@pytest.mark.requirement("C31")
def test_answer_about_another_eid_does_not_stand_for_the_news() -> None:
    """The moved host is still asked for when the mapping of its subnet arrives meanwhile."""
    world = multihomed()
    world.lost = lambda packet: packet in invoked(world)
    world.inject("xtr1", smr(H2))
    assert world.lig("xtr1", host_prefix("192.168.2.23"), 0.5).result
    world.run(2)
    assert [p.request.records[0].prefix for p in invoked(world)] == [H2] * 3


@pytest.mark.requirement("C31")
def test_s_bit_is_for_what_an_smr_caused() -> None:
    """A miss of the same EID right afterwards is no SMR's doing."""
    world = multihomed()
    world.inject("xtr1", smr(DC2))
    world.run(0.2)
    world.put("xtr1", Query(DC2, token=1))
    world.run(2)
    assert len(invoked(world)) == 1
    assert world["xtr1"].answers


@pytest.mark.requirement("C31")
def test_mapping_stays_in_use_while_it_is_asked_for() -> None:
    """No answer, no loss."""
    world = multihomed()
    world.stop("mr")
    world.inject("xtr1", smr(DC2))
    world.run(60)
    assert weights(world) == {str(XTR2): 75, str(SECOND): 25}
    assert world["xtr1"].engine.counters["resolutions-failed"] == 1


@pytest.mark.requirement("C33")
def test_hostile_smrs() -> None:
    """Anything may be in one; nothing raises, and nobody is asked for what is not cached."""
    world = multihomed()
    for eid in (EidPrefix.of("0.0.0.0/32"), EidPrefix.of("10.0.0.0/8"), host_prefix("192.168.2.9", 77)):
        world.inject("xtr1", smr(eid))
    no_source = MapRequest(9, NoAddress(), (STRANGER,), (RequestRecord(NoAddress(), 0),), smr=True).encode()
    world.inject("xtr1", no_source)
    assert not invoked(world)
    assert world["xtr1"].drops == {"solicit-map-request-not-cached": 3, "malformed": 1}


def smr_for_many(eids: Iterable[EidPrefix]) -> bytes:
    questions = tuple(RequestRecord.of(eid) for eid in eids)
    return MapRequest(9, NoAddress(), (STRANGER,), questions, smr=True, dont_reply=True).encode()


def hosts(prefix: EidPrefix, first: int, number: int) -> list[EidPrefix]:
    return [host_prefix(prefix.address + first + n) for n in range(number)]


def negative(world: World) -> EidPrefix:
    """A prefix with a negative mapping in the map-cache of xtr1."""
    outside = world.resolve("xtr1", host_prefix("203.0.113.5"))
    assert outside.forwarding is Forwarding.NATIVE
    return outside.prefix


@pytest.mark.requirement("C32")
def test_one_smr_asks_one_question_for_each_cached_prefix() -> None:
    """However many hosts of that prefix it names; a negative mapping counts as one prefix, too."""
    world = multihomed()
    outside = negative(world)
    world.inject("xtr1", smr_for_many([*hosts(DC2, 1, 16), *hosts(outside, 1, 16)]), XTR2)
    world.run(10)
    assert [p.request.records[0].prefix for p in invoked(world)] == [*hosts(DC2, 1, 1), *hosts(outside, 1, 1)]


@pytest.mark.requirement("C32", "C33")
@pytest.mark.parametrize("sender", [STRANGER, XTR2])
@pytest.mark.parametrize("answered", [True, False])
def test_flood_of_smrs_for_ever_other_hosts(sender: IPAddress, answered: bool) -> None:
    """What strangers cause is bounded by what is cached, whether or not the mapping system answers."""
    world = multihomed()
    outside = negative(world)
    if not answered:
        world.stop("mr")
    seconds = 8.0
    for n in range(80):
        world.inject("xtr1", smr_for_many(hosts(outside, 32 * n, 32)), sender)
        world.inject("xtr1", smr_for_many(hosts(DC2, n, 32)), sender)
        world.run(seconds / 80)
    world.run(2)
    questions = 2 * (3 + 10 / 3)  # two cached prefixes: a burst of three each, then one in 3 s
    assert len(invoked(world)) <= questions * (1 if answered else 1 + SMR_INVOKED_RETRANSMISSIONS) + 1
    assert "too-many-resolutions" not in world["xtr1"].drops


@pytest.mark.requirement("C08")
def test_flood_of_smrs_keeps_no_packet_waiting() -> None:
    """While the SMR-invoked requests get no answer, a packet's EID is resolved as ever."""
    world = multihomed()
    outside = negative(world)
    mr = world.stop("mr")
    for n in range(150):
        world.inject("xtr1", smr_for_many(hosts(outside, 32 * n, 32)))
        world.inject("xtr1", smr(EidPrefix.of("0.0.0.0/0")), XTR2)
    world.add(mr.config)
    assert world.resolve("xtr1", host_prefix("11.0.0.1")).forwarding is Forwarding.NATIVE


@pytest.mark.requirement("C32")
def test_all_smr_invoked_requests_share_one_bucket() -> None:
    """A /0 in the name of a site is about all that is cached; the rest of it comes at 50 a second."""
    count = 256
    prefixes = [EidPrefix.of(f"192.168.{n // 4}.{n % 4 * 64}/26") for n in range(400, 400 + count + 32)]
    world = World().add(map_server(site("many", *prefixes)), map_resolver(*prefixes), xtr("xtr1", XTR1, DC1))
    many = replace(xtr("xtr2", XTR2, DC2), database=tuple(DatabaseMapping(p, (Locator(XTR2),)) for p in prefixes))
    world.add(many)
    world.run()
    for prefix in prefixes:
        world.resolve("xtr1", host_prefix(prefix.address + 1))
    for n in range(0, count, 32):
        world.inject("xtr1", smr_for_many(prefixes[n : n + 32]), XTR2)
    at = world.now
    assert len(invoked(world)) == BURST
    world.run(0.95)
    assert len(invoked(world)) == BURST + int(0.95 / INTERVAL)
    world.run(5)
    assert {p.request.records[0].prefix for p in invoked(world)} == set(prefixes[:count])
    world.inject("xtr1", smr(EidPrefix.of("192.168.0.0/16")), STRANGER)
    world.run(0.01)
    late = [p for p in invoked(world) if p.time > at + 5.9]
    assert len(late) == STRANGER_BURST
    assert world["xtr1"].drops["solicit-map-request-stranger"] == 32 - STRANGER_BURST


@pytest.mark.requirement("C31")
def test_strangers_keep_no_site_from_being_heard() -> None:
    """A flood from RLOCs in no locator-set takes its own bucket alone; a site's news arrive at once."""
    world = multihomed()
    outside = negative(world)
    at = world.now
    for n in range(300):
        world.inject("xtr1", smr(hosts(outside, n, 1)[0]), ip_address("10.0.77.0") + n % 250)
        world.run(0.01)
    assert world["xtr1"].drops["solicit-map-request-stranger"] >= 300 - STRANGER_BURST - 3 / STRANGER_INTERVAL - 1
    assert len([p for p in invoked(world) if p.time >= at]) <= 3 + 1
    change(world, weight=33)
    world.run(0.2)
    assert weights(world)[str(XTR2)] == 33


@pytest.mark.requirement("X07")
def test_new_xtr_is_heard_though_it_is_in_no_cached_locator_set() -> None:
    """Who the host moved to is known to the mapping system only, and that is what is asked."""
    world = multihomed()
    world.inject("xtr1", smr(H2), ip_address("10.0.9.9"))
    assert [p.request.records[0].prefix for p in invoked(world)] == [H2]


@pytest.mark.requirement("C32")
def test_hosts_that_move_together_do_not_wait_for_each_other() -> None:
    """An answer that was news fills the bucket of the prefix that the host moved out of."""
    world = World().add(
        map_server(site("dc1", DC1), site("dc2", DC2, more=True)),
        map_resolver(),
        xtr("xtr1", XTR1, DC1),
        xtr("xtr2", XTR2, DC2),
    )
    world.run()
    moved = hosts(DC2, 10, 12)
    assert world.resolve("xtr1", moved[0]).prefix == DC2
    world.add(replace(xtr("xtr3", PXTR, H2), database=tuple(DatabaseMapping(p, (Locator(PXTR),)) for p in moved)))
    world.run(2)
    for eid in moved:
        world.inject("xtr1", smr(eid), XTR2)
    world.run(1)
    assert {world["xtr1"].forwarding(eid).locators for eid in moved} == {(Locator(PXTR),)}


@pytest.mark.requirement("C08", "C32")
def test_smr_invoked_requests_have_a_small_share_of_the_resolutions() -> None:
    """The rest is for packets; one that a packet waits for as well is counted with those."""
    config = xtr("xtr1", XTR1, DC1)
    context = Context(config, random.Random(1).getrandbits)
    requester = MapRequester(context, 50_000, Subscriptions(context, 0))
    eids = hosts(EidPrefix.of("10.0.0.0/8"), 0, MAX_SMR_INVOKED + 2)
    for eid in eids:
        list(requester.ask(eid, 0.0, smr_invoked=True))
    assert context.counters["dropped-too-many-smr-invoked"] == 2
    list(requester.ask(eids[0], 0.0))
    assert list(requester.ask(eids[-1], 0.0, smr_invoked=True))
    assert context.counters["dropped-too-many-smr-invoked"] == 2
    for second in range(1, 60):
        list(requester.tick(float(second)))
    assert requester.deadline() is None
    for eid in eids:
        list(requester.ask(eid, 60.0, smr_invoked=True))
    assert context.counters["dropped-too-many-smr-invoked"] == 4


@pytest.mark.requirement("C08")
def test_failed_smr_invoked_request_silences_no_packet() -> None:
    """After few retransmissions nobody solicits for 30 s; a packet of that EID is no reason to be silent."""
    world = multihomed()
    world.lost = lambda packet: packet in invoked(world)
    world.inject("xtr1", smr(H2), XTR2)
    world.run(10)
    assert len(invoked(world)) == 1 + SMR_INVOKED_RETRANSMISSIONS
    world.inject("xtr1", smr(H2), XTR2)
    world.run(10)
    assert len(invoked(world)) == 1 + SMR_INVOKED_RETRANSMISSIONS
    assert world.lig("xtr1", H2).result
