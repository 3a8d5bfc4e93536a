"""Timers end to end, measured where messages arrive: on clocks that run faster, or in real time under ``--long``."""

from __future__ import annotations

import math
from collections.abc import Callable
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest

from testbed.lab import Lab
from testbed.observe.capture import Frame
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import Clock
from tests.conformance.tester.daemons import foreign, frozen, log_lines, registrations
from tests.conformance.tester.mappings import any_host, standing
from tests.conformance.tester.places import rloc, uplink
from tests.conformance.tester.players import MapServer
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen, Watch, inner_request

PEST = 7
"""Both ports of the packets that have an ITR ask."""


@pytest.fixture
def clock(fast: Lab) -> Clock:
    return Clock.of(fast)


def by(watch: Watch, kind: int, lab: Lab, sender: str) -> list[Seen]:
    return [one for one in watch.control(kind) if one.outer.source == rloc(lab, sender)]


def prefix(lab: Lab, site: str) -> str:
    return str(lab.topology.sites[site].eid_prefixes[0].network)


def is_about(seen: Seen, eid: Any) -> bool:
    return inner_request(seen).records[0].prefix == ip_network(eid)


def pest(lab: Lab, target: Any) -> Callable[[], None]:
    """Sends a packet from h1 to an EID, whenever it is called."""
    packet = packets.datagram(lab["h1"].address, target, (PEST, PEST), b"x")
    return lambda: inject(lab, "h1", packet)


def prompts(watch: Watch) -> list[Frame]:
    """The packets of :func:`pest`, as they arrived at the ITR."""
    return [frame for frame, one in watch.datagrams(PEST, "xtr1") if PEST == one.source_port == one.destination_port]


def is_registered(lab: Lab, site: str) -> bool:
    """Whether the Map-Server has a site's registration, as it answers."""
    return standing(lab, "ms", any_host(ip_network(prefix(lab, site)))).registered


@pytest.mark.alone
@pytest.mark.requirement("C19", "C20", "C25", "M01")
def test_an_etr_registers_each_minute_and_backs_off_when_nobody_answers(fast: Lab, clock: Clock) -> None:
    """60 s apart; without Map-Notify 1, 2, 4 … 60, each with a greater nonce; a Notify for the oldest ends it.

    The tester is the Map-Server. That the last interval was the longest says nothing yet; the one after it does.
    """
    with frozen(fast, "ms"), Watch(fast, [uplink(fast, "xtr1")]) as watch:
        server = MapServer.instead_of(fast, "ms", "xtr1", watch)
        server.notify(server.register(1, within=clock.limit(60)))
        server.register(9, within=clock.limit(60 + 183))
        server.notify(server.registers()[1])
        server.register(11, within=clock.limit(61))
        found = server.registers()
    with clause("M01"):
        clock.assert_spaced(found[:2], [60])
    with clause("C25"):
        clock.assert_spaced(found[1:], [1, 2, 4, 8, 16, 32, 60, 60, 1])
    with clause("C19", "C25"):
        nonces = [one.message.nonce for one in found]
        assert nonces == sorted(set(nonces))
        assert len({one.message.authentication for one in found}) == len(found)
    with clause("C20"):
        assert all(map(server.believes, found))
    # Our own Map-Server reads them all now, and the sites are registered again.
    eventually(lambda: all(is_registered(fast, site) for site in ("one", "two", "three")), "registrations")


@pytest.mark.alone
@pytest.mark.requirement("M01", "M05")
def test_a_registration_ends_three_minutes_after_the_last_map_register(fast: Lab, clock: Clock) -> None:
    """Then the Map-Server says natively-forward, for one minute; its log and its table say so, if they are ours."""
    eid = prefix(fast, "three")
    with Watch(fast, ["ms"]) as watch:
        watch.until(lambda: by(watch, wire.MAP_REGISTER, fast, "xtr3"), "a Map-Register", within=clock.limit(60))
        with frozen(fast, "xtr3"):
            watch.drain()
            last = by(watch, wire.MAP_REGISTER, fast, "xtr3")[-1]
            # The Map-Server answers for this site; while the registration lives, with its locators.
            assert is_registered(fast, "three")
            if fast.tells("ms", "registrations"):
                assert registrations(fast, "ms")[eid]["etr"] == str(rloc(fast, "xtr3"))
            ended = clock.ended(lambda: is_registered(fast, "three"), "expiry", within=180)
            with clause("M01"):
                clock.assert_ended(last, ended, 180)
                if fast.tells("ms", "registrations"):
                    assert registrations(fast, "ms")[eid]["etr"] is None
            record = standing(fast, "ms", any_host(ip_network(eid))).record
            with clause("M05"):
                assert record is not None
                assert (str(record.prefix), record.action, record.ttl, record.locators) == (eid, 1, 1, ())
        if not foreign(fast, "ms"):
            expired = [one for one in log_lines(fast, "ms") if one["event"] == "registration-expired"]
            assert expired[-1]["fields"] == {"site": "three", "eid": eid}
        eventually(lambda: is_registered(fast, "three"), "its return")


@pytest.mark.alone
@pytest.mark.requirement("C08")
def test_a_map_request_without_answer_is_repeated_ten_times_and_then_rests(fast: Lab, clock: Clock) -> None:
    """Once a second, ten retransmissions, silence for 30 s; new nonces; who waits is told; packets are let go."""
    target = fast["h2"].address
    fast.restart("xtr1")
    with frozen(fast, "mr"), Watch(fast, ["mr", "xtr1"]) as watch:

        def asked() -> list[Seen]:
            return [one for one in by(watch, wire.ECM, fast, "xtr1") if is_about(one, target)]

        send = pest(fast, target)
        send()
        watch.until(lambda: len(asked()) == 11, "ten retransmissions", within=clock.limit(10))
        clock.assert_spaced(asked(), [1] * 10)
        assert len({inner_request(one).nonce for one in asked()}) == 11
        if fast.tells("xtr1", "statistics"):
            clock.eventually(lambda: fast.show("xtr1", "statistics")["held"]["now"] == 0, "nothing is held", within=1)
            assert fast.show("xtr1", "statistics")["drops"]["unresolved"] == 1
        with clock.every(clock.pause * clock.scale, send):
            watch.until(lambda: len(asked()) > 11, "the next Map-Request", within=clock.limit(30))
        clock.assert_prompted(asked()[10], asked()[11], 30, prompts(watch))


@pytest.mark.alone
@pytest.mark.requirement("C10")
def test_a_mapping_of_one_minute_ends_after_one_minute(fast: Lab, clock: Clock) -> None:
    """Written by the test. Until then its packets cause no Map-Request, and go where it says; then there is one."""
    target, scope = fast.topology.eid_aggregates[0].network[0x900 + 9], fast.topology.eid_aggregates[0].network[0x900]
    record = wire.mapping(f"{scope}/24", 1, [(rloc(fast, "xtr2"), 1, 100)])
    fast.restart("xtr1")  # it knows the mapping, if an attempt before this one failed
    with frozen(fast, "mr"), Watch(fast, ["mr", "xtr1", "xtr2"]) as watch:

        def asked() -> list[Seen]:
            return [one for one in by(watch, wire.ECM, fast, "xtr1") if is_about(one, target)]

        send = pest(fast, target)
        send()
        question = watch.until(asked, "a Map-Request")[0]
        nonce, port = inner_request(question).nonce, question.message.inner.source_port  # type: ignore[union-attr]
        ports = (wire.CONTROL, port)
        answer = packets.datagram(rloc(fast, "mr"), rloc(fast, "xtr1"), ports, wire.map_reply(nonce, record))
        inject(fast, uplink(fast, "xtr1"), answer)
        watch.until(lambda: watch.data("xtr2"), "the packet that waited")
        told = next(one for one in watch.control(wire.MAP_REPLY, "xtr1") if one.message.nonce == nonce)
        with clock.every(clock.pause * clock.scale, send):
            again = watch.until(lambda: clock.after(told, 5, asked()), "the next Map-Request", clock.limit(60))[0]
        clock.assert_prompted(told, again, 60, prompts(watch))
        assert len(watch.data("xtr2")) > 10


@pytest.mark.requirement("C10", "M04")
def test_no_such_eid_counts_for_a_quarter_of_an_hour(hasty: Lab) -> None:
    """So says the Map-Resolver, and so long the ITR does not ask again, whatever packets come."""
    clock, nobody = Clock.of(hasty), hasty.topology.eid_aggregates[0].network[-2]
    with Watch(hasty, ["mr", "xtr1"]) as watch:

        def asked() -> list[Seen]:
            return [one for one in by(watch, wire.ECM, hasty, "xtr1") if is_about(one, nobody)]

        def told() -> list[Seen]:
            nonces = {inner_request(one).nonce for one in asked()}
            return [one for one in watch.control(wire.MAP_REPLY, "xtr1") if one.message.nonce in nonces]

        with clock.every(5, pest(hasty, nobody)):
            first = watch.until(told, "a Map-Reply")[0]
            (record,) = first.message.records
            with clause("M04"):
                assert (record.action, record.ttl, record.locators) == (1, 15, ())
            again = watch.until(lambda: clock.after(first, 60, asked()), "the next Map-Request", clock.limit(900))[0]
        with clause("C10"):
            clock.assert_prompted(first, again, 60 * record.ttl, prompts(watch))


def assert_limited(clock: Clock, seen: list[Seen]) -> None:
    """A burst of three at most, then no more than one in three seconds."""
    assert len(seen) >= 3
    for number, one in enumerate(seen):
        clock.assert_between(seen[0], one, 3 * max(0, number - 2), math.inf)


@pytest.mark.requirement("C09")
def test_map_replies_for_one_eid_are_limited(fast: Lab, clock: Clock) -> None:
    """Five requests a second, from one ITR-RLOC: a burst of three, then one in 3 s."""
    core, eid = uplink(fast, "xtr1"), fast["h1"].address
    own = fast[core].link_to("xtr1").addresses[0].ip
    with Watch(fast, [core]) as watch:

        def answers() -> list[Seen]:
            return [one for one in by(watch, wire.MAP_REPLY, fast, "xtr1") if one.outer.destination == own]

        def ask() -> None:
            request = wire.map_request(next(nonces), [eid], [own])
            inject(fast, core, packets.datagram(own, rloc(fast, "xtr1"), (40_000, wire.CONTROL), request))

        nonces = iter(range(1, 1 << 16))
        with clock.every(0.2, ask):
            watch.until(lambda: len(answers()) >= 6, "six Map-Replies", within=clock.limit(9))
        assert_limited(clock, answers())


@pytest.mark.requirement("C32")
def test_questions_that_smrs_cause_are_limited(fast: Lab, clock: Clock) -> None:
    """Five a second, in the name of the site's ETR: three Map-Requests at the pace of C08, then one in 3 s."""
    two = ip_network(prefix(fast, "two"))
    fast.restart("xtr1")
    with Watch(fast, ["mr", "xtr1", "xtr2"]) as watch:
        pest(fast, fast["h2"].address)()
        watch.until(lambda: watch.data("xtr2"), "the mapping is cached")

        def invoked() -> list[Seen]:
            return [one for one in by(watch, wire.ECM, fast, "xtr1") if inner_request(one).word & wire.SMR_INVOKED]

        def questions() -> list[Seen]:
            """Without the retransmissions: the one before was answered by then."""
            answered = {one.message.nonce: one.frame.time_ns for one in watch.control(wire.MAP_REPLY, "xtr1")}
            times = [(one, answered.get(inner_request(one).nonce, math.inf)) for one in invoked()]
            new = [then for (_, answer), (then, _) in pairwise(times) if answer < then.frame.time_ns]
            return invoked()[:1] + new

        def solicit() -> None:
            flags = wire.SMR | wire.DONT_REPLY
            there = rloc(fast, "xtr2")
            message = wire.map_request(next(nonces), [two], [there], flags=flags, source_eid=two[0])
            ports = (40_000, wire.CONTROL)
            inject(fast, uplink(fast, "xtr1"), packets.datagram(there, rloc(fast, "xtr1"), ports, message))

        nonces = iter(range(1, 1 << 16))
        with clock.every(0.2, solicit):
            watch.until(lambda: len(questions()) >= 5, "five questions", within=clock.limit(9))
        assert_limited(clock, questions())
        for first, then in pairwise(invoked()):
            clock.assert_between(first, then, 1, math.inf)


@pytest.mark.alone
@pytest.mark.requirement("C36")
def test_probes_come_in_jittered_intervals(fast: Lab, clock: Clock) -> None:
    """While data flows, an RLOC is probed each 8 to 10 s (``probing`` is not set), and never like clockwork."""
    with Watch(fast, ["xtr2"]) as watch:

        def probes() -> list[Seen]:
            return [one for one in by(watch, wire.MAP_REQUEST, fast, "xtr1") if one.message.word & wire.PROBE]

        with clock.every(1, pest(fast, fast["h2"].address)):
            watch.until(lambda: len(probes()) >= 7, "seven probes", within=clock.limit(90))
    seen = probes()
    times = [one.frame.time_ns / 1e9 for one in seen]
    for first, then in pairwise(seen):
        clock.assert_between(first, then, 8, 10)
    gaps = [then - first for first, then in pairwise(times)]
    assert max(gaps) - min(gaps) > clock.real(0.05), gaps
