"""Run a command inside a node of a running lab. A script, run without site-packages.

    python -I -S crossing.py ROOT NETWORK INIT BIRD COMMAND ARGUMENT...

NETWORK is a descriptor of the node's network namespace, INIT a pidfd of the box's init, BIRD the directory of the
node's routing daemon, for birdc to find it, or empty. The command gets this process's terminal, working directory and
environment; this process ends with its exit status, or 128 + n when signal n ended it, 126 or 127 when it cannot be run
or found.
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])

from nodes.linux import namespaces as ns

CANNOT_RUN, NOT_FOUND = 126, 127
_KEYBOARD = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)


def main(network: int, init: int, bird: str, command: list[str]) -> int:
    """Enter the node, run the command, return its exit status as a shell counts it."""
    ns.die_with_parent(signal.SIGTERM)
    foreground = _is_foreground()
    directory = os.getcwd()  # noqa: PTH109 - pathlib would cost as much as all the rest
    ns.setns(init, ns.CLONE_NEWNS | ns.CLONE_NEWUTS | ns.CLONE_NEWIPC | ns.CLONE_NEWPID)
    ns.setns(network, ns.CLONE_NEWNET)
    _change_directory(directory)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()  # only a child is in the PID namespace
    if not child:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _become(command, bird)
    signal.signal(signal.SIGTERM, lambda _number, _frame: os.kill(child, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    # What is typed at the terminal goes to the command as well; it decides.
    for number in _KEYBOARD:
        signal.signal(number, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    if foreground:
        _take_terminal_back()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _change_directory(directory: str) -> None:
    """Entering a mount namespace leads to its root; go back to where the caller was, if the box has that place."""
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")


def _become(command: list[str], bird: str) -> None:
    """Turn this child into the command, with a /sys that shows the node's interfaces, and its own /run/bird."""
    try:
        ns.die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
        ns.unshare(ns.CLONE_NEWNS)
        ns.mount("sysfs", "/sys", "sysfs", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
        if bird:
            ns.mount(bird, "/run/bird", flags=ns.MS_BIND)
        os.execvp(command[0], command)
    except OSError as error:
        from testbed.words import echoed  # not before: it would cost as much as all the rest

        missing = isinstance(error, FileNotFoundError)
        print(f"{echoed(command[0])}: {'command not found' if missing else error.strerror}", file=sys.stderr)
        os._exit(NOT_FOUND if missing else CANNOT_RUN)


def _is_foreground() -> bool:
    """Whether standard input is our terminal, and we are what it is talking to."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _take_terminal_back() -> None:
    """A shell makes itself the terminal's foreground; without this the caller could not read from it any more."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpgrp())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:]))
