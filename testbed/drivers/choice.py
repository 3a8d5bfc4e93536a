"""Which implementation runs on which node of a topology, and what the lab process is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from testbed.client.channel import InputError
from testbed.drivers.driver import OURS, Driver, driver, shipped
from testbed.drivers.plan import Plan
from testbed.model import Topology
from testbed.order import RunFiles
from testbed.resolve.text import cast_in
from testbed.words import echoed, one_of

Wanted = Mapping[str, str | Path | Driver]
"""Names of implementations, driver files or drivers, by node."""


def chosen(topology: Topology, wanted: Wanted, otherwise: Wanted) -> dict[str, Driver]:
    """The drivers of the nodes that do not run our daemon.

    Args:
        topology: The world; what it says of a node is what runs there,
        wanted: unless this says something else.
        otherwise: What runs on nodes of which nobody says anything.

    Raises:
        TopologyError: A driver file is wrong.
        InputError: There is no such node.
        Unusable: What it needs is not here.
    """
    names = [one.name for one in topology.lisp_routers]
    read: dict[str, Driver] = {}
    found = {}
    said = {one.name: one.implementation for one in topology.lisp_routers if one.implementation}
    for node, which in {**otherwise, **said, **wanted}.items():
        if node in names and topology[node].networks:
            if node in wanted:
                raise InputError(f"implementation of {node}: a mobile node runs our own daemon, allowed is {OURS}")
            continue
        if node not in names:
            raise InputError(f"implementation of {echoed(node)}: there is no such LISP node, {one_of(names, node)}")
        if isinstance(which, Driver):
            found[node] = which
        elif str(which) != OURS:
            if str(which) not in read:
                read[str(which)] = driver(which)
            found[node] = read[str(which)]
    for one in found.values():
        one.check_usable()
    return found


def recast(topology: Topology, drivers: Mapping[str, Driver]) -> Topology:
    """The topology as it says itself that these nodes run these drivers, and no others do."""
    which = {node: one.name if shipped().get(one.name) == one.file else str(one.file) for node, one in drivers.items()}
    nodes = {name: replace(node, implementation=which.get(name, "")) for name, node in topology.nodes.items()}
    return replace(topology, nodes=nodes, source=cast_in(topology.source, which))


def plans(topology: Topology, drivers: Mapping[str, Driver], files: RunFiles) -> dict[str, Plan]:
    """What each of these nodes runs.

    Raises:
        Unusable: An implementation cannot be that node.
        TopologyError: A template has a mistake.
    """
    return {node: one.plan(topology, topology[node], files.node(node)) for node, one in drivers.items()}
