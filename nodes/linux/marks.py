"""A mark on every packet that comes in by an interface, for policy rules: four instructions of eBPF at its ingress.

The kernel writes the mark of a packet on what it answers to it (ICMP errors, echo replies, TCP resets) where the
``fwmark_reflect`` settings say so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

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
_ETH_P_ALL = 0x0300

_BPF_PROG_LOAD, _BPF_PROG_TYPE_SCHED_CLS = 5, 3
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_MARK_OFFSET = 8  # of "mark" in struct __sk_buff
_GO_ON = -1  # TC_ACT_UNSPEC: the next filter, if there is one, decides

_libc = ctypes.CDLL(None, use_errno=True)


def _program(mark: int) -> bytes:
    def instruction(code: int, registers: int, offset: int, value: int) -> bytes:
        return struct.pack("=BBhi", code, registers, offset, value)

    return (
        instruction(0xB7, 0x02, 0, mark)  # r2 = mark
        + instruction(0x63, 0x21, _MARK_OFFSET, 0)  # *(u32 *)(r1 + 8) = r2
        + instruction(0xB7, 0x00, 0, _GO_ON)  # r0 = TC_ACT_UNSPEC
        + instruction(0x95, 0x00, 0, 0)  # exit
    )


def _load(program: bytes) -> int:
    code, license_text = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"BSD")
    order = struct.pack(
        "=IIQQIIQII16s",
        _BPF_PROG_TYPE_SCHED_CLS,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_text),
        *(0, 0, 0, 0, 0),
        b"mark",
    )
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(38, f"eBPF on {platform.machine()}: {os.strerror(38)}")
    descriptor = int(_libc.syscall(number, _BPF_PROG_LOAD, ctypes.c_char_p(order), len(order)))
    if descriptor < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"load the eBPF program that marks packets: {os.strerror(error)}")
    return descriptor


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
    program = _load(_program(mark))
    try:
        options = number_attribute(_TCA_BPF_FD, program) + text_attribute(_TCA_BPF_NAME, "mark")
        options += number_attribute(_TCA_BPF_FLAGS, _DIRECT_ACTION)
        place = struct.pack("=BxHiIII", 0, 0, index, 1, _CLSACT_INGRESS, _PRIORITY << 16 | _ETH_P_ALL)
        body = place + text_attribute(_TCA_KIND, "bpf") + attribute(_TCA_OPTIONS, options)
        kernel.request(_RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_REPLACE, f"mark what comes in by interface {index}")
    finally:
        os.close(program)
