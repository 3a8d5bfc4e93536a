"""The topology language: every table and key that a file may hold; those of the network are in ``network_tables``.

Addresses, MAC addresses and whatever else may be left out are allotted (``testbed.address``); the resolved topology
gives them all. Wherever an address stands, there may be one of each IP version.
"""
# ruff: noqa: RUF009 - item() is dataclasses.field()

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nodes.lisp.config import Algorithm
from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.language.defaults import DEFAULT_GATEWAY_MAC, DEFAULT_HOST_PROBES, DEFAULT_HOST_SILENCE
from testbed.language.network_tables import (
    DATAPLANE,
    FAMILIES,
    OCTET,
    PROBING,
    CoreRow,
    HostRow,
    NetworkRow,
    NodeRow,
    PortRow,
    RouterRow,
)
from testbed.language.scalars import ADDRESS, BOOLEAN, GROUP, LAB_NAME, MAC, NAME, PREFIX, TEXT, number, word
from testbed.language.shapes import At, Listed, Many, Named, NamedRow, One, Row, Table, item
from testbed.model import Path, Routing

ALGORITHMS = {one.name.lower().replace("_", "-"): one for one in Algorithm}
"""The names a file uses for Algorithm IDs (RFC 9301 section 12.5)."""

DEFAULT_KEY_ID = 1
"""The Key ID of a key for which the file names none."""


@dataclass(frozen=True, kw_only=True)
class AddressSpaceRow(Row):
    """The two address spaces of LISP."""

    KIND: ClassVar[str] = "address-space"

    rloc: tuple[At[IPNetwork], ...] = item(
        Many(PREFIX), "The RLOC space: prefixes of the core's links, IPv4, IPv6 or both", required=True, default=()
    )
    eid: tuple[At[IPNetwork], ...] = item(
        Many(PREFIX),
        "The EID space: the aggregates that cover all EID-prefixes, announced by PITRs",
        required=True,
        default=(),
    )


@dataclass(frozen=True, kw_only=True)
class KeyRow(Row):
    """The secret that a site's ETRs share with the Map-Servers."""

    KIND: ClassVar[str] = "key"

    secret: At[str] | None = item(One(TEXT), "The pre-shared secret", required=True)
    id: At[int] | None = item(One(number("Key ID", *OCTET)), "The Key ID that names it in messages; 1 if left out")
    algorithm: At[str] | None = item(
        One(word("algorithm", ALGORITHMS)),
        "The KDF and MAC used with it; hmac-sha-256-128-hkdf-sha256 if left out",
    )


@dataclass(frozen=True, kw_only=True)
class SegmentRow(NamedRow):
    """Hosts that share an instance, and what their addresses come from: a site, or one tenant of a site."""

    instance_id: At[int] | None = item(
        One(number("instance-ID", 0, 2**24 - 1)), "The instance-ID of its EIDs; 0 if left out"
    )
    eid_prefixes: tuple[At[IPNetwork], ...] = item(
        Many(PREFIX), "Its EID-prefixes; a fresh /24 and /64 of the EID space, if left out", default=()
    )
    dynamic_eids: tuple[At[IPNetwork], ...] = item(
        Many(PREFIX),
        "Prefixes in which hosts are found by what they send and registered one by one; several sites may share one",
        default=(),
    )
    subnets: tuple[At[IPNetwork], ...] = item(
        Many(PREFIX), "The subnets of its hosts; the EID-prefixes and dynamic-eids, if left out", default=()
    )
    gateway: tuple[At[IPAddress], ...] = item(
        Many(ADDRESS),
        "The hosts' default gateway: an address that the router has beside its own, one in each subnet; sites that "
        "share dynamic-eids may have the same one",
        default=(),
    )
    gateway_mac: At[str] | None = item(
        One(MAC), f"The MAC address of that gateway, the router's towards the hosts; {DEFAULT_GATEWAY_MAC} if left out"
    )
    fabric: At[str] | None = item(One(NAME), "The switch between routers and hosts; needed for more than one of either")
    hosts: tuple[HostRow, ...] = item(Named(HostRow), "The hosts", default=())


@dataclass(frozen=True, kw_only=True)
class TenantRow(SegmentRow):
    """One tenant of a site: an instance of its own, whose prefixes and addresses may be those of another."""

    KIND: ClassVar[str] = "tenant"

    routers: tuple[PortRow, ...] = item(
        Named(PortRow), "How the site's routers are joined to its hosts, where it matters", default=()
    )


@dataclass(frozen=True, kw_only=True)
class SiteRow(SegmentRow):
    """A place with hosts."""

    KIND: ClassVar[str] = "site"

    lisp: At[bool] | None = item(One(BOOLEAN), "False for a site whose hosts have no EIDs; true if left out")
    key: KeyRow | None = item(Table(KeyRow, "secret"), "The secret shared with the Map-Servers")
    other_keys: tuple[KeyRow, ...] = item(
        Listed(Table(KeyRow, "secret")),
        "Further secrets that the Map-Servers accept from it, each with an id of its own: its xTRs can change over to "
        "one while the lab runs (ci/lab key)",
        default=(),
    )
    routers: tuple[RouterRow, ...] = item(Named(RouterRow), "The site's routers", required=True, default=())
    tenants: tuple[TenantRow, ...] = item(
        Named(TenantRow),
        "Tenants by name, each an instance of its own; hosts are then theirs",
        default=(),
    )
    map_servers: tuple[At[str], ...] = item(
        Many(NAME), "The Map-Servers it registers with; all, if left out", default=()
    )
    map_resolvers: tuple[At[str], ...] = item(
        Many(NAME), "The Map-Resolvers that its ITRs ask; all, if left out", default=()
    )
    petrs: tuple[At[str], ...] = item(Many(NAME), "The PETRs it uses, best first; all, if left out", default=())
    use_petr: At[bool] | None = item(
        One(BOOLEAN),
        "Whether its ITRs send packets for non-LISP sites through the PETRs, if there are any; true if left out",
    )
    locators: tuple[At[str], ...] = item(
        Many(word("IP version", FAMILIES)),
        "Of which IP versions the RLOCs in its locator-set are; of every one that it has, if left out",
        default=(),
    )
    via: tuple[At[str], ...] = item(
        Many(NAME),
        "The RTRs that packets from other LISP sites pass on their way to its hosts, the first one first; it registers "
        "Explicit Locator Paths",
        default=(),
    )
    proxy_reply: At[bool] | None = item(
        One(BOOLEAN), "Whether the Map-Servers answer for the site; if left out, only where packets come via RTRs"
    )
    accept_more_specifics: At[bool] | None = item(
        One(BOOLEAN), "Whether the Map-Servers accept more-specific EID-prefixes; false if left out"
    )
    map_notify_group: At[IPAddress] | None = item(
        One(GROUP),
        "The multicast group by which its xTRs, two or more, tell each other on their LAN of the hosts that they find, "
        "and that they are there: one of them is the gateway, and registers the hosts",
    )
    nbr_proxy_reply: At[int] | None = item(
        One(number("requests", 0, 100)),
        "How many ARP or neighbour requests for a host of its dynamic-eids that is elsewhere go unanswered before its "
        "routers answer, about a second each; 1 if left out",
    )
    host_silence: At[float] | None = item(
        One(number("seconds", 1, 86_400, whole=False, or_zero=True)),
        "Seconds that a host of its dynamic-eids may be silent before its routers ask for it, by ARP or neighbour "
        f"discovery; 0 never asks; {DEFAULT_HOST_SILENCE} if left out",
    )
    host_probes: At[int] | None = item(
        One(number("requests", 1, 100)),
        "How many such questions, a second apart, a host leaves unanswered that is gone; "
        f"{DEFAULT_HOST_PROBES} if left out",
    )
    ttl_minutes: At[int] | None = item(
        One(number("minutes", 1, 2**31 - 1)), "The Record TTL of its mappings in minutes; 1440 if left out"
    )

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"site {self.name}"

    @property
    def mobile(self) -> str:
        """The mobile node that it is, or "": a place with hosts."""
        return ""


@dataclass(frozen=True, kw_only=True)
class MobileNodeRow(NamedRow):
    """A host that is its own xTR (draft-ietf-lisp-mn): it keeps its EIDs wherever it is attached."""

    KIND: ClassVar[str] = "mobile node"

    networks: tuple[NetworkRow, ...] = item(
        Named(NetworkRow),
        "The access networks that it can be attached to, one at a time; it starts at the first",
        required=True,
        default=(),
    )
    key: KeyRow | None = item(Table(KeyRow, "secret"), "The secret shared with the Map-Servers", required=True)
    eids: tuple[At[IPAddress], ...] = item(
        Many(ADDRESS), "Its EIDs, one of each IP version; the first of a fresh /24 and /64, if left out", default=()
    )
    versions: tuple[At[str], ...] = item(
        Many(word("IP version", FAMILIES)),
        "Of which IP versions its RLOCs are; of every one of the RLOC space, if left out",
        default=(),
    )
    map_servers: tuple[At[str], ...] = item(
        Many(NAME), "The Map-Servers it registers with; all, if left out", default=()
    )
    map_resolvers: tuple[At[str], ...] = item(Many(NAME), "The Map-Resolvers it asks; all, if left out", default=())
    petrs: tuple[At[str], ...] = item(Many(NAME), "The PETRs it uses, best first; all, if left out", default=())
    proxy_reply: At[bool] | None = item(
        One(BOOLEAN), "Whether the Map-Servers answer for it, so that it is asked nothing; false if left out"
    )
    ttl_minutes: At[int] | None = item(
        One(number("minutes", 1, 2**31 - 1)), "The Record TTL of its mappings in minutes; 1440 if left out"
    )
    dataplane: At[str] | None = item(
        One(DATAPLANE), "What forwards its packets; what the whole topology says, if left out"
    )
    probing: At[float] | None = item(
        One(PROBING), "Seconds between its RLOC-probes; what the whole topology says, if left out"
    )
    path_mtu_discovery: At[bool] | None = item(
        One(BOOLEAN), "Whether it learns path MTUs; what the whole topology says, if left out"
    )
    pubsub: At[bool] | None = item(
        One(BOOLEAN), "Whether it subscribes to what it resolves; what the whole topology says, if left out"
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
    version: At[str] | None = item(
        One(word("IP version", FAMILIES)), "Only packets of this IP version; both, if left out"
    )


@dataclass(frozen=True, kw_only=True)
class TopologyRow(Row):
    """A world."""

    name: At[str] | None = item(One(LAB_NAME), "The topology's name; the file's, if left out")
    title: At[str] | None = item(One(TEXT), "One line that says what it shows")
    time_scale: At[float] | None = item(
        One(number("factor", 0.1, 1000, whole=False)),
        "How much faster than real time the daemons' clocks run; 1 if left out",
    )
    routing: At[str] | None = item(
        One(word("routing", [one.value for one in Routing])),
        "How plain routers learn their routes: static, or ospf-bgp (BIRD); static if left out",
    )
    dataplane: At[str] | None = item(
        One(DATAPLANE),
        "What forwards the packets of LISP nodes: ebpf (tc programs in the kernel, with the daemon behind them), "
        "python (the daemon alone), or auto: ebpf where it runs, else python and a word about it; auto if left out",
    )
    probing: At[float] | None = item(
        One(PROBING),
        "Seconds between two RLOC-probes of a locator in use, by ITRs and PITRs (RFC 9301 section 7.1); 0 sends none; "
        "10 if left out",
    )
    path_mtu_discovery: At[bool] | None = item(
        One(BOOLEAN),
        "Whether ITRs learn the MTU of the path to each RLOC from ICMP errors (RFC 9300 section 7.2); false if left "
        "out: the MTU of the core's links is known (section 7.1)",
    )
    locator_status_bits: At[bool] | None = item(
        One(BOOLEAN),
        "Whether ITRs tell in every packet which RLOCs of their site are up (RFC 9300 section 10; not for the public "
        "Internet); false if left out",
    )
    pubsub: At[bool] | None = item(
        One(BOOLEAN),
        "Whether ITRs, PITRs and RTRs subscribe to the mappings that they resolve (RFC 9437), so that the Map-Servers "
        "tell them each change; they can for sites with proxy-reply; false if left out",
    )
    address_space: AddressSpaceRow | None = item(
        Table(AddressSpaceRow),
        "A mapping with rloc, such as 10.0.0.0/16, and eid, such as 192.168.0.0/16",
        required=True,
    )
    core: CoreRow = item(Table(CoreRow), "A mapping of routers and links", required=True, default=CoreRow())
    mapping_system: tuple[NodeRow, ...] = item(Named(NodeRow), "Map-Servers and Map-Resolvers", default=())
    proxies: tuple[NodeRow, ...] = item(Named(NodeRow), "PxTRs, PITRs, PETRs and RTRs", default=())
    sites: tuple[SiteRow, ...] = item(Named(SiteRow), "Sites by name, LISP or not", required=True, default=())
    mobile_nodes: tuple[MobileNodeRow, ...] = item(
        Named(MobileNodeRow), "Hosts that are their own xTRs and change their access networks", default=()
    )
    expect: tuple[ExpectRow, ...] = item(
        Listed(Table(ExpectRow)), "What differs from what the topology itself implies of each pair of hosts", default=()
    )
