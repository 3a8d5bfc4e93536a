"""A mobile node changes its access network: it loses what the one gave it, then takes what the other gives."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from nodes.linux import links
from testbed.model import Topology
from testbed.server.build import Network
from testbed.server.events import Events
from testbed.server.supervision import RequestError, ServerError
from testbed.words import echoed, one_of

_CARRIER_SECONDS = 2.0
_LOOK_SECONDS = 0.0005


class Attachments:
    """Where the mobile nodes of a lab are attached, and how they get elsewhere.

    Attributes:
        places: The access network that each mobile node is in, by its name.
        ways: The access networks of each, by its name.
    """

    def __init__(self, topology: Topology, network: Network, events: Events) -> None:
        """Begin with every mobile node in its first network."""
        self._networks = {one.name: dict(one.networks) for one in topology.hosts if one.networks}
        self.places = {node: next(iter(networks)) for node, networks in self._networks.items()}
        self._network = network
        self._events = events
        self.ways = {node: tuple(networks) for node, networks in self._networks.items()}
        self._one_at_a_time = asyncio.Lock()

    async def move(self, node: str, network: str) -> dict[str, Any]:
        """Move a mobile node; if that fails, it is back where it was.

        Args:
            node: The mobile node.
            network: The access network.

        Returns:
            What :class:`testbed.act.mobility.moved.Moved` holds.

        Raises:
            RequestError: It cannot go there; the text says why.
            ServerError: Its link gets no carrier.
            OSError: The kernel refused.
        """
        async with self._one_at_a_time:
            origin, interfaces, machine = self.origin(node, network), self._networks[node], self._network[node]
            links.index_of(machine.kernel, interfaces[network])  # whoever deleted it hears so before anything is lost
            unplugged = time.monotonic()
            machine.leave(interfaces[origin])
            try:
                await self._attach(machine, interfaces[network])
            except (ServerError, OSError):
                machine.leave(interfaces[network])
                await self._attach(machine, interfaces[origin])
                raise
            self.places[node] = network
        moved = {"origin": origin, "site": network, "unplugged": unplugged, "plugged": time.monotonic()}
        self._events.emit("moved", node, silent=False, **moved)
        return {"node": node, **moved}

    def origin(self, node: str, network: str) -> str:
        """The access network that a mobile node is to leave.

        Raises:
            RequestError: It cannot go to ``network``.
        """
        networks = one_of(self.ways[node], network, "its networks")
        if network not in self.ways[node]:
            raise RequestError(f"{node} has no access network {echoed(network)}; {networks}")
        if network == self.places[node]:
            raise RequestError(f"{node} is in {network} already; {networks}")
        return self.places[node]

    async def _attach(self, machine: Any, interface: str) -> None:
        links.set_up(machine.kernel, links.index_of(machine.kernel, interface))
        deadline = time.monotonic() + _CARRIER_SECONDS
        while not links.get(machine.kernel, interface).carrier:  # through a relay it takes a moment
            if time.monotonic() > deadline:
                raise ServerError(f"{machine.name}: {interface} has no carrier within {_CARRIER_SECONDS:g} s")
            await asyncio.sleep(_LOOK_SECONDS)  # carrier comes within milliseconds, and nobody else waits for it
        machine.take(interface)
