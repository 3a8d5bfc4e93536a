"""Packets and tables for tests of the data path."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network

from nodes.dataplane.decision import Tables
from nodes.dataplane.packet import Packet, parse
from nodes.lisp.checksum import checksum
from nodes.lisp.config import (
    Algorithm,
    DatabaseMapping,
    Key,
    Locator,
    MapServerPeer,
    NodeConfig,
    Role,
)
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress

OWN = {4: ip_address("10.0.1.1"), 6: ip_address("2001:db8:0:1::1")}
KEY = Key(1, Algorithm.HMAC_SHA_256_128, "secret")
XTR = frozenset({Role.ITR, Role.ETR})
PXTR = frozenset({Role.PITR, Role.PETR})


def ip_packet(
    source: str,
    destination: str,
    protocol: int = 17,
    body: bytes = struct.pack("!HHHH", 1111, 2222, 8, 0),
    *,
    tos: int = 0,
    ttl: int = 64,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 or IPv6 packet, whole and correct."""
    first, second = ip_address(source), ip_address(destination)
    if first.version == 6:
        header = struct.pack("!IHBB", 6 << 28 | tos << 20, len(body), protocol, ttl)
        return header + first.packed + second.packed + body
    length = 20 + len(options)
    header = struct.pack("!BBHHHBBH", 0x40 | length // 4, tos, length + len(body), 7, fragment, ttl, protocol, 0)
    header += first.packed + second.packed + options
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + body


def packet(source: str, destination: str, **rest: object) -> Packet:
    """Its headers."""
    return parse(ip_packet(source, destination, **rest))  # type: ignore[arg-type]


def tables(roles: frozenset[Role] = XTR, petrs: tuple[str, ...] = (), instance_id: int = 0) -> Tables:
    """The tables of an xTR of 192.168.1.0/24 and 2001:db8:1::/64, or of a proxy for the aggregates of both."""
    own = (Locator(OWN[4]),)
    prefixes = ("192.168.1.0/24", "2001:db8:1::/64")
    made = Tables.of(
        NodeConfig(
            name="node",
            roles=roles,
            rlocs=(OWN[4], OWN[6]),
            core_interfaces=("core1", "core2"),
            database=tuple(DatabaseMapping(EidPrefix.of(one, instance_id), own) for one in prefixes)
            if Role.ETR in roles
            else (),
            map_resolvers=(ip_address("10.0.3.1"),),
            map_servers=(MapServerPeer(ip_address("10.0.3.1"), KEY),),
            petrs=tuple(ip_address(one) for one in petrs),
            eid_aggregates=(EidPrefix.of("192.168.0.0/16"), EidPrefix.of("2001:db8::/32")),
            rloc_space=(ip_network("10.0.0.0/16"),),
        )
    )
    for anywhere in ("0.0.0.0/0", "::/0"):
        install(made, anywhere, Forwarding.SEND_MAP_REQUEST, instance_id=instance_id)
    return made


def install(
    into: Tables, prefix: str, forwarding: Forwarding, *locators: Locator, reason: str = "", instance_id: int = 0
) -> None:
    """Write a map-cache entry."""
    eid = EidPrefix.of(prefix, instance_id)
    into.map_cache.set(eid, ForwardingEntry(eid, forwarding, locators, reason))


def locator(address: str, priority: int = 1, weight: int = 100) -> Locator:
    return Locator(ip_address(address), priority, weight)


def by_family(destination: IPAddress) -> IPAddress | None:
    """A route to everything."""
    return OWN[destination.version]
