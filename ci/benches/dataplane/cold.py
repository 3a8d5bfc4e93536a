"""Packets to an EID that nobody has asked for yet: are all delivered, and in order?"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from ci.benches.dataplane.cpus import pinned
from ci.benches.dataplane.worlds import fresh_address
from testbed.lab import Lab, LabError

PACKETS, RATE = 2000, 20_000
TRIES = 3
"""A machine that is busy elsewhere may not send as fast as that at the first try; each takes another fresh EID."""

_SO_RCVBUFFORCE = 33
_QUIET_SECONDS = 1.5  # more than a resolution over the delayed core takes, and the way of the packets after it


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of the packets.

    Attributes:
        lost: Those that did not arrive.
        reordered: Those that a later one had overtaken.
        duplicated: Those that arrived again.
        kpps: At what rate they were sent.
    """

    lost: int
    reordered: int
    duplicated: int
    kpps: float


def burst(lab: Lab, source: str, destination: str, number: int, cpu: int) -> Burst:
    """Send 2000 numbered packets, 20 000 a second, to a fresh EID of the round of that number.

    Raises:
        LabError: The machine could not send as fast as that.
    """
    for attempt in range(number * TRIES, (number + 1) * TRIES):
        done = _burst(lab, source, destination, attempt, cpu)
        if done.kpps >= 0.9 * RATE / 1000:
            return done
    raise LabError(f"{lab.name}: only {done.kpps:.1f} kpps could be sent to a cold EID; is the machine busy?")


def _burst(lab: Lab, source: str, destination: str, number: int, cpu: int) -> Burst:
    with lab.socket(source) as here, lab.socket(destination) as there:
        there.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        there.bind((fresh_address(number), 0))
        there.settimeout(_QUIET_SECONDS)
        here.connect(there.getsockname())
        with pinned(cpu):
            took = _send(here)
        arrived, seen = list[int](), set[int]()
        with suppress(TimeoutError):
            while len(seen) < PACKETS:
                arrived.append(int.from_bytes(there.recv(64), "big"))
                seen.add(arrived[-1])
    return judge(arrived, PACKETS / took / 1000)


def judge(arrived: list[int], kpps: float = 0.0) -> Burst:
    """What the numbers say, in the order of their arrival."""
    newest, reordered, seen = -1, 0, set[int]()
    for number in arrived:
        if number not in seen and number < newest:
            reordered += 1
        seen.add(number)
        newest = max(newest, number)
    return Burst(PACKETS - len(seen), reordered, len(arrived) - len(seen), kpps)


def _send(sock: socket.socket) -> float:
    """Send them evenly; returns the seconds from the first to when the next after the last would be due."""
    began = time.monotonic()
    for number in range(PACKETS):
        while time.monotonic() - began < number / RATE:
            pass
        sock.send(number.to_bytes(4, "big"))
    return max(time.monotonic() - began, PACKETS / RATE)
