"""Classifiers at an interface's hooks (clsact), by netlink: programs of the classic BPF, and loaded ones of eBPF.

Several hang at one hook. The one of the lowest priority is asked first; where it does not decide, so is the next.

Kernel documentation: "networking/filter" (the classic instruction set and its ancillary loads), tc-bpf(8).
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

from nodes.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Connection,
    attribute,
    number,
    number_attribute,
    parse_attributes,
    text_attribute,
    tolerating,
)
from nodes.linux.qdisc import add_clsact, share, works

_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 44, 45, 46
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_OPS_LEN, _TCA_BPF_OPS, _TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS, _TCA_BPF_ID = 4, 5, 6, 7, 8, 11
_TCA_BPF_FLAG_ACT_DIRECT = 1
_EVERY_PROTOCOL = socket.htons(3)  # ETH_P_ALL
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
    program = ((_LOAD, 0, 0, _RANDOM), (_JUMP_GE, 1, 0, share(per_cent)), (_RETURN, 0, 0, _ACT_SHOT))
    return b"".join(_INSTRUCTION.pack(*one) for one in (*program, (_RETURN, 0, 0, _ACT_UNSPEC)))


def _place(index: int, hook: Hook, priority: int, handle: int = 0) -> bytes:
    return _TCMSG.pack(0, index, handle, hook, priority << 16 | _EVERY_PROTOCOL) + text_attribute(_TCA_KIND, "bpf")


def add_classifier(kernel: Connection, index: int, program: bytes, hook: Hook, priority: int = 1) -> None:
    """Hang a program of the classic BPF at a hook of an interface that has a clsact.

    Args:
        kernel: The connection.
        index: The interface.
        program: Its instructions; what it returns is what becomes of the packet.
        hook: Which hook.
        priority: The lower is asked first.
    """
    options = attribute(_TCA_BPF_OPS_LEN, struct.pack("=H", len(program) // _INSTRUCTION.size))
    options += attribute(_TCA_BPF_OPS, program) + number_attribute(_TCA_BPF_FLAGS, _TCA_BPF_FLAG_ACT_DIRECT)
    body = _place(index, hook, priority) + attribute(_TCA_OPTIONS, options)
    what = f"add a classifier to the {hook.name.lower()} of interface {index}"
    kernel.request(_RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_EXCL, what)


@dataclass(frozen=True, slots=True)
class Attached:
    """A program of eBPF at a hook.

    Attributes:
        priority: The lower is asked first.
        handle: Its number among those of one priority.
        name: What it was called when it was attached.
        program: The kernel's number of the program.
    """

    priority: int
    handle: int
    name: str
    program: int


def attach(
    kernel: Connection, index: int, descriptor: int, name: str, hook: Hook, priority: int, handle: int = 1
) -> None:
    """Hang a loaded program of eBPF at a hook of an interface, in the place of one with this priority and handle.

    Args:
        kernel: A connection into the interface's network namespace.
        index: The interface; it gets a clsact if it has none.
        descriptor: The program's; the kernel keeps a hold of the program of its own.
        name: For who looks (``tc filter show``).
        hook: Which hook.
        priority: The lower is asked first.
        handle: Its number among those of one priority.

    Raises:
        NetlinkError: This kernel has no clsact, or the caller may not.
    """
    add_clsact(kernel, index)
    options = number_attribute(_TCA_BPF_FD, descriptor) + text_attribute(_TCA_BPF_NAME, name)
    options += number_attribute(_TCA_BPF_FLAGS, _TCA_BPF_FLAG_ACT_DIRECT)
    body = _place(index, hook, priority, handle) + attribute(_TCA_OPTIONS, options)
    what = f"attach {name} to the {hook.name.lower()} of interface {index}"
    kernel.request(_RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_REPLACE, what)


def detach(kernel: Connection, index: int, hook: Hook, priority: int, handle: int = 1) -> None:
    """Take a program of eBPF from a hook of an interface, if one hangs there.

    Raises:
        NetlinkError: The kernel refused.
    """
    what = f"detach what has priority {priority} from the {hook.name.lower()} of interface {index}"
    with tolerating(errno.ENOENT, errno.EINVAL, errno.ENODEV):  # nothing there, no clsact, no such interface
        kernel.request(_RTM_DELTFILTER, _place(index, hook, priority, handle), 0, what)


def _options_at(kernel: Connection, index: int, hook: Hook) -> list[tuple[int, int, dict[int, bytes]]]:
    """Priority, handle and options of what hangs at a hook, in the order in which it is asked."""
    dump = kernel.dump(_RTM_GETTFILTER, _TCMSG.pack(0, index, 0, hook, 0), f"list classifiers of interface {index}")
    found = []
    for kind, payload in dump:
        _, _, handle, _, info = _TCMSG.unpack_from(payload)
        options = parse_attributes(payload, _TCMSG.size).get(_TCA_OPTIONS)
        if kind == _RTM_NEWTFILTER and options:
            found.append((info >> 16, handle, parse_attributes(options)))
    return sorted(found, key=lambda one: one[:2])


def list_attached(kernel: Connection, index: int, hook: Hook) -> list[Attached]:
    """The programs of eBPF at a hook of an interface, in the order in which they are asked."""
    return [
        Attached(priority, handle, options[_TCA_BPF_NAME].rstrip(b"\0").decode(), number(options, _TCA_BPF_ID))
        for priority, handle, options in _options_at(kernel, index, hook)
        if _TCA_BPF_NAME in options and _TCA_BPF_OPS not in options
    ]


def has_classifiers() -> bool:
    """Whether this kernel has clsact and its classifiers run classic BPF."""

    def attempt(kernel: Connection, index: int) -> None:
        add_clsact(kernel, index)
        add_classifier(kernel, index, loss_program(1), Hook.INGRESS)

    return works(attempt)


def list_programs(kernel: Connection, index: int, hook: Hook) -> list[bytes]:
    """The classic BPF programs at a hook of an interface, in the order in which they are asked."""
    placed = _options_at(kernel, index, hook)
    return [options[_TCA_BPF_OPS] for _, _, options in placed if options.get(_TCA_BPF_OPS)]
