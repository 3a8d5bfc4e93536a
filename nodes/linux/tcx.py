"""Programs of eBPF at an interface's hooks without classifiers around them (tcx, since Linux 6.6): a packet costs less.

They are asked before every classifier of a clsact at the same hook (:mod:`nodes.linux.classifier`), and like those stay
when the process that attached them ends.

Kernel documentation: bpf(2), include/uapi/linux/bpf.h (BPF_TCX_INGRESS, struct bpf_prog_info).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from nodes.linux.classifier import Hook
from nodes.linux.ebpf import bpf

_ATTACH, _DETACH, _DESCRIPTOR_OF, _INFO, _QUERY = 8, 9, 13, 15, 16
_TYPES = {Hook.INGRESS: 46, Hook.EGRESS: 47}
_REPLACE = 4
_LOOPBACK = 1
_MOST = 64  # the kernel's own bound of programs at one hook
_INFO_SIZE, _NAME_AT, _NAME_SIZE = 80, 64, 16
_UNKNOWN = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # what a kernel without tcx says to it


@dataclass(frozen=True, slots=True)
class Program:
    """A program at a hook.

    Attributes:
        number: The kernel's.
        name: Its name in the object that it was loaded from.
    """

    number: int
    name: str


def has_tcx() -> bool:
    """Whether this kernel has such hooks, and the caller may look at them."""
    try:
        list_attached(_LOOPBACK, Hook.INGRESS)
    except OSError:
        return False
    return True


def attach(index: int, descriptor: int, name: str, hook: Hook) -> bool:
    """Attach a loaded program, in the place of one of its name, in the caller's network namespace.

    Args:
        index: The interface.
        descriptor: The program's; the kernel keeps a hold of the program of its own.
        name: The program's name.
        hook: Which hook.

    Returns:
        Whether it is attached; False if this kernel has no tcx.

    Raises:
        OSError: The kernel refused.
    """
    try:
        old = next((one for one in list_attached(index, hook) if one.name == name), None)
        if old is None:
            bpf(_ATTACH, struct.pack("=4I", index, descriptor, _TYPES[hook], 0), f"attach {name} to interface {index}")
            return True
    except OSError as error:
        if error.errno in _UNKNOWN:
            return False
        raise
    with _opened(old.number) as replaced:
        order = struct.pack("=5I", index, descriptor, _TYPES[hook], _REPLACE, replaced)
        with suppress(FileExistsError):  # it is there itself
            bpf(_ATTACH, order, f"replace {name} at interface {index}")
    return True


def detach(index: int, name: str, hook: Hook) -> None:
    """Take the program of a name from a hook, if it is there. Raises OSError."""
    try:
        there = list_attached(index, hook)
    except OSError as error:
        if error.errno in (*_UNKNOWN, errno.ENODEV):  # no tcx, no such interface
            return
        raise
    for one in there:
        if one.name == name:
            with _opened(one.number) as descriptor:
                order = struct.pack("=4I", index, descriptor, _TYPES[hook], 0)
                bpf(_DETACH, order, f"detach {name} from interface {index}")


def list_attached(index: int, hook: Hook) -> list[Program]:
    """The programs at a hook of an interface in the caller's network namespace, in the order in which they are asked.

    Raises:
        OSError: There is no such interface, or the kernel has no tcx.
    """
    numbers = (ctypes.c_uint32 * _MOST)()
    order = struct.pack("=4IQI4x", index, _TYPES[hook], 0, 0, ctypes.addressof(numbers), _MOST)
    _, after = bpf(_QUERY, order, f"list the programs at interface {index}")
    (count,) = struct.unpack_from("=I", after, 24)
    return [Program(number, _name(number)) for number in numbers[:count]]


@contextmanager
def _opened(number: int) -> Iterator[int]:
    descriptor, _ = bpf(_DESCRIPTOR_OF, struct.pack("=I", number), f"open program {number}")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _name(number: int) -> str:
    information = ctypes.create_string_buffer(_INFO_SIZE)
    with _opened(number) as descriptor:
        order = struct.pack("=IIQ", descriptor, _INFO_SIZE, ctypes.addressof(information))
        bpf(_INFO, order, f"ask about program {number}")
    return information.raw[_NAME_AT : _NAME_AT + _NAME_SIZE].split(b"\0", 1)[0].decode()
