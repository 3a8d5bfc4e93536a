"""PID 1 of a lab's box. A script, run without site-packages: it must be there at once.

    python -I -S init.py ROOT LIFELINE DESCRIPTORS PYTHON ARGUMENT...

It makes the box (network, mount, UTS, IPC and PID namespaces), starts the lab process PYTHON ARGUMENT... in it with the
DESCRIPTORS (separated by commas) and ends when the lab process ends, or when the LIFELINE pipe does: then the client
that booted the lab is gone. With it the kernel ends every process of the box, and with them its interfaces and mounts.
A byte on the lifeline lets the lab live on without its client.

The first process, the parent of PID 1, writes the process ID of PID 1 to its standard output. It stays to reap it, also
when the client has been killed: not everywhere does somebody reap orphans. A byte on its standard input lets it go.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])

from nodes.linux import namespaces as ns


def main(root: str, lifeline: int, descriptors: list[int], command: list[str]) -> None:
    """Make the box and be its init; no process returns from here."""
    os.setsid()  # a Ctrl-C is for the client alone, which has held back one that came before this
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.set_inheritable(lifeline, False)
    ns.unshare(ns.CLONE_NEWNET | ns.CLONE_NEWNS | ns.CLONE_NEWUTS | ns.CLONE_NEWIPC | ns.CLONE_NEWPID)
    first = os.fork()
    if first:
        with suppress(BrokenPipeError):  # the client is dead already; its box is still to be reaped
            os.write(1, b"%d\n" % first)
        os.close(lifeline)
        for descriptor in descriptors:
            os.close(descriptor)
        _reap_unless_told(first)
        os._exit(0)
    _take_standard_streams()
    _mount_own()
    os.chdir(root)
    # The kernel reaps the children; of the lab process only its end matters, and its pidfd tells.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    child = os.fork()
    if not child:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.execv(command[0], command)
    for descriptor in descriptors:
        os.close(descriptor)
    _wait_for_either(lifeline, os.pidfd_open(child))
    os._exit(0)


def _take_standard_streams() -> None:
    """Let go of the client's pipes: read nothing, write to the log that standard error is."""
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)


def _mount_own() -> None:
    """The box's own /proc, /sys and /run. First of all nothing mounted here may reach the outside."""
    quiet = ns.MS_NOSUID | ns.MS_NODEV
    ns.mount("none", "/", flags=ns.MS_REC | ns.MS_PRIVATE)
    ns.mount("proc", "/proc", "proc", quiet | ns.MS_NOEXEC)
    ns.mount("sysfs", "/sys", "sysfs", quiet | ns.MS_NOEXEC)
    ns.mount("tmpfs", "/run", "tmpfs", quiet, "mode=755")
    for directory in ("/run/netns", "/run/lock"):
        os.mkdir(directory)  # noqa: PTH102 - pathlib would cost as much as all the rest


def _wait_for_either(lifeline: int, process: int) -> None:
    """Return when the process of the pidfd has ended, or the lifeline without a word."""
    events = select.poll()
    events.register(process, select.POLLIN)
    events.register(lifeline, select.POLLIN)
    while True:
        for descriptor, _event in events.poll():
            if descriptor == process or not os.read(lifeline, 1):
                return
            events.unregister(lifeline)


def _reap_unless_told(child: int) -> None:
    """Reap a child when it ends. A byte on standard input says not to wait; its end says that the client is dead."""
    process = os.pidfd_open(child)
    events = select.poll()
    events.register(process, select.POLLIN)
    events.register(0, select.POLLIN)
    while True:
        for descriptor, _event in events.poll():
            if descriptor == process:
                os.waitpid(child, 0)
                return
            if os.read(0, 1):
                os.waitpid(child, os.WNOHANG)
                return
            events.unregister(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [int(one) for one in sys.argv[3].split(",")], sys.argv[4:])
