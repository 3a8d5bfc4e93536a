"""A mark on every packet that comes in by an interface, for policy rules: four instructions of eBPF at its ingress.

The kernel writes the mark of a packet on what it answers to it (ICMP errors, echo replies, TCP resets) where the
``fwmark_reflect`` settings say so.
"""

from __future__ import annotations

import os

from nodes.linux import classifier, ebpf
from nodes.linux.netlink import Connection

_PRIORITY = 2  # behind what loses packets on purpose

_STORE = 0x63  # 32 bits of a register into memory
_PACKET, _MARK = 1, 2  # registers: where struct __sk_buff is, and what is stored there
_MARK_OFFSET = 8
_GO_ON = -1  # TC_ACT_UNSPEC: the next filter, if there is one, decides


def _program(mark: int) -> bytes:
    store = ebpf.instruction(_STORE, _PACKET, _MARK, _MARK_OFFSET)
    return ebpf.set_register(_MARK, mark) + store + ebpf.set_register(0, _GO_ON) + ebpf.EXIT


def mark_incoming(kernel: Connection, index: int, mark: int) -> None:
    """Mark every packet that comes in by an interface; done again, the last mark counts.

    Args:
        kernel: A connection into the interface's network namespace.
        index: The interface's index.
        mark: 32 bits, below 2**31.

    Raises:
        OSError: This kernel has no eBPF or no clsact, or the caller may not.
    """
    program = ebpf.load_classifier(_program(mark))
    try:
        classifier.attach(kernel, index, program, "mark", classifier.Hook.INGRESS, _PRIORITY)
    finally:
        os.close(program)
