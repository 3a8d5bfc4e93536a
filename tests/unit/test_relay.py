"""The relay's delay line, without a clock; and what its carrier does, in a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodes.linux import links, namespaces
from nodes.linux.netlink import Connection
from nodes.relay.carrier import Carrier
from nodes.relay.line import Line


def test_a_frame_leaves_when_its_time_has_come() -> None:
    line = Line(delay=100)
    assert (line.deadline, line.due(10**12)) == (None, [])
    line.put(b"first", 1000)
    line.put(b"second", 1000)
    line.put(b"third", 1050)
    assert line.deadline == 1100
    assert line.due(1099) == []
    assert line.due(1100) == [b"first", b"second"]
    assert line.deadline == 1150
    assert line.due(2000) == [b"third"]
    assert line.deadline is None


def test_a_full_line_drops_and_counts() -> None:
    line = Line(delay=100, max_bytes=10)
    for frame in (b"four", b"five.", b"six", b"1"):
        line.put(frame, 0)
    assert line.dropped == 1
    assert line.due(100) == [b"four", b"five.", b"1"]
    line.put(b"0123456789", 200)
    assert line.due(300) == [b"0123456789"]


@pytest.fixture
def halves() -> Iterator[tuple[Connection, Connection, Carrier]]:
    """Two machines' ends "one" and "two" in one namespace, and the relay's "0a" and "0b" in another."""
    with (
        namespaces.scratch_network() as machines,
        namespaces.scratch_network() as relay,
        Connection(machines) as theirs,
        Connection(relay) as ours,
    ):
        for end, half in (("one", "0a"), ("two", "0b")):
            links.add_veth(theirs, links.VethEnd(end, machines), links.VethEnd(half, relay))
        with namespaces.inside(relay):
            carrier = Carrier([("0a", "0b")])
        yield theirs, ours, carrier


def test_the_carrier_passes_through(halves: tuple[Connection, Connection, Carrier]) -> None:
    machines, relay, carrier = halves

    def set_up(name: str, up: bool) -> tuple[bool, bool]:
        links.set_up(machines, links.index_of(machines, name), up)
        carrier.settle()
        carrier.settle()
        return links.get(machines, "one").carrier, links.get(machines, "two").carrier

    assert set_up("one", True) == (True, True)
    assert set_up("one", False) == (False, False)
    assert set_up("two", False) == (False, False)
    assert set_up("one", True) == (False, False)
    assert set_up("two", True) == (True, True)
    assert links.get(relay, "0a").up
    assert links.get(relay, "0b").up
