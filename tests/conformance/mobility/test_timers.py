"""What takes seconds and minutes after a move, where clocks run faster."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import count, islice, pairwise
from typing import Any

import pytest

from tests.conformance.clause import clause
from tests.conformance.mobility.roaming import Roaming
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import Clock
from tests.conformance.tester.daemons import deaf, frozen
from tests.conformance.tester.places import uplink
from tests.conformance.tester.players import Etr, Itr, MapResolver
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen, Watch, inner_request

UNUSED = count(64)
"""Numbers of subnets that nobody has; each attempt takes its own."""
AFTERWARDS_S = 180.0
"""How long the xTR that a host left is watched."""


@dataclass(frozen=True)
class Left:
    """The host has left the first data centre for the second, before any test here.

    Attributes:
        watch: What has reached the Map-Server since.
        told: The Map-Notify that the old xTR got.
    """

    watch: Watch
    told: Seen


@pytest.fixture(scope="package")
def left(hasty: Roaming) -> Iterator[Left]:
    """Meanwhile the other tests pass, with other hosts: three minutes are long."""
    hasty.say()
    with Watch(hasty.lab, ["ms", "xtr1"]) as watch:
        hasty.move("dc2")
        told = watch.until(lambda: hasty.about(watch, wire.MAP_NOTIFY, "xtr1"), "a Map-Notify for the old xTR")[0]
        hasty.say()
        yield Left(watch, told)


@pytest.fixture
def clock(hasty: Roaming, left: Left) -> Clock:
    """Judges times; the host has left."""
    return Clock.of(hasty.lab)


@pytest.mark.requirement("C27", "X17")
def test_a_map_notify_that_nobody_acknowledges_is_repeated(hasty: Roaming, clock: Clock) -> None:
    """Three times each 3 s, then with twice the interval each time; who hears none but a later one lets its host go."""
    lab, eid = hasty.lab, hasty.lab["near3"].address_of(hasty.version)
    if lab.places()["near3"] != "dc3":  # an attempt before this one failed
        lab.move("near3", "dc3")
        hasty.say("near3")
    eventually(lambda: hasty.having(eid) == ["xtr3"], "the host is found")
    with Watch(lab, ["xtr3", "ms"]) as watch:

        def notifies() -> list[Seen]:
            return hasty.about(watch, wire.MAP_NOTIFY, "xtr3", eid)

        with frozen(lab, "xtr3"):
            with deaf(lab, "xtr3"):  # what comes while it stands still would be read afterwards
                lab.move("near3", "dc2")
                watch.until(notifies, "a Map-Notify that is lost")
            hasty.say("near3")
            watch.until(lambda: len(notifies()) >= 6, "five repetitions", within=clock.limit(27))
        with clause("C27"):
            clock.assert_spaced(notifies(), (3, 3, 3, 6, 12))
            assert len({one.message.nonce for one in notifies()}) == 1
        with clause("X17"):  # not only that it misses the host sooner or later
            nonce = notifies()[0].message.nonce  # the new xTR has publications to acknowledge, of other nonces
            acknowledged = watch.until(
                lambda: [
                    one for one in hasty.about(watch, wire.MAP_NOTIFY_ACK, "ms", eid) if one.message.nonce == nonce
                ],
                "a Map-Notify-Ack",
                within=clock.limit(24),
            )
            assert {one.outer.source for one in acknowledged} == {hasty.rloc("xtr3")}
    with clause("X17"):
        clock.eventually(lambda: hasty.having(eid) == ["xtr2"], "the old xTR lets it go", within=24)


@pytest.mark.alone  # a second of its clock is 33 ms of the machine's
@pytest.mark.requirement("C32")
def test_what_is_solicited_and_asked_for_is_limited(hasty: Roaming, clock: Clock) -> None:
    """Data for a host that left, ten times a second: three Solicit-Map-Requests, then one in 3 s.

    And of those that reach an ITR: three Map-Requests at the pace of a second, then one in 3 s.
    """
    lab = hasty.lab
    there, here = lab["b1"].address_of(hasty.version), uplink(lab, "xtr1")
    inner = packets.datagram(there, hasty.eid, (7777, 7777), b"to the old place")
    with Watch(lab, [here, uplink(lab, "xtr4"), "xtr4"]) as watch:
        sender = Etr(lab, "xtr1", watch, hasty.version)
        pest = Etr(lab, "xtr4", watch, hasty.version)

        def solicited() -> list[Seen]:
            seen = watch.control(wire.MAP_REQUEST, here)
            return [one for one in seen if one.message.word & wire.SMR and one.outer.destination == sender.address]

        def invoked() -> list[Seen]:
            """Without the retransmissions: the one before was answered by then."""
            mine = [one for one in watch.control(wire.ECM) if one.outer.source == hasty.rloc("xtr4")]
            asked = [one for one in mine if inner_request(one).word & wire.SMR_INVOKED]
            answered = {one.message.nonce: one.frame.time_ns for one in watch.control(wire.MAP_REPLY, "xtr4")}
            times = [(one, answered.get(inner_request(one).nonce, math.inf)) for one in asked]
            return asked[:1] + [then for (_, at), (then, _) in pairwise(times) if at < then.frame.time_ns]

        def both() -> None:
            sender.tunnel(inner)
            pest.solicit(hasty.eid, hasty.eid)

        with clock.every(0.1, both):
            watch.until(lambda: len(solicited()) >= 5 <= len(invoked()), "five of each", within=clock.limit(12))
    for seen in (solicited(), invoked()):
        for number, one in enumerate(seen):
            clock.assert_between(seen[0], one, 3 * max(0, number - 2), math.inf)
    for first, then in pairwise(invoked()):
        clock.assert_between(first, then, 1, math.inf)


@pytest.mark.requirement("C18")
def test_a_subnet_that_is_learned_later_ends_with_the_host_inside_it(hasty: Roaming, clock: Clock) -> None:
    """A minute for the host, a day for the subnet around it: after that minute the ITR asks anew for both."""
    lab = hasty.lab
    subnets = ip_network(lab.topology.eid_aggregates[0].network).subnets(new_prefix=hasty.subnet.prefixlen)
    around = next(islice(subnets, next(UNUSED), None))
    host, outer = ip_network(around[5]), around
    here = lab["b1"].address_of(hasty.version)

    def packet_to(eid: Any) -> None:
        inject(lab, "b1", packets.datagram(here, eid, (7, 7), b"x"))

    with frozen(lab, "mr"), Watch(lab, [uplink(lab, "xtr4")]) as watch:
        oracle = MapResolver(lab, "xtr4", watch, hasty.version, resolver=hasty.rloc("mr"))
        answered: list[Seen] = []
        for mapping, ttl, eid in ((host, 1, around[5]), (outer, 1440, around[6])):
            packet_to(eid)
            answered.append(oracle.question(eid))
            oracle.answer(answered[-1], wire.mapping(mapping, ttl, [(hasty.rloc("xtr1"), 1, 100)]))
            watch.until(lambda eid=eid: [one for _, one in watch.data() if one.destination == eid], "it is sent on")

        def asked_again() -> list[Seen]:
            packet_to(around[7])
            watch.drain()
            return oracle.questions(around[7])

        clock.eventually(asked_again, "a Map-Request for the subnet", within=60)
        clock.assert_between(answered[0], asked_again()[0], 60, 60, late=1.0)


@pytest.mark.requirement("C23")
def test_with_the_t_bit_a_host_is_registered_as_long_as_its_record_ttl_says(hasty: Roaming, clock: Clock) -> None:
    """A minute with the T-bit ends after it; without it, it does not."""
    lab = hasty.lab
    short, plain = (ip_network(hasty.subnet[number]) for number in (0xD1, 0xD2))
    with Watch(lab, [uplink(lab, "ms")]) as watch:
        etr = Etr(lab, "ms", watch, hasty.version, secret=hasty.key)
        itr = Itr(lab, "ms", watch, hasty.version)
        locators = [(hasty.rloc("xtr1"), 1, 100)]
        first = etr.registered(wire.mapping(short, 1, locators), flags=wire.PROXY_REPLY | wire.USE_TTL)
        etr.registered(wire.mapping(plain, 1, locators), flags=wire.PROXY_REPLY)
        ended = clock.ended(lambda: bool(hasty.registered(short[0])), "the end of its registration", within=60)
        clock.assert_ended(first, ended, 60)
        answers = {one: itr.resolve(one[0]).message.records[0] for one in (short, plain)}
        assert not answers[short].locators
        assert (answers[plain].prefix, bool(answers[plain].locators)) == (plain, True)


@pytest.mark.requirement("X05")
def test_the_xtr_that_a_host_left_never_registers_it_again(hasty: Roaming, left: Left) -> None:
    """For three minutes: it may withdraw it, which leaves the new xTR's registration alone. The last test."""
    clock, ms = Clock.of(hasty.lab), []

    def until_then() -> bool:
        left.watch.drain()
        ms[:] = hasty.about(left.watch, wire.MAP_REGISTER, "ms")
        return bool(clock.after(left.told, AFTERWARDS_S, left.watch.control(wire.MAP_REGISTER, "ms")))

    clock.eventually(until_then, "three minutes", within=AFTERWARDS_S + 60)
    records = [
        (record.ttl, one.outer.source)
        for one in clock.after(left.told, 0, ms)
        for record in one.message.records
        if record.prefix == ip_network(hasty.eid)
    ]
    assert {ttl for ttl, source in records if source == hasty.rloc("xtr1")} <= {0}
    assert len([ttl for ttl, source in records if source == hasty.rloc("xtr2") and ttl]) >= 2
    assert hasty.registered() == str(hasty.rloc("xtr2"))
    assert hasty.having() == ["xtr2"]
