"""The topology language: every table and key that a file may hold.

Addresses, MAC addresses and whatever else may be left out are allotted (``testbed.address``); the resolved topology
gives them all.
"""
# ruff: noqa: RUF009 - item() is dataclasses.field()

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import ClassVar

from nodes.lisp.config import ROLE_SETS, Algorithm
from testbed.language.scalars import ADDRESS, BOOLEAN, INTERFACE, LAB_NAME, MAC, NAME, PREFIX, TEXT, number, word
from testbed.language.shapes import At, Listed, Many, Named, NamedRow, One, Row, Table, item
from testbed.model import Path

ALGORITHMS = {one.name.lower().replace("_", "-"): one for one in Algorithm}
"""The names a file uses for Algorithm IDs (RFC 9301 section 12.5)."""

_OCTET = (0, 255)


@dataclass(frozen=True, kw_only=True)
class AddressSpaceRow(Row):
    """The two address spaces of LISP."""

    rloc: tuple[At[IPv4Network], ...] = item(
        Many(PREFIX), "The RLOC space: prefixes of the core's links", required=True, default=()
    )
    eid: tuple[At[IPv4Network], ...] = item(
        Many(PREFIX),
        "The EID space: the aggregates that cover all EID-prefixes, announced by PITRs",
        required=True,
        default=(),
    )


@dataclass(frozen=True, kw_only=True)
class LinkRow(NamedRow):
    """A link to a core router, which is its name."""

    KIND: ClassVar[str] = "link to"

    address: At[IPv4Interface] | None = item(One(INTERFACE), "The address of this end; on a LISP node, an RLOC")
    peer_address: At[IPv4Interface] | None = item(One(INTERFACE), "The address of the core router's end")
    priority: At[int] | None = item(
        One(number("priority", *_OCTET)), "The RLOC's priority; the lowest wins, 255 is never used"
    )
    weight: At[int] | None = item(One(number("weight", *_OCTET)), "The RLOC's share among those of equal priority")


@dataclass(frozen=True, kw_only=True)
class CoreRouterRow(NamedRow):
    """A router of the core, which knows nothing of LISP but the PITRs' aggregates."""

    KIND: ClassVar[str] = "core router"


@dataclass(frozen=True, kw_only=True)
class CoreLinkRow(Row):
    """A link between two core routers."""

    KIND: ClassVar[str] = "core link"

    between: tuple[At[str], ...] = item(Many(NAME, exactly=2), "The two core routers", required=True, default=())
    addresses: tuple[At[IPv4Interface], ...] = item(
        Many(INTERFACE, exactly=2), "The addresses of the two ends, in the order of between", default=()
    )


@dataclass(frozen=True, kw_only=True)
class CoreRow(Row):
    """The core."""

    KIND: ClassVar[str] = "core"

    routers: tuple[CoreRouterRow, ...] = item(Named(CoreRouterRow), "The core routers", required=True, default=())
    links: tuple[CoreLinkRow, ...] = item(
        Listed(Table(CoreLinkRow, "between")), "The links between core routers, such as [core1, core2]", default=()
    )


@dataclass(frozen=True, kw_only=True)
class NodeRow(NamedRow):
    """A LISP node at the core: a Map-Server, a Map-Resolver, a proxy."""

    KIND: ClassVar[str] = "node"

    roles: tuple[At[str], ...] = item(Many(word("role", ROLE_SETS)), "What it does", default=())
    links: tuple[LinkRow, ...] = item(Named(LinkRow), "The core routers it is linked to", required=True, default=())


@dataclass(frozen=True, kw_only=True)
class RouterRow(NodeRow):
    """A router of a site: an xTR, or the edge of a non-LISP site."""

    KIND: ClassVar[str] = "router"

    address: tuple[At[IPv4Interface], ...] = item(
        Many(INTERFACE), "Its addresses towards the hosts, one in each subnet", default=()
    )


@dataclass(frozen=True, kw_only=True)
class HostRow(NamedRow):
    """A host."""

    KIND: ClassVar[str] = "host"

    address: At[IPv4Interface] | None = item(One(INTERFACE), "Its address, in one of the site's subnets")
    gateway: At[IPv4Address] | None = item(One(ADDRESS), "Its default gateway; if left out, the site's first router")
    mac: At[str] | None = item(One(MAC), "Its MAC address")


@dataclass(frozen=True, kw_only=True)
class KeyRow(Row):
    """The secret that a site's ETRs share with the Map-Servers."""

    KIND: ClassVar[str] = "key"

    secret: At[str] | None = item(One(TEXT), "The pre-shared secret", required=True)
    id: At[int] | None = item(One(number("Key ID", *_OCTET)), "The Key ID that names it in messages")
    algorithm: At[str] | None = item(One(word("algorithm", ALGORITHMS)), "The KDF and MAC used with it")


@dataclass(frozen=True, kw_only=True)
class SiteRow(NamedRow):
    """A place with hosts."""

    KIND: ClassVar[str] = "site"

    lisp: At[bool] | None = item(One(BOOLEAN), "False for a site whose hosts have no EIDs; true if left out")
    eid_prefixes: tuple[At[IPv4Network], ...] = item(Many(PREFIX), "The EID-prefixes of the site", default=())
    subnets: tuple[At[IPv4Network], ...] = item(
        Many(PREFIX), "The subnets of its hosts; in a LISP site the EID-prefixes, if left out", default=()
    )
    key: KeyRow | None = item(Table(KeyRow, "secret"), "The secret shared with the Map-Servers")
    routers: tuple[RouterRow, ...] = item(Named(RouterRow), "The site's routers", required=True, default=())
    fabric: At[str] | None = item(One(NAME), "The switch between routers and hosts; needed for more than one of either")
    hosts: tuple[HostRow, ...] = item(Named(HostRow), "The hosts", default=())
    proxy_reply: At[bool] | None = item(One(BOOLEAN), "Whether the Map-Servers answer for the site; false if left out")
    use_petr: At[bool] | None = item(
        One(BOOLEAN),
        "Whether its ITRs send packets for non-LISP sites through the PETRs, if there are any; true if left out",
    )
    accept_more_specifics: At[bool] | None = item(
        One(BOOLEAN), "Whether the Map-Servers accept more-specific EID-prefixes; false if left out"
    )
    ttl_minutes: At[int] | None = item(
        One(number("minutes", 1, 2**31 - 1)), "The Record TTL of its mappings in minutes; 1440 if left out"
    )


@dataclass(frozen=True, kw_only=True)
class ExpectRow(Row):
    """What one host, or all hosts of a site, are expected to see of another."""

    KIND: ClassVar[str] = "expectation"

    from_: At[str] | None = item(One(NAME), "A host or a site", required=True)
    to: At[str] | None = item(One(NAME), "A host or a site", required=True)
    path: At[str] | None = item(
        One(word("path", [path.value for path in Path])), "How packets get there", required=True
    )


@dataclass(frozen=True, kw_only=True)
class TopologyRow(Row):
    """A whole file."""

    name: At[str] | None = item(One(LAB_NAME), "The topology's name; the file's, if left out")
    title: At[str] | None = item(One(TEXT), "One line that says what it shows")
    time_scale: At[float] | None = item(
        One(number("factor", 0.1, 1000, whole=False)), "How much faster than real time the daemons' clocks run"
    )
    address_space: AddressSpaceRow | None = item(
        Table(AddressSpaceRow),
        "A mapping with rloc, such as 10.0.0.0/16, and eid, such as 192.168.0.0/16",
        required=True,
    )
    core: CoreRow = item(Table(CoreRow), "A mapping of routers and links", required=True, default=CoreRow())
    mapping_system: tuple[NodeRow, ...] = item(Named(NodeRow), "Map-Servers and Map-Resolvers", default=())
    proxies: tuple[NodeRow, ...] = item(Named(NodeRow), "PxTRs, PITRs and PETRs", default=())
    sites: tuple[SiteRow, ...] = item(Named(SiteRow), "Sites by name, LISP or not", required=True, default=())
    expect: tuple[ExpectRow, ...] = item(
        Listed(Table(ExpectRow)), "What differs from what the topology itself implies of each pair of hosts", default=()
    )
