"""What probes make of what they saw: gaps, losses, order; and bytes that are not what was sent."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Callable, Iterator

import pytest

from testbed.act.mobility.prober import Stream
from testbed.act.mobility.probes import Flow

MS = 1_000_000


def flow(arrivals: list[tuple[int, int]], sent: int = 10) -> Flow:
    """A datagram each millisecond; each arrival is (number, millisecond)."""
    return Flow(
        "b1",
        "from",
        4,
        array("q", (number * MS for number in range(sent))),
        array("q", (number for number, _ in arrivals)),
        array("q", (at * MS for _, at in arrivals)),
    )


def test_what_is_lost_late_twice_or_out_of_order() -> None:
    seen = flow([(0, 1), (1, 2), (1, 3), (6, 9), (5, 10), (7, 11), (8, 12), (9, 13)]).probe(0)
    assert (seen.sent, seen.received, seen.lost, seen.duplicated, seen.reordered) == (10, 7, 3, 1, 1)
    assert seen.blackout_s == pytest.approx(0.006)
    assert [sample.delay for sample in seen.samples[:3]] == [pytest.approx(0.001), pytest.approx(0.001), None]
    assert seen.samples[6].at == pytest.approx(0.006)
    assert seen.samples[6].delay == pytest.approx(0.003)


def test_a_silence_that_lasts_is_a_blackout() -> None:
    assert flow([(0, 1), (1, 2)]).blackout(0, 50 * MS) == 48 * MS
    assert flow([]).blackout(0, 50 * MS) == 50 * MS


def test_a_part_holds_what_was_sent_then_and_all_that_came_of_it() -> None:
    part = flow([(2, 3), (4, 6), (3, 40), (7, 41)]).between(3 * MS, 6 * MS)
    assert list(part.sent) == [3 * MS, 4 * MS, 5 * MS]
    assert list(zip(part.numbers, part.arrived, strict=True)) == [(1, 6 * MS), (0, 40 * MS)]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def test_each_byte_of_a_stream_is_checked_by_its_position(ends: tuple[socket.socket, socket.socket]) -> None:
    stream = Stream(3, *ends)
    for _ in range(5):
        stream.send()
    content = ends[1].recv(1 << 16)
    assert len(content) == stream.sent == 5 * 512
    ends[0].send(content[:1001])
    stream.receive()
    ends[0].send(content[1001:])
    stream.receive()
    assert (stream.received, stream.wrong, stream.lost) == (5 * 512, 0, "")


def flipped(content: bytes) -> bytes:
    return content[:700] + bytes([content[700] ^ 1]) + content[701:]


def swapped(content: bytes) -> bytes:
    return content[512:] + content[:512]


def repeated(content: bytes) -> bytes:
    return content[:512] + content


@pytest.mark.parametrize(("damage", "wrong"), [(flipped, 1), (swapped, 3 * 64), (repeated, 3 * 64)])
def test_bytes_that_are_not_what_was_sent_are_counted(
    ends: tuple[socket.socket, socket.socket], damage: Callable[[bytes], bytes], wrong: int
) -> None:
    stream = Stream(0, *ends)
    for _ in range(3):
        stream.send()
    ends[0].send(damage(ends[1].recv(1 << 16)))
    stream.receive()
    assert stream.wrong == wrong
    assert stream.lost == ""


def test_a_connection_that_ends_is_lost(ends: tuple[socket.socket, socket.socket]) -> None:
    stream = Stream(0, *ends)
    ends[0].shutdown(socket.SHUT_WR)
    stream.receive()
    assert stream.lost == "ended by its peer"
