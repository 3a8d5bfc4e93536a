"""Much at a time, through the hosts' own sockets: every byte of TCP both ways, UDP in its order."""

from __future__ import annotations

import random
import socket
import threading
from functools import partial

import pytest

from testbed.observe.capture import Capture
from tests.conformance.data_plane.pair import CORE_MTU, Pair
from tests.conformance.tester import packets
from tests.conformance.tester.traffic import SINK, received
from tests.conformance.tester.waiting import in_background

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
OCTETS = 3 << 20
DATAGRAMS = 2000
_SO_RCVBUFFORCE, _UDP_SEGMENT = 33, 103


@pytest.mark.requirement("D15")
def test_tcp_both_ways_at_once(pair: Pair) -> None:
    """Every byte is the one that was sent; on the fast path the core sees super-packets, whole."""
    there_and_back = [random.Random(seed).randbytes(OCTETS) for seed in (1, 2)]
    got: list[bytes] = [b"", b""]

    def take(number: int, end: socket.socket) -> None:
        parts, size = [], 0
        while size < OCTETS and (part := end.recv(1 << 18)):
            parts.append(part)
            size += len(part)
        got[number] = b"".join(parts)

    with pair.lab.socket(pair.there, FAMILY[pair.inner], socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(pair.target), SINK))
        listener.listen()
        with pair.lab.socket(pair.here, FAMILY[pair.inner], socket.SOCK_STREAM) as near:
            near.settimeout(20)
            near.connect((str(pair.target), SINK))
            far, _ = listener.accept()
            with far, Capture(pair.lab, ["core2"]) as core:
                far.settimeout(20)
                work = [threading.Thread(target=take, args=(0, far)), threading.Thread(target=take, args=(1, near))]
                for one in work:
                    one.start()
                sending = [in_background(partial(near.sendall, there_and_back[0]))]
                sending.append(in_background(partial(far.sendall, there_and_back[1])))
                for one in (*work, *sending):
                    one.join()
                core.drain()
    assert got == there_and_back
    outers = [one for one in map(packets.read, (frame.data for frame in core.frames)) if one and packets.tunnelled(one)]
    sizes = {len(one.packet) for one in outers if one.destination in (pair.rloc(pair.itr), pair.rloc(pair.etr))}
    if pair.dataplane == "ebpf":
        assert max(sizes) > 10 * CORE_MTU
    else:
        assert max(sizes) == CORE_MTU


@pytest.mark.order
@pytest.mark.requirement("D22")
def test_datagrams_of_a_flow_stay_in_order(pair: Pair) -> None:
    """As fast as one process can send them; the Python path may lose some of a burst, none overtakes another."""
    family = FAMILY[pair.inner]
    with pair.lab.socket(pair.there, family) as ear, pair.lab.socket(pair.here, family) as mouth:
        ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
        ear.bind((str(pair.target), SINK))
        mouth.connect((str(pair.target), SINK))
        for number in range(DATAGRAMS):
            mouth.send(number.to_bytes(4, "big"))
        patience = 10.0 if pair.dataplane == "ebpf" else 0.5
        found = [int.from_bytes(one, "big") for one in received(ear, DATAGRAMS, patience)]
    assert found == sorted(set(found))
    assert len(found) == DATAGRAMS if pair.dataplane == "ebpf" else len(found) >= DATAGRAMS / 10


@pytest.mark.order
@pytest.mark.requirement("D22")
def test_datagrams_that_a_host_hands_over_in_one_go(pair: Pair) -> None:
    """UDP segmentation offload (UDP_SEGMENT): each of them arrives, in order."""
    family, size = FAMILY[pair.inner], 1000
    with pair.lab.socket(pair.there, family) as ear, pair.lab.socket(pair.here, family) as mouth:
        ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
        ear.bind((str(pair.target), SINK))
        mouth.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, size)
        for number in range(10):
            body = b"".join((number * 40 + at).to_bytes(4, "big") + bytes(size - 4) for at in range(40))
            mouth.sendto(body, (str(pair.target), SINK))
        found = received(ear, 400, 10.0)
    assert [int.from_bytes(one[:4], "big") for one in found] == list(range(400))
    assert {len(one) for one in found} == {size}
