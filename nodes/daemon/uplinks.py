"""The RLOCs of a mobile node: what its core interfaces have now (draft-ietf-lisp-mn, requirement S15)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from nodes.daemon.icmp_socket import IcmpErrors
from nodes.daemon.loop import Loop
from nodes.daemon.ports import ControlPorts
from nodes.dataplane.path import DataPath
from nodes.linux import links, routes
from nodes.linux.netlink import Connection
from nodes.lisp.config import NodeConfig
from nodes.lisp.eid import IPAddress
from nodes.lisp.inputs import RlocsChanged
from nodes.lisp.locators import is_unicast

MOST = 8
"""RLOCs of a mobile node: whatever somebody gives its interfaces by hand, a Map-Request has room for that many."""


class Uplinks:
    """Follows the RLOCs of a mobile node: first it can receive at the new ones, then the engine hears of them."""

    def __init__(
        self,
        kernel: Connection,
        config: NodeConfig,
        receivers: Sequence[ControlPorts | IcmpErrors],
        path: DataPath,
        loop: Loop,
        read: Callable[[DataPath], None],
        step: Callable[[RlocsChanged], None],
    ) -> None:
        """Begin with the RLOCs of the configuration.

        Args:
            kernel: A connection into the node's namespace.
            config: The node's configuration.
            receivers: What takes packets that come to its RLOCs.
            path: The data path.
            loop: Waits for the data path's descriptors,
            read: and does so again, if called with it.
            step: Tells the engine.
        """
        self._kernel, self._config, self._rlocs = kernel, config, config.rlocs
        self._receivers, self._path, self._loop = receivers, path, loop
        self._read, self._step = read, step

    def follow(self) -> None:
        """Links, addresses or routes may be others: so may the RLOCs. While there are none, nothing is changed."""
        rlocs = present_rlocs(self._kernel, self._config)
        if rlocs == self._rlocs:
            return
        self._rlocs = rlocs
        if rlocs:
            for one in self._receivers:
                one.move(rlocs)
            before = self._path.readers
            self._path.move(frozenset(rlocs))
            for descriptor in before:
                self._loop.remove(descriptor)
            self._read(self._path)
        self._step(RlocsChanged(rlocs))


def present_rlocs(kernel: Connection, config: NodeConfig) -> tuple[IPAddress, ...]:
    """The addresses of its core interfaces from which packets leave: the link is up, a default route leads there.

    In the order of the interfaces, all of one IP version, then all of the other; :data:`MOST` at most.
    """
    return tuple(sorted(islice(_present(kernel, config), MOST), key=lambda rloc: rloc.version))


def _present(kernel: Connection, config: NodeConfig) -> Iterator[IPAddress]:
    addresses = links.list_addresses(kernel)
    found = {link.name: link for link in links.list_links(kernel)}
    ways = {
        (version, route.interface)
        for version in (4, 6)
        for route in routes.list_routes(kernel, version)
        if route.prefix.prefixlen == 0
    }
    for name in config.core_interfaces:
        link = found.get(name)
        if link is not None and link.up and link.carrier:
            for address in addresses.get(link.index, ()):
                if is_unicast(address.ip) and not address.is_link_local and (address.version, link.index) in ways:
                    yield address.ip
