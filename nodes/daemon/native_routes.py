"""The ``native`` table: the main table's specific routes, so that they win over encapsulation (requirement S02)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Network

from nodes.linux import links, netlink, routes
from nodes.linux.routes import Route, RouteType
from nodes.lisp.eid import EidPrefix
from nodes.lisp.eid_table import EidTable

NATIVE_TABLE = 1001

_NULL0 = (RouteType.UNREACHABLE, RouteType.BLACKHOLE, RouteType.PROHIBIT)
_LINK_LOCAL = IPv6Network("fe80::/10")
_GROUPS = (links.RTNLGRP_LINK, routes.RTNLGRP_IPV4_ROUTE, routes.RTNLGRP_IPV6_ROUTE)
_LINK_MESSAGES = (links.RTM_NEWLINK, links.RTM_DELLINK)


class NativeRoutes:
    """Keeps the ``native`` table a mirror of the main table, by the kernel's notifications.

    A default route is left out: it makes a candidate for encapsulation. A Null0 route becomes a ``throw`` route: the
    lookup goes on to the next table, and a less specific route does not take the packet.
    """

    def __init__(self, kernel: netlink.Connection, versions: frozenset[int]) -> None:
        """Watch the caller's network namespace. Call :meth:`mirror` for the first copy."""
        self._kernel = kernel
        self._versions = sorted(versions)
        self._monitor = netlink.Monitor(*_GROUPS)

    def fileno(self) -> int:
        """The descriptor to wait on; then call :meth:`changed`."""
        return self._monitor.fileno()

    def changed(self) -> bool:
        """Whether the main table may have changed since the last call."""
        try:
            arrived = self._monitor.drain()
        except OSError:  # notifications were lost
            return True
        # A link that goes down takes its IPv4 routes along without a word.
        return any(
            kind in _LINK_MESSAGES
            or (
                kind in (routes.RTM_NEWROUTE, routes.RTM_DELROUTE)
                and routes.is_route_of_a_table(payload)
                and routes.parse_route(payload).table == routes.MAIN_TABLE
            )
            for kind, payload in arrived
        )

    def mirror(self) -> tuple[EidTable[bool], list[str]]:
        """Bring the ``native`` table up to date.

        Returns:
            For the forwarding decision, the main table's prefixes without defaults: True for a route that leads
            somewhere, False for Null0; and what the kernel refused, in words.
        """
        table: EidTable[bool] = EidTable()
        refused: list[str] = []
        for version in self._versions:
            wanted = {(route.prefix, route.metric): route for route in self._specific(version)}
            for route in wanted.values():
                table.set(EidPrefix(route.prefix), route.type is RouteType.UNICAST)
            there = {(one.prefix, one.metric): one for one in routes.list_routes(self._kernel, version, NATIVE_TABLE)}
            for key, route in wanted.items():
                if there.get(key) != route:
                    try:
                        routes.replace_route(self._kernel, route)
                    except netlink.NetlinkError as error:  # its next hop has just gone: a notification follows
                        refused.append(str(error))
            for key, route in there.items():
                if key not in wanted:
                    try:
                        routes.delete_route(self._kernel, route)
                    except ProcessLookupError:
                        continue  # gone with its interface
        return table, refused

    def _specific(self, version: int) -> Iterator[Route]:
        for route in routes.list_routes(self._kernel, version):
            prefix = route.prefix
            if prefix.prefixlen == 0 or (isinstance(prefix, IPv6Network) and prefix.subnet_of(_LINK_LOCAL)):
                continue
            if route.type is RouteType.UNICAST:
                yield Route(
                    prefix, route.via, route.interface, route.type, NATIVE_TABLE, route.metric, route.source,
                    route.multipath,
                )  # fmt: skip
            elif route.type in _NULL0:
                yield Route(prefix, type=RouteType.THROW, table=NATIVE_TABLE, metric=route.metric)

    def close(self) -> None:
        """Stop watching."""
        self._monitor.close()
