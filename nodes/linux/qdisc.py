"""Queueing disciplines, by netlink: rate (tbf), delay and loss (netem), and the hook for classifiers (clsact).

Kernel documentation: tc-tbf(8), tc-netem(8) ("How to use netem with rate control": the tbf below the netem),
include/uapi/linux/pkt_sched.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass

from nodes.linux.namespaces import scratch_network
from nodes.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Connection,
    NetlinkError,
    attribute,
    number,
    parse_attributes,
    text_attribute,
    tolerating,
)

_RTM_NEWQDISC, _RTM_GETQDISC = 36, 38
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_TCA_NETEM_LATENCY64 = 10
_TCA_HTB_INIT = 2
_TC_LINKLAYER_ETHERNET = 1  # the kernel then counts bytes and needs no table of times
_TICK_SHIFT = 6  # a scheduler's tick is 64 ns
_UINT32_MAX = (1 << 32) - 1
_LOOPBACK = 1

ROOT, CLSACT = 0xFFFFFFFF, 0xFFFFFFF1
"""Where a discipline hangs: at an interface's sending side, or beside it."""

_TCMSG = struct.Struct("=BxxxiIII")
_RATE = struct.Struct("=BBHhHI")
_TBF = struct.Struct("=12s12sIII")
_NETEM = struct.Struct("=6I")


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline as the kernel shows it.

    Attributes:
        interface: Index of its interface.
        kind: "tbf", "netem", "clsact", "noqueue", ...
        handle: Its number, "1:" is 0x10000.
        parent: Where it hangs: :data:`ROOT`, or the class of another.
        rate: Bytes a second that a tbf lets through, else 0.
        delay: Nanoseconds that a netem holds a packet, else 0.
        loss: Of 2^32 packets, how many a netem loses (:func:`share`), else 0.
        limit: What it queues at most: a tbf bytes, a netem packets; else 0.
    """

    interface: int
    kind: str
    handle: int
    parent: int
    rate: int = 0
    delay: int = 0
    limit: int = 0
    loss: int = 0


def share(per_cent: float) -> int:
    """So many of 2^32, the most of 2^32 - 1: how the kernel counts what is left to chance."""
    return min(round(per_cent / 100 * (1 << 32)), _UINT32_MAX)


def _add(kernel: Connection, index: int, kind: str, options: bytes, parent: int, handle: int) -> None:
    body = _TCMSG.pack(0, index, handle, parent, 0) + text_attribute(_TCA_KIND, kind)
    if options:
        body += attribute(_TCA_OPTIONS, options)
    kernel.request(_RTM_NEWQDISC, body, NLM_F_CREATE | NLM_F_EXCL, f"add {kind} to interface {index}")


def add_tbf(
    kernel: Connection, index: int, rate: int, burst: int, limit: int, parent: int = ROOT, handle: int = 0x10000
) -> None:
    """Let an interface send at a rate, with a token bucket filter.

    Args:
        kernel: The connection.
        index: The interface.
        rate: Bytes a second, Ethernet headers included.
        burst: Bytes that may go at once after silence; at least the longest frame.
        limit: Bytes that may wait; what comes on top is dropped.
        parent: Where it hangs.
        handle: Its number.
    """
    spec = _RATE.pack(0, _TC_LINKLAYER_ETHERNET, 0, 0, 0, min(rate, _UINT32_MAX))
    options = attribute(_TCA_TBF_PARMS, _TBF.pack(spec, bytes(12), limit, 0, 0))
    options += attribute(_TCA_TBF_BURST, struct.pack("=I", burst))
    if rate > _UINT32_MAX:
        options += attribute(_TCA_TBF_RATE64, struct.pack("=Q", rate))
    _add(kernel, index, "tbf", options, parent, handle)


def add_netem(
    kernel: Connection,
    index: int,
    delay: int,
    limit: int,
    parent: int = ROOT,
    handle: int = 0x10000,
    loss: int = 0,
) -> None:
    """Hold what an interface sends, and lose some of it, each packet by a chance of its own.

    A super-packet, from which segments are still to be cut, counts as one here.

    Args:
        kernel: The connection.
        index: The interface.
        delay: Nanoseconds.
        limit: Packets that may be held at a time.
        parent: Where it hangs.
        handle: Its number.
        loss: How many of 2^32 packets are lost (:func:`share`).
    """
    ticks = min(delay >> _TICK_SHIFT, _UINT32_MAX)
    options = _NETEM.pack(ticks, limit, loss, 0, 0, 0) + attribute(_TCA_NETEM_LATENCY64, struct.pack("=q", delay))
    _add(kernel, index, "netem", options, parent, handle)


def add_htb(kernel: Connection, index: int) -> None:
    """Give an interface a hierarchical token bucket without classes: it sends as it would without."""
    options = attribute(_TCA_HTB_INIT, struct.pack("=5I", 3, 10, 0, 0, 0))
    _add(kernel, index, "htb", options, ROOT, 0x10000)


def add_clsact(kernel: Connection, index: int) -> None:
    """Give an interface the two hooks for classifiers, at what it receives and at what it sends, if it has none."""
    with tolerating(errno.EEXIST):
        _add(kernel, index, "clsact", b"", CLSACT, 0xFFFF0000)


def _qdisc(payload: bytes) -> Qdisc:
    _, index, handle, parent, _ = _TCMSG.unpack_from(payload)
    found = parse_attributes(payload, _TCMSG.size)
    kind = found[_TCA_KIND].rstrip(b"\0").decode()
    options = found.get(_TCA_OPTIONS, b"")
    rate = delay = limit = loss = 0
    if kind == "tbf":
        inner = parse_attributes(options)
        spec, _, limit, _, _ = _TBF.unpack_from(inner[_TCA_TBF_PARMS])
        rate = number(inner, _TCA_TBF_RATE64, _RATE.unpack(spec)[5])
    elif kind == "netem":
        ticks, limit, loss, *_ = _NETEM.unpack_from(options)
        inner = parse_attributes(options, _NETEM.size)
        delay = number(inner, _TCA_NETEM_LATENCY64, ticks << _TICK_SHIFT)
    return Qdisc(index, kind, handle, parent, rate, delay, limit, loss)


def list_qdiscs(kernel: Connection, index: int) -> list[Qdisc]:
    """The queueing disciplines of one interface."""
    dump = kernel.dump(_RTM_GETQDISC, _TCMSG.pack(0, 0, 0, 0, 0), "list queueing disciplines")
    every = [_qdisc(payload) for kind, payload in dump if kind == _RTM_NEWQDISC]
    return [one for one in every if one.interface == index]


def works(attempt: Callable[[Connection, int], None]) -> bool:
    """Whether this kernel does something to interfaces: it is tried on the loopback of a namespace made for it.

    Args:
        attempt: What to try: a call like :func:`add_clsact`, with the connection and the interface.
    """
    with scratch_network() as namespace, Connection(namespace) as kernel:
        try:
            attempt(kernel, _LOOPBACK)
        except NetlinkError:
            return False
        return True


def has_tbf() -> bool:
    """Whether this kernel has tbf."""
    return works(lambda kernel, index: add_tbf(kernel, index, 1_000_000, 4000, 10_000))


def has_netem() -> bool:
    """Whether this kernel has netem."""
    return works(lambda kernel, index: add_netem(kernel, index, 1_000_000, 1000))
