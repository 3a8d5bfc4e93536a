"""Namespaces, mounts and a process's bond with its parent, for Pythons without ``os.setns`` (before 3.12)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (unshare(2)); a new PID namespace holds its next children."""
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def setns(descriptor: int, flags: int = 0) -> None:
    """Enter the namespaces of a namespace file or a pidfd (setns(2)); a pidfd needs ``flags``."""
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(flags)), f"setns {flags:#x}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system (mount(2))."""
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _checked(done, f"mount {kind or source} on {target}")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when its parent ends (the bond is lost at a fork)."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number), 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def name_process(name: str) -> None:
    """Set the name that ``ps`` and ``top`` show, at most 15 bytes."""
    _checked(_libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0), "prctl PR_SET_NAME")


def open_network() -> int:
    """A descriptor of the calling thread's network namespace; it keeps the namespace alive. The caller closes it."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def new_network() -> int:
    """Make a network namespace and return its descriptor; the caller stays where it is.

    The namespace lives as long as a descriptor, a process or a mount holds it.
    """
    before = open_network()
    try:
        unshare(CLONE_NEWNET)
        try:
            return open_network()
        finally:
            setns(before, CLONE_NEWNET)
    finally:
        os.close(before)


@contextmanager
def scratch_network() -> Iterator[int]:
    """A network namespace for a trial, by descriptor; with the block it goes, and what was made in it."""
    namespace = new_network()
    try:
        yield namespace
    finally:
        os.close(namespace)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Run a block in the network namespace of a descriptor; sockets made there stay there."""
    before = open_network()
    try:
        setns(namespace, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(before, CLONE_NEWNET)
    finally:
        os.close(before)
