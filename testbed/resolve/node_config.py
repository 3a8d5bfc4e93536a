"""What each LISP daemon is told, from the topology as a whole."""

from __future__ import annotations

import hashlib

from nodes.lisp.config import (
    Algorithm,
    DatabaseMapping,
    Delegation,
    Key,
    Locator,
    MapServerPeer,
    NodeConfig,
    RegistrationSite,
    Role,
    SitePrefix,
)
from nodes.lisp.eid import EidPrefix, IPAddress
from testbed.address import Plan
from testbed.language.checks import default_roles, is_lisp, roles_of
from testbed.language.tables import ALGORITHMS, NodeRow, SiteRow, TopologyRow
from testbed.model import Side
from testbed.resolve.wiring import Wiring

DEFAULT_KEY_ID = 1
DEFAULT_ALGORITHM = Algorithm.HMAC_SHA_256_128_HKDF_SHA256
"""RFC 9301 section 5.6: an ETR should use HMAC-SHA256-128+HKDF-SHA256."""
DEFAULT_TTL_MINUTES = 1440
DEFAULT_PRIORITY = 1
DEFAULT_WEIGHT = 100


def node_configs(topology: TopologyRow, plan: Plan, wiring: Wiring, name: str) -> dict[str, NodeConfig]:
    """The configuration of every LISP node, by name.

    Args:
        topology: What the file says.
        plan: Every address.
        wiring: Every interface.
        name: The topology's name, from which xTR-IDs are derived.
    """
    members = [(node, site, roles_of(node, default)) for node, site, default in default_roles(topology)]
    lisp_sites = [site for site in topology.sites if is_lisp(site)]
    # A node speaks to the mapping system and to proxies at their first RLOC.
    first = {node.name: plan.uplinks[node.name, node.links[0].name][0].ip for node, _, _ in members}

    def having(role: Role) -> list[str]:
        return [node.name for node, _, roles in members if role in roles]

    map_servers: list[IPAddress] = [first[one] for one in having(Role.MAP_SERVER)]
    map_resolvers = tuple(first[one] for one in having(Role.MAP_RESOLVER))
    petrs: list[IPAddress] = [first[one] for one in having(Role.PETR)]
    configs: dict[str, NodeConfig] = {}
    for node, site, roles in members:
        if not roles:
            continue
        asks, registers = bool(roles & {Role.ITR, Role.PITR}), Role.ETR in roles
        tunnels = site is not None and bool(roles & {Role.ITR, Role.ETR})
        interfaces = wiring.interfaces.get(node.name, [])
        configs[node.name] = NodeConfig(
            name=node.name,
            roles=roles,
            rlocs=tuple(plan.uplinks[node.name, link.name][0].ip for link in node.links),
            core_interfaces=tuple(one.name for one in interfaces if one.side is Side.CORE),
            site_interfaces=tuple(one.name for one in interfaces if one.side is Side.SITE),
            database=_database(site, plan) if site and tunnels else (),
            map_resolvers=map_resolvers if asks else (),
            map_servers=_peers(site, map_servers) if site and registers else (),
            petrs=_petrs(site, roles, petrs),
            eid_aggregates=tuple(EidPrefix(one) for one in plan.eid_space),
            rloc_space=plan.rloc_space,
            sites=tuple(_registration_site(one, plan) for one in lisp_sites) if Role.MAP_SERVER in roles else (),
            delegations=_delegations(lisp_sites, plan, map_servers) if Role.MAP_RESOLVER in roles else (),
            xtr_id=_xtr_id(name, node) if asks or registers else "",
            site_id=lisp_sites.index(site) + 1 if site and tunnels else 0,
            time_scale=float(topology.time_scale.value) if topology.time_scale else 1.0,
        )
    return configs


def site_key(site: SiteRow) -> Key:
    """The key of a LISP site, with defaults for what the file leaves out."""
    row = site.key
    if row is None or row.secret is None:
        raise ValueError(f"site {site.name} has no key")  # refused by the checks
    return Key(
        row.id.value if row.id else DEFAULT_KEY_ID,
        ALGORITHMS[row.algorithm.value] if row.algorithm else DEFAULT_ALGORITHM,
        row.secret.value,
    )


def _database(site: SiteRow, plan: Plan) -> tuple[DatabaseMapping, ...]:
    """The site's EID-prefixes, each with the RLOCs of all its ETRs (RFC 9301 section 5.4)."""
    locators = tuple(
        Locator(
            plan.uplinks[router.name, link.name][0].ip,
            link.priority.value if link.priority else DEFAULT_PRIORITY,
            link.weight.value if link.weight else DEFAULT_WEIGHT,
        )
        for router in site.routers
        if Role.ETR in roles_of(router, "xtr")
        for link in router.links
    )
    ttl = site.ttl_minutes.value if site.ttl_minutes else DEFAULT_TTL_MINUTES
    return tuple(DatabaseMapping(EidPrefix(one), locators, ttl) for one in plan.eid_prefixes[site.name])


def _peers(site: SiteRow, map_servers: list[IPAddress]) -> tuple[MapServerPeer, ...]:
    proxy_reply = site.proxy_reply.value if site.proxy_reply else False
    return tuple(MapServerPeer(address, site_key(site), proxy_reply) for address in map_servers)


def _petrs(site: SiteRow | None, roles: frozenset[Role], petrs: list[IPAddress]) -> tuple[IPAddress, ...]:
    """The PETRs of an ITR (RFC 6832 section 6); one that is a PETR itself forwards natively on its own."""
    if site is None or Role.ITR not in roles or Role.PETR in roles or (site.use_petr and not site.use_petr.value):
        return ()
    return tuple(petrs)


def _registration_site(site: SiteRow, plan: Plan) -> RegistrationSite:
    specifics = site.accept_more_specifics.value if site.accept_more_specifics else False
    prefixes = tuple(SitePrefix(EidPrefix(one), specifics) for one in plan.eid_prefixes[site.name])
    return RegistrationSite(site.name, (site_key(site),), prefixes)


def _delegations(sites: list[SiteRow], plan: Plan, map_servers: list[IPAddress]) -> tuple[Delegation, ...]:
    prefixes = [EidPrefix(one) for site in sites for one in plan.eid_prefixes[site.name]]
    return tuple(Delegation(prefix, address) for prefix in prefixes for address in map_servers)


def _xtr_id(name: str, node: NodeRow) -> str:
    """128 bits that differ from node to node and are the same each time the topology is loaded."""
    return hashlib.sha256(f"{name}/{node.name}".encode()).hexdigest()[:32]
