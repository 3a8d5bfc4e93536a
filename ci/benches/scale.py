"""How long a hundred sites take from the typed command to the first reply across them, and what they weigh."""

from __future__ import annotations

import re
import time
from typing import Any

from ci.benches.boot import command
from testbed.act.ping import first_reply
from testbed.lab import Lab

ROUNDS = 3
LAB = "bench-scale"
UP = ["ci/lab", "up", "hundred-sites", "--name", LAB]
DOWN = ["ci/lab", "down", "--lab", LAB]
GOALS = {"hundred_sites_s": 20.0}


def measure() -> dict[str, Any]:
    """Run the rounds; return them with the commands and the goals."""
    rounds = []
    for number in range(ROUNDS):
        rounds.append(_round())
        print(
            f"round {number + 1} of {ROUNDS}: " + ", ".join(f"{k} {v:.3f}" for k, v in rounds[-1].items()), flush=True
        )
    return {"commands": [" ".join(UP), " ".join(DOWN)], "goals": GOALS, "rounds": rounds}


def _round() -> dict[str, float]:
    began = time.monotonic()
    command(UP)
    lab = Lab.attach(LAB)
    try:
        hosts = lab.topology.hosts
        first_reply(lab, hosts[0].name, hosts[-1].name, within=30)
        replied = time.monotonic()
        weight = _pss_mb(lab)
    finally:
        stop_began = time.monotonic()
        command(DOWN)
    return {
        "hundred_sites_s": replied - began,
        "hundred_sites_mb": weight,
        "hundred_sites_stop_s": time.monotonic() - stop_began,
    }


def _pss_mb(lab: Lab) -> float:
    """Proportional set size of everything in the lab's box: what all its processes take of the machine's memory."""
    inside = lab.topology.hosts[0].name
    smaps = lab.run(inside, ["sh", "-c", "cat /proc/[0-9]*/smaps_rollup"]).stdout
    return sum(int(size) for size in re.findall(r"^Pss:\s+(\d+) kB", smaps, re.MULTILINE)) / 1024
