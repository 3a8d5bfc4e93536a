"""What each instance forwards natively: its own routes win over encapsulation (requirement S02)."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv6Network

from nodes.linux import links, netlink, routes
from nodes.linux.routes import Route, RouteType
from nodes.lisp.eid import EidPrefix, IPNetwork
from nodes.lisp.eid_table import EidTable

NATIVE_TABLES = 1_000_000_000
"""The number of instance 0's table; that of another instance is larger by its instance-ID."""

_METRIC = 1
"""What routes have that are no copies: IPv6 has no 0, and what it makes of it would not be known again as ours."""

_NULL0 = (RouteType.UNREACHABLE, RouteType.BLACKHOLE, RouteType.PROHIBIT)
_OWN_ADDRESS = (RouteType.LOCAL, RouteType.BROADCAST, RouteType.ANYCAST)
_LINK_LOCAL = IPv6Network("fe80::/10")
_GROUPS = (links.RTNLGRP_LINK, routes.RTNLGRP_IPV4_ROUTE, routes.RTNLGRP_IPV6_ROUTE)
_LINK_MESSAGES = (links.RTM_NEWLINK, links.RTM_DELLINK)
_COPIED_TABLES = (routes.MAIN_TABLE, routes.LOCAL_TABLE)


class NativeRoutes:
    """Keeps one table for each instance-ID, by the kernel's notifications.

    An instance's table holds what the main and the local table say of its own interfaces: the router's addresses there
    and the subnets behind them. So the same subnet can lie behind interfaces of several instances. Instance 0 has every
    interface that belongs to no other.

    A default route is left out: it makes a candidate for encapsulation. A Null0 route becomes a ``throw`` route: the
    lookup goes on to the next table, and a less specific route does not take the packet. A subnet of dynamic-EIDs has
    two of them, one for each half, and a host route for each host that was found (requirement X08).
    """

    def __init__(
        self,
        kernel: netlink.Connection,
        versions: frozenset[int],
        instances: Mapping[int, int],
        dynamic: Iterable[EidPrefix] = (),
    ) -> None:
        """Watch the caller's network namespace. Call :meth:`mirror` for the first copy.

        Args:
            kernel: A connection into the same namespace.
            versions: The IP versions to care for.
            instances: The instance-ID of each interface that hosts are behind, by its index.
            dynamic: The prefixes in which hosts are found one by one.
        """
        self._kernel = kernel
        self._versions = sorted(versions)
        self._instances = instances
        self._dynamic = tuple(dynamic)
        self._hosts: dict[EidPrefix, Route] = {}
        self._monitor = netlink.Monitor(*_GROUPS)

    def fileno(self) -> int:
        """The descriptor to wait on; then call :meth:`changed`."""
        return self._monitor.fileno()

    def changed(self) -> bool:
        """Whether the tables may have to change, by what happened since the last call."""
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
                and routes.parse_route(payload).table in _COPIED_TABLES
            )
            for kind, payload in arrived
        )

    def add_host(self, eid: EidPrefix, interface: int) -> None:
        """Add the host route of a dynamic-EID.

        Raises:
            NetlinkError: The kernel refused.
        """
        table = NATIVE_TABLES + eid.instance_id
        self._hosts[eid] = Route(eid.network, interface=interface, table=table, metric=_METRIC)
        routes.replace_route(self._kernel, self._hosts[eid])

    def except_host(self, eid: EidPrefix) -> None:
        """Keep the subnet's route from leading to a host that is not there (requirement X10); it has a Null0 route.

        Raises:
            NetlinkError: The kernel refused.
        """
        table = NATIVE_TABLES + eid.instance_id
        self._hosts[eid] = Route(eid.network, type=RouteType.THROW, table=table, metric=_METRIC)
        routes.replace_route(self._kernel, self._hosts[eid])

    def remove_host(self, eid: EidPrefix) -> None:
        """Take the host route of a dynamic-EID away, or what keeps the subnet's from leading to a host."""
        route = self._hosts.pop(eid, None)
        if route is not None:
            self._delete(route)

    def mirror(self) -> tuple[EidTable[bool], list[str]]:
        """Bring every instance's table up to date.

        Returns:
            For the forwarding decision, the prefixes of each instance: True for a route that leads somewhere, False for
            Null0; and what the kernel refused, in words.
        """
        table: EidTable[bool] = EidTable()
        refused: list[str] = []
        for version in self._versions:
            sources = [one for number in _COPIED_TABLES for one in self._specific(version, number)]
            for instance_id in {0, *self._instances.values()}:
                wanted = {(one.prefix, one.metric): one for one in self._of_instance(instance_id, version, sources)}
                for route in wanted.values():
                    table.set(EidPrefix(route.prefix, instance_id), route.type is not RouteType.THROW)
                refused += self._write(wanted, NATIVE_TABLES + instance_id, version)
        return table, refused

    def _write(self, wanted: dict[tuple[IPNetwork, int], Route], table: int, version: int) -> Iterator[str]:
        there = {(one.prefix, one.metric): one for one in routes.list_routes(self._kernel, version, table)}
        for key, route in wanted.items():
            copy = replace(route, table=table)
            if there.get(key) != copy:
                try:
                    routes.replace_route(self._kernel, copy)
                except netlink.NetlinkError as error:  # its next hop has just gone: a notification follows
                    yield str(error)
        for key, route in there.items():
            if key not in wanted:
                self._delete(route)

    def _delete(self, route: Route) -> None:
        with netlink.tolerating(errno.ESRCH):  # gone with its interface
            routes.delete_route(self._kernel, route)

    def _specific(self, version: int, table: int) -> Iterator[Route]:
        """A table's routes that are copied, as they stand in an instance's table."""
        for route in routes.list_routes(self._kernel, version, table):
            prefix = route.prefix
            if prefix.prefixlen == 0 or (isinstance(prefix, IPv6Network) and prefix.subnet_of(_LINK_LOCAL)):
                continue
            if table == routes.LOCAL_TABLE:
                if route.type in _OWN_ADDRESS:
                    yield replace(route, metric=_METRIC)
            elif route.type is RouteType.UNICAST:
                yield route
            elif route.type in _NULL0:
                yield Route(prefix, type=RouteType.THROW, metric=route.metric)

    def _of_instance(self, instance_id: int, version: int, copied: list[Route]) -> Iterator[Route]:
        own = [one for one in copied if self._instances.get(one.interface, 0) == instance_id]
        yield from own
        for prefix in self._dynamic:
            if prefix.instance_id == instance_id and prefix.version == version:
                yield from _null0_halves(prefix.network, own)
        for eid, route in self._hosts.items():
            if eid.instance_id == instance_id and eid.version == version:
                yield route

    def close(self) -> None:
        """Stop watching."""
        self._monitor.close()


def _null0_halves(dynamic: IPNetwork, copied: list[Route]) -> Iterator[Route]:
    """What keeps hosts of a dynamic prefix that were not found from being reached by their subnet's route."""
    for route in copied:
        subnet = route.prefix
        if route.type is RouteType.UNICAST and route.via is None and subnet.overlaps(dynamic):
            narrower = max(subnet, dynamic, key=lambda one: one.prefixlen)
            if narrower.prefixlen < narrower.max_prefixlen:
                yield from (Route(half, type=RouteType.THROW, metric=_METRIC) for half in narrower.subnets())
