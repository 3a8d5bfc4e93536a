"""Moves there and back under traffic, each a round: who found the host again when, and how long nothing arrived."""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from ci.benches.mobility.worlds import AWAY, CORRESPONDENTS, HOME, MOBILE
from testbed.act.mobility.moved import Moved
from testbed.act.mobility.probes import Flow, Probes, Seen
from testbed.act.mobility.watch import Watch
from testbed.lab import Lab, LabError
from testbed.model import Topology

VERSIONS = (4, 6)
_BEFORE_S = 0.1
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what happens.

    Attributes:
        apart: Seconds between two moves.
        settles: Seconds after each within which everybody is to be right; what is not counts as that long.
        interval_ns: Between two datagrams of a flow.
    """

    apart: float = 4.0
    settles: float = 1.0
    interval_ns: int = 1_000_000


def moves(topology: Topology, number: int, pace: Pace) -> dict[str, Any]:
    """Move the host there and back.

    Returns:
        The ``rounds``, how many TCP sessions were ``tcp_lost`` and bytes were ``bytes_wrong`` of ``tcp_bytes``, and how
        late the probe itself was.
    """
    lisp = bool(topology.lisp_routers)
    with (
        Lab(topology) as lab,
        Probes(lab, MOBILE, CORRESPONDENTS, versions=VERSIONS, interval_ns=pace.interval_ns) as probes,
    ):
        time.sleep(1.0)  # what resolves and learns at the begin is no part of the first move
        rounds, moved = [], []
        for turn in range(number):
            with Watch(lab, MOBILE) as watch:
                time.sleep(_BEFORE_S)  # the traffic as it was
                moved.append(lab.move(MOBILE, HOME if turn % 2 else AWAY))
                time.sleep(pace.settles)  # what is watched: whatever the move brings about
                watch.look()
            rounds.append(_round(moved[-1], watch if lisp else None, pace))
            print(f"{topology.name}, move {turn + 1} of {number}: {_in_words(rounds[-1])}", flush=True)
            # Moves at a steady pace: no timer of a router that one started still runs in the next.
            time.sleep(max(0.0, moved[-1].unplugged + pace.apart - time.monotonic()))  # moves are so far apart
        seen = probes.stop()
    for one, move in zip(rounds, moved, strict=True):
        one |= _silences(seen, move, pace)
    late = sorted(seen.late)
    return {
        "rounds": rounds,
        "tcp_sessions": len(seen.streams) // 2,
        "tcp_lost": _lost(seen),
        "tcp_bytes": sum(one.received for one in seen.streams),
        "bytes_wrong": sum(one.wrong for one in seen.streams),
        "probe_late_ms": {
            "median": late[len(late) // 2] / 1e6,
            "p99": late[len(late) * 99 // 100] / 1e6,
            "max": late[-1] / 1e6,
        },
    }


def _lost(seen: Seen) -> int:
    """TCP sessions, not their two ways, that ended before their time."""
    return len({(one.correspondent, one.version) for one in seen.streams if one.lost})


def _round(moved: Moved, watch: Watch | None, pace: Pace) -> dict[str, Any]:
    told: dict[str, Any] = {"site": moved.site, "out_ms": (moved.plugged - moved.unplugged) * 1000}
    if watch is None:
        return told
    first = watch.first_frame(moved)
    if first is None:
        raise LabError(f"bench mobility: {moved.node} sent nothing at {moved.site}")
    found = watch.convergence(moved, CORRESPONDENTS, VERSIONS)
    after = {
        f"{one.correspondent} IPv{one.version}": pace.settles * 1000 if one.after is None else one.after * 1000
        for one in found
    }
    return told | {
        "first_frame_ms": first.time_ns / 1e6 - moved.unplugged * 1000,
        "convergence_ms": after,
        "not_right": [f"{one.correspondent} IPv{one.version}" for one in found if one.after is None],
        "went_wrong": {f"{one.correspondent} IPv{one.version}": one.wrong for one in found},
    }


def _silences(seen: Seen, moved: Moved, pace: Pace) -> dict[str, Any]:
    """How long nothing arrived of each flow around a move, and how late the probe was then."""
    begin = round((moved.unplugged - _BEFORE_S) * _SECOND)
    end = round((moved.unplugged + pace.settles) * _SECOND)
    sent = seen.flows[0].sent
    late = seen.late[bisect_left(sent, begin) : bisect_left(sent, end)]
    return {
        "blackout_ms": {_name(one): one.blackout(begin, end) / 1e6 for one in seen.flows},
        "lost": {_name(one): _missing(one, begin, end) for one in seen.flows},
        "probe_late_ms": max(late, default=0) / 1e6,
    }


def _missing(flow: Flow, begin: int, end: int) -> int:
    part = flow.between(begin, end)
    return len(part.sent) - len(set(part.numbers))


def _name(flow: Flow) -> str:
    return f"{flow.correspondent} {flow.direction} IPv{flow.version}"


def _in_words(told: dict[str, Any]) -> str:
    if "convergence_ms" not in told:
        return f"out for {told['out_ms']:.1f} ms"
    return ", ".join(f"{name} {value:.1f} ms" for name, value in told["convergence_ms"].items())
