"""From a checked file and its addresses to the whole world: links, routes, daemons' configurations, expectations."""

from __future__ import annotations

from nodes.lisp.eid import EidPrefix
from testbed.address import Plan
from testbed.language.checks import default_roles, is_lisp, roles_of
from testbed.language.tables import TopologyRow
from testbed.model import Node, NodeKind, Site, Topology
from testbed.resolve.expectations import expectations
from testbed.resolve.node_config import node_configs
from testbed.resolve.routes import routes
from testbed.resolve.text import text
from testbed.resolve.wiring import wire

__all__ = ["resolve"]


def resolve(row: TopologyRow, plan: Plan, name: str) -> Topology:
    """Build the topology of a file without mistakes.

    Args:
        row: What the file says.
        plan: Every address.
        name: The topology's name unless the file gives one.
    """
    name = row.name.value if row.name else name
    wiring = wire(row, plan)
    static = routes(row, plan, wiring)
    configs = node_configs(row, plan, wiring, name)
    nodes: dict[str, Node] = {}

    def add(node: str, kind: NodeKind, site: str) -> None:
        interfaces = tuple(wiring.interfaces.get(node, ()))
        nodes[node] = Node(node, kind, site, interfaces, static.get(node, ()), lisp=configs.get(node))

    for router in row.core.routers:
        add(router.name, NodeKind.ROUTER, "core")
    for member, site, default in default_roles(row):
        if site is None:
            add(member.name, NodeKind.LISP_ROUTER if roles_of(member, default) else NodeKind.ROUTER, "core")
    for site in row.sites:
        for one in site.routers:
            add(one.name, NodeKind.LISP_ROUTER if is_lisp(site) else NodeKind.ROUTER, site.name)
        if site.fabric:
            add(site.fabric.value, NodeKind.FABRIC, site.name)
        for host in site.hosts:
            add(host.name, NodeKind.HOST, site.name)
    return Topology(
        name=name,
        title=row.title.value if row.title else name,
        nodes=nodes,
        links=tuple(wiring.links),
        sites={
            site.name: Site(
                site.name,
                tuple(EidPrefix(one) for one in plan.eid_prefixes.get(site.name, ())),
                tuple(plan.subnets[site.name]),
            )
            for site in row.sites
        },
        rloc_space=plan.rloc_space,
        eid_aggregates=tuple(EidPrefix(one) for one in plan.eid_space),
        expectations=expectations(row),
        time_scale=float(row.time_scale.value) if row.time_scale else 1.0,
        source=text(row, plan, wiring, name),
    )
