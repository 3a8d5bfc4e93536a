"""Which implementation runs on which node of a topology, and what the lab process is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testbed.client.channel import LabError
from testbed.drivers.driver import OURS, Driver, driver
from testbed.drivers.plan import Plan
from testbed.language.problems import one_of
from testbed.model import Topology
from testbed.order import RunFiles


def chosen(topology: Topology, wanted: Mapping[str, str | Path | Driver]) -> dict[str, Driver]:
    """The drivers of the nodes that do not run our daemon.

    Args:
        topology: The world.
        wanted: Names of implementations, driver files or drivers, by node.

    Raises:
        TopologyError: A driver file is wrong.
        LabError: There is no such node, or what it needs is not here.
    """
    names = [one.name for one in topology.lisp_routers]
    read: dict[str, Driver] = {}
    found = {}
    for node, which in wanted.items():
        if node not in names:
            raise LabError(f"implementation of {node}: there is no such LISP node, {one_of(names, node)}")
        if isinstance(which, Driver):
            found[node] = which
        elif str(which) != OURS:
            found[node] = read.setdefault(str(which), driver(which))
    for one in found.values():
        one.check_usable()
    return found


def plans(topology: Topology, drivers: Mapping[str, Driver], files: RunFiles) -> dict[str, Plan]:
    """What each of these nodes runs.

    Raises:
        Unusable: An implementation cannot be that node.
        TopologyError: A template has a mistake.
    """
    return {node: one.plan(topology, topology[node], files.node(node)) for node, one in drivers.items()}
