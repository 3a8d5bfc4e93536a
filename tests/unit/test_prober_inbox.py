"""Datagrams that are received in bulk: what was lost, came twice or out of order, or is nobody's is still seen."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator

import pytest

from nodes.linux import links, namespaces, netlink
from testbed.act.mobility import probes
from testbed.act.mobility.inbox import AT_ONCE, DATAGRAM, Inbox
from testbed.act.mobility.prober import Flow

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

SECOND = 1_000_000_000
FLOW = 5

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["ipv4", "ipv6"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """Two sockets of a network namespace in which there is nothing else."""
    family, address = request.param
    with namespaces.scratch_network() as namespace, namespaces.inside(namespace):
        kernel = netlink.Connection(namespace)
        links.set_up(kernel, links.index_of(kernel, "lo"))
        kernel.close()
        with socket.socket(family, socket.SOCK_DGRAM) as one, socket.socket(family, socket.SOCK_DGRAM) as other:
            for end in (one, other):
                end.bind((address, 0))
                end.setblocking(False)
            yield one, other


def sent(flow: Flow, ends: Ends, number: int) -> list[bytes]:
    """Take from the way what a flow sends."""
    for _ in range(number):
        flow.send()
    taken = []
    while len(taken) < number:
        wait_for(ends[1])
        taken.append(ends[1].recv(64))
    return taken


def wait_for(end: socket.socket) -> None:
    assert select.select([end], [], [], 30)[0], "no datagram arrived within 30 s"


def receive(flow: Flow, inbox: Inbox, end: socket.socket, number: int) -> None:
    """Have a flow take what came to its end, until it has that many in all."""
    while len(flow.numbers) < number:
        wait_for(end)
        flow.receive(inbox)


def arrive(ends: Ends, *datagrams: bytes) -> None:
    for one in datagrams:
        ends[0].sendto(one, ends[1].getsockname())


def as_probe(flow: Flow) -> probes.Flow:
    return probes.Flow("b1", "to", 4, flow.sent, flow.numbers, flow.arrived)


def test_what_is_lost_comes_twice_or_out_of_order_is_seen(ends: Ends) -> None:
    flow = Flow(FLOW, *ends)
    way = sent(flow, ends, 10)
    arrive(ends, *(way[number] for number in (0, 1, 1, 6, 5, 7, 8, 9)))
    receive(flow, Inbox(), ends[1], 8)
    assert list(flow.numbers) == [0, 1, 1, 6, 5, 7, 8, 9]
    found = as_probe(flow).probe(0)
    assert (found.sent, found.received, found.lost, found.duplicated, found.reordered) == (10, 7, 3, 1, 1)


def test_all_of_many_are_taken_and_each_has_its_own_time_on_the_monotonic_clock(ends: Ends) -> None:
    flow, inbox = Flow(FLOW, *ends), Inbox()
    before = time.monotonic_ns()
    for _ in range(2 * AT_ONCE + 7):
        flow.send()
    receive(flow, inbox, ends[1], 2 * AT_ONCE + 7)
    after = time.monotonic_ns()
    assert list(flow.numbers) == list(range(2 * AT_ONCE + 7))
    assert list(flow.arrived) == sorted(flow.arrived)
    assert len(set(flow.arrived)) > AT_ONCE
    assert before - SECOND < flow.arrived[0] < flow.arrived[-1] < after + SECOND
    flow.receive(inbox)
    assert len(flow.numbers) == len(flow.arrived) == 2 * AT_ONCE + 7


def test_what_is_not_of_the_flow_is_passed_over_and_nothing_beside_it(ends: Ends) -> None:
    flow, inbox = Flow(FLOW, *ends), Inbox()
    way = sent(flow, ends, 4)
    head, _ = DATAGRAM.unpack(way[0])
    strange = (
        way[0] + b"\0",
        way[0][:-1],
        b"",
        DATAGRAM.pack(head + 1, 0),
        DATAGRAM.pack(head, 4),
        DATAGRAM.pack(head, -1),
        bytes(DATAGRAM.size),
    )
    for one in strange:
        arrive(ends, way[2], one, way[1], one)
        receive(flow, inbox, ends[1], len(flow.numbers) + 2)
        assert list(flow.numbers[-2:]) == [2, 1], one
    arrive(ends, way[3], way[0])
    receive(flow, inbox, ends[1], len(flow.numbers) + 2)
    assert list(flow.numbers) == [2, 1] * len(strange) + [3, 0]
    assert len(flow.arrived) == len(flow.numbers)


def test_two_flows_share_an_inbox(ends: Ends) -> None:
    inbox = Inbox()
    there, back = Flow(0, *ends), Flow(1, ends[1], ends[0])
    for number in range(1, 4):
        there.send()
        back.send()
        receive(there, inbox, ends[1], number)
    receive(back, inbox, ends[0], 3)
    assert list(there.numbers) == list(back.numbers) == [0, 1, 2]
