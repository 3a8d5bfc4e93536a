"""Time stamps of what arrives: the kernel begins to make them some time after it was asked to."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from nodes.linux import links, namespaces, netlink
from testbed.observe import stamps
from testbed.observe.capture import Capture


class Itself:
    """A socket whose datagrams are stamped when they are read, at first; counts those that were sent."""

    def __init__(self, late: int) -> None:
        self.sent, self._late = 0, late

    def __enter__(self) -> Itself:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def bind(self, address: tuple[str, int]) -> None:
        assert address[0] == "127.0.0.1"

    def setsockopt(self, *_option: int) -> None:
        return None

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    def sendto(self, _data: bytes, _to: tuple[str, int]) -> None:
        self.sent += 1
        self._at = time.time_ns()

    def recvmsg(self, _size: int, _ancillary: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        at = time.time_ns() + 1 if self.sent <= self._late else self._at
        return b"", [(socket.SOL_SOCKET, 35, struct.pack("=qq", *divmod(at, 1_000_000_000)))], 0, None


@pytest.mark.parametrize("late", [0, 1, 5])
def test_waits_until_the_first_datagram_that_was_stamped_as_it_came(late: int) -> None:
    itself = Itself(late)
    with stamps.at_once(lambda *_kind: itself):
        assert itself.sent == late + 1


def test_a_kernel_that_stamps_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_LONGEST_S", 0.01)
    with pytest.raises(TimeoutError, match="stamps no packets"), stamps.at_once(lambda *_kind: Itself(1 << 30)):
        pytest.fail("nothing was stamped")


class Here:
    """One node: the namespace of the caller."""

    def socket(self, _node: str, family: int, kind: int, protocol: int) -> socket.socket:
        return socket.socket(family, kind, protocol)


@pytest.fixture
def alone() -> Iterator[Here]:
    """A network of loopback only."""
    with namespaces.scratch_network() as namespace, namespaces.inside(namespace):
        with netlink.Connection(namespace) as kernel:
            links.set_up(kernel, links.index_of(kernel, "lo"))
        yield Here()


def test_a_new_capture_takes_all_that_came_by_one_drain(alone: Here) -> None:
    """Were the first frame stamped when it is read, it would seem to be newer than the drain, and be the last."""
    for _ in range(20):
        with Capture(alone, ["here"]) as capture, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as itself:
            itself.settimeout(10)
            itself.bind(("127.0.0.1", 0))
            for number in range(5):
                itself.sendto(bytes([number]), itself.getsockname())
                assert itself.recv(1) == bytes([number])  # so the capture has it
            sent = time.time_ns()
            frames = capture.drain()
        assert [frame.data[-1] for frame in frames] == list(range(5))
        assert all(frame.time_ns <= sent for frame in frames)
