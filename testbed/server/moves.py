"""A host changes site: the switch's end of its cable goes to another fabric; the host keeps everything of its own."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from nodes.kinds.announcement import Announcement
from nodes.kinds.impairment import LinkError
from nodes.linux import links
from testbed.model import NodeKind, Topology
from testbed.server.build import Network
from testbed.server.events import Events
from testbed.server.supervision import ServerError

_CARRIER_SECONDS = 2.0
_LOOK_SECONDS = 0.0005


class Moves:
    """Where the hosts of a lab are, and how they get elsewhere.

    Attributes:
        places: The site that each host is in, by its name.
    """

    def __init__(self, topology: Topology, network: Network, events: Events) -> None:
        """Begin with every host at home."""
        self.places = {host.name: host.site for host in topology.hosts}
        self._network = network
        self._events = events
        self._fabrics = {one.site: one.name for one in topology.nodes.values() if one.kind is NodeKind.FABRIC}
        self._sites = tuple(topology.sites)
        self._one_at_a_time = asyncio.Lock()

    async def move(self, node: str, site: str, silent: bool) -> dict[str, Any]:
        """Move a host; whatever fails, it is somewhere: at the new site, or back where it was.

        Args:
            node: The host.
            site: Where to.
            silent: Whether it keeps quiet about it.

        Returns:
            What :class:`testbed.act.mobility.moved.Moved` holds.

        Raises:
            ServerError: It cannot go there; the text says why.
            LinkError: Its link is not there what it is to be, or gets no carrier; the host is back.
            OSError: The kernel refused; the host is back.
        """
        async with self._one_at_a_time:
            origin = self._origin(node, site)
            host, target = self._network[node], self._network[self._fabrics[site]]
            (interface,) = host.intfList()
            announcement = Announcement(host, interface)
            try:
                unplugged, plugged = await self._replug(host, interface, target, self._network[self._fabrics[origin]])
                self.places[node] = site
                if not silent:
                    announcement.send()
            finally:
                asyncio.get_running_loop().run_in_executor(None, announcement.close)
        moved = {"origin": origin, "site": site, "unplugged": unplugged, "plugged": plugged}
        self._events.emit("moved", node, silent=silent, **moved)
        return {"node": node, **moved}

    def _origin(self, node: str, site: str) -> str:
        """The site that a host is to leave, if it may.

        Raises:
            ServerError: It may not.
        """
        if node not in self.places:
            raise ServerError(f"{node} cannot move: only hosts do: {', '.join(self.places) or 'there are none'}")
        if site not in self._sites:
            raise ServerError(f"there is no site {site}; sites are {', '.join(self._sites)}")
        if site not in self._fabrics:
            raise ServerError(f"{site} has no fabric to plug {node} in; those with one are {', '.join(self._fabrics)}")
        origin = self.places[node]
        if site == origin:
            raise ServerError(f"{node} is in {site} already")
        peers = [_other_end(interface).node.name for interface in self._network[node].intfList()]
        if peers != [self._fabrics.get(origin)]:
            raise ServerError(
                f"{node} cannot move: it has to have one link, to the fabric of its site, not to {', '.join(peers)}"
            )
        return origin

    async def _replug(self, host: Any, interface: Any, target: Any, origin: Any) -> tuple[float, float]:
        """Plug the other end of a host's interface into another fabric; returns when it was pulled, and ready."""
        end = _other_end(interface)
        unplugged = time.monotonic()
        end.go_to(target)
        try:
            await self._plug(host, interface, end)
        except (LinkError, OSError):
            end.go_to(origin)
            await self._plug(host, interface, end)
            raise
        return unplugged, time.monotonic()

    async def _plug(self, host: Any, interface: Any, end: Any) -> None:
        """Make an interface that has just come a port of its fabric, and wait until its other end can send."""
        end.link.impair(end)
        end.node.attach(end)
        # With a relay between them, the host's end has to notice first that the cable was out.
        await self._until(host, interface, running=False)
        end.isUp(setUp=True)
        await self._until(host, interface, running=True)

    async def _until(self, host: Any, interface: Any, *, running: bool) -> None:
        deadline = time.monotonic() + _CARRIER_SECONDS
        while True:
            link = links.get(host.kernel, interface.name)
            if (link.carrier and link.running) if running else not link.carrier:
                return
            if time.monotonic() > deadline:
                raise LinkError(
                    f"{host.name}: interface {interface.name}: the carrier is not {'back' if running else 'gone'} "
                    f"within {_CARRIER_SECONDS:g} s"
                )
            await asyncio.sleep(_LOOK_SECONDS)


def _other_end(interface: Any) -> Any:
    """The interface at the other end of a link."""
    link = interface.link
    return link.intf2 if interface is link.intf1 else link.intf1
