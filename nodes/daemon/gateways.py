"""What makes a router the default gateway of its hosts: the gateway's addresses and MAC address on a site interface.

A router of another data centre has the same ones, so that a host which goes there finds its gateway again (requirement
X11). It also has the gateways of the other sites, where they differ: the kernel answers ARP and neighbour discovery for
them, and ping, and takes what hosts send by them (requirement S06). Of several routers of one site, one has them at a
time (requirement X09).
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

from nodes.linux import links, netlink
from nodes.lisp.config import Gateway, NodeConfig
from nodes.lisp.site import IPInterface


class Gateways:
    """The gateways that a router can be, behind each site interface."""

    def __init__(self, kernel: netlink.Connection, config: NodeConfig) -> None:
        """Remember the interfaces' own MAC addresses.

        Args:
            kernel: A connection into the caller's network namespace.
            config: The node's configuration.

        Raises:
            NetlinkError: There is no such interface.
        """
        self._gateways = config.gateways
        macs = {link.name: link.mac for link in links.list_links(kernel)}
        # What an earlier run may have left is no MAC address of its own.
        spare = ":".join(["02", *(config.xtr_id[at : at + 2] for at in range(0, 10, 2))])
        self._own = {
            one.interface: spare if macs.get(one.interface) == one.mac else macs.get(one.interface, "")
            for one in config.gateways
        }

    def addresses(self) -> Iterator[tuple[str, IPInterface]]:
        """Each gateway's address, with the site interface."""
        for gateway in self._gateways:
            yield from ((gateway.interface, address) for address in _all(gateway))

    def take(self, kernel: netlink.Connection) -> None:
        """Become the gateway of the hosts behind each interface; what is so already stays.

        Raises:
            NetlinkError: The kernel refused; the text says what.
        """
        for gateway in self._gateways:
            link = links.get(kernel, gateway.interface)
            if gateway.mac and gateway.mac != link.mac:
                # The same one once more would have the kernel forget its neighbours, whom a new start asks for.
                links.set_mac(kernel, link.index, gateway.mac)
            for address in _all(gateway):
                with netlink.tolerating(errno.EEXIST):
                    # Its subnet is reached as the router's own address there says, or else host by host.
                    links.add_address(kernel, link.index, address, prefix_route=False)

    def leave(self, kernel: netlink.Connection) -> None:
        """Be it no more, and send nothing by its MAC address.

        Raises:
            NetlinkError: The kernel refused; the text says what.
        """
        for gateway in self._gateways:
            index = links.index_of(kernel, gateway.interface)
            for address in _all(gateway):
                with netlink.tolerating(errno.EADDRNOTAVAIL):
                    links.delete_address(kernel, index, address)
            if gateway.mac:
                links.set_mac(kernel, index, self._own[gateway.interface])

    def leave_with_process(self) -> int:
        """Have them left however this process ends: the kernel would go on answering for a gateway that is dead.

        Returns:
            A descriptor, to be kept open.
        """
        reader, writer = os.pipe()
        if os.fork():
            os.close(reader)
            return writer
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.dup2(reader, 0)
            os.closerange(1, os.sysconf("SC_OPEN_MAX"))
            os.read(0, 1)
            with suppress(OSError), netlink.Connection() as kernel:
                self.leave(kernel)
        finally:
            os._exit(0)


def _all(gateway: Gateway) -> tuple[IPInterface, ...]:
    return (*gateway.addresses, *gateway.foreign)
