"""A host shows itself in the other data centre: who is told of it, and where its packets go then."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import wire
from tests.conformance.tester.daemons import frozen, map_cache, registrations
from tests.conformance.tester.places import rloc, uplink
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen, Watch

HOME, AWAY, BRANCH = "xtr1", "xtr2", "xtr3"
MOBILE = IPv4Address("192.168.7.77")
"""An address that one host after the other has: for the network, a machine that moves."""


@pytest.fixture(scope="module")
def stretched(boot: Callable[..., Lab], dataplane: str) -> Lab:
    """One subnet in two data centres, by each data path."""
    return boot("stretched", dataplane)


@pytest.fixture
def at_home(stretched: Lab) -> Lab:
    """The mobile address is in the first data centre, and the branch talks to it."""
    settle(stretched, "pc1")
    assert stretched.run("b1", ["ping", "-c", "2", "-i", "0.1", "-W", "2", str(MOBILE)]).returncode == 0
    return stretched


def settle(lab: Lab, host: str) -> None:
    """The mobile address is at this host, which says something with it; the mapping system hears of it."""
    for one in ("pc1", "pc2"):
        lab.run(one, ["ip", "address", "flush", "to", f"{MOBILE}/32"])
    (interface,) = [one.name for one in lab[host].interfaces]
    assert lab.run(host, ["ip", "address", "add", f"{MOBILE}/24", "dev", interface]).returncode == 0
    lab.run(host, ["ping", "-c", "1", "-W", "1", "-I", str(MOBILE), str(lab["b1"].address)])
    place = str(rloc(lab, HOME if host == "pc1" else AWAY))
    eventually(lambda: registered(lab) == place, f"{MOBILE} is registered from {place}")


def registered(lab: Lab) -> str | None:
    """The ETR that the Map-Server knows for the mobile address."""
    row = registrations(lab, "ms").get(f"{MOBILE}/32")
    return str(row["etr"]) if row and row["etr"] else None


def about(watch: Watch, kind: int, node: str) -> list[Seen]:
    """The control messages of one type that arrived at a node and have a record of the mobile address."""
    prefix = IPv4Network(f"{MOBILE}/32")
    return [one for one in watch.control(kind, node) if prefix in [record.prefix for record in one.message.records]]


@pytest.mark.requirement("X03", "X04", "C28")
def test_the_xtr_that_a_host_left_is_told_acknowledges_and_withdraws(at_home: Lab) -> None:
    lab = at_home
    secret = lab[HOME].lisp.map_servers[0].key.secret  # type: ignore[union-attr]
    with Watch(lab, ["ms", uplink(lab, HOME), HOME]) as watch:
        settle(lab, "pc2")
        told = watch.until(lambda: about(watch, wire.MAP_NOTIFY, HOME), "a Map-Notify for the old xTR")[0]
        with clause("X03"):
            assert told.outer.source == rloc(lab, "ms")
            (record,) = told.message.records
            assert [one.rloc for one in record.locators] == [rloc(lab, AWAY)]
            assert told.message.authentication == wire.mac(
                told.message.blank, told.message.nonce, secret, wire.MAP_NOTIFY
            )
        acked = watch.until(lambda: about(watch, wire.MAP_NOTIFY_ACK, "ms"), "a Map-Notify-Ack")[0]
        with clause("C28"):
            assert acked.outer.source == rloc(lab, HOME)
            assert acked.message.word == wire.MAP_NOTIFY_ACK << 28 | 1
            assert (acked.message.nonce, acked.message.records) == (told.message.nonce, told.message.records)
            assert acked.message.authentication == wire.mac(
                acked.message.blank, acked.message.nonce, secret, wire.MAP_NOTIFY_ACK
            )

        def withdrawn() -> list[int]:
            mine = [one for one in about(watch, wire.MAP_REGISTER, "ms") if one.outer.source == rloc(lab, HOME)]
            return [one.ttl for seen in mine for one in seen.message.records if one.prefix.network_address == MOBILE]

        with clause("X04"):
            assert watch.until(withdrawn, "the old xTR's last Map-Register") == [0]
            assert f"{MOBILE}/32" not in {row["eid"] for row in lab.show(HOME, "dynamic-eids")}
    assert registered(lab) == str(rloc(lab, AWAY))
    # A Map-Notify that answers a Map-Register is not acknowledged.
    with clause("C28"):
        assert len(watch.control(wire.MAP_NOTIFY_ACK, "ms")) == 1


@pytest.mark.requirement("X06", "X07")
def test_who_sent_to_the_old_place_is_solicited_and_finds_the_new_one(at_home: Lab) -> None:
    lab = at_home
    with Watch(lab, [uplink(lab, HOME), "mr"]) as watch:
        settle(lab, "pc2")

        def solicited() -> list[Seen]:
            sent = [one for one in watch.control(wire.MAP_REQUEST, uplink(lab, HOME)) if one.message.word & wire.SMR]
            return [one for one in sent if one.outer.source == rloc(lab, HOME)]

        with clause("X06"):
            assert watch.until(solicited, "a Solicit-Map-Request")[0].outer.destination == rloc(lab, BRANCH)

        def moved() -> bool:
            row = map_cache(lab, BRANCH).get(f"{MOBILE}/32")
            return bool(row) and [one["rloc"] for one in row["locators"]] == [str(rloc(lab, AWAY))]

        with clause("X07"):
            eventually(moved, "the branch knows the new place")
            assert lab.run("b1", ["ping", "-c", "2", "-i", "0.1", "-W", "2", str(MOBILE)]).returncode == 0


@pytest.mark.requirement("C27", "X17")
@pytest.mark.data_path("python")
def test_a_map_notify_that_nobody_acknowledges_is_repeated(boot: Callable[..., Lab]) -> None:
    """Three times each 3 s, then with twice the interval each time; who hears one of them at last lets its host go."""
    lab = boot("stretched", "python", scale=30.0)
    settle(lab, "pc1")
    with Watch(lab, [uplink(lab, HOME), HOME]) as watch, frozen(lab, HOME):
        settle(lab, "pc2")
        watch.until(lambda: len(about(watch, wire.MAP_NOTIFY, HOME)) >= 5, "four repetitions")
        seen = about(watch, wire.MAP_NOTIFY, HOME)
        times = [one.frame.time_ns / 1e9 for one in seen[:5]]
        with clause("C27"):
            for found, seconds in zip((b - a for a, b in pairwise(times)), (3, 3, 3, 6), strict=True):
                assert seconds / lab.topology.time_scale - 0.01 <= found <= seconds / lab.topology.time_scale + 0.15
            assert len({one.message.nonce for one in seen}) == 1
    with clause("X17"):
        gone = f"{MOBILE}/32"
        eventually(lambda: gone not in {row["eid"] for row in lab.show(HOME, "dynamic-eids")}, "the host is let go")
