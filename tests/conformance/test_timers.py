"""Timers end to end, on clocks that run forty times as fast: measured where messages arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.watch import (
    Seen,
    Watch,
    eventually,
    frozen,
    in_background,
    inject,
    inner_request,
    log_lines,
    registrations,
    rloc,
)

pytestmark = pytest.mark.alone
SLACK_S = 0.15
"""How late, in real seconds, a loaded machine may be."""
EARLY_S = 0.003
"""How early: the clocks of sender and capture are read at different moments."""


@pytest.fixture(scope="module")
def fast(boot: Callable[[str], Lab]) -> Lab:
    return boot("fast")


def spacings(seen: Sequence[Seen]) -> list[float]:
    """Real seconds between messages."""
    times = [one.frame.time_ns / 1e9 for one in seen]
    return [later - earlier for earlier, later in pairwise(times)]


def assert_spaced(fast: Lab, seen: Sequence[Seen], wanted: Sequence[float]) -> None:
    """The messages are as many seconds apart, on the daemons' clocks, as wanted: not less, hardly more."""
    scale = fast.topology.time_scale
    for found, seconds in zip(spacings(seen), wanted, strict=False):
        assert seconds / scale - EARLY_S <= found <= seconds / scale + SLACK_S, (spacings(seen), wanted)


def by(watch: Watch, kind: int, lab: Lab, sender: str) -> list[Seen]:
    return [one for one in watch.control(kind) if one.outer.source == rloc(lab, sender)]


def prefix(lab: Lab, site: str) -> str:
    return str(lab.topology.sites[site].eid_prefixes[0].network)


@pytest.mark.requirement("C19", "C25", "M01")
def test_an_etr_registers_each_minute_and_backs_off_when_nobody_answers(fast: Lab) -> None:
    """60 s apart; without Map-Notify 1, 2, 4 … 60, each with a greater nonce; one Notify ends it."""
    with Watch(fast, ["ms"]) as watch:

        def registers() -> list[Seen]:
            return by(watch, wire.MAP_REGISTER, fast, "xtr1")

        watch.until(registers, "a registration")
        with frozen(fast, "ms"):
            watch.until(lambda: len(registers()) >= 9, "seven retransmissions", within=12)
            with clause("M01"):
                assert_spaced(fast, registers()[:2], [60])
            with clause("C25"):
                assert_spaced(fast, registers()[1:], [1, 2, 4, 8, 16, 32, 60])
            with clause("C19", "C25"):
                nonces = [one.message.nonce for one in registers()]
                assert nonces == sorted(set(nonces))
                assert len({one.message.authentication for one in registers()}) == len(registers())
        # The Map-Server reads them all now: a Map-Notify for any of them will do.
        eventually(lambda: registrations(fast, "ms")[prefix(fast, "one")]["state"] == "registered", "the registration")
        eventually(lambda: fast.show("xtr1", "database")[0]["map_servers"][0]["last_ack_s"] < 60, "a Map-Notify")
    assert fast.show("xtr1", "database")[0]["map_servers"][0]["state"] == "registered"


@pytest.mark.requirement("M01", "M05")
def test_a_registration_ends_three_minutes_after_the_last_map_register(fast: Lab) -> None:
    """The table and the log say so, and the Map-Server says natively-forward, for one minute."""
    eid, scale = prefix(fast, "three"), fast.topology.time_scale
    with Watch(fast, ["ms"]) as watch:
        watch.until(lambda: by(watch, wire.MAP_REGISTER, fast, "xtr3"), "a Map-Register")
        with frozen(fast, "xtr3"):
            watch.drain()
            last = by(watch, wire.MAP_REGISTER, fast, "xtr3")[-1]
            row = registrations(fast, "ms")[eid]
            assert (row["state"], row["etr"]) == ("registered", str(rloc(fast, "xtr3")))
            assert 100 < row["expires_s"] <= 180
            # The Map-Server answers for this site; while the registration lives, with its locators.
            eventually(lambda: registrations(fast, "ms")[eid]["state"] != "registered", "expiry", within=6)
            with Watch(fast, ["mr"]) as marker:
                asking = in_background(lambda: fast.lig("xtr1", str(fast["h3"].address)))
                seen = marker.until(lambda: by(marker, wire.ECM, fast, "xtr1"), "the question")[0]
            asking.join()
            passed = seen.frame.time_ns / 1e9 - last.frame.time_ns / 1e9
            assert 180 / scale - EARLY_S <= passed <= 180 / scale + 3 * SLACK_S
            assert registrations(fast, "ms")[eid]["etr"] is None
            (record,) = fast.lig("xtr2", str(fast["h3"].address))["records"]
            with clause("M05"):
                assert (record["eid"], record["action"], record["ttl_minutes"], record["locators"]) == (eid, 1, 1, [])
        expired = [one for one in log_lines(fast, "ms") if one["event"] == "registration-expired"]
        assert expired[-1]["fields"] == {"site": "three", "eid": eid}
        eventually(lambda: registrations(fast, "ms")[eid]["state"] == "registered", "its return")


@pytest.mark.requirement("C08")
def test_a_map_request_without_answer_is_repeated_ten_times_and_then_rests(fast: Lab) -> None:
    """Once a second, ten retransmissions, silence for 30 s; new nonces; who waits is told; packets are let go."""
    target = fast["h2"].address
    fast.restart("xtr1")
    with frozen(fast, "mr"), Watch(fast, ["mr"]) as watch:

        def asked() -> list[Seen]:
            return [one for one in by(watch, wire.ECM, fast, "xtr1") if is_about(one, target)]

        packet = packets.datagram(fast["h1"].address, target, (7, 7), b"x")
        inject(fast, "h1", packet)
        watch.until(lambda: len(asked()) == 11, "ten retransmissions")
        assert_spaced(fast, asked(), [1] * 10)
        assert len({inner_request(one).nonce for one in asked()}) == 11
        eventually(lambda: fast.show("xtr1", "statistics")["held"]["now"] == 0, "the held packet is given up")
        assert fast.show("xtr1", "statistics")["drops"]["unresolved"] == 1

        def again() -> bool:
            inject(fast, "h1", packet)
            return len(asked()) > 11

        eventually(lambda: (watch.drain() and again()) or again(), "the next Map-Request")
        (rest,) = spacings(asked()[10:12])
        assert 30 / fast.topology.time_scale - EARLY_S <= rest <= 30 / fast.topology.time_scale + 2 * SLACK_S


def is_about(seen: Seen, eid: Any) -> bool:
    return inner_request(seen).records[0].prefix == ip_network(eid)


@pytest.mark.requirement("C10", "M05")
def test_a_mapping_ends_with_its_ttl(fast: Lab) -> None:
    """A negative one of a minute is gone after a minute, and asked for anew."""
    nobody = fast.topology.eid_aggregates[0].network[-2]
    fast.restart("xtr2")
    answer = fast.lig("xtr2", str(nobody))["records"][0]
    learned = {row["eid"]: row for row in fast.show("xtr2", "map-cache")}[answer["eid"]]
    assert learned["expires_s"] <= 60 * answer["ttl_minutes"]
    assert learned["expires_s"] > 60 * answer["ttl_minutes"] - 20
