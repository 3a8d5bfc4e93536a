"""Packets that wait for a mapping."""

from __future__ import annotations

from nodes.dataplane.holding import IN_ALL, PER_EID, Holding
from nodes.lisp.eid import EidPrefix

A, B, C = (EidPrefix.of(f"192.168.{number}.1/32") for number in (2, 2 + 1, 9))


def handle(_packet: bytes) -> None:
    """Takes released packets."""


def test_each_packet_goes_back_to_what_held_it() -> None:
    """What one queue holds may have come by several ways."""
    held, first, second = Holding(), list[bytes](), list[bytes]()
    queue, _ = held.queue(A, 0.0)
    assert queue is not None
    for packet, taken in ((b"a", first), (b"b", second), (b"c", first)):
        held.hold(queue, packet, taken.append)
    queue.handle_again()
    assert (first, second) == ([b"a", b"c"], [b"b"])


def test_order_is_kept_and_the_first_packet_is_news() -> None:
    """S04: in order; the control plane is told once per EID."""
    held = Holding()
    queue, new = held.queue(A, 0.0)
    assert queue is not None
    assert new
    assert [held.hold(queue, bytes([number]), handle) for number in range(3)] == [True] * 3
    again, new = held.queue(A, 5.0)
    assert again is queue
    assert not new
    assert held.in_all == 3
    assert held.release(A) is queue
    assert list(queue.packets) == [b"\0", b"\1", b"\2"]
    assert held.release(A) is None
    assert (held.in_all, len(held)) == (0, 0)
    assert held.queue(A, 9.0)[1]


def test_bounds_per_eid_and_in_all() -> None:
    """S04: bounded, and what is refused is counted."""
    assert (PER_EID, IN_ALL) == (4096, 16384)
    held = Holding(per_eid=3, in_all=5)
    first, _ = held.queue(A, 0.0)
    second, _ = held.queue(B, 0.0)
    assert first is not None
    assert second is not None
    assert [held.hold(first, b"a", handle) for _ in range(4)] == [True, True, True, False]
    assert [held.hold(second, b"b", handle) for _ in range(3)] == [True, True, False]
    assert held.overflows == 2
    held.release(A)
    assert held.hold(second, b"b", handle)


def test_what_an_entry_covers() -> None:
    held = Holding()
    for eid in (A, C, B):
        held.queue(eid, 0.0)
    assert held.covered(EidPrefix.of("192.168.2.0/23")) == [A, B]
    assert held.covered(EidPrefix.of("192.168.2.0/23", 5)) == []
    assert held.covered(EidPrefix.of("0.0.0.0/0")) == [A, C, B]


def test_packets_do_not_wait_for_ever() -> None:
    held = Holding(seconds=12)
    held.queue(A, 100.0)
    held.queue(B, 105.0)
    assert held.deadline() == 112.0
    assert held.expired(111.9) == []
    assert held.expired(112.0) == [A]
    held.release(A)
    assert held.deadline() == 117.0
    held.release(B)
    assert held.deadline() is None


def test_a_scan_does_not_make_queues_without_end() -> None:
    """S04: bounded in EIDs too."""
    held = Holding(eids=2)
    held.queue(A, 0.0)
    held.queue(B, 0.0)
    assert held.queue(C, 0.0) == (None, False)
    assert held.queue(A, 0.0)[0] is not None
    assert held.overflows == 1
    held.release(A)
    assert held.queue(C, 0.0)[1]
