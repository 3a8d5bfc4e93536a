"""Runs in a box of its own: boots a lab again and again, kills one of its processes, looks for what is left.

    python crash_driver.py RUN_DIRECTORY client|init|lab|ctrl-c

Everything in this box is ours, so whatever is there after the kill and was not before has been left behind. All file
systems but the run directory are read-only: a file anywhere else cannot be made in the first place. Prints one JSON
object.

PID 1 of this box reaps nobody, as that of many a container: a process that its parent does not wait for is seen as a
zombie. Only one kind is unavoidable, the children of a client that is killed: its parent cannot wait for them.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MOMENTS = 10
BOOT_SECONDS = 60.0
CLEAN_SECONDS = 30.0
CLIENT = """
import sys
from pathlib import Path
from testbed.lab import Lab
with Lab("two-dc-static", name="crash", run_dir=Path(sys.argv[1])) as lab:
    print("ready", flush=True)
    for _ in lab.follow():
        pass
"""
# What counts instead of setting, whoever is at work on the machine.
COUNTERS = ("kernel/ns_last_pid", "kernel/random/", "fs/inode", "fs/dentry", "fs/file-nr", "fs/quota", "kernel/pty/nr")


class Client:
    """A client in a terminal of its own that boots the lab and stays."""

    def __init__(self, run_dir: str) -> None:
        self.began = time.monotonic()
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.execv(sys.executable, [sys.executable, "-c", CLIENT, run_dir])
        self.output = b""

    def wait(self, until: float) -> bool:
        """Read what it says until a moment, or until it is ready or has ended; say whether it is ready."""
        poll = select.poll()
        poll.register(self.terminal, select.POLLIN)
        while b"ready" not in self.output:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return False
            with suppress(OSError):
                data = os.read(self.terminal, 4096)
                self.output += data
                continue
            return False  # EIO: the terminal has no process any more
        return True

    def close(self) -> None:
        with suppress(OSError):
            while True:
                self.output += os.read(self.terminal, 4096)
        os.close(self.terminal)


def status_of(pid: int) -> dict[str, list[str]]:
    """The words of each line of /proc/PID/status; nothing for a process that has ended."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {key: words.split() for key, _, words in (line.partition(":") for line in lines)}
    return {}


def find(victim: str, client: int) -> int | None:
    """The process to kill, if it is there."""
    if victim in ("client", "ctrl-c"):
        return client
    processes = {pid: status_of(pid) for pid in pids()}
    inits = [
        pid for pid, status in processes.items() if len(status.get("NSpid", ())) == 2 and status["NSpid"][1] == "1"
    ]
    if victim == "init" or not inits:
        return inits[0] if inits else None
    labs = [pid for pid, status in processes.items() if status.get("PPid") == [str(inits[0])]]
    return labs[0] if labs else None


def await_victim(victim: str, client: Client) -> int:
    """Wait until the process to kill is there; every 2 ms the terminal may tell us that the client has ended."""
    deadline = client.began + BOOT_SECONDS
    while time.monotonic() < deadline:
        pid = find(victim, client.pid)
        if pid is not None:
            return pid
        client.wait(time.monotonic() + 0.002)
    raise TimeoutError(f"no {victim} within {BOOT_SECONDS:g} s: {client.output.decode()}")


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def await_end_of_all(client: Client, children: int) -> list[str]:
    """Wait for the end of the client, and until what is left is PID 1, this process and zombies.

    Args:
        client: It is reaped, as every parent does.
        children: How many zombies may be there: the children of a client that was killed.

    Returns:
        The others: those that do not end, with their command lines, and zombies, with their names.
    """
    os.waitpid(client.pid, 0)
    deadline = time.monotonic() + CLEAN_SECONDS
    while True:
        others = {pid: status for pid in pids() if pid not in (1, os.getpid()) and (status := status_of(pid))}
        zombies = [pid for pid, status in others.items() if status["State"][0] == "Z"]
        alive = [pid for pid in others if pid not in zombies]
        left = deadline - time.monotonic()
        if not alive or left <= 0:
            found = [f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes()!r}" for pid in alive]
            if len(zombies) > children:
                found += [f"zombie {pid} {others[pid]['Name']}" for pid in zombies]
            REAPER.reap()
            return found
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(alive[0])
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(left * 1000)
            os.close(descriptor)


class Reaper:
    """PID 1 of the box, which reaps when it is told to and not before."""

    def fork(self) -> None:
        """Go on as a child of PID 1; PID 1 stays here, and ends with its child's status."""
        asked, self._ask = os.pipe()
        self._done, done = os.pipe()
        child = os.fork()
        if not child:
            os.close(asked)
            os.close(done)
            return
        os.close(self._ask)
        while os.read(asked, 1):
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            os.write(done, b"d")
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def reap(self) -> None:
        """Have it reap all orphans that have ended."""
        os.write(self._ask, b"r")
        os.read(self._done, 1)


REAPER = Reaper()


def settings() -> dict[str, str]:
    found = {}
    for directory, _, names in os.walk("/proc/sys"):
        for name in names:
            path = Path(directory) / name
            if not any(counter in str(path) for counter in COUNTERS):
                with suppress(OSError, UnicodeDecodeError):
                    found[f"sysctl {path}"] = path.read_text()
    return found


def snapshot() -> dict[str, str]:
    """Everything that could be left behind but processes."""
    found = settings()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        found[f"mount {line}"] = ""
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        found[f"interface {line.split(':')[0].strip()}"] = ""
    for directory in map(Path, ("/dev", "/dev/shm", "/dev/mqueue", "/run")):
        for path in directory.iterdir() if directory.is_dir() else ():
            found[f"file {path}"] = ""
    return found


def difference(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def strike(victim: str, pid: int, terminal: int) -> None:
    if victim == "ctrl-c":
        os.write(terminal, b"\x03")
    else:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def calibrate(run_dir: str, victim: str) -> tuple[float, float, Client]:
    """Boot undisturbed: when the process to kill appears, and when the lab is ready, in seconds; and the client."""
    client = Client(run_dir)
    await_victim(victim, client)
    appears = time.monotonic() - client.began
    if not client.wait(client.began + BOOT_SECONDS):
        raise TimeoutError(f"not ready: {client.output.decode()}")
    return appears, time.monotonic() - client.began, client


def main(run_dir: str, victim: str) -> None:
    """Kill a running lab twice, then ten labs that boot, and print what was left each time."""
    before = snapshot()
    results = []

    def kill(client: Client, moment: float | None) -> None:
        strike(victim, await_victim(victim, client), client.terminal)
        processes = await_end_of_all(client, 1 if victim == "client" else 0)
        client.close()
        results.append({"moment": moment, "left": [*processes, *difference(before, snapshot())]})

    for _ in range(2):  # the second finds everything in the page cache, as the ones to follow do
        appears, boot, client = calibrate(run_dir, victim)
        kill(client, None)
    step = 0
    while step < MOMENTS and len(results) < 4 * MOMENTS:
        moment = appears + (boot - appears) * (step + 0.5) / MOMENTS
        client = Client(run_dir)
        ready = client.wait(client.began + moment)
        if ready:  # quicker than the boot that was timed: once more, by this one's clock
            boot = min(boot, time.monotonic() - client.began)
            appears = min(appears, boot)
        else:
            step += 1
        kill(client, None if ready else round(moment, 3))
    print(json.dumps({"boot": round(boot, 3), "appears": round(appears, 3), "results": results}))


if __name__ == "__main__":
    REAPER.fork()
    main(sys.argv[1], sys.argv[2])
