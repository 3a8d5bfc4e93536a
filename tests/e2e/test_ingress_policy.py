"""Ingress traffic engineering: the site that receives sets the shares, also while traffic flows (S11, C34)."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testbed.lab import Lab, LabError
from testbed.observe.capture import Capture
from testbed.observe.decoder import decode
from tests.conformance.tester.waiting import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FLOWS = 400
TOLERANCE = 0.07
"""Three standard deviations of 400 draws at 75 to 25."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("multihomed", name="test-policy", run_dir=tmp_path_factory.mktemp("runs") / "test-policy") as running:
        yield running


def rlocs(lab: Lab, router: str) -> dict[str, str]:
    """The RLOCs of a router by the core router they face."""
    config = lab[router].lisp
    assert config is not None
    return {name: str(rloc) for name, rloc in zip(config.core_interfaces, config.rlocs, strict=True)}


def shares(lab: Lab, flows: int = FLOWS) -> dict[str, float]:
    """The share of flows from h2 to h1 that arrive at each core router on their way to xtr1."""
    counted: dict[str, set[int]] = {rloc: set() for rloc in rlocs(lab, "xtr1").values()}
    with Capture(lab, ["xtr1"]) as capture, lab.socket("h2") as sender:
        for port in range(flows):
            sender.sendto(struct.pack("!4sI", b"flow", port), (str(lab["h1"].address), 20000 + port))

        def arrived() -> bool:
            capture.drain()
            for frame in capture.frames:
                packet = decode(frame.data)
                if packet and packet.lisp and frame.data[-8:-4] == b"flow":
                    counted[str(packet.headers[0].destination)].add(int.from_bytes(frame.data[-4:], "big"))
            capture.frames.clear()
            return sum(len(found) for found in counted.values()) >= flows

        eventually(arrived, f"{flows} flows arrive")
    return {rloc: len(found) / flows for rloc, found in counted.items()}


@contextmanager
def traffic(lab: Lab) -> Iterator[list[int]]:
    """Numbered datagrams from h2 to h1 all the while; gives those that arrived, when it is over."""
    arrived: list[int] = []
    stop = threading.Event()
    with lab.socket("h2") as sender, lab.socket("h1") as receiver:
        receiver.bind((str(lab["h1"].address), 9000))
        receiver.settimeout(20)

        def send() -> None:
            number = 0
            while not stop.wait(0.002):
                sender.sendto(struct.pack("!I", number), (str(lab["h1"].address), 9000))
                number += 1
            sender.sendto(b"done", (str(lab["h1"].address), 9000))

        def receive() -> None:
            while True:
                try:
                    data = receiver.recv(100)
                except TimeoutError:
                    return
                if data == b"done":
                    return
                arrived.append(int.from_bytes(data, "big"))

        threads = [threading.Thread(target=one) for one in (receive, send)]
        for thread in threads:
            thread.start()
        try:
            yield arrived
        finally:
            stop.set()
            for thread in reversed(threads):
                thread.join()


@pytest.mark.requirement("S11")
def test_the_receiving_site_sets_the_shares_while_traffic_flows(lab: Lab) -> None:
    """75 to 25 by weight, then 20 to 80, then all by one link by priority; not one packet is lost."""
    first, second = rlocs(lab, "xtr1").values()
    (site,) = lab.topology.sites["site1"].eid_prefixes
    prefix = str(site.network)
    assert lab.run("h2", ["ping", "-c", "1", "-W", "10", str(lab["h1"].address)]).returncode == 0
    before = shares(lab)
    assert abs(before[first] - 0.75) <= TOLERANCE
    with traffic(lab) as arrived:
        lab.set_locator("xtr1", prefix, first, weight=20)
        answer = lab.set_locator("xtr1", prefix, second, weight=80)
        assert {one["rloc"]: one["weight"] for one in answer["locators"]} == {first: 20, second: 80}
        assert set(answer["peers"]) <= set(rlocs(lab, "xtr2").values())
        assert answer["peers"]
        eventually(lambda: weights(lab, prefix) == {first: (1, 20), second: (1, 80)}, "xtr2 knows the new weights")
        after = shares(lab)
        assert abs(after[second] - 0.80) <= TOLERANCE
        lab.set_locator("xtr1", prefix, first, priority=2)
        eventually(lambda: weights(lab, prefix).get(first, (1, 0))[0] == 2, "xtr2 knows the new priority")
        assert shares(lab, 50) == {first: 0.0, second: 1.0}
    assert sorted(arrived) == list(range(len(arrived)))
    assert len(arrived) > 100


def weights(lab: Lab, prefix: str) -> dict[str, tuple[int, int]]:
    """Priority and weight of each RLOC of ``prefix`` in the map-cache of xtr2."""
    rows = [row for row in lab.show("xtr2", "map-cache") if row["eid"] == prefix]
    return {one["rloc"]: (one["priority"], one["weight"]) for row in rows for one in row["locators"]}


def test_a_change_that_cannot_be_is_one_line(lab: Lab) -> None:
    (site,) = lab.topology.sites["site1"].eid_prefixes
    own = next(iter(rlocs(lab, "xtr1").values()))
    for eid, rloc, weight in (("172.16.0.0/24", own, 1), (str(site.network), "10.0.99.1", 1), ("nonsense", own, 1)):
        with pytest.raises(LabError) as refused:
            lab.set_locator("xtr1", eid, rloc, weight=weight)
        assert "\n" not in str(refused.value)
