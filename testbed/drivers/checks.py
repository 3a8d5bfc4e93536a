"""What a topology file says of implementations: that they are there, and can be the nodes that are to run them."""

from __future__ import annotations

from pathlib import Path

from testbed.drivers.driver import OURS, driver, shipped
from testbed.language.problems import Problems
from testbed.language.segments import default_roles, roles_of
from testbed.language.tables import TopologyRow
from testbed.words import one_of


def implementations(topology: TopologyRow, directory: Path, problems: Problems) -> dict[str, str]:
    """What runs on the nodes that say so: names, or driver files by their full paths; our own daemon is left out.

    Args:
        topology: What the file says.
        directory: Where paths of driver files begin.
        problems: Where mistakes go.

    Raises:
        TopologyError: There are mistakes in a driver file; they are told in the words of that file.
    """
    found = {}
    for node, _, default in default_roles(topology):
        if node.implementation is None or node.implementation.value == OURS:
            continue
        named = node.implementation.value
        which = named if named in shipped() else str((directory / named).resolve())
        if named not in shipped() and not Path(which).exists():
            allowed = f"{one_of([OURS, *shipped()], named)}, or the path of a driver file"
            problems.add(node.implementation.line, f"implementation of {node.KIND} {node.name}: no {named}", allowed)
            continue
        one = driver(which)
        roles = roles_of(node, default)
        if "roles" not in node.broken and roles and not one.plays(roles):
            what = f"{node.KIND} {node.name} is {', '.join(sorted(roles))}, which {one.name} cannot be"
            allowed = ", ".join(at.value for at in one.row.roles)
            problems.add(node.implementation.line, what, f"allowed are nodes that are {allowed}")
        found[node.name] = which
    return found
