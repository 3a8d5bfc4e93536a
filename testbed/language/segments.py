"""Where hosts are: a site is one segment, or one for each of its tenants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nodes.lisp.config import ROLE_SETS, Role
from testbed.language.tables import NodeRow, PortRow, SiteRow, TenantRow, TopologyRow

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
        return f"tenant {self.tenant} of site {self.site.name}" if self.tenant else f"site {self.site.name}"

    @property
    def instance_id(self) -> int:
        """The instance-ID of its EIDs."""
        return self.row.instance_id.value if self.row.instance_id else 0

    @property
    def ports(self) -> list[PortRow]:
        """How each router of the site is joined to the hosts here, in the order of the routers."""
        given: dict[str, PortRow] = {one.name: one for one in self.row.routers}
        return [given.get(router.name, PortRow(name=router.name, line=self.row.line)) for router in self.site.routers]


def segments(site: SiteRow) -> list[Segment]:
    """The segments of a site."""
    if site.tenants:
        return [Segment(site, tenant, tenant.name) for tenant in site.tenants]
    return [Segment(site, site)]


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


def default_roles(topology: TopologyRow) -> Iterator[tuple[NodeRow, SiteRow | None, str]]:
    """Every node with core links, its site if it has one, and the roles it has unless the file names them."""
    for node in topology.mapping_system:
        yield node, None, "msmr"
    for node in topology.proxies:
        yield node, None, "pxtr"
    for site in topology.sites:
        for router in site.routers:
            yield router, site, "xtr" if is_lisp(site) else ""
