"""Which data plane the LISP nodes of a lab run, and what they need for it (requirement ``dataplane`` of a topology)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from nodes.dataplane.bpf import compiler
from nodes.lisp.config import DataPlane, NodeConfig, Role
from testbed.client.box import give, owner
from testbed.client.channel import InputError, LabError
from testbed.model import Topology
from testbed.words import one_of, shortened

_FORWARDING = frozenset(Role) - {Role.MAP_SERVER, Role.MAP_RESOLVER}


def overridden(topology: Topology, wanted: str) -> Topology:
    """A topology with one data plane on all its LISP nodes, whatever its file says.

    Args:
        topology: The topology.
        wanted: The name of a data plane.

    Raises:
        InputError: There is none of that name.
    """
    try:
        plane = DataPlane(wanted)
    except ValueError:
        allowed = one_of([one.value for one in DataPlane], wanted)
        raise InputError(f"unknown data plane '{shortened(wanted, 100)}', {allowed}") from None
    source = re.sub(r"^ +dataplane: .*\n", "", topology.source, flags=re.MULTILINE)
    source = re.sub(r"^dataplane: .*$", f"dataplane: {plane}", source, flags=re.MULTILINE)
    return replace(_configured(topology, lambda config: replace(config, dataplane=plane)), source=source)


def provided(topology: Topology, say: Callable[[str], None]) -> Topology:
    """A topology whose LISP nodes know where their tc programs are; compiled if need be.

    Args:
        topology: The topology.
        say: Called with a few words where nodes that may do without the programs have to.

    Raises:
        LabError: There are none, and a node cannot do without.
    """
    willing = [config for config in _configs(topology) if config.dataplane is not DataPlane.PYTHON and forwards(config)]
    if not willing:
        return topology
    try:
        compiled = programs()
    except compiler.CompileError as error:
        strict = [config.name for config in willing if config.dataplane is DataPlane.EBPF]
        if strict:
            raise LabError(f"dataplane: ebpf of {_names(strict)} is not possible: {error}") from None
        say(f"data plane: python (the tc programs are not compiled: {error})")
        return topology
    named = {config.name for config in willing}
    return _configured(topology, lambda one: replace(one, bpf_object=str(compiled)) if one.name in named else one)


def programs() -> Path:
    """The compiled tc programs; compiled if need be, and then the caller's as everything in the checkout.

    Raises:
        CompileError: There is no clang, or it refuses.
    """
    compiled = compiler.provide()
    with suppress(OSError):  # at worst it stays root's
        for path in (compiled.parent, compiled, compiled.with_suffix(".log")):
            give(path, owner())
    return compiled


def forwards(config: NodeConfig) -> bool:
    """Whether a node has packets to forward at all."""
    return bool(config.roles & _FORWARDING)


def told(topology: Topology, reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What daemons said of their data planes, in as few lines as possible.

    Args:
        topology: The topology as :func:`provided` gives it; nodes that it has spoken of already are left out.
        reports: By node, ``runs`` and ``why``.
    """
    known = {
        config.name for config in _configs(topology) if config.dataplane is DataPlane.AUTO and not config.bpf_object
    }
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node, report in reports.items():
        if node not in known:
            # Each has a log of its own; that of the first will do.
            alike[report["runs"], report["why"].replace(f"/{node}/", "/")].append(node)
    lines = []
    for (runs, _), nodes in alike.items():
        where = f" of {_names(nodes)}" if len(nodes) < len(reports) else ""
        lines.append(f"data plane{where}: {runs} ({reports[nodes[0]]['why']})")
    return lines


def _configs(topology: Topology) -> list[NodeConfig]:
    return [node.lisp for node in topology.lisp_routers if node.lisp is not None]


def _configured(topology: Topology, change: Callable[[NodeConfig], NodeConfig]) -> Topology:
    nodes = {
        name: replace(node, lisp=change(node.lisp)) if node.lisp else node for name, node in topology.nodes.items()
    }
    return replace(topology, nodes=nodes)


def _names(nodes: Iterable[str], most: int = 5) -> str:
    names = list(nodes)
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
