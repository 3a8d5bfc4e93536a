"""A run in which a host moved there and back, made up: what its page is tested with."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from testbed.act.mobility.moved import Moved
from testbed.observe.capture import Frame
from testbed.observe.timeline import Event, Probe, Sample, Timeline
from tests.conformance.tester import packets, wire

HOST, EID = "mobile", "192.168.7.10/32"
CORRESPONDENTS = ("near1", "near2", "b1", "client")
BACK = 0.5
"""Seconds from one move to the next."""
BLACKOUT = 0.006
_XTR2, _MS = ip_address("10.0.7.2"), ip_address("10.0.3.2")


def run(words: str = "", *, lost: int = 0, wrong: int = 0, deaf: str = "") -> Timeline:
    """The run in ``topologies/mobility.yaml``.

    Args:
        words: What stands in every text.
        lost: TCP sessions that each way of each correspondent lost.
        wrong: Bytes that were wrong.
        deaf: A correspondent that hears nothing any more after the first move.
    """
    there, back = Moved(HOST, "dc1", "dc2", 1000.0, 1000.001), Moved(HOST, "dc2", "dc1", 1000.0 + BACK, 1000.501)
    events = [*_events(0.0, words, "xtr1", "xtr2"), *_events(BACK, words, "xtr2", "xtr1")]
    probes = []
    for name in CORRESPONDENTS:
        for direction in ("to", "from"):
            samples = tuple(_samples(deaf == name and direction == "to"))
            missing = sum(one.delay is None for one in samples)
            probes += [
                Probe(name, direction, version, "udp", sent=len(samples), received=len(samples) - missing, lost=missing,
                      blackout_s=BLACKOUT, samples=samples)
                for version in (4, 6)
            ]  # fmt: skip
            probes.append(Probe(name, direction, 4, "tcp", sessions_lost=lost, bytes=1000, bytes_wrong=wrong))
    title = f"{HOST} moves from dc1 to dc2, and back{words}"
    return Timeline(tuple(events), tuple(probes), (there, back), title, f"mobility{words}", "ebpf")


def frames() -> list[Frame]:
    """The packet that the events name: a Map-Register."""
    record = wire.mapping(EID, 1440, [(_XTR2, 1, 100)])
    register = packets.datagram(_XTR2, _MS, (4342, 4342), wire.map_register(7, [record], "secret"))
    return [Frame(0, "core2", "xtr2", bytes(12) + b"\x08\x00" + register)]


def _events(begin: float, words: str, old: str, new: str) -> Iterator[Event]:
    steps = [
        (0.0, HOST, "link-down", "its cable is out", "", None),
        (1.0, HOST, "link-up", "its cable is in", "", None),
        (1.5, HOST, "first-frame", "gratuitous ARP", new, None),
        (2.0, new, "map-register", EID, "ms", 0),
        (2.5, "ms", "map-notify", EID, new, None),
        (3.0, "ms", "map-notify", EID, old, None),
        (3.1, "ms", "map-notify", EID, "xtr3", None),
        (3.5, "xtr3", "map-cache", EID, "", None),
        (4.0, old, "solicit-map-request", EID, "pxtr", None),
        (5.0, "pxtr", "map-cache", EID, "", None),
        (6.0, "client", "first-packet", "its first datagram", "", None),
    ]
    for at, node, kind, text, peer, packet in steps:
        yield Event(begin + at / 1000, node, kind, text + words, peer, packet)


def _samples(deaf: bool) -> Iterator[Sample]:
    """A datagram each millisecond; those of the blackout are lost."""
    for number in range(-100, 1000):
        at = number / 1000
        missing = any(0 < at - begin < BLACKOUT for begin in (0.0, BACK)) or (deaf and at > 0)
        yield Sample(at, None if missing else 0.0002)
