"""Topology files, and the machine they are to run on: validate, graph, generate, doctor."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from testbed.commands.values import unwritten


def validate(file: str, *, resolved: bool = False) -> None:
    """Read a topology and say what it holds, or print it resolved; create nothing.

    Raises:
        TopologyError: There are mistakes in it.
    """
    from testbed.load import load

    topology = load(file)
    if resolved:
        print(topology.source, end="")
        return
    counts = {"site": len(topology.sites), "node": len(topology.nodes), "link": len(topology.links)}
    counts["expectation"] = len(topology.expectations)
    told = ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for noun, number in counts.items())
    print(f"{topology.name} is valid: {told}")


def graph(file: str, *, output: str | None = None) -> None:
    """Draw a topology as SVG into a file, or to standard output for "-".

    Raises:
        TopologyError: There are mistakes in it.
        InputError: The file cannot be written.
        LabError: The disk is full.
    """
    from testbed.client.box import give, owner
    from testbed.graph import graph as draw_topology
    from testbed.load import load

    topology = load(file)
    drawing = draw_topology(topology)
    if output == "-":
        sys.stdout.write(drawing)
        return
    path = Path(output or f"{topology.name}.svg")
    new = not path.exists()
    try:
        path.write_text(drawing, encoding="utf-8")
        if new:
            give(path, owner())
    except OSError as error:
        raise unwritten(path, error) from None
    print(f"{path} shows {topology.name}")


def generate() -> None:
    """Write anew what is generated from the topology language."""
    from testbed.generate import generate as write

    written = write()
    print(
        "\n".join(f"{os.path.normpath(f'topologies/{name}')} is new" for name in written)
        or "everything generated is current"
    )


def doctor(*, as_json: bool = False) -> int:
    """Say what this machine offers and what is missing; return 1 when no lab can run here."""
    from testbed.doctor import examine
    from testbed.drivers import driver, shipped

    report = examine()
    if as_json:
        usable = {name: {"usable": not driver(name).missing, "missing": driver(name).missing} for name in shipped()}
        print(json.dumps(report.to_json() | {"implementations": usable}, indent=1))
        return 0 if report.lab_can_run else 1
    from testbed.observe.tables import draw, examination

    draw(examination(report.findings), report.machine.words)
    runs, why = report.dataplane
    print(f"data plane: {runs}{f', because of {why}' if why else ''}")
    for name in shipped():
        lacking = driver(name).missing
        print(f"implementation {name}: {f'no: {lacking[0]} is not on the PATH' if lacking else 'usable'}")
    without = ", ".join(one.name for one in report.missing) or "nothing"
    print(f"{'a lab can run here' if report.lab_can_run else 'NO LAB CAN RUN HERE'}; missing: {without}")
    return 0 if report.lab_can_run else 1
