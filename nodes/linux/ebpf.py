"""eBPF: loading small classifiers, written by hand (bpf(2), kernel documentation "bpf/standardization")."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_SCHED_CLS = 3
_ATTRIBUTES = 128  # bytes of union bpf_attr
_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}

_libc = ctypes.CDLL(None, use_errno=True)


def instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction: operation, registers, offset, immediate value."""
    return struct.pack("=BBhi", code, source << 4 | destination, offset, value)


def set_register(register: int, value: int) -> bytes:
    """Register := value."""
    return instruction(0xB7, register, value=value)


EXIT = instruction(0x95)
"""Return what is in register 0."""


def load_classifier(program: bytes) -> int:
    """Load a classifier for tc and return its descriptor, which the caller closes.

    Raises:
        OSError: The kernel refused, or this is a machine whose system call number we do not know.
    """
    code, licence = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"BSD")
    addresses = ctypes.addressof(code), ctypes.addressof(licence)
    order = struct.pack("=IIQQ", _BPF_PROG_TYPE_SCHED_CLS, len(program) // 8, *addresses)
    return bpf(_BPF_PROG_LOAD, order, "load an eBPF program")[0]


def bpf(command: int, order: bytes, what: str) -> tuple[int, bytes]:
    """Ask the kernel for something of eBPF (bpf(2)).

    Args:
        command: Its number.
        order: How union bpf_attr begins; the rest, what newer kernels added, is zero.
        what: What it is for, for the error.

    Returns:
        What it returned, often a descriptor, and the union as the kernel left it.

    Raises:
        OSError: The kernel refused, or this is a machine whose system call number we do not know.
    """
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf is not known on {platform.machine()}")
    attributes = ctypes.create_string_buffer(order, _ATTRIBUTES)
    found: int = _libc.syscall(ctypes.c_long(number), command, attributes, ctypes.c_uint(_ATTRIBUTES))
    if found < 0:
        refusal = ctypes.get_errno()
        raise OSError(refusal, f"{what}: {os.strerror(refusal)}")
    return found, attributes.raw
