"""What the tester itself says that it does."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from testbed.lab import Lab
from tests.conformance.tester.offloads import ends
from tests.conformance.tester.places import facing
from tests.conformance.tester.traffic import received
from tests.conformance.tester.watch import Watch
from tests.labs import offloads

STREAM = bytes(60_000)
MOST_BYTES = 1514
"""Of a frame, from its Ethernet header on."""


def exchange(lab: Lab, watch: Watch) -> tuple[bool, int]:
    """A datagram and a stream over a core link: whether the datagram's checksum is right, and the longest frame."""
    here = facing(lab, "core1", "core2")
    with (
        lab.socket("core1", socket.AF_INET, socket.SOCK_DGRAM) as ear,
        lab.socket("core2", socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        ear.bind((str(here), 0))
        mouth.sendto(b"a datagram", ear.getsockname())
        assert received(ear, 1, 10.0) == [b"a datagram"]
        port = ear.getsockname()[1]
    with lab.socket("core1", socket.AF_INET, socket.SOCK_STREAM) as ear:
        ear.bind((str(here), 0))
        ear.listen()
        with lab.socket("core2", socket.AF_INET, socket.SOCK_STREAM) as mouth:
            mouth.connect(ear.getsockname())
            peer, _ = ear.accept()
            with peer:
                mouth.sendall(STREAM)
                assert peer.recv(len(STREAM), socket.MSG_WAITALL) == STREAM
    watch.drain()
    ((_, datagram),) = watch.datagrams(port)
    return datagram.checksum_is_right, max(len(one.data) for one in watch.frames)


@pytest.mark.parametrize("leave", [Watch.close, lambda watch: watch.__exit__(None, None, None)], ids=["close", "with"])
def test_an_exact_watch_sees_frames_as_on_a_wire(lab: Lab, leave: Callable[[Watch], None]) -> None:
    """And gives each end of the links the offloads back that it had, on this kernel many; without it, they show."""
    before = {end: offloads(lab, *end) for end in ends(lab, ["core1"])}
    with Watch(lab, ["core1"]) as watch:
        right, longest = exchange(lab, watch)
    assert not right
    assert longest > MOST_BYTES
    watch = Watch(lab, ["core1"], exact=True)
    try:
        right, longest = exchange(lab, watch)
    finally:
        leave(watch)
    assert right
    assert longest <= MOST_BYTES
    assert {end: offloads(lab, *end) for end in before} == before
