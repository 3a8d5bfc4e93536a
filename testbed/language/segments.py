"""Where hosts are: a site is one segment, or one for each of its tenants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nodes.lisp.config import ROLE_SETS, Role
from testbed.language.defaults import DEFAULT_GATEWAY_MAC
from testbed.language.network_tables import FAMILIES, LinkRow, NodeRow, PortRow
from testbed.language.tables import SiteRow, TenantRow, TopologyRow

SegmentKey = tuple[str, str]
"""The site's name and the tenant's, "" where the site has no tenants."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Hosts that share an instance, an address plan and at most one fabric.

    Attributes:
        site: The site it is in.
        row: What the file says of it: the site itself, or a tenant.
        tenant: The tenant's name, or "".
    """

    site: SiteRow
    row: SiteRow | TenantRow
    tenant: str = ""

    @property
    def key(self) -> SegmentKey:
        """What it is looked up by."""
        return self.site.name, self.tenant

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"tenant {self.tenant} of {self.site.label}" if self.tenant else self.site.label

    @property
    def instance_id(self) -> int:
        """The instance-ID of its EIDs."""
        return self.row.instance_id.value if self.row.instance_id else 0

    @property
    def hosts(self) -> list[str]:
        """The names of the machines that have addresses of it: the hosts, or the mobile node itself."""
        return [self.site.mobile] if self.site.mobile else [host.name for host in self.row.hosts]

    @property
    def ports(self) -> list[PortRow]:
        """How each router of the site is joined to the hosts here, in the order of the routers."""
        if self.site.mobile:
            return []
        given: dict[str, PortRow] = {one.name: one for one in self.row.routers}
        return [given.get(router.name, PortRow(name=router.name, line=self.row.line)) for router in self.site.routers]


def segments(site: SiteRow) -> list[Segment]:
    """The segments of a site."""
    if site.tenants:
        return [Segment(site, tenant, tenant.name) for tenant in site.tenants]
    return [Segment(site, site)]


def first_links(node: NodeRow, site: SiteRow | None) -> tuple[LinkRow, ...]:
    """The links that are up at first: of a mobile node, the one to the network where it starts."""
    return node.links[:1] if site is not None and site.mobile else node.links


def all_segments(topology: TopologyRow) -> list[Segment]:
    """The segments of all sites, in the file's order."""
    return [segment for site in topology.sites for segment in segments(site)]


def is_lisp(site: SiteRow) -> bool:
    """Whether the hosts of a site have EIDs."""
    return site.lisp is None or site.lisp.value


def roles_of(node: NodeRow, default: str = "") -> frozenset[Role]:
    """The roles of a node; ``default`` stands for those that are left out."""
    names = [role.value for role in node.roles] or ([default] if default else [])
    return frozenset(role for name in names for role in ROLE_SETS[name])


def gateway_mac(segment: Segment) -> str:
    """The MAC address of a site's or tenant's gateway."""
    return segment.row.gateway_mac.value if segment.row.gateway_mac else DEFAULT_GATEWAY_MAC


def rloc_versions(topology: TopologyRow, node: NodeRow) -> frozenset[int]:
    """The IP versions of a node's RLOCs."""
    space = topology.address_space
    of_space = frozenset(at.value.version for at in space.rloc) if space else frozenset()
    wanted = frozenset(FAMILIES[at.value] for at in node.versions)
    return of_space & wanted if wanted else of_space


def locator_versions(topology: TopologyRow, site: SiteRow) -> frozenset[int]:
    """The IP versions of the RLOCs in a site's locator-set."""
    wanted = frozenset(FAMILIES[at.value] for at in site.locators) or frozenset(FAMILIES.values())
    etrs = [one for one in site.routers if Role.ETR in roles_of(one, "xtr")]
    return frozenset(version for one in etrs for version in rloc_versions(topology, one) & wanted)


def proxy_reply(site: SiteRow) -> bool:
    """Whether the Map-Servers answer for a site: where packets come via RTRs, its ETRs may not reach who asks."""
    return site.proxy_reply.value if site.proxy_reply else bool(site.via)


def default_roles(topology: TopologyRow) -> Iterator[tuple[NodeRow, SiteRow | None, str]]:
    """Every node with core links, its site if it has one, and the roles it has unless the file names them."""
    for node in topology.mapping_system:
        yield node, None, "msmr"
    for node in topology.proxies:
        yield node, None, "pxtr"
    for site in topology.sites:
        for router in site.routers:
            yield router, site, "xtr" if is_lisp(site) else ""
