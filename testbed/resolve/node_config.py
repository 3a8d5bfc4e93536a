"""What each LISP daemon is told, from the topology as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import pairwise
from typing import TypeVar

from nodes.lisp.config import (
    Algorithm,
    DatabaseMapping,
    DataPlane,
    Delegation,
    DynamicEid,
    Key,
    Locator,
    MapServerPeer,
    NodeConfig,
    RegistrationSite,
    Role,
    Subscriber,
)
from nodes.lisp.eid import EidPrefix, IPAddress
from testbed.address import Plan
from testbed.language.defaults import DEFAULT_HOST_PROBES, DEFAULT_HOST_SILENCE
from testbed.language.network_tables import FAMILIES, NodeRow
from testbed.language.segments import default_roles, first_links, is_lisp, proxy_reply, roles_of, segments
from testbed.language.shapes import At
from testbed.language.tables import ALGORITHMS, DEFAULT_KEY_ID, SiteRow, TopologyRow
from testbed.model import Side
from testbed.resolve.gateways import gateways, routers_in
from testbed.resolve.registration_sites import registration_sites, roaming
from testbed.resolve.wiring import Wiring

T = TypeVar("T")

DEFAULT_ALGORITHM = Algorithm.HMAC_SHA_256_128_HKDF_SHA256
"""RFC 9301 section 5.6: an ETR should use HMAC-SHA256-128+HKDF-SHA256."""
DEFAULT_TTL_MINUTES = 1440
DEFAULT_PRIORITY = 1
DEFAULT_WEIGHT = 100
DEFAULT_NBR_PROXY_REPLY = 1
DEFAULT_PROBING = 10.0

_ASKING = frozenset({Role.ITR, Role.PITR, Role.RTR})


@dataclass(frozen=True, slots=True)
class Members:
    """The LISP nodes of a topology.

    Attributes:
        having: The names of the nodes of each role.
        rlocs: The RLOCs of each node.
    """

    having: dict[Role, list[str]]
    rlocs: dict[str, tuple[IPAddress, ...]]

    def of(self, role: Role, asker: str, chosen: Sequence[object] = ()) -> list[IPAddress]:
        """Where ``asker`` reaches the nodes of a role: the chosen ones in that order, or all.

        Each at its first RLOC of an IP version that the asker has; those without one are left out.
        """
        mine = {own.version for own in self.rlocs[asker]}
        names = [str(one) for one in chosen] or self.having[role]
        found = [next((own for own in self.rlocs[name] if own.version in mine), None) for name in names]
        return [one for one in found if one is not None]

    def ways(self, via: Sequence[str], version: int) -> list[tuple[IPAddress, ...]]:
        """The RLOCs of RTRs at which packets arrive on a path to an RLOC of an IP version: a way for each way in.

        Who begins the path has RLOCs of one IP version, or of the other. After that the RTRs have their choice: that of
        the end, where they can, or the first that two of them share. None if the path is broken.
        """
        versions = [{own.version for own in self.rlocs[name]} for name in via]
        if version not in versions[-1]:
            return []
        shared = [here & there for here, there in pairwise(versions)]
        if not all(shared):
            return []
        rest = [version if version in common else min(common) for common in shared]
        return [
            tuple(self._first(name, one) for name, one in zip(via, (entry, *rest), strict=True))
            for entry in sorted(versions[0])
        ]

    def _first(self, name: str, version: int) -> IPAddress:
        return next(own for own in self.rlocs[name] if own.version == version)


def node_configs(topology: TopologyRow, plan: Plan, wiring: Wiring, name: str) -> dict[str, NodeConfig]:
    """The configuration of every LISP node, by name.

    Args:
        topology: What the file says.
        plan: Every address.
        wiring: Every interface.
        name: The topology's name, from which xTR-IDs are derived.
    """
    nodes = [(node, site, roles_of(node, default)) for node, site, default in default_roles(topology)]
    rlocs = {
        node.name: plan.rlocs(node.name, [link.name for link in first_links(node, site)]) for node, site, _ in nodes
    }
    having = {role: [node.name for node, _, roles in nodes if role in roles] for role in Role}
    lisp_sites = [site for site in topology.sites if is_lisp(site)]
    members = Members(having, rlocs)
    instances_used = {segment.instance_id for site in lisp_sites for segment in segments(site)}

    def site_id(site: SiteRow | None, roles: frozenset[Role]) -> int:
        return lisp_sites.index(site) + 1 if site and roles & {Role.ITR, Role.ETR} else 0

    subscribers = {
        node.name: Subscriber(
            _xtr_id(name, node),
            site_id(site, roles),
            plan.rloc_space if site and site.mobile else tuple(ip_network(own) for own in rlocs[node.name]),
            (_subscription_key(name, node),),
        )
        for node, site, roles in nodes
        if bool(roles & _ASKING) and _said(node.pubsub, topology.pubsub, False)
    }
    resolver_rlocs = tuple(own for one in having[Role.MAP_RESOLVER] for own in rlocs[one])
    configs: dict[str, NodeConfig] = {}
    for node, site, roles in nodes:
        if not roles:
            continue
        asks, registers = bool(roles & _ASKING), Role.ETR in roles
        tunnels = site is not None and bool(roles & {Role.ITR, Role.ETR})
        interfaces = wiring.interfaces.get(node.name, [])
        site_side = [one for one in interfaces if one.side is Side.SITE]
        instances = tuple(one.instance_id for one in site_side)
        resolvers = node.map_resolvers or (site.map_resolvers if site else ())
        configs[node.name] = NodeConfig(
            name=node.name,
            roles=roles,
            rlocs=rlocs[node.name],
            core_interfaces=tuple(one.name for one in interfaces if one.side is Side.CORE),
            site_interfaces=tuple(one.name for one in site_side),
            site_instances=instances if any(instances) else (),
            gateways=gateways(topology, site, plan, site_side) if site and tunnels else (),
            map_notify_group=site.map_notify_group.value if site and tunnels and site.map_notify_group else None,
            database=_database(site, plan, members) if site and tunnels else (),
            dynamic_eids=_dynamic_eids(topology, site, plan, members) if site and tunnels else (),
            roaming=roaming(site, lisp_sites, plan) if site and tunnels else (),
            map_resolvers=tuple(members.of(Role.MAP_RESOLVER, node.name, resolvers)) if asks else (),
            map_servers=_peers(site, node.name, members) if site and registers else (),
            petrs=_petrs(site, node.name, roles, members),
            eid_aggregates=_aggregates(plan, roles, instances_used),
            rloc_space=plan.rloc_space,
            sites=_served(node, lisp_sites, plan) if Role.MAP_SERVER in roles else (),
            delegations=_delegations(node.name, lisp_sites, plan, members) if Role.MAP_RESOLVER in roles else (),
            xtr_id=_xtr_id(name, node) if asks or registers else "",
            site_id=site_id(site, roles),
            subscribers=tuple(
                one if Role.MAP_SERVER in roles else replace(one, keys=()) for one in subscribers.values()
            )
            if roles & {Role.MAP_SERVER, Role.MAP_RESOLVER}
            else (),
            subscription_resolvers=resolver_rlocs if Role.MAP_SERVER in roles and subscribers else (),
            subscription_keys=subscribers[node.name].keys if node.name in subscribers else (),
            dataplane=_dataplane(topology, node),
            probing=_said(node.probing, topology.probing, DEFAULT_PROBING),
            path_mtu_discovery=_said(node.path_mtu_discovery, topology.path_mtu_discovery, False),
            locator_status_bits=_said(node.locator_status_bits, topology.locator_status_bits, False),
            core_mtu=wiring.core_mtu,
            mobile=bool(site and site.mobile),
            time_scale=float(topology.time_scale.value) if topology.time_scale else 1.0,
        )
    return configs


def _said(of_node: At[T] | None, of_all: At[T] | None, default: T) -> T:
    """What the file says of a node, else of all, else what is meant when it says nothing."""
    said = of_node or of_all
    return said.value if said else default


def _dataplane(topology: TopologyRow, node: NodeRow) -> DataPlane:
    """What the file says of the node, else of all."""
    said = node.dataplane or topology.dataplane
    return DataPlane(said.value) if said else DataPlane.AUTO


def site_keys(site: SiteRow) -> list[Key]:
    """The keys of a LISP site, the one that its ETRs begin with first; with defaults for what the file leaves out."""
    found = []
    for row in (site.key, *site.other_keys):
        if row is None or row.secret is None:
            raise ValueError(f"site {site.name} has no key")  # refused by the checks
        algorithm = ALGORITHMS[row.algorithm.value] if row.algorithm else DEFAULT_ALGORITHM
        found.append(Key(row.id.value if row.id else DEFAULT_KEY_ID, algorithm, row.secret.value))
    return found


def _aggregates(plan: Plan, roles: frozenset[Role], instances: set[int]) -> tuple[EidPrefix, ...]:
    """The EID space. An RTR carries it in every instance; a proxy joins instance 0 alone to the world outside."""
    everywhere = Role.RTR in roles and not roles & {Role.PITR, Role.PETR}
    return tuple(
        EidPrefix(one, number) for number in sorted(instances | {0} if everywhere else {0}) for one in plan.eid_space
    )


def _locators(site: SiteRow, plan: Plan, members: Members) -> tuple[Locator, ...]:
    """The RLOCs of all the site's ETRs (RFC 9301 section 5.4), of the versions it wants, and the ways to them."""
    wanted = {FAMILIES[at.value] for at in site.locators} or {4, 6}
    via = [at.value for at in site.via]
    return tuple(
        Locator(
            own.ip,
            link.priority.value if link.priority else DEFAULT_PRIORITY,
            link.weight.value if link.weight else DEFAULT_WEIGHT,
            way,
        )
        for router in site.routers
        if Role.ETR in roles_of(router, "xtr")
        for link in first_links(router, site)
        for own in plan.uplinks[router.name, link.name][0]
        if own.version in wanted
        for way in (members.ways(via, own.version) if via else [()])
    )


def _ttl(site: SiteRow) -> int:
    return site.ttl_minutes.value if site.ttl_minutes else DEFAULT_TTL_MINUTES


def _database(site: SiteRow, plan: Plan, members: Members) -> tuple[DatabaseMapping, ...]:
    """The EID-prefixes of the site and its tenants."""
    locators = _locators(site, plan, members)
    return tuple(
        DatabaseMapping(EidPrefix(one, segment.instance_id), locators, _ttl(site))
        for segment in segments(site)
        for one in plan.segments[segment.key].eid_prefixes
    )


def _dynamic_eids(topology: TopologyRow, site: SiteRow, plan: Plan, members: Members) -> tuple[DynamicEid, ...]:
    """The prefixes in which its hosts are found by what they send (requirements X01, X02)."""
    locators = _locators(site, plan, members)
    requests = site.nbr_proxy_reply.value if site.nbr_proxy_reply else DEFAULT_NBR_PROXY_REPLY
    return tuple(
        DynamicEid(
            EidPrefix(one, segment.instance_id),
            locators,
            _ttl(site),
            requests,
            routers_in(one, segment, topology, plan),
            site.host_silence.value if site.host_silence else DEFAULT_HOST_SILENCE,
            site.host_probes.value if site.host_probes else DEFAULT_HOST_PROBES,
        )
        for segment in segments(site)
        for one in plan.segments[segment.key].dynamic_eids
    )


def _peers(site: SiteRow, router: str, members: Members) -> tuple[MapServerPeer, ...]:
    addresses = members.of(Role.MAP_SERVER, router, site.map_servers)
    key, *others = site_keys(site)
    return tuple(MapServerPeer(address, key, proxy_reply(site), tuple(others)) for address in addresses)


def _petrs(site: SiteRow | None, router: str, roles: frozenset[Role], members: Members) -> tuple[IPAddress, ...]:
    """The PETRs of an ITR (RFC 6832 section 6); one that is a PETR itself forwards natively on its own."""
    if site is None or Role.ITR not in roles or Role.PETR in roles or (site.use_petr and not site.use_petr.value):
        return ()
    return tuple(members.of(Role.PETR, router, site.petrs))


def _served(node: NodeRow, sites: list[SiteRow], plan: Plan) -> tuple[RegistrationSite, ...]:
    """The sites that register with one Map-Server."""
    mine = [one for one in sites if not one.map_servers or node.name in [at.value for at in one.map_servers]]
    return registration_sites(mine, plan, site_keys)


def _delegations(resolver: str, sites: list[SiteRow], plan: Plan, members: Members) -> tuple[Delegation, ...]:
    """Which Map-Servers hold which prefix, as a Map-Resolver is told (RFC 9301 section 8.4)."""
    found = {
        Delegation(EidPrefix(one, segment.instance_id), address): None
        for site in sites
        for segment in segments(site)
        for prefixes in (plan.segments[segment.key].eid_prefixes, plan.segments[segment.key].dynamic_eids)
        for one in prefixes
        for address in members.of(Role.MAP_SERVER, resolver, site.map_servers)
    }
    return tuple(found)


def _xtr_id(name: str, node: NodeRow) -> str:
    """128 bits that differ from node to node and are the same each time the topology is loaded."""
    return hashlib.sha256(f"{name}/{node.name}".encode()).hexdigest()[:32]


def _subscription_key(name: str, node: NodeRow) -> Key:
    """The secret that a node shares with the Map-Servers for its subscriptions alone (RFC 9437 section 7.1)."""
    return Key(
        DEFAULT_KEY_ID, DEFAULT_ALGORITHM, hashlib.sha256(f"{name}/{node.name}/subscriptions".encode()).hexdigest()
    )
