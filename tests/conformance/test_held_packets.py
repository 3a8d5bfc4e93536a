"""Packets that wait for a mapping: none lost, none overtaken, bounded in number; restarts under traffic."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from nodes.dataplane.holding import IN_ALL, PER_EID
from testbed.act.echo import Pinger
from testbed.lab import Lab
from testbed.observe.decoder import decode
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import PATIENCE_S
from tests.conformance.tester.daemons import frozen, map_cache
from tests.conformance.tester.places import rloc, uplink
from tests.conformance.tester.traffic import SINK, inject, received, sink
from tests.conformance.tester.waiting import eventually, in_background
from tests.conformance.tester.watch import Watch


def numbered(lab: Lab, target: Any, numbers: Iterable[int]) -> Iterator[bytes]:
    """Packets of one flow from h1, each with its number."""
    for number in numbers:
        yield packets.datagram(lab["h1"].address, target, (7777, SINK), number.to_bytes(4, "big"))


def numbers(payloads: Iterable[bytes]) -> list[int]:
    return [int.from_bytes(one, "big") for one in payloads]


def held(lab: Lab) -> dict[str, int]:
    return dict(lab.show("xtr1", "statistics")["held"])


def lost(lab: Lab) -> int:
    """Packets that found no room."""
    return int(lab.show("xtr1", "statistics")["drops"].get("holding queue full", 0))


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab], dataplane: str) -> Lab:
    """Of its own, by each data path: what was held leaves by the slow one, what comes later by the fast one."""
    return boot("two-dc-static", dataplane=dataplane)


@pytest.fixture
def cold(lab: Lab) -> Lab:
    """The lab; xtr1 and xtr2 know no mapping."""
    for one in ("xtr1", "xtr2"):
        lab.restart(one)
        assert [row["source"] for row in lab.show(one, "map-cache")] == ["default"]
    return lab


@pytest.mark.order
@pytest.mark.requirement("D22", "S04")
def test_500_packets_to_a_cold_eid_arrive_in_order(cold: Lab) -> None:
    """Sent at once, while the mapping is asked for: 0 lost, 0 reordered; one Map-Request for all."""
    with sink(cold, "h4") as there, Watch(cold, ["mr"]) as watch:
        inject(cold, "h1", *numbered(cold, cold["h4"].address, range(500)))
        assert numbers(received(there, 500, PATIENCE_S)) == list(range(500))
        watch.drain()
        assert len([one for one in watch.control(wire.ECM) if one.outer.source == rloc(cold, "xtr1")]) == 1
    assert held(cold)["ever"] >= 1
    assert held(cold)["now"] == 0


@pytest.mark.order
@pytest.mark.requirement("D22")
def test_packets_sent_while_held_ones_leave_do_not_overtake_them(cold: Lab) -> None:
    """A flow that goes on while its first packets are held."""
    with sink(cold, "h4") as there:
        with frozen(cold, "mr"):
            inject(cold, "h1", *numbered(cold, cold["h4"].address, range(1000)))
            eventually(lambda: held(cold)["now"] == 1000, "1000 held packets")
        inject(cold, "h1", *numbered(cold, cold["h4"].address, range(1000, 2000)))
        assert numbers(received(there, 2000, PATIENCE_S)) == list(range(2000))


@pytest.mark.order
def test_one_eid_cannot_hold_more_than_its_bound(cold: Lab) -> None:
    """The rest is counted; what was held is delivered, in order, when the mapping comes."""
    with sink(cold, "h4") as there:
        with frozen(cold, "mr"):
            for start in range(0, PER_EID + 500, 500):
                stop = min(start + 500, PER_EID + 300)
                inject(cold, "h1", *numbered(cold, cold["h4"].address, range(start, stop)))
                eventually(lambda stop=stop: held(cold)["now"] + lost(cold) == stop, f"{stop} packets held or lost")
            assert (held(cold)["now"], held(cold)["overflows"], lost(cold)) == (PER_EID, 300, 300)
        assert numbers(received(there, PER_EID, PATIENCE_S)) == list(range(PER_EID))
    assert held(cold)["now"] == 0


def test_all_eids_together_cannot_hold_more_than_the_bound(cold: Lab) -> None:
    """A scan of EIDs: queues and packets stay bounded, and so does memory; the daemon answers all the while."""
    aggregate = list(cold.topology.eid_aggregates[0].network.hosts())[-400:-350]
    each = 400
    with frozen(cold, "mr"):
        total = 0
        for target in aggregate:
            inject(cold, "h1", *numbered(cold, target, range(each)))
            total += each
            eventually(lambda total=total: held(cold)["now"] + lost(cold) == total, f"{total} packets held or lost")
        assert held(cold)["now"] == IN_ALL
        assert lost(cold) == len(aggregate) * each - IN_ALL
    eventually(lambda: held(cold)["now"] == 0, "the answers of the Map-Resolver")


def losses(lab: Lab, node: str, patience: float = 0.0) -> int:
    """Echoes from h1 to h4 every few milliseconds while a node's daemon restarts: how many are lost.

    Args:
        lab: The lab.
        node: Whose daemon restarts.
        patience: How long, in seconds, is waited for the last of them.
    """
    with Pinger(lab) as pinger:
        target = lab["h4"].address
        first = pinger.send("h1", target)
        assert pinger.wait([first], first.sent + PATIENCE_S)  # C09: restarts have used up the burst
        working = in_background(lambda: lab.restart(node))
        while working.is_alive():
            echo = pinger.send("h1", target)
            pinger.wait([echo], echo.sent + 0.003)
        meanwhile = list(pinger.echoes)

        def answered() -> bool:
            echo = pinger.send("h1", target)
            return pinger.wait([echo], echo.sent + 0.1) and echo.rtt is not None

        # C35: a kernel without its daemon says port unreachable, so the locator is down until a probe finds it again.
        eventually(answered, "an echo is answered again")
        pinger.wait(meanwhile, time.monotonic() + patience)
        return sum(one.rtt is None for one in meanwhile)


@pytest.mark.parametrize("node", ["ms", "mr"])
def test_a_restart_in_the_mapping_system_loses_no_packet(lab: Lab, node: str) -> None:
    """The registrations are there at once; what is in a map-cache goes on; new EIDs resolve afterwards."""
    assert losses(lab, node, PATIENCE_S) == 0
    assert {row["state"] for row in lab.show("ms", "registrations")} == {"registered"}
    assert not [one for one in lab.lig("xtr1", str(lab["b1"].address))["records"] if not one["locators"]]
    sites = [str(prefix.network) for one in lab.topology.sites.values() for prefix in one.eid_prefixes]
    assert {one["action"] for eid, one in map_cache(lab, "xtr1").items() if eid in sites} == {"encapsulate"}


@pytest.mark.requirement("S01")
@pytest.mark.parametrize("node", ["xtr1", "xtr2"])
def test_a_restart_of_an_xtr_leaks_nothing(lab: Lab, node: str) -> None:
    """While the daemon is away nothing leaves its site natively; afterwards the flow goes on."""
    cores = [router.name for router in lab.topology.core]
    with Watch(lab, cores) as watch:
        losses(lab, node)
        watch.drain()
        packets = [decode(one.data) for one in watch.frames]
    eids = [one.network for one in lab.topology.eid_aggregates]
    native = [one for one in packets if one and not one.lisp and any(one.headers[0].source in eid for eid in eids)]
    assert native == []


@pytest.mark.requirement("S01")
def test_a_daemon_that_died_leaks_nothing(lab: Lab) -> None:
    """Between kill and restart its site is cut off: hosts are told so, the core sees none of their packets."""
    core = uplink(lab, "xtr1")
    process = next(one["pid"] for one in lab.status()["nodes"] if one["name"] == "xtr1")
    lab.run("xtr1", ["kill", "-KILL", str(process)])
    lab.wait_for("daemon-died", "xtr1")
    with Watch(lab, [core]) as watch, Pinger(lab) as pinger:
        echo = pinger.send("h3", lab["h4"].address)
        # Not from h1: the kernel paces its ICMP errors to each host, and h1 has just had some.
        pinger.wait([echo], echo.sent + PATIENCE_S)
        assert re.match(str(lab["xtr1"].link_to("sw1").addresses[0].ip), echo.refused_by), echo.refused_by
        watch.drain()
        packets = [decode(one.data) for one in watch.frames]
        assert [one for one in packets if one and one.echo] == []
    lab.restart("xtr1")
    with Pinger(lab) as pinger:
        echo = pinger.send("h1", lab["h4"].address)
        # Who restarts so often may have used up the Map-Replies of this prefix: the next one comes within 3 s (C09).
        assert pinger.wait([echo], echo.sent + PATIENCE_S)
        assert echo.rtt is not None
