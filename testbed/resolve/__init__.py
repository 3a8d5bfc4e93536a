"""From a checked file and its addresses to the whole world: links, routes, daemons' configurations, expectations."""

from __future__ import annotations

from collections.abc import Mapping

from nodes.lisp.eid import EidPrefix
from testbed.address import Plan
from testbed.language.segments import default_roles, is_lisp, roles_of, segments
from testbed.language.tables import SiteRow, TopologyRow
from testbed.model import Node, NodeKind, Routing, Site, Topology
from testbed.resolve.expectations import expectations
from testbed.resolve.node_config import node_configs
from testbed.resolve.routes import routes
from testbed.resolve.routing import routing_daemons
from testbed.resolve.text import text
from testbed.resolve.wiring import wire

__all__ = ["resolve"]


def resolve(row: TopologyRow, plan: Plan, name: str, foreign: Mapping[str, str]) -> Topology:
    """Build the topology of a file without mistakes.

    Args:
        row: What the file says.
        plan: Every address.
        name: The topology's name unless the file gives one.
        foreign: What runs on the nodes that do not run our daemon.
    """
    name = row.name.value if row.name else name
    wiring = wire(row, plan)
    routing = Routing(row.routing.value) if row.routing else Routing.STATIC
    routers = routing_daemons(row, plan, wiring) if routing is Routing.OSPF_BGP else {}
    # LISP routers keep their default route whatever runs beside it (requirement S02).
    lisp = {member.name for member, _, default in default_roles(row) if roles_of(member, default)}
    static = routes(row, plan, wiring, frozenset(routers) - lisp)
    configs = node_configs(row, plan, wiring, name)
    nodes: dict[str, Node] = {}
    networks = {
        site.mobile: {
            link.name: end.name for link, end in zip(router.links, wiring.interfaces[site.mobile], strict=True)
        }
        for site in row.sites
        for router in site.routers
        if site.mobile
    }

    def add(node: str, kind: NodeKind, site: str) -> None:
        interfaces = tuple(wiring.interfaces.get(node, ()))
        nodes[node] = Node(
            node,
            kind,
            site,
            interfaces,
            static.get(node, ()),
            routers.get(node),
            configs.get(node),
            foreign.get(node, ""),
            tuple(address.ip for address in plan.hosts[node]) if kind is NodeKind.MOBILE_NODE else (),
            networks.get(node, {}),
        )

    for router in row.core.routers:
        add(router.name, NodeKind.ROUTER, "core")
    for member, site, default in default_roles(row):
        if site is None:
            add(member.name, NodeKind.LISP_ROUTER if roles_of(member, default) else NodeKind.ROUTER, "core")
    for site in row.sites:
        for one in site.routers:
            lisp_kind = NodeKind.MOBILE_NODE if site.mobile else NodeKind.LISP_ROUTER
            add(one.name, lisp_kind if is_lisp(site) else NodeKind.ROUTER, site.name)
        for segment in segments(site):
            if segment.row.fabric:
                add(segment.row.fabric.value, NodeKind.FABRIC, site.name)
            for host in segment.row.hosts:
                add(host.name, NodeKind.HOST, site.name)
    return Topology(
        name=name,
        title=row.title.value if row.title else name,
        nodes=nodes,
        links=tuple(wiring.links),
        sites={site.name: _site(site, plan) for site in row.sites},
        rloc_space=plan.rloc_space,
        eid_aggregates=tuple(EidPrefix(one) for one in plan.eid_space),
        expectations=expectations(row, plan),
        time_scale=float(row.time_scale.value) if row.time_scale else 1.0,
        routing=routing,
        source=text(row, plan, wiring, name, foreign),
    )


def _site(site: SiteRow, plan: Plan) -> Site:
    places = [(segment.instance_id, plan.segments[segment.key]) for segment in segments(site)]
    return Site(
        site.name,
        tuple(EidPrefix(one, instance_id) for instance_id, planned in places for one in planned.eid_prefixes),
        tuple(dict.fromkeys(one for _, planned in places for one in planned.subnets)),
        tuple(EidPrefix(one, instance_id) for instance_id, planned in places for one in planned.dynamic_eids),
        tuple(at.value for at in site.via),
    )
