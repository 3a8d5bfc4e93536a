"""Frames that are one packet on its way: each capture sees it once per hop, a reader wants to see it once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from testbed.observe.capture import Frame

_ETHERNET_HEADER = 14
_TOGETHER_NS = 2_000_000_000
"""Between the hops of one packet."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A frame on a link: when it arrived, from which node at which."""

    time_ns: int
    origin: str
    node: str


@dataclass(slots=True)
class Journey:
    """A packet, and where it was seen.

    Attributes:
        frame: As it was seen first.
        hops: In the order of time.
    """

    frame: Frame
    hops: list[Hop] = field(default_factory=list)


def journeys(frames: Iterable[Frame], peer: Callable[[Frame], str], is_end: Callable[[str], bool]) -> list[Journey]:
    """Put the frames together that are one packet, in the order in which they were first seen.

    Args:
        frames: In the order of time.
        peer: The node at the other end of the link that a frame came by.
        is_end: Whether a node sends and takes packets rather than to hand them on unchanged but for TTL and checksum.
    """
    found: list[Journey] = []
    under_way: dict[bytes, list[Journey]] = defaultdict(list)
    for frame in frames:
        hop = Hop(frame.time_ns, peer(frame), frame.node)
        there = under_way[_same(frame.data)]
        there[:] = [one for one in there if hop.time_ns - one.hops[-1].time_ns < _TOGETHER_NS]
        for one in there:
            if not is_end(hop.origin) and all(hop.node not in (before.origin, before.node) for before in one.hops):
                one.hops.append(hop)
                journey = one
                break
        else:
            journey = Journey(frame, [hop])
            found.append(journey)
            there.append(journey)
        if is_end(hop.node):
            there.remove(journey)
    return found


def _same(frame: bytes) -> bytes:
    """What of a frame stays as it is from hop to hop."""
    packet = frame[_ETHERNET_HEADER:]
    if frame[12:14] == b"\x08\x00" and len(packet) >= 20:
        return packet[:8] + packet[9:10] + packet[12 : int.from_bytes(packet[2:4], "big")]
    if frame[12:14] == b"\x86\xdd" and len(packet) >= 40:
        return packet[:7] + packet[8 : 40 + int.from_bytes(packet[4:6], "big")]
    return frame
