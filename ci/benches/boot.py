"""How long two-dc takes from the typed command to the first reply between EIDs, routed by BIRD and statically.

And what a daemon weighs, and how fast a lab ends.

Every round starts fresh processes; nothing is pre-warmed but the kernel's page cache, which the round before filled.
"""

from __future__ import annotations

import re
import subprocess
import time
from typing import Any

from ci.benches import REPOSITORY
from testbed.act.ping import first_reply
from testbed.lab import Lab, LabError

ROUNDS = 5
LAB = "bench-boot"
UP = ["ci/lab", "up", "two-dc", "--name", LAB]
UP_STATIC = ["ci/lab", "up", "two-dc-static", "--name", LAB]
DOWN = ["ci/lab", "down", "--lab", LAB]
GOALS = {"ready_s": 10.0, "ready_static_s": 2.0, "daemon_pss_mb": 15.0, "stop_s": 0.5}


def measure() -> dict[str, Any]:
    """Run the rounds; return them with the commands and the goals."""
    rounds = []
    for number in range(ROUNDS):
        rounds.append(_round())
        print(
            f"round {number + 1} of {ROUNDS}: " + ", ".join(f"{k} {v:.3f}" for k, v in rounds[-1].items()), flush=True
        )
    return {"commands": [" ".join(words) for words in (UP, UP_STATIC, DOWN)], "goals": GOALS, "rounds": rounds}


def _round() -> dict[str, float]:
    ready, _, _, _ = _boot(UP)
    ready_static, up_returned, heaviest, stop = _boot(UP_STATIC)
    return {
        "ready_s": ready,
        "ready_static_s": ready_static,
        "up_returned_s": up_returned,
        "daemon_pss_mb": heaviest,
        "stop_s": stop,
    }


def _boot(up: list[str]) -> tuple[float, float, float, float]:
    """Boot a lab and end it.

    Returns:
        Seconds to the first reply and until the command returned, the weight in MB of its heaviest LISP daemon, and
        the seconds that its end took.
    """
    began = time.monotonic()
    command(up)
    up_returned = time.monotonic()
    lab = Lab.attach(LAB)
    try:
        first_reply(lab, "h1", "h4", within=30)
        replied = time.monotonic()
        lisp = {node.name for node in lab.topology.lisp_routers}
        heaviest = max(_pss_mb(lab, node) for node in lab.status()["nodes"] if node["name"] in lisp)
    finally:
        stop_began = time.monotonic()
        command(DOWN)
    return replied - began, up_returned - began, heaviest, time.monotonic() - stop_began


def command(words: list[str]) -> None:
    """Run one of our commands as it is typed.

    Raises:
        LabError: It failed.
    """
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(words)} failed with status {done.returncode}: {done.stderr.strip()}")


def _pss_mb(lab: Lab, node: dict[str, Any]) -> float:
    """Proportional set size of a node's daemon: its own memory and its share of what several processes use."""
    smaps = lab.run(node["name"], ["cat", f"/proc/{node['pid']}/smaps_rollup"]).stdout
    found = re.search(r"^Pss:\s+(\d+) kB", smaps, re.MULTILINE)
    if found is None:
        raise LabError(f"{node['name']}: no Pss in smaps_rollup of its daemon (PID {node['pid']})")
    return int(found[1]) / 1024
