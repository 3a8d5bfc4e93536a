"""The part of the topology language that a network is made of: links, core, nodes, hosts; ``tables`` has the rest."""
# ruff: noqa: RUF009 - item() is dataclasses.field()

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nodes.lisp.config import MAX_PROBING, MIN_PROBING, ROLE_SETS, DataPlane
from nodes.lisp.eid import IPAddress
from testbed.language.scalars import ADDRESS, BOOLEAN, INTERFACE, MAC, NAME, TEXT, number, word
from testbed.language.shapes import At, Listed, Many, Named, NamedRow, One, Row, Table, item
from testbed.model import IPInterface

FAMILIES = {"ipv4": 4, "ipv6": 6}
"""The names a file uses for the two IP versions."""

OCTET = (0, 255)
DATAPLANE = word("data plane", [one.value for one in DataPlane])
PROBING = number("seconds", MIN_PROBING, MAX_PROBING, whole=False, or_zero=True)
_ASN = number("AS number", 1, 2**32 - 2)


@dataclass(frozen=True, kw_only=True)
class CableRow(Row):
    """What a link does to packets, the same each way."""

    KIND: ClassVar[str] = "cable"

    bandwidth: At[float] | None = item(
        One(number("Mbit/s", 0.01, 100_000, whole=False)), "Mbit/s each way; as much as there is, if left out"
    )
    delay: At[float] | None = item(
        One(number("milliseconds", 0, 10_000, whole=False)), "Milliseconds each way; 0 if left out"
    )
    loss: At[float] | None = item(
        One(number("per cent", 0, 100, whole=False)), "Per cent of the packets lost each way; 0 if left out"
    )
    mtu: At[int] | None = item(One(number("bytes", 576, 9216)), "The MTU of both ends in bytes; 1500 if left out")


@dataclass(frozen=True, kw_only=True)
class LinkRow(CableRow, NamedRow):
    """A link to a core router. Its name is the core router's, unless ``to`` says otherwise."""

    KIND: ClassVar[str] = "link to"

    to: At[str] | None = item(One(NAME), "The core router, for a second link to the same one under another name")
    address: tuple[At[IPInterface], ...] = item(
        Many(INTERFACE), "The address of this end; on a LISP node, an RLOC", default=()
    )
    peer_address: tuple[At[IPInterface], ...] = item(
        Many(INTERFACE), "The address of the core router's end", default=()
    )
    priority: At[int] | None = item(
        One(number("priority", *OCTET)), "The RLOC's priority; the lowest wins, 255 is never used; 1 if left out"
    )
    weight: At[int] | None = item(
        One(number("weight", *OCTET)), "The RLOC's share among those of equal priority; 100 if left out"
    )

    @property
    def router(self) -> str:
        """The core router at the other end."""
        return self.to.value if self.to else self.name


@dataclass(frozen=True, kw_only=True)
class NetworkRow(LinkRow):
    """An access network of a mobile node: a link to a core router, which is up while the node is attached there.

    Its name is the core router's, unless ``to`` says otherwise.
    """

    KIND: ClassVar[str] = "network"

    priority: At[int] | None = None  # there is one network at a time, and nothing to choose
    weight: At[int] | None = None


@dataclass(frozen=True, kw_only=True)
class CoreRouterRow(NamedRow):
    """A router of the core, which knows nothing of LISP but the PITRs' aggregates."""

    KIND: ClassVar[str] = "core router"

    loopback: tuple[At[IPAddress], ...] = item(
        Many(ADDRESS), "Its loopback addresses, between which iBGP runs; only with routing: ospf-bgp", default=()
    )


@dataclass(frozen=True, kw_only=True)
class CoreLinkRow(CableRow):
    """A link between two core routers."""

    KIND: ClassVar[str] = "core link"

    between: tuple[At[str], ...] = item(Many(NAME, exactly=2), "The two core routers", required=True, default=())
    addresses: tuple[At[IPInterface], ...] = item(
        Many(INTERFACE),
        "The addresses of the two ends in the order of between, a pair for each IP version",
        default=(),
    )


@dataclass(frozen=True, kw_only=True)
class CoreRow(Row):
    """The network between the sites, which knows nothing of LISP."""

    KIND: ClassVar[str] = "core"

    routers: tuple[CoreRouterRow, ...] = item(Named(CoreRouterRow), "The core routers", required=True, default=())
    asn: At[int] | None = item(One(_ASN), "The core's AS number, with routing: ospf-bgp; 65000 if left out")
    links: tuple[CoreLinkRow, ...] = item(
        Listed(Table(CoreLinkRow, "between")), "The links between core routers, such as [core1, core2]", default=()
    )


@dataclass(frozen=True, kw_only=True)
class NodeRow(NamedRow):
    """A LISP node beside the core: a Map-Server, a Map-Resolver, a proxy."""

    KIND: ClassVar[str] = "node"

    roles: tuple[At[str], ...] = item(Many(word("role", ROLE_SETS)), "What it does", default=())
    links: tuple[LinkRow, ...] = item(Named(LinkRow), "The core routers it is linked to", required=True, default=())
    versions: tuple[At[str], ...] = item(
        Many(word("IP version", FAMILIES)),
        "Of which IP versions its links to the core and its RLOCs are, as an xTR, RTR, Map-Server or Map-Resolver; of "
        "every one of the RLOC space, if left out",
        default=(),
    )
    map_resolvers: tuple[At[str], ...] = item(
        Many(NAME), "The Map-Resolvers it asks as a PITR or RTR; all, if left out", default=()
    )
    dataplane: At[str] | None = item(
        One(DATAPLANE), "What forwards its packets as a LISP node; what the whole topology says, if left out"
    )
    implementation: At[str] | None = item(
        One(TEXT),
        "What it runs as a LISP node: the name of an implementation, or a driver file, its path beginning at this "
        "file's directory; our own daemon, if left out",
    )
    probing: At[float] | None = item(
        One(PROBING), "Seconds between its RLOC-probes; what the whole topology says, if left out"
    )
    path_mtu_discovery: At[bool] | None = item(
        One(BOOLEAN), "Whether it learns path MTUs; what the whole topology says, if left out"
    )
    locator_status_bits: At[bool] | None = item(
        One(BOOLEAN),
        "Whether it sends Locator-Status-Bits and goes by those of others; what the whole topology says, if left out",
    )
    pubsub: At[bool] | None = item(
        One(BOOLEAN),
        "Whether it subscribes to what it resolves, as an ITR, PITR or RTR; what the whole topology says, if left out",
    )
    asn: At[int] | None = item(
        One(_ASN),
        "Its AS number as a PITR or the edge of a non-LISP site, with routing: ospf-bgp; 65001 and up if left out",
    )


@dataclass(frozen=True, kw_only=True)
class PortRow(NamedRow):
    """How a router of a site is joined to the hosts of one tenant."""

    KIND: ClassVar[str] = "router"

    address: tuple[At[IPInterface], ...] = item(
        Many(INTERFACE), "Its addresses towards the hosts, one in each subnet", default=()
    )
    cable: CableRow | None = item(Table(CableRow), "What its link towards the hosts is like")


@dataclass(frozen=True, kw_only=True)
class RouterRow(NodeRow, PortRow):
    """A router of a site: an xTR, or the edge of a non-LISP site."""

    KIND: ClassVar[str] = "router"


@dataclass(frozen=True, kw_only=True)
class HostRow(CableRow, NamedRow):
    """A host, and its link to the fabric (or to the router, where there is no fabric)."""

    KIND: ClassVar[str] = "host"

    address: tuple[At[IPInterface], ...] = item(
        Many(INTERFACE), "Its address, in one of the site's subnets", default=()
    )
    gateway: tuple[At[IPAddress], ...] = item(
        Many(ADDRESS), "Its default gateway; if left out, the site's gateway, or else its first router", default=()
    )
    mac: At[str] | None = item(One(MAC), "Its MAC address")
