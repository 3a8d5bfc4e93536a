"""Measurements of the testbed on this machine; each keeps every raw round, the commands and the versions in JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from inspect import signature
from pathlib import Path
from typing import Any

from testbed.commands.values import check_writable
from testbed.lab import InputError
from testbed.words import echoed, one_of

REPOSITORY = Path(__file__).resolve().parents[2]


def run(name: str, json_file: str, **options: Any) -> None:
    """Run the bench called ``name``, print its medians, keep them and every raw round in ``json_file``.

    Args:
        name: Which one.
        json_file: Where the raw rounds go.
        options: What only ``dataplane`` and ``mobility`` have; see the ``run`` of their ``command``.

    Raises:
        InputError: There is no such bench or option, or a file cannot be written.
        LabError: It could not measure.
    """
    from ci.benches import boot, scale
    from ci.benches.dataplane import command as dataplane
    from ci.benches.mobility import command as mobility

    benches: Mapping[str, Callable[[], dict[str, Any]]] = {"boot": boot.measure, "scale": scale.measure}
    commands: Mapping[str, Callable[..., None]] = {"dataplane": dataplane.run, "mobility": mobility.run}
    if name not in (*benches, *commands):
        raise InputError(f"nothing is called {echoed(name)}, {one_of((*benches, *commands), name)}")
    known = signature(commands[name]).parameters if name in commands else {}
    given = {option: value for option, value in options.items() if value}
    for option in given:
        if option not in known:
            has = [one for one, run in commands.items() if option in signature(run).parameters]
            raise InputError(f"{name} has no --{option}; {' and '.join(has)} {'have' if len(has) > 1 else 'has'}")
    if name in commands:
        commands[name](json_file, **given)
        return
    check_output(name, json_file)
    measured = benches[name]()
    figures = medians(measured["rounds"])
    write_json(json_file, {"bench": name, **figures, **measured, "versions": versions()})
    for key, value in figures.items():
        goal = measured["goals"].get(key)
        print(f"{key:20} {value:8.3f}" + (f"   goal: at most {goal}" if goal is not None else ""))
    print(f"raw rounds are in {json_file}")


def check_output(name: str, json_file: str) -> None:
    """See that a bench has somewhere to keep its rounds, before it takes minutes.

    Raises:
        InputError: It has not.
    """
    if not json_file:
        raise InputError(f"say where the raw rounds go, for example: ci/lab bench {name} --json {name}.json")
    check_writable("--json", Path(json_file))


def read_earlier(file: str, bench: str, key: str) -> Any:
    """What an earlier run kept under ``key`` in its JSON file.

    Raises:
        InputError: It is no such file.
    """
    try:
        result = json.loads(Path(file).read_text())
        if result["bench"] == bench:
            return result[key]
        why = f"it is of bench {echoed(result['bench'])}"
    except OSError as error:
        why = str(error.strerror)
    except (ValueError, KeyError, TypeError):
        why = "it is none"
    allowed = f"allowed is the JSON file of an earlier run of bench {bench}"
    raise InputError(f"--earlier {echoed(file)}: {why}, {allowed}")


def write_json(file: str, result: Mapping[str, Any]) -> None:
    """Keep what was measured."""
    Path(file).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


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
