"""The world as it stands: hosts may have moved since its file was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from testbed.act.mobility.moved import Moved
from testbed.model import Path, Topology


def as_it_stands(topology: Topology, places: Mapping[str, str]) -> Topology:
    """The topology with each host at the site where it is, and what is to be expected of it there.

    That is what the file says of the hosts that live there; a host that moved has its path by where it is.

    Args:
        topology: The resolved world.
        places: The site that each host is in, by its name; of other nodes nothing is taken.
    """
    moved = {host.name: places[host.name] for host in topology.hosts if places.get(host.name, host.site) != host.site}
    moved = {name: site for name, site in moved.items() if site in topology.sites}
    if not moved:
        return topology
    nodes = {name: replace(node, site=moved.get(name, node.site)) for name, node in topology.nodes.items()}
    paths = {
        (topology[one.source].site, topology[one.destination].site, one.version, one.instance_id): one.path
        for one in topology.expectations
    }
    expected = []
    for one in topology.expectations:
        if {one.source, one.destination} & moved.keys():
            here, there = nodes[one.source].site, nodes[one.destination].site
            path = paths.get((here, there, one.version, one.instance_id), Path.LOCAL if here == there else one.path)
            expected.append(replace(one, path=path))
        else:
            expected.append(one)
    return replace(topology, nodes=nodes, expectations=tuple(expected))


def as_it_changed(topology: Topology, places: Mapping[str, str], moves: Iterable[Moved]) -> list[Topology]:
    """The topology as it stood, then as it stood after each of some moves; see :func:`as_it_stands`.

    Args:
        topology: The resolved world.
        places: The site that each host was in before the first of them.
        moves: The moves, oldest first.
    """
    worlds = [as_it_stands(topology, places)]
    for one in moves:
        places = {**places, one.node: one.site}
        worlds.append(as_it_stands(topology, places))
    return worlds
