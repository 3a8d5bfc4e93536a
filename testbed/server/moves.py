"""A host changes site: its cable is plugged in at another fabric; the host keeps everything of its own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from nodes.kinds.announcement import Announcement
from nodes.kinds.patch import Patch
from nodes.linux import links
from testbed.model import Node, NodeKind, Topology
from testbed.server.build import Network
from testbed.server.events import Events
from testbed.server.supervision import RequestError
from testbed.words import echoed, listed, one_of


class Moves:
    """Where the hosts of a lab are, and how they get elsewhere.

    Attributes:
        places: The site that each host is in, by its name.
        ways: The sites between which each host that can move does, by its name.
    """

    def __init__(self, topology: Topology, network: Network, events: Events) -> None:
        """Begin with every host at home."""
        self.places = {host.name: host.site for host in topology.hosts if not host.networks}
        self._network = network
        self._events = events
        self._fabrics = {one.site: one.name for one in topology.nodes.values() if one.kind is NodeKind.FABRIC}
        self._sites = tuple(topology.sites)
        on_a_fabric = [one for one in topology.hosts if not one.networks and self._is_on_a_fabric(one)]
        self.ways = {one.name: tuple(self._fabrics) for one in on_a_fabric if len(self._fabrics) > 1}
        self._patches: dict[tuple[str, str], Patch] = {}
        self._numbers = itertools.count()

    def move(self, nodes: Sequence[str], site: str, silent: bool) -> list[dict[str, Any]]:
        """Move hosts, one right after the other; what takes time is done for all of them before, and after.

        Args:
            nodes: The hosts.
            site: Where to.
            silent: Whether they keep quiet about it.

        Returns:
            For each what :class:`testbed.act.mobility.moved.Moved` holds.

        Raises:
            RequestError: One of them cannot go there, and all are where they were; the text says why.
            OSError: The kernel refused to move one; it and those behind it are where they were.
        """
        origins = {node: self.origin(node, site) for node in nodes}
        ends = {node: self._network[node].intfList()[0] for node in origins}
        ways = {node: way for node, one in ends.items() if (way := self._patch(node, _other_end(one), site))}
        moved = []
        with ExitStack() as stack:
            stack.enter_context(self._open(ways, site))
            announcements = {
                node: stack.enter_context(_closing(Announcement(self._network[node], interface)))
                for node, interface in ends.items()
            }
            for node, interface in ends.items():
                unplugged, plugged = self._replug(node, _other_end(interface), origins[node], site)
                self.places[node] = site
                one = {"origin": origins[node], "site": site, "unplugged": unplugged, "plugged": plugged}
                moved.append((node, one))
                if not silent:  # at once: what one of hundreds says goes to all who are there by now
                    announcements[node].send()
        for node, one in moved:
            self._events.emit("moved", node, silent=silent, **one)
        return [{"node": node, **one} for node, one in moved]

    @contextmanager
    def _open(self, ways: Mapping[str, Patch], site: str) -> Iterator[None]:
        """Have patch cables to a site carry frames; at the end those carry none whose host is not there."""
        try:
            for way in ways.values():
                way.set_up()
            yield
        finally:
            for node, way in ways.items():
                if self.places[node] != site:
                    with suppress(OSError):  # one that failed is gone
                        way.set_up(False)

    def origin(self, node: str, site: str) -> str:
        """The site that a host, one of those with ``ways``, is to leave.

        Raises:
            RequestError: It cannot go there.
        """
        with_a_fabric = one_of(self.ways[node], site, "sites with a fabric")
        if site not in self._sites:
            raise RequestError(f"there is no site {echoed(site)}; {with_a_fabric}")
        if site not in self._fabrics:
            raise RequestError(f"{site} has no fabric to plug {node} in; {with_a_fabric}")
        if site == self.places[node]:
            raise RequestError(f"{node} is in {site} already; {with_a_fabric}")
        return self.places[node]

    def _is_on_a_fabric(self, host: Node) -> bool:
        """Whether a host has one link, and that leads to a fabric: a cable that can be plugged in elsewhere."""
        return [one.peer in self._fabrics.values() for one in host.interfaces] == [True]

    def _replug(self, node: str, end: Any, origin: str, site: str) -> tuple[float, float]:
        """Plug the cable that ends in ``end`` in elsewhere; returns when it was pulled, and when that was done."""
        fabric, index = end.node, end.index
        before, after = self._patch(node, end, origin), self._patch(node, end, site)
        unplugged = time.monotonic()
        try:
            if before:
                before.set_up(False)
            links.set_master(fabric.kernel, index, after.bridge if after else fabric.bridge)
        except OSError:
            if before:
                before.set_up()
            links.set_master(fabric.kernel, index, before.bridge if before else fabric.bridge)
            if after:
                self._patches.pop((node, site)).remove()
            raise
        return unplugged, time.monotonic()

    def _patch(self, node: str, end: Any, site: str) -> Patch | None:
        """The patch cable to a site, laid when it is first needed; None where the host's own cable ends."""
        there = self._network[self._fabrics[site]]
        if there is end.node:
            return None
        if (node, site) not in self._patches:
            mtu = links.get(end.node.kernel, end.name).mtu
            self._patches[node, site] = Patch(next(self._numbers), node, mtu, end.node, there)
        return self._patches[node, site]


def movable(ways: Mapping[str, Sequence[str]]) -> str:
    """The nodes of a lab that can move, and between which places."""
    between: dict[tuple[str, ...], list[str]] = {}
    for node, places in ways.items():
        between.setdefault(tuple(places), []).append(node)
    told = [f"{listed(nodes)} can, between {' and '.join(places)}" for places, nodes in between.items() if places[1:]]
    return "; ".join(told) or "nothing can here: that takes two sites with a fabric, or a mobile node"


@contextmanager
def _closing(announcement: Announcement) -> Iterator[Announcement]:
    """Close it at the end, in a thread: that takes a while, and nobody has to wait for it."""
    try:
        yield announcement
    finally:
        asyncio.get_running_loop().run_in_executor(None, announcement.close)


def _other_end(interface: Any) -> Any:
    """The interface at the other end of a link."""
    link = interface.link
    return link.intf2 if interface is link.intf1 else link.intf1
