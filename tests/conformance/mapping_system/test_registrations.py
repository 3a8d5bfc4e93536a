"""How long a registration lasts, and how often an ETR renews it (RFC 9301 sections 5.6 and 8.2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from testbed.act.echo import Pinger
from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.mapping_system.conftest import RESTARTED
from tests.conformance.tester import wire
from tests.conformance.tester.clock import Clock
from tests.conformance.tester.places import rloc
from tests.conformance.tester.players import REPLY_INTERVAL_S, Etr, Itr
from tests.conformance.tester.waiting import in_background
from tests.conformance.tester.watch import Seen, Watch

QUICK_S, STEADY_S, QUICK_PERIOD_S = 20, 60, 300
"""Between two Map-Registers after a restart at least, later at least, and how long "after" is (section 8.2)."""
TIMEOUT_S = 180
SLOW_S = 2.0
"""How long, in real seconds, a loaded machine may take to ask."""


@pytest.fixture
def etr(lab: Lab) -> Iterator[Etr]:
    """An ETR of the site in which anything more specific may be registered."""
    with Watch(lab, ["core2"]) as watch:
        yield Etr(lab, "ms", watch, secret="open-secret")


@pytest.mark.requirement("C23")
def test_with_the_t_bit_a_registration_ends_with_its_record_ttl(lab: Lab, asker: Itr, etr: Etr) -> None:
    """One minute with the T-bit is over after a minute, without it after three; five with it last longer than that."""
    clock = Clock.of(lab)
    # The Map-Server may be asked only so often.
    late = clock.late(TIMEOUT_S) + clock.real(REPLY_INTERVAL_S) + SLOW_S
    short, plain, long = (f"172.16.32.{last}/32" for last in (1, 2, 3))
    locators = [(rloc(lab, "xtr4"), 1, 100)]
    begun = time.monotonic()
    for eid, ttl, timed in ((short, 1, wire.USE_TTL), (plain, 1, 0), (long, 5, wire.USE_TTL)):
        etr.registered(wire.mapping(eid, ttl, locators), flags=wire.PROXY_REPLY | timed)

    def is_registered(eid: str) -> bool:
        """The Map-Server has a mapping for it: else the /16 around it answers."""
        reply = asker.resolve(eid.removesuffix("/32"))
        return [str(one.prefix) for one in reply.message.records] == [eid]

    def ends(eid: str) -> float:
        clock.eventually(lambda: not is_registered(eid), f"the end of {eid}", within=TIMEOUT_S)
        return time.monotonic() - begun

    assert all(map(is_registered, (short, plain, long)))
    assert clock.real(60) <= ends(short) <= clock.real(60) + late
    assert is_registered(plain)
    assert clock.real(TIMEOUT_S) <= ends(plain) <= clock.real(TIMEOUT_S) + late
    assert is_registered(long)


@pytest.mark.requirement("M02")
def test_an_etr_registers_no_faster_than_it_may(lab: Lab, since_restart: Watch) -> None:
    """From a restart on at most every 20 s; when five minutes have passed, once a minute and no more."""
    clock, mine = Clock.of(lab), rloc(lab, RESTARTED)
    late = clock.late(0)

    def sent() -> list[Seen]:
        """What was no retransmission: the one before it had been acknowledged by then, and that had been read."""
        found = [one for one in since_restart.control(wire.MAP_REGISTER, "ms") if one.outer.source == mine]
        acknowledged = {
            one.message.nonce: one.frame.time_ns
            for one in since_restart.control(wire.MAP_NOTIFY, "core2")
            if one.outer.destination == mine
        }
        return [
            later
            for one, later in pairwise([found[0], *found] if found else [])
            if one is later
            or acknowledged.get(one.message.nonce, later.frame.time_ns) + 1e9 * late < later.frame.time_ns
        ]

    def at(one: Seen) -> float:
        """Seconds of the routers' clocks since the first."""
        return (one.frame.time_ns - sent()[0].frame.time_ns) / 1e9 * clock.scale

    def passed(seconds: float) -> Any:
        return lambda: sent() and at(sent()[-1]) >= seconds

    since_restart.until(passed(QUICK_PERIOD_S + STEADY_S), "six minutes of registrations", within=clock.limit(400))
    times = [at(one) for one in sent()]
    gaps = [(one, later - one) for one, later in pairwise(times)]
    early = late * clock.scale  # the first of two may have been late
    with clause("M02"):
        assert min(gap for _, gap in gaps) >= QUICK_S - early
        assert min(gap for begun, gap in gaps if begun >= QUICK_PERIOD_S - STEADY_S) >= STEADY_S - early


@pytest.mark.requirement("C24")
def test_the_locators_of_several_xtrs_are_merged_if_they_want_it(lab: Lab, asker: Itr, etr: Etr) -> None:
    """Two with the a-bit are one set, whichever comes again; one without it stands alone."""
    eid, rlocs = "172.16.40.0/24", [rloc(lab, one) for one in ("xtr1", "xtr2", "xtr3")]
    xtrs = [replace(etr, identity=(bytes([number]) * 16, 1)) for number in range(1, 4)]

    def register(number: int, flags: int) -> None:
        record = wire.mapping(eid, 60, [(rlocs[number], 1, 100)])
        xtrs[number].registered(record, flags=wire.PROXY_REPLY | flags)

    def told() -> list[Any]:
        (record,) = asker.resolve("172.16.40.1").message.records
        return [one.rloc for one in record.locators]

    register(1, wire.MERGE)
    register(0, wire.MERGE)
    assert told() == sorted(rlocs[:2])
    register(1, wire.MERGE)
    assert told() == sorted(rlocs[:2])
    register(2, 0)
    assert told() == rlocs[2:]


@pytest.mark.requirement("C21")
def test_a_site_changes_its_key_while_it_is_pinged(lab: Lab, asker: Itr) -> None:
    """Not one echo is lost, the Map-Server always has the site's mapping, and from then on the new key signs."""
    config, eid = lab["xtr1"].lisp, "192.168.1.0/24"
    assert config is not None
    (new,) = config.map_servers[0].other_keys
    lost = []
    stop = threading.Event()

    def ping() -> None:
        with Pinger(lab) as pinger:
            while not stop.is_set():
                echo = pinger.send("h2", lab["h1"].address)
                if not pinger.wait([echo], echo.sent + 10) or echo.rtt is None:
                    lost.append(echo)

    assert lab.run("h2", ["ping", "-c", "1", "-W", "10", str(lab["h1"].address)]).returncode == 0
    pinging = in_background(ping)
    try:
        with Watch(lab, ["ms", "core1"]) as watch:
            assert eid in [str(one.prefix) for one in asker.resolve("192.168.1.20").message.records]
            lab.change_key("xtr1", new.key_id)

            def acknowledged() -> list[Seen]:
                notified = [one for one in watch.control(wire.MAP_NOTIFY, "core1") if one.message.key_id == new.key_id]
                return [one for one in notified if one.outer.destination == rloc(lab, "xtr1")]

            notify = watch.until(acknowledged, "a Map-Notify with the new key")[0]
            assert eid in [str(one.prefix) for one in asker.resolve("192.168.1.21").message.records]
            registers = [one for one in watch.control(wire.MAP_REGISTER, "ms") if one.message.key_id == new.key_id]
    finally:
        stop.set()
        pinging.join()
    assert lost == []
    for message, kind in ((registers[0].message, wire.MAP_REGISTER), (notify.message, wire.MAP_NOTIFY)):
        assert message.algorithm == new.algorithm
        assert message.authentication == wire.mac(message.blank, message.nonce, new.secret, kind, new.algorithm)
