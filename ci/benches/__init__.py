"""Measurements of the testbed on this machine; each keeps every raw round, the commands and the versions in JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed.lab import LabError

REPOSITORY = Path(__file__).resolve().parents[2]


def run(name: str, json_file: str) -> None:
    """Run the bench called ``name``, print its medians, keep them and every raw round in ``json_file``.

    Raises:
        LabError: There is no such bench, or the file cannot be written.
    """
    from ci.benches import boot, scale

    benches: Mapping[str, Callable[[], dict[str, Any]]] = {"boot": boot.measure, "scale": scale.measure}
    if name not in benches:
        raise LabError(f"bench: nothing is called {name}; there are {', '.join(benches)}")
    if not json_file:
        raise LabError(f"bench: say where the raw rounds go, for example: ci/lab bench {name} --json {name}.json")
    try:
        open(json_file, "a").close()
    except OSError as error:
        raise LabError(f"bench: {json_file}: {error.strerror}; --json names a file that can be written") from None
    measured = benches[name]()
    figures = medians(measured["rounds"])
    result = {"bench": name, **figures, **measured, "versions": versions()}
    Path(json_file).write_text(json.dumps(result, indent=1) + "\n")
    for key, value in figures.items():
        goal = measured["goals"].get(key)
        print(f"{key:20} {value:8.3f}" + (f"   goal: at most {goal}" if goal is not None else ""))
    print(f"raw rounds are in {json_file}")


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


def versions() -> dict[str, str]:
    """What was measured, and on what."""
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip() or "unknown",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "mininet": metadata.version("mininet"),
        "cores": str(len(os.sched_getaffinity(0))),
    }
