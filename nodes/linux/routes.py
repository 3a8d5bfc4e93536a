"""Routes and policy rules, by netlink."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from nodes.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Connection,
    attribute,
    number,
    number_attribute,
    parse_attributes,
    text_attribute,
    tolerating,
)

RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE = 7, 11
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
_RTM_NEWRULE, _RTM_DELRULE, _RTM_GETRULE = 32, 33, 34
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 2, 3, 4, 5, 6, 7
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 9, 15, 18
_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE = 1, 2, 3, 6, 10, 15
RTPROT_STATIC, RTPROT_BIRD = 4, 12
_RT_SCOPE_LINK, _RT_SCOPE_HOST, _RTM_F_CLONED = 253, 254, 0x200
_RULE_TO_TABLE = 1
_AF_INET, _AF_INET6 = 2, 10
MAIN_TABLE, LOCAL_TABLE = 254, 255

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class RouteType(IntEnum):
    """What a route does with a packet (rtnetlink(7)). UNREACHABLE and BLACKHOLE are what the field calls Null0."""

    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8
    THROW = 9


@dataclass(frozen=True, slots=True)
class Route:
    """A route.

    Attributes:
        prefix: Its destination; 0.0.0.0/0 and ::/0 are default routes.
        via: The next hop, or None for a connected one or a route that goes nowhere.
        interface: Index of the output interface, or 0 to let the kernel find it from ``via``.
        type: What it does.
        table: The table it stands in.
        metric: The lower wins; 0 is the kernel's default.
        source: The preferred source address, or None.
        multipath: The next hops of a multipath route, as the kernel spells them; only to be copied.
        protocol: Who installed it (RTPROT_...); says nothing of where packets go, and so does not tell routes apart.
    """

    prefix: IPNetwork
    via: IPAddress | None = None
    interface: int = 0
    type: RouteType = RouteType.UNICAST
    table: int = MAIN_TABLE
    metric: int = 0
    source: IPAddress | None = None
    multipath: bytes = b""
    protocol: int = field(default=RTPROT_STATIC, compare=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy rule: packets that match look into a table, or are refused.

    Attributes:
        priority: The lower is tried first; the local table is at 0, main at 32766.
        version: 4 or 6.
        table: The table to look into; 0 together with ``refuse``.
        incoming: Name of the interface the packet came in by, or "" for any.
        mark: The packet's mark, or 0 for any.
        destination: Prefix of the destination, or None for any.
        source: Prefix of the source, or None for any.
        refuse: PROHIBIT, UNREACHABLE or BLACKHOLE refuse the packet; None looks into the table.
    """

    priority: int
    version: int
    table: int = 0
    incoming: str = ""
    mark: int = 0
    destination: IPNetwork | None = None
    source: IPNetwork | None = None
    refuse: RouteType | None = None


def _family(version: int) -> int:
    return _AF_INET if version == 4 else _AF_INET6


def _route_body(route: Route) -> bytes:
    prefix, scope = route.prefix, 0
    if prefix.version == 4 and not route.via and not route.multipath and route.interface:
        scope = _RT_SCOPE_HOST if route.type is RouteType.LOCAL else _RT_SCOPE_LINK
    table = route.table if route.table < 256 else 0
    body = struct.pack(
        "=BBBBBBBBI", _family(prefix.version), prefix.prefixlen, 0, 0, table, route.protocol, scope, route.type, 0
    )
    body += number_attribute(_RTA_TABLE, route.table)
    if prefix.prefixlen:
        body += attribute(_RTA_DST, prefix.network_address.packed)
    if route.via is not None and route.via.version == prefix.version:
        body += attribute(_RTA_GATEWAY, route.via.packed)
    elif route.via is not None:
        body += attribute(_RTA_VIA, struct.pack("=H", _family(route.via.version)) + route.via.packed)
    if route.interface:
        body += number_attribute(_RTA_OIF, route.interface)
    if route.metric:
        body += number_attribute(_RTA_PRIORITY, route.metric)
    if route.source is not None:
        body += attribute(_RTA_PREFSRC, route.source.packed)
    if route.multipath:
        body += attribute(_RTA_MULTIPATH, route.multipath)
    return body


def _words(route: Route) -> str:
    way = f"via {route.via}" if route.via else f"on interface {route.interface}"
    if route.type is not RouteType.UNICAST:
        way = route.type.name.lower()
    return f"{route.prefix} {way} in table {route.table}"


def add_route(kernel: Connection, route: Route) -> None:
    """Add a route; one of the same prefix and metric must not be there yet."""
    kernel.request(RTM_NEWROUTE, _route_body(route), NLM_F_CREATE | NLM_F_EXCL, f"add route {_words(route)}")


def replace_route(kernel: Connection, route: Route) -> None:
    """Add a route, replacing one of the same prefix and metric."""
    kernel.request(RTM_NEWROUTE, _route_body(route), NLM_F_CREATE | NLM_F_REPLACE, f"replace route {_words(route)}")


def delete_route(kernel: Connection, route: Route) -> None:
    """Delete a route."""
    kernel.request(RTM_DELROUTE, _route_body(route), 0, f"delete route {_words(route)}")


def parse_route(payload: bytes) -> Route:
    """Read a route message (a dump's or a notification's)."""
    family, length, _, _, table, protocol, _, kind, _ = struct.unpack_from("=BBBBBBBBI", payload)
    found = parse_attributes(payload, 12)
    any_address = bytes(4 if family == _AF_INET else 16)
    via = found.get(_RTA_GATEWAY)
    if via is None and _RTA_VIA in found:
        via = found[_RTA_VIA][2:]
    source = found.get(_RTA_PREFSRC)
    return Route(
        prefix=ip_network((found.get(_RTA_DST, any_address), length)),
        via=ip_address(via) if via else None,
        interface=number(found, _RTA_OIF),
        type=RouteType(kind),
        table=number(found, _RTA_TABLE, table),
        metric=number(found, _RTA_PRIORITY),
        source=ip_address(source) if source else None,
        multipath=found.get(_RTA_MULTIPATH, b""),
        protocol=protocol,
    )


def is_route_of_a_table(payload: bytes) -> bool:
    """Whether a route message speaks of IPv4 or IPv6 and of a table, not of a cached exception."""
    family, flags = payload[0], struct.unpack_from("=I", payload, 8)[0]
    return family in (_AF_INET, _AF_INET6) and not flags & _RTM_F_CLONED


def list_routes(kernel: Connection, version: int, table: int = MAIN_TABLE) -> Iterator[Route]:
    """The routes of one table."""
    body = struct.pack("=BBBBBBBBI", _family(version), 0, 0, 0, 0, 0, 0, 0, 0) + number_attribute(_RTA_TABLE, table)
    entries: Iterable[tuple[int, bytes]] = ()
    with tolerating(errno.ENOENT):  # a table that never had a route
        entries = kernel.dump(RTM_GETROUTE, body, f"list routes of table {table}")
    for kind, payload in entries:
        if kind == RTM_NEWROUTE and is_route_of_a_table(payload):
            route = parse_route(payload)
            if route.table == table:
                yield route


def get_route(kernel: Connection, destination: IPAddress, source: IPAddress | None = None, incoming: int = 0) -> Route:
    """Ask the kernel how it would forward to ``destination``.

    Args:
        kernel: The connection.
        destination: Where to.
        source: The packet's source, or None for one of the node's own packets.
        incoming: Index of the interface the packet came in by, or 0 for the node's own packets.

    Raises:
        NetlinkError: There is no route (ENETUNREACH, EHOSTUNREACH), or it is refused (EACCES, EINVAL).
    """
    width = destination.max_prefixlen
    body = struct.pack("=BBBBBBBBI", _family(destination.version), width, width if source else 0, 0, 0, 0, 0, 0, 0)
    body += attribute(_RTA_DST, destination.packed)
    if source is not None:
        body += attribute(_RTA_SRC, source.packed)
    if incoming:
        body += number_attribute(_RTA_IIF, incoming)
    return parse_route(kernel.request(RTM_GETROUTE, body, 0, f"get the route to {destination}"))


def _rule_body(rule: Rule) -> bytes:
    length = rule.destination.prefixlen if rule.destination else 0
    source_length = rule.source.prefixlen if rule.source else 0
    action = _RULE_TO_TABLE if rule.refuse is None else int(rule.refuse)
    table = rule.table if rule.table < 256 else 0
    body = struct.pack("=BBBBBBBBI", _family(rule.version), length, source_length, 0, table, 0, 0, action, 0)
    body += number_attribute(_FRA_PRIORITY, rule.priority)
    if rule.table:
        body += number_attribute(_FRA_TABLE, rule.table)
    if rule.incoming:
        body += text_attribute(_FRA_IIFNAME, rule.incoming)
    if rule.mark:
        body += number_attribute(_FRA_FWMARK, rule.mark)
    if rule.destination:
        body += attribute(_FRA_DST, rule.destination.network_address.packed)
    if rule.source:
        body += attribute(_FRA_SRC, rule.source.network_address.packed)
    return body


def add_rule(kernel: Connection, rule: Rule) -> None:
    """Add a policy rule."""
    kernel.request(_RTM_NEWRULE, _rule_body(rule), NLM_F_CREATE | NLM_F_EXCL, f"add rule {rule}")


def delete_rule(kernel: Connection, rule: Rule) -> None:
    """Delete a policy rule."""
    kernel.request(_RTM_DELRULE, _rule_body(rule), 0, f"delete rule {rule}")


def list_rules(kernel: Connection, version: int) -> Iterator[Rule]:
    """Every policy rule of one address family, by priority."""
    header = struct.pack("=BBBBBBBBI", _family(version), 0, 0, 0, 0, 0, 0, 0, 0)
    for kind, payload in kernel.dump(_RTM_GETRULE, header, "list rules"):
        if kind != _RTM_NEWRULE:
            continue
        _, length, source_length, _, table, _, _, action, _ = struct.unpack_from("=BBBBBBBBI", payload)
        found = parse_attributes(payload, 12)
        destination, source = found.get(_FRA_DST), found.get(_FRA_SRC)
        yield Rule(
            priority=number(found, _FRA_PRIORITY),
            version=version,
            table=number(found, _FRA_TABLE, table),
            incoming=found.get(_FRA_IIFNAME, b"").rstrip(b"\0").decode(),
            mark=number(found, _FRA_FWMARK),
            destination=ip_network((destination, length)) if destination else None,
            source=ip_network((source, source_length)) if source else None,
            refuse=RouteType(action) if action in (6, 7, 8) else None,
        )
