"""The keys of sites, where an implementation does not know every Key ID or Algorithm ID."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from nodes.lisp.config import Algorithm, Key, NodeConfig
from testbed.drivers.driver import Driver, Unusable
from testbed.model import Topology


def agreed(topology: Topology, drivers: Mapping[str, Driver]) -> tuple[Topology, list[str]]:
    """A topology whose keys everybody knows who has to, and a line for each key that is another now.

    A key stays as the file has it if that is possible; else it is the strongest algorithm, and the first Key ID, that
    the site's ETRs and its Map-Servers know.

    Raises:
        Unusable: They know none in common.
    """
    changes: dict[str, dict[Key, Key]] = {}
    for site, keys in _keys(topology).items():
        parties = [drivers[one] for one in _parties(topology, keys) if one in drivers]
        for key in keys:
            other = _known(key, parties, site)
            if other != key:
                changes.setdefault(site, {})[key] = other
    by_key = {old: new for change in changes.values() for old, new in change.items()}
    nodes = {
        name: replace(node, lisp=_rekeyed(node.lisp, by_key)) if node.lisp else node
        for name, node in topology.nodes.items()
    }
    told = [
        f"key of {site}: {_name(new.algorithm)}, Key ID {new.key_id}, which all know that use it"
        for site, change in changes.items()
        for new in change.values()
    ]
    source = topology.source
    for old, new in by_key.items():
        was, now = (f"id: {one.key_id}, algorithm: {_name(one.algorithm)}}}" for one in (old, new))
        begin = f"secret: {json.dumps(old.secret, ensure_ascii=False)}, "
        source = source.replace(begin + was, begin + now)
    return replace(topology, nodes=nodes, source=source), told


def _keys(topology: Topology) -> dict[str, tuple[Key, ...]]:
    """The keys of each site, as the Map-Servers have them."""
    return {site.name: site.keys for node in topology.lisp_routers if node.lisp for site in node.lisp.sites}


def _parties(topology: Topology, keys: tuple[Key, ...]) -> list[str]:
    """The nodes that use one of these keys."""
    return [
        node.name
        for node in topology.lisp_routers
        if node.lisp
        and (
            any(one.key in keys for one in node.lisp.map_servers)
            or any(one in keys for site in node.lisp.sites for one in site.keys)
        )
    ]


def _known(key: Key, parties: list[Driver], site: str) -> Key:
    algorithms = set(Algorithm).intersection(*(one.algorithms for one in parties))
    numbers = set(range(256)).intersection(*(one.key_ids for one in parties))
    if not algorithms or not numbers:
        who = " and ".join(sorted({one.name for one in parties}))
        raise Unusable(f"key of {site}: {who} know no algorithm and Key ID in common")
    algorithm = key.algorithm if key.algorithm in algorithms else max(algorithms)
    return replace(key, algorithm=algorithm, key_id=key.key_id if key.key_id in numbers else min(numbers))


def _rekeyed(config: NodeConfig, changes: Mapping[Key, Key]) -> NodeConfig:
    return replace(
        config,
        map_servers=tuple(replace(one, key=changes.get(one.key, one.key)) for one in config.map_servers),
        sites=tuple(replace(site, keys=tuple(changes.get(one, one) for one in site.keys)) for site in config.sites),
    )


def _name(algorithm: Algorithm) -> str:
    return algorithm.name.lower().replace("_", "-")
