"""Mobile nodes, as the rest sees them: each is a LISP site of one xTR without hosts behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import ClassVar

from testbed.language.network_tables import RouterRow
from testbed.language.shapes import At
from testbed.language.tables import MobileNodeRow, SiteRow, TopologyRow


@dataclass(frozen=True, kw_only=True)
class MobileRouterRow(RouterRow):
    """The xTR that a mobile node is."""

    KIND: ClassVar[str] = "mobile node"


@dataclass(frozen=True, kw_only=True)
class MobileSiteRow(SiteRow):
    """The site that a mobile node is."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"mobile node {self.name}"

    @property
    def mobile(self) -> str:
        """Its name."""
        return self.name


def with_mobile_nodes(topology: TopologyRow) -> TopologyRow:
    """The topology with its mobile nodes among its sites, behind those that the file has."""
    names = [site.name for site in topology.sites]
    return replace(
        topology, sites=(*topology.sites, *(_site(one) for one in topology.mobile_nodes if one.name not in names))
    )


def _site(node: MobileNodeRow) -> SiteRow:
    router = MobileRouterRow(
        name=node.name,
        line=node.line,
        links=node.networks,
        versions=node.versions,
        dataplane=node.dataplane,
        probing=node.probing,
        path_mtu_discovery=node.path_mtu_discovery,
        pubsub=node.pubsub,
        # RFC 9300 section 10: Locator-Status-Bits are of a locator-set that stays.
        locator_status_bits=At(False, node.line),
    )
    return MobileSiteRow(
        name=node.name,
        line=node.line,
        broken=node.broken | ({"eid_prefixes"} if "eids" in node.broken else set()),
        key=node.key,
        routers=(router,),
        eid_prefixes=tuple(At(ip_network(at.value), at.line) for at in node.eids),
        map_servers=node.map_servers,
        map_resolvers=node.map_resolvers,
        petrs=node.petrs,
        proxy_reply=node.proxy_reply,
        ttl_minutes=node.ttl_minutes,
    )
