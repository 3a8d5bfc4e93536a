"""Frames of one packet at several hops are one journey; equal packets are as many as were sent."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import count, pairwise

from testbed.observe.capture import Frame
from testbed.observe.hops import Journey, journeys
from tests.conformance.tester import packets

ENDS = ip_address("10.0.0.1"), ip_address("10.0.0.2")
CLOCK = count(1_000_000_000, 1_000_000)


def frame(origin: str, node: str, text: bytes = b"text", ttl: int = 64) -> Frame:
    packet = packets.datagram(*ENDS, (4342, 4342), text, ttl=ttl)
    return Frame(next(CLOCK), node, origin, bytes(12) + b"\x08\x00" + packet)


def told(*frames: Frame) -> list[list[str]]:
    found: list[Journey] = journeys(frames, lambda one: one.interface, lambda name: not name.startswith("core"))
    return [[one.hops[0].origin, *(hop.node for hop in one.hops)] for one in found]


def test_hops_of_one_packet() -> None:
    """The TTL changes at each; a hop that nobody saw is none."""
    way = ["xtr1", "core1", "core2", "core3", "xtr2"]
    hops = [frame(a, b, ttl=64 - number) for number, (a, b) in enumerate(pairwise(way))]
    assert told(*hops) == [way]
    assert told(hops[0], hops[3]) == [["xtr1", "core1", "xtr2"]]


def test_equal_packets_are_told_apart() -> None:
    """Two that overtake nobody, one that is sent again, and one that a router sends on as it came."""
    first, second = frame("xtr1", "core1"), frame("xtr1", "core1")
    assert told(first, second, frame("core1", "xtr2"), frame("core1", "xtr2")) == [["xtr1", "core1", "xtr2"]] * 2
    assert told(first, frame("core1", "mr"), frame("mr", "core1"), frame("core1", "ms")) == [
        ["xtr1", "core1", "mr"], ["mr", "core1", "ms"],
    ]  # fmt: skip


def test_different_packets_are_different() -> None:
    assert told(frame("xtr1", "core1"), frame("core1", "xtr2", b"other")) == [["xtr1", "core1"], ["core1", "xtr2"]]


def test_late_is_another() -> None:
    early = frame("xtr1", "core1")
    late = Frame(early.time_ns + 3_000_000_000, "xtr2", "core1", early.data)
    assert told(early, late) == [["xtr1", "core1"], ["core1", "xtr2"]]
