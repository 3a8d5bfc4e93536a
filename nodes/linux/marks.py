"""A mark on every packet that comes in by an interface, for policy rules: four instructions of eBPF at its ingress.

The kernel writes the mark of a packet on what it answers to it (ICMP errors, echo replies, TCP resets) where the
``fwmark_reflect`` settings say so.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from nodes.linux import ebpf
from nodes.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Connection,
    attribute,
    number_attribute,
    text_attribute,
    tolerating,
)
from nodes.linux.qdisc import add_clsact

_RTM_NEWTFILTER = 44
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS, _DIRECT_ACTION = 6, 7, 8, 1
_CLSACT_INGRESS = 0xFFFFFFF2
_PRIORITY = 2  # behind what loses packets on purpose
_ETH_P_ALL = socket.htons(3)

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
    with tolerating(errno.EEXIST):
        add_clsact(kernel, index)
    program = ebpf.load_classifier(_program(mark))
    try:
        options = number_attribute(_TCA_BPF_FD, program) + text_attribute(_TCA_BPF_NAME, "mark")
        options += number_attribute(_TCA_BPF_FLAGS, _DIRECT_ACTION)
        place = struct.pack("=BxHiIII", 0, 0, index, 1, _CLSACT_INGRESS, _PRIORITY << 16 | _ETH_P_ALL)
        body = place + text_attribute(_TCA_KIND, "bpf") + attribute(_TCA_OPTIONS, options)
        kernel.request(_RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_REPLACE, f"mark what comes in by interface {index}")
    finally:
        os.close(program)
