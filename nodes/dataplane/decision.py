"""The forwarding decision: what becomes of one packet, from its headers and the tables alone. No input, no output.

Outbound is what came from the site (or, at a PITR, from the core) and is a candidate for encapsulation; inbound, what
came out of a LISP header (:mod:`nodes.dataplane.decision_inbound`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate

from nodes.dataplane.packet import Packet
from nodes.dataplane.status_bits import registered_locators, status_bits
from nodes.lisp.config import UNUSED_PRIORITY, Locator, NodeConfig, Role
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.eid_table import EidTable

OVERHEAD = {4: 36, 6: 56}
"""Bytes that encapsulation adds, by the RLOC's IP version: outer IP, UDP and LISP header (RFC 9300 section 7.1)."""

_DYNAMIC_PORTS, _PORT_MASK = 0xC000, 0x3FFF


class Unreachable(StrEnum):
    """What an ICMP message tells the sender of a dropped packet."""

    NETWORK = "network unreachable"
    HOST = "host unreachable"
    PROHIBITED = "administratively prohibited"
    TOO_BIG = "fragmentation needed"
    TTL = "time exceeded"


@dataclass(frozen=True, slots=True)
class Encapsulate:
    """Send the packet inside a LISP header.

    Attributes:
        locator: The outer destination and ``source`` the outer source (requirement S05).
        source_port: The outer UDP source port, the flow's own (requirement D02).
        instance_id: The instance-ID in the LISP header; 0 sends none.
        status_bits: The Locator-Status-Bits in the LISP header; None sends none (requirements D09, D10).
    """

    locator: IPAddress
    source: IPAddress
    source_port: int
    instance_id: int = 0
    status_bits: int | None = None


@dataclass(frozen=True, slots=True)
class Native:
    """Forward the packet as any router would."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand a decapsulated packet to the site."""


@dataclass(frozen=True, slots=True)
class Reencapsulate:
    """Put a decapsulated packet into another LISP header, as :func:`decide_again` says.

    Attributes:
        absent: Whether it is for a host of a dynamic prefix that is not here (requirement X06): then it does not go
            back to where it came from, and the control plane is told.
    """

    absent: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the packet until it is known where its destination is.

    Attributes:
        eid: The host prefix of its destination.
        here: Whether the mapping is known, and leads to this site: it is the host that has to be found (X01).
    """

    eid: EidPrefix
    here: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop the packet.

    Attributes:
        reason: Under which name it is counted.
        icmp: What the sender is told, or None for silence.
        mtu: For TOO_BIG, the largest packet in bytes that would pass (requirement D16).
    """

    reason: str
    icmp: Unreachable | None = None
    mtu: int = 0


Outbound = Encapsulate | Native | Hold | Drop
Inbound = Deliver | Native | Reencapsulate | Drop

SourceOf = Callable[[IPAddress], IPAddress | None]
"""The own RLOC from which a locator is reached, after a look at the route to it; None without a route."""


def _table(prefixes: Iterable[EidPrefix]) -> EidTable[bool]:
    table: EidTable[bool] = EidTable()
    for prefix in prefixes:
        table.set(prefix, True)
    return table


@dataclass(slots=True)
class Tables:
    """Everything a decision depends on.

    Attributes:
        roles: What the node does.
        local: Its site's EID-prefixes, and the dynamic-EIDs that are here.
        dynamic: The prefixes in which hosts are found one by one, and hosts of its site's own that are elsewhere (X10).
        roaming: The instance-IDs in which there may be such hosts.
        map_cache: What the control plane installed.
        native: Each instance's routes but the default: True where a specific route leads somewhere, False for Null0.
        aggregates: The aggregates of all EIDs (PITR, PETR, RTR).
        proxied: The instance-IDs of those.
        rloc_space: The RLOC space (instance-ID 0).
        petrs: The PETRs, as locators of rising priority.
        own: The node's own RLOCs.
        core_mtu: MTU of the RLOC space in bytes.
        down: RLOCs that are not to be used: their probes are not answered, or an ICMP error said so (RFC 9301 section
            7). Own RLOCs whose link is down are here as well.
        registered: The site's locator-sets, for a node that sends Locator-Status-Bits; else empty (requirement D09).
        path_mtu: The MTU of the path to an RLOC in bytes, where it is known to be smaller (requirement D19).
    """

    roles: frozenset[Role]
    local: EidTable[bool]
    dynamic: EidTable[bool]
    aggregates: EidTable[bool]
    proxied: tuple[int, ...]
    rloc_space: EidTable[bool]
    petrs: tuple[Locator, ...]
    own: frozenset[IPAddress]
    core_mtu: int
    roaming: frozenset[int] = frozenset()
    map_cache: EidTable[ForwardingEntry] = field(default_factory=EidTable)
    native: EidTable[bool] = field(default_factory=EidTable)
    registered: EidTable[tuple[IPAddress, ...]] = field(default_factory=EidTable)
    down: set[IPAddress] = field(default_factory=set)
    path_mtu: dict[IPAddress, int] = field(default_factory=dict)

    def inner_mtu(self, locator: IPAddress) -> int:
        """The largest inner packet in bytes that may be sent to a locator (RFC 9300 sections 7.1 and 7.2)."""
        outer = min(self.core_mtu, self.path_mtu.get(locator, self.core_mtu))
        return outer - OVERHEAD[locator.version]

    @property
    def sent_on_in(self) -> frozenset[int]:
        """The instance-IDs in which a packet may go out of one LISP header into another."""
        found = set(self.proxied) if Role.RTR in self.roles else set()
        if self.roles & {Role.ITR, Role.RTR}:
            found |= {prefix.instance_id for prefix, _ in self.dynamic.items()} | self.roaming
        return frozenset(found)

    @classmethod
    def of(cls, config: NodeConfig) -> Tables:
        """The tables of a node at start: nothing in the map-cache yet."""
        return cls(
            roles=config.roles,
            local=_table(mapping.prefix for mapping in config.database),
            dynamic=_table(one.prefix for one in config.dynamic_eids),
            aggregates=_table(config.eid_aggregates),
            proxied=tuple(dict.fromkeys(prefix.instance_id for prefix in config.eid_aggregates)),
            rloc_space=_table(EidPrefix(network) for network in config.rloc_space),
            petrs=tuple(Locator(address, priority) for priority, address in enumerate(config.petrs)),
            own=frozenset(config.rlocs),
            core_mtu=config.core_mtu,
            roaming=frozenset(one.instance_id for one in config.roaming),
            registered=registered_locators(config),
        )


def decide_outbound(packet: Packet, tables: Tables, source_of: SourceOf, instance_id: int = 0) -> Outbound:
    """What to do with a packet on its way to its destination's site.

    Args:
        packet: Its headers.
        tables: What the decision depends on.
        source_of: Looks up the route to an RLOC.
        instance_id: The instance whose site interface the packet came in by (requirement D20).
    """
    if not_unicast(packet):
        return Drop("not unicast")
    # S02: only a default, a missing or a Null0 route makes a candidate for encapsulation.
    route = tables.native.lookup_address(instance_id, packet.destination)
    if route is not None and route[1]:
        return Native()
    verdict: Outbound = Native()  # S03: the source is no EID of this site
    if Role.ITR in tables.roles and is_of_the_site(packet.source, instance_id, tables):
        verdict = _with_status_bits(_as_itr(packet, tables, instance_id, source_of), packet, tables)
    elif Role.PITR in tables.roles and instance_id == 0:
        # RFC 6832 section 5: a PITR encapsulates for sources that have no EID, towards the aggregates it announces.
        proxied = _instance_of(packet.destination, tables.aggregates, tables.proxied)
        if proxied is not None:
            return _inside_aggregates(packet, tables, proxied, source_of)
    if instance_id and isinstance(verdict, Native):
        # D20: outside LISP there is one address space, in which the addresses of an instance mean somebody else.
        return Drop("no way out of the instance", Unreachable.NETWORK)
    return verdict


def decide_again(
    packet: Packet, tables: Tables, source_of: SourceOf, instance_id: int = 0, came_from: IPAddress | None = None
) -> Outbound:
    """What becomes of a packet that an RTR, or the xTR that its host left, took out of a LISP header.

    Never native, unless its host was found here while it waited: it is between two EIDs (RFC 9300 section 3).

    Args:
        packet: Its headers.
        tables: What the decision depends on.
        source_of: Looks up the route to an RLOC.
        instance_id: The instance-ID in the LISP header.
        came_from: The outer source, if it is not to go back to the site that has it.
    """
    if came_from is not None and tables.local.get(host_prefix(packet.destination, instance_id)):
        return Native()
    return _inside_aggregates(packet, tables, instance_id, source_of, came_from)


def is_of_the_site(address: IPAddress, instance_id: int, tables: Tables) -> bool:
    """Whether an address is an EID of this site, or would be one as soon as its host is found (requirement X01)."""
    return bool(
        tables.local.lookup_address(instance_id, address) or tables.dynamic.lookup_address(instance_id, address)
    )


def _as_itr(packet: Packet, tables: Tables, instance_id: int, source_of: SourceOf) -> Outbound:
    verdict = _by_map_cache(packet, tables, instance_id, source_of)
    if isinstance(verdict, Native) and tables.petrs:
        # RFC 6832 section 6: a PETR takes what goes to non-LISP sites.
        return _encapsulate(packet, tables, tables.petrs, instance_id, source_of)
    return verdict


def _with_status_bits(verdict: Outbound, packet: Packet, tables: Tables) -> Outbound:
    """D09: what is encapsulated tells which locators of its source's site are up, if this node does that."""
    if not isinstance(verdict, Encapsulate) or not tables.registered:
        return verdict
    found = tables.registered.lookup_address(verdict.instance_id, packet.source)
    if found is None:
        return verdict
    return replace(verdict, status_bits=status_bits(found[1], tables.down, verdict.instance_id))


def _inside_aggregates(
    packet: Packet, tables: Tables, instance_id: int, source_of: SourceOf, came_from: IPAddress | None = None
) -> Outbound:
    """What a PITR or RTR does with a packet for the aggregates, and an xTR with one for a host that left it."""
    verdict = _by_map_cache(packet, tables, instance_id, source_of, came_from)
    # M24: natively it would come straight back to a PITR, which announces the aggregate.
    return Drop("unregistered EID", Unreachable.HOST) if isinstance(verdict, Native) else verdict


def _by_map_cache(
    packet: Packet, tables: Tables, instance_id: int, source_of: SourceOf, came_from: IPAddress | None = None
) -> Outbound:
    """S04: the map-cache decides."""
    found = tables.map_cache.lookup_address(instance_id, packet.destination)
    if found is None:
        return Drop("no map-cache entry", Unreachable.NETWORK)
    entry = found[1]
    if entry.forwarding is Forwarding.ENCAPSULATE:
        eid = host_prefix(packet.destination, instance_id)
        if any(locator.address in tables.own for locator in entry.locators) and is_stranger(eid, tables):
            # X01: a node that has started anew does not know the hosts that it registered before.
            return Hold(eid, here=True)
        return _encapsulate(packet, tables, entry.locators, instance_id, source_of, came_from)
    if entry.forwarding is Forwarding.SEND_MAP_REQUEST:
        return Hold(host_prefix(packet.destination, instance_id))
    if entry.forwarding is Forwarding.NATIVE:
        return Native()
    # RFC 9301 section 5.4: the drop actions; policy and authentication failures are told apart to the sender.
    prohibited = entry.reason in ("policy-denied", "auth-failure")
    return Drop(f"map-cache: {entry.reason or 'drop'}", Unreachable.PROHIBITED if prohibited else Unreachable.HOST)


def _encapsulate(
    packet: Packet,
    tables: Tables,
    locators: Sequence[Locator],
    instance_id: int,
    source_of: SourceOf,
    came_from: IPAddress | None = None,
) -> Encapsulate | Drop:
    if any(locator.address in tables.own for locator in locators):
        # The mapping leads here and the site has no route: encapsulating would bring the packet back.
        return Drop("mapping leads to this node", Unreachable.HOST)
    if came_from is not None and any(locator.address == came_from for locator in locators):
        # Two sites that each take the other one for the host's would send it to and fro; news are on their way. By none
        # of the locators: a router may have several.
        return Drop("mapping leads back to where it came from")
    # S05: the route to the RLOC comes first; it gives the interface and so the source RLOC.
    # RFC 9301 section 7: a locator that is down is not used, as if its priority were 255.
    usable = [locator for locator in locators if locator.address not in tables.down]
    reachable = {locator: source for locator in usable if (source := source_of(locator.address)) is not None}
    flow = packet.flow_hash()
    chosen = choose(tuple(reachable), flow)
    if chosen is None:
        return Drop("no route to a locator", Unreachable.HOST)
    # D16, D19: a packet that may not be fragmented and would exceed the core's MTU, or its path's.
    mtu = tables.inner_mtu(chosen.address)
    if packet.length > mtu and packet.dont_fragment:
        return Drop("too big", Unreachable.TOO_BIG, mtu)
    return Encapsulate(chosen.address, reachable[chosen], _DYNAMIC_PORTS | flow & _PORT_MASK, instance_id)


def choose(locators: Sequence[Locator], flow: int) -> Locator | None:
    """The locator of one flow: the lowest priority wins, weights share the flows among equals (RFC 9300 section 9).

    The kernel's programs choose by the same rule (bpf/flow.h), without a division: a flow stays with its locator when
    it changes from one path to the other.

    Args:
        locators: The candidates, in the order of their addresses.
        flow: The flow's hash, 32 bits; the choice goes by the upper half, the source port by the lower.
    """
    best = min((locator.priority for locator in locators), default=UNUSED_PRIORITY)
    if best == UNUSED_PRIORITY:
        return None
    equals = [locator for locator in locators if locator.priority == best]
    weights = [locator.weight for locator in equals]
    if not any(weights):  # all weights 0: the sender shares as it likes, here evenly
        weights = [1] * len(equals)
    pick = (flow >> 16) * sum(weights) >> 16
    return next(one for one, end in zip(equals, accumulate(weights), strict=True) if pick < end)


def leads_away(address: IPAddress, instance_id: int, tables: Tables) -> bool:
    """Whether the map-cache says that an EID is behind other routers."""
    found = tables.map_cache.lookup_address(instance_id, address)
    return (
        found is not None
        and found[1].forwarding is Forwarding.ENCAPSULATE
        and not any(locator.address in tables.own for locator in found[1].locators)
    )


def is_stranger(eid: EidPrefix, tables: Tables) -> bool:
    """X01: whether an address is inside a dynamic prefix, not the router's, and not that of a host known to be here."""
    return bool(tables.dynamic.lookup(eid)) and not (tables.local.get(eid) or tables.native.get(eid))


def reached_by_tunnel(address: IPAddress, instance_id: int, tables: Tables) -> bool:
    """Whether what this node itself sends to an address has to go inside a LISP header.

    An RTR's word to an EID; and that of an xTR, which sends on what hosts elsewhere sent to one that left it.
    """
    if is_of_the_site(address, instance_id, tables):
        return False
    if Role.RTR in tables.roles and tables.aggregates.lookup_address(instance_id, address):
        return True
    return bool(len(tables.dynamic)) and leads_away(address, instance_id, tables)


def proxies_for(destination: IPAddress, tables: Tables) -> bool:
    """Whether this node is the PITR for a destination: what it sends there natively would come back to it."""
    return Role.PITR in tables.roles and _instance_of(destination, tables.aggregates, tables.proxied) is not None


def _instance_of(address: IPAddress, table: EidTable[bool], instances: Iterable[int]) -> int | None:
    """The first instance-ID in which ``table`` has a prefix that holds the address, or None."""
    return next((instance for instance in instances if table.lookup_address(instance, address)), None)


def not_unicast(packet: Packet) -> bool:
    """Whether a packet is from or to what is nobody's own address: such packets stay on their link."""
    return any(
        address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local
        for address in (packet.source, packet.destination)
    ) or (packet.version == 4 and 0xFFFFFFFF in (int(packet.destination), int(packet.source)))
