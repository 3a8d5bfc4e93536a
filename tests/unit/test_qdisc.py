"""What is said to the kernel about queueing and loss: the same as tc says, also where this kernel has no netem."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

from nodes.linux import qdisc
from nodes.linux.classifier import loss_program
from nodes.linux.netlink import attribute, text_attribute


class Recorder:
    """In the place of a connection: keeps what is asked, answers dumps with what it is given."""

    def __init__(self, *dumped: bytes) -> None:
        self.asked: list[bytes] = []
        self._dumped = dumped

    def request(self, _kind: int, body: bytes, _flags: int, _what: str) -> bytes:
        self.asked.append(body)
        return b""

    def dump(self, _kind: int, _body: bytes, _what: str) -> Iterator[tuple[int, bytes]]:
        return iter([(36, one) for one in self._dumped])


# strace of `tc qdisc add dev lo root handle 1: netem delay 5ms limit 100000` (iproute2 6.1)
_TC_NETEM = "2d310100a0860100" + 16 * "00"


def test_netem_is_asked_for_as_tc_does() -> None:
    kernel: Any = Recorder()
    qdisc.add_netem(kernel, 1, 5_000_000, 100_000)
    (body,) = kernel.asked
    options = bytes.fromhex(_TC_NETEM) + attribute(10, struct.pack("=q", 5_000_000))  # TCA_NETEM_LATENCY64, exact
    assert body == (
        struct.pack("=BxxxiIII", 0, 1, 0x10000, 0xFFFFFFFF, 0) + text_attribute(1, "netem") + attribute(2, options)
    )


# the same with `loss 10%` before the limit
_TC_LOSS = "2d310100a08601009a999919" + 12 * "00"


def test_loss_is_asked_for_as_tc_does() -> None:
    kernel: Any = Recorder()
    qdisc.add_netem(kernel, 1, 5_000_000, 100_000, loss=qdisc.share(10))
    assert bytes.fromhex(_TC_LOSS) in kernel.asked[0]
    read: Any = Recorder(kernel.asked[0])
    (found,) = qdisc.list_qdiscs(read, 1)
    assert found == qdisc.Qdisc(1, "netem", 0x10000, 0xFFFFFFFF, 0, 5_000_000, 100_000, 0x1999999A)


def test_a_share_is_of_two_to_the_32() -> None:
    assert [qdisc.share(per_cent) for per_cent in (0, 50, 100)] == [0, 1 << 31, (1 << 32) - 1]


def test_netem_is_read_back() -> None:
    """An old kernel tells the delay in ticks of 64 ns only."""
    header = struct.pack("=BxxxiIII", 0, 7, 0x10000, 0xFFFFFFFF, 0) + text_attribute(1, "netem")
    exact = header + attribute(2, bytes.fromhex(_TC_NETEM) + attribute(10, struct.pack("=q", 5_000_001)))
    coarse = header + attribute(2, bytes.fromhex(_TC_NETEM))
    for dumped, delay in ((exact, 5_000_001), (coarse, 5_000_000)):
        kernel: Any = Recorder(dumped)
        assert qdisc.list_qdiscs(kernel, 7) == [qdisc.Qdisc(7, "netem", 0x10000, 0xFFFFFFFF, 0, delay, 100_000)]
        assert qdisc.list_qdiscs(kernel, 8) == []


def test_a_loss_program_drops_its_share() -> None:
    """The four instructions, run by hand on random numbers."""
    chance = random.Random(6)
    for per_cent in (0.0, 0.1, 10.0, 50.0, 100.0):
        load, jump, drop, go_on = struct.iter_unpack("=HBBI", loss_program(per_cent))
        assert (load, drop, go_on) == ((0x20, 0, 0, 0xFFFFF038), (0x06, 0, 0, 2), (0x06, 0, 0, 0xFFFFFFFF))
        code, past, _, threshold = jump
        assert (code, past) == (0x35, 1)
        lost = sum(chance.getrandbits(32) < threshold for _ in range(100_000))
        assert abs(lost / 1000 - per_cent) < 0.5
