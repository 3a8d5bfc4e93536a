"""eBPF: whether this kernel lets the caller load programs (bpf(2))."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_SCHED_CLS = 3
_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}

_libc = ctypes.CDLL(None, use_errno=True)


def load_smallest() -> None:
    """Load a classifier of two instructions and forget it.

    Raises:
        OSError: The kernel refused, or this is a machine whose system call number we do not know.
    """
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf is not known on {platform.machine()}")
    program = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)  # r0 = 0; exit
    code, licence = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"BSD")
    order = struct.pack("=IIQQ", _BPF_PROG_TYPE_SCHED_CLS, 2, ctypes.addressof(code), ctypes.addressof(licence))
    attributes = ctypes.create_string_buffer(order, 128)  # the log and what newer kernels added stay zero
    descriptor = _libc.syscall(ctypes.c_long(number), _BPF_PROG_LOAD, attributes, ctypes.c_uint(128))
    if descriptor < 0:
        refusal = ctypes.get_errno()
        raise OSError(refusal, f"load an eBPF program: {os.strerror(refusal)}")
    os.close(descriptor)
