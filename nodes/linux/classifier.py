"""Classifiers at an interface's hooks (clsact), by netlink: programs of the classic BPF that drop a share of packets.

Kernel documentation: "networking/filter" (the classic instruction set and its ancillary loads), tc-bpf(8).
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum

from nodes.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Connection,
    attribute,
    number_attribute,
    parse_attributes,
    text_attribute,
)
from nodes.linux.qdisc import add_clsact, works

_RTM_NEWTFILTER, _RTM_GETTFILTER = 44, 46
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_OPS_LEN, _TCA_BPF_OPS, _TCA_BPF_FLAGS = 4, 5, 8
_TCA_BPF_FLAG_ACT_DIRECT = 1
_ETH_P_ALL = 3
_UINT32_MAX = (1 << 32) - 1
_ACT_SHOT, _ACT_UNSPEC = 2, _UINT32_MAX  # drop it; let the next classifier decide

_LOAD, _JUMP_GE, _RETURN = 0x20, 0x35, 0x06
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM: a load from here is a random number of 32 bits
_TCMSG = struct.Struct("=BxxxiIII")
_INSTRUCTION = struct.Struct("=HBBI")


class Hook(IntEnum):
    """Where a classifier of a clsact hangs."""

    INGRESS = 0xFFFFFFF2
    EGRESS = 0xFFFFFFF3


def loss_program(per_cent: float) -> bytes:
    """A program that drops packets by chance and leaves the others to the classifiers behind it."""
    threshold = min(round(per_cent / 100 * (1 << 32)), _UINT32_MAX)
    program = ((_LOAD, 0, 0, _RANDOM), (_JUMP_GE, 1, 0, threshold), (_RETURN, 0, 0, _ACT_SHOT))
    return b"".join(_INSTRUCTION.pack(*one) for one in (*program, (_RETURN, 0, 0, _ACT_UNSPEC)))


def add_classifier(kernel: Connection, index: int, program: bytes, hook: Hook, priority: int = 1) -> None:
    """Hang a program at a hook of an interface that has a clsact.

    Args:
        kernel: The connection.
        index: The interface.
        program: Classic BPF; what it returns is what becomes of the packet.
        hook: Which hook.
        priority: The lower is asked first.
    """
    options = attribute(_TCA_BPF_OPS_LEN, struct.pack("=H", len(program) // _INSTRUCTION.size))
    options += attribute(_TCA_BPF_OPS, program) + number_attribute(_TCA_BPF_FLAGS, _TCA_BPF_FLAG_ACT_DIRECT)
    body = _TCMSG.pack(0, index, 0, hook, priority << 16 | socket.htons(_ETH_P_ALL))
    body += text_attribute(_TCA_KIND, "bpf") + attribute(_TCA_OPTIONS, options)
    what = f"add a classifier to the {hook.name.lower()} of interface {index}"
    kernel.request(_RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_EXCL, what)


def has_classifiers() -> bool:
    """Whether this kernel has clsact and its classifiers run classic BPF."""

    def attempt(kernel: Connection, index: int) -> None:
        add_clsact(kernel, index)
        add_classifier(kernel, index, loss_program(1), Hook.INGRESS)

    return works(attempt)


def list_programs(kernel: Connection, index: int, hook: Hook) -> list[bytes]:
    """The classic BPF programs at a hook of an interface, in the order in which they are asked."""
    dump = kernel.dump(_RTM_GETTFILTER, _TCMSG.pack(0, index, 0, hook, 0), f"list classifiers of interface {index}")
    found: dict[int, bytes] = {}
    for kind, payload in dump:
        *_, info = _TCMSG.unpack_from(payload)
        options = parse_attributes(payload, _TCMSG.size).get(_TCA_OPTIONS, b"")
        program = parse_attributes(options).get(_TCA_BPF_OPS)
        if kind == _RTM_NEWTFILTER and program:
            found[info >> 16] = program
    return [found[priority] for priority in sorted(found)]
