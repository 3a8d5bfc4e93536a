"""Links that come up again get back the static routes that the kernel dropped when they went down.

Taking an interface down (``ip link set core1 down``) drops every route over it, and taking it up brings back only those
of its own subnets. The other end loses its carrier, not its routes.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable

from nodes.kinds.base import Machine
from nodes.linux import links, namespaces, routes
from nodes.linux.netlink import Monitor, NetlinkError
from testbed.server.events import Events

_GROUPS = (links.RTNLGRP_LINK, routes.RTNLGRP_IPV4_ROUTE, routes.RTNLGRP_IPV6_ROUTE)

_Key = tuple[routes.IPNetwork, routes.IPAddress | None, int]


class LinkWatch:
    """Watches the links of every machine that has static routes. What BIRD brings, BIRD brings back itself."""

    def __init__(self, machines: Iterable[Machine], events: Events) -> None:
        """Watch from now on; each restoration is told as the event ``routes-restored``."""
        self._events = events
        self._loop = asyncio.get_running_loop()
        for machine in machines:
            by_link = machine.routes_by_link()
            if by_link:
                keeper = RouteKeeper(machine, by_link)
                self._loop.add_reader(keeper.fileno(), self._look, machine.name, keeper)

    def _look(self, name: str, keeper: RouteKeeper) -> None:
        restored = keeper.look()
        if restored:
            self._events.emit("routes-restored", node=name, routes=restored)


class RouteKeeper:
    """Keeps the static routes of one machine through the failures of its links.

    Only what a link took along comes back: a route that somebody deleted or replaced while its link was up stays as
    it was left, and so does one that somebody put in its place while the link was down.
    """

    def __init__(self, machine: Machine, by_link: dict[str, frozenset[routes.Route]]) -> None:
        """Listen to the kernel from now on; all links are up.

        Args:
            machine: The machine.
            by_link: Its static routes, by the name of the interface they lead over.
        """
        self._kernel = machine.kernel
        self._by_link = by_link
        self._versions = sorted({route.prefix.version for over in by_link.values() for route in over})
        self._there = dict(by_link)  # what each link had when it was last up
        self._taken: dict[str, set[routes.Route]] = {}  # what it took along and has not got back
        self._carrying: set[str] = set(by_link)  # links that are up at both ends
        with namespaces.inside(machine.namespace):
            self._monitor = Monitor(*_GROUPS)

    def fileno(self) -> int:
        """The descriptor to wait on; then :meth:`look`."""
        return self._monitor.fileno()

    def look(self) -> int:
        """Take in what has happened, put back what is to come back; returns how many routes that were."""
        changed = self._hear()
        while changed:
            there = self._present()
            changed = self._hear()
            for name, over in self._by_link.items():
                if name not in self._taken:
                    self._there[name] = frozenset(one for one in over if _key(one) in there)
        return sum(self._put_back(name) for name in list(self._taken) if name in self._carrying)

    def _hear(self) -> bool:
        """Read the notifications; returns whether the main table has changed."""
        try:
            arrived = self._monitor.drain()
        except OSError:  # notifications were lost: links may have been down
            for link in links.list_links(self._kernel):
                self._fall(link.name)
                self._link(link)
            return False
        changed = False
        for kind, payload in arrived:
            if kind == links.RTM_NEWLINK:
                self._link(links.parse_link(payload))
            elif kind in (routes.RTM_NEWROUTE, routes.RTM_DELROUTE) and routes.is_route_of_a_table(payload):
                route = routes.parse_route(payload)
                if route.table == routes.MAIN_TABLE:
                    changed = True
                    if kind == routes.RTM_DELROUTE and route.prefix.version == 4:
                        self._forget(route)
        return changed

    def _link(self, link: links.Link) -> None:
        if not link.up:
            self._fall(link.name)
        if link.carrier:
            self._carrying.add(link.name)
        else:
            self._carrying.discard(link.name)

    def _fall(self, name: str) -> None:
        if name in self._there:
            self._taken.setdefault(name, set(self._there[name]))

    def _forget(self, deleted: routes.Route) -> None:
        """Somebody deleted an IPv4 route: the kernel says nothing of those that a link takes along."""
        for name, over in self._there.items():
            if name not in self._taken:
                self._there[name] = frozenset(one for one in over if _key(one) != _key(deleted))

    def _present(self) -> set[_Key]:
        """The routes of the main table; of a link that is not among the fallen ones, they are what it is to have."""
        there = {_key(route) for version in self._versions for route in routes.list_routes(self._kernel, version)}
        # IPv6 tells of the routes that a link takes along, and does so before it tells that the link is down.
        for link in links.list_links(self._kernel):
            if not link.up:
                self._fall(link.name)
        return there

    def _put_back(self, name: str) -> int:
        restored = 0
        for route in list(self._taken[name]):
            try:
                routes.add_route(self._kernel, route)
                restored += 1
            except NetlinkError as error:
                if error.errno != errno.EEXIST:  # somebody has put one in its place
                    continue  # the link is not yet as it was (IPv6 takes a moment): what happens next is heard of
            self._taken[name].discard(route)
        if not self._taken[name]:
            del self._taken[name]
        return restored


def _key(route: routes.Route) -> _Key:
    """What tells a static route from another: where to, by which next hop, behind which others."""
    return route.prefix, route.via, route.metric
