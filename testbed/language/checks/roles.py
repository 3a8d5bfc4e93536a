"""Who registers needs a Map-Server, who asks needs a Map-Resolver, and only sites have EIDs to tunnel for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from nodes.lisp.config import ROLE_SETS, Role
from testbed.language.problems import Problems
from testbed.language.segments import default_roles, roles_of
from testbed.language.shapes import At
from testbed.language.tables import TopologyRow
from testbed.words import one_of


def check_roles(topology: TopologyRow, problems: Problems) -> None:
    """Every role stands where it has a meaning, and finds the others that it needs."""
    nodes = list(default_roles(topology))
    having: dict[Role, list[str]] = defaultdict(list)
    for node, site, default in nodes:
        roles = roles_of(node, default)
        for role in roles:
            having[role].append(node.name)
        if site is None and roles & {Role.ITR, Role.ETR}:
            tunnel = next((one for one in node.roles if set(ROLE_SETS[one.value]) & {Role.ITR, Role.ETR}), None)
            if tunnel:
                allowed = [name for name, named in ROLE_SETS.items() if not set(named) & {Role.ITR, Role.ETR}]
                problems.add(
                    tunnel.line, f"role {tunnel} of node {node.name}, which stands in no site", one_of(allowed)
                )
        if node.map_resolvers and not roles & {Role.PITR, Role.RTR}:
            what = f"map-resolvers of {node.KIND} {node.name}, which is no PITR or RTR"
            where = "allowed are map-resolvers of a PITR or RTR" + (", or of the site" if site else "")
            problems.add(node.map_resolvers[0].line, what, where)
    # A misspelt role or a broken section may be the very node that is missed.
    unsure = "mapping_system" in topology.broken or ("sites" in topology.broken and not topology.mapping_system)
    if unsure or any("roles" in node.broken for node, _, _ in nodes):
        return
    line = topology.mapping_system[0].line if topology.mapping_system else topology.line
    hint = "with the role {0} or msmr, under mapping-system or in a site"
    if having[Role.ETR] and not having[Role.MAP_SERVER]:
        problems.add(line, "no map-server, but sites that register", f"needed: a node {hint.format('map-server')}")
    if (having[Role.ITR] or having[Role.PITR] or having[Role.RTR]) and not having[Role.MAP_RESOLVER]:
        problems.add(line, "no map-resolver, but nodes that ask", f"needed: a node {hint.format('map-resolver')}")
    for owner, role, at in _chosen(topology):
        if at.value not in having[role]:
            if role is Role.RTR:
                hint = one_of(having[role], at.value) if having[role] else "needed: a node with the role rtr"
                problems.add(at.line, f"via of {owner}: '{at}' is no RTR", hint)
            else:
                problems.add(at.line, f"{role}s of {owner}: '{at}' is no {role}", one_of(having[role], at.value))


def _chosen(topology: TopologyRow) -> Iterator[tuple[str, Role, At[str]]]:
    """Whom nodes and sites choose among the nodes of a role."""
    for site in topology.sites:
        for role, chosen in (
            (Role.MAP_SERVER, site.map_servers),
            (Role.MAP_RESOLVER, site.map_resolvers),
            (Role.PETR, site.petrs),
            (Role.RTR, site.via),
        ):
            for at in chosen:
                yield site.label, role, at
    for node, _, _ in default_roles(topology):
        for at in node.map_resolvers:
            yield f"{node.KIND} {node.name}", Role.MAP_RESOLVER, at
