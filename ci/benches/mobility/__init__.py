"""What a move between data centres costs: how soon everybody finds the host again, and how long nobody hears of it.

A host moves there and back while four correspondents send to it and it to them, a datagram a millisecond each way over
IPv4 and over IPv6, and a TCP connection with each of them carries bytes that are checked. ``moving`` tells how a round
goes, ``worlds`` where, ``mass`` how 200 hosts move at once.

*Right* is a correspondent's data plane from the first packet on that its router sends to the new place, as the core
sees it, of those that no packet to the old place follows; of a neighbour at the new place, from the first that it sends
straight to the host. A datagram a millisecond: the figures are up to a millisecond too large, never too small.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

from ci.benches.mobility import mass
from ci.benches.mobility.moving import Pace, moves
from ci.benches.mobility.worlds import bridged_world, lisp_world

MOVES, MOST_MOVES = 30, 300
_DELAYED_MOVES, _MASS_MOVES = 6, 5
_DELAYED = Pace(apart=5.0, settles=2.0, interval_ns=5_000_000)
"""Where the kernel has no netem a process delays the frames, and one in Python: fewer of them."""
_ROUND_TRIP_MS = 40.0

PARTS: dict[str, tuple[str, ...]] = {
    "pubsub": ("convergence_pubsub_ms", "blackout_ms", "tcp_lost", "bytes_wrong"),
    "smr": ("convergence_smr_ms", "blackout_smr_ms", "tcp_lost", "bytes_wrong"),
    "baseline": ("baseline_ms",),
    "pubsub_delayed": ("pubsub_rtts",),
    "smr_delayed": ("smr_rtts",),
    "mass": ("mass_move_ms",),
}
"""The parts of the bench, and what is made of each."""

KEYS = tuple(dict.fromkeys(key for keys in PARTS.values() for key in keys))


def measure(number: int, only: Collection[str]) -> dict[str, Any]:
    """Run the parts that are wanted.

    Args:
        number: How many moves.
        only: The keys that are wanted; all, if there are none.

    Returns:
        What each part found, and the load before it.
    """
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "pubsub": lambda: moves(lisp_world(pubsub=True), number, Pace()),
        "smr": lambda: moves(lisp_world(pubsub=False), number, Pace()),
        "baseline": lambda: moves(bridged_world(), number, Pace(apart=1.5)),
        "pubsub_delayed": lambda: _delayed(number, pubsub=True),
        "smr_delayed": lambda: _delayed(number, pubsub=False),
        "mass": lambda: {"rounds": mass.moves(min(number, _MASS_MOVES), pubsub=True)},
    }
    found: dict[str, Any] = {}
    for name, run in runs.items():
        if not only or set(PARTS[name]) & set(only):
            load = os.getloadavg()
            found[name] = {"load_average": load, **run()}
    return found


def _delayed(number: int, *, pubsub: bool) -> dict[str, Any]:
    found = moves(lisp_world(pubsub=pubsub, delayed=True), min(number, _DELAYED_MOVES), _DELAYED)
    return {"rtt_ms": _ROUND_TRIP_MS, **found}
