"""What makes a router the default gateway of its hosts: the gateway's addresses and MAC address on a site interface.

A router of another data centre has the same ones, so that a host which goes there finds its gateway again (requirement
X11). It also has the gateways of the other sites, where they differ: the kernel answers ARP and neighbour discovery for
them, and ping, and takes what hosts send by them (requirement S06).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from nodes.linux import links, netlink
from nodes.lisp.config import Gateway


def take_gateways(kernel: netlink.Connection, gateways: Iterable[Gateway]) -> None:
    """Become the gateway of the hosts behind each interface; what is so already stays.

    Raises:
        NetlinkError: The kernel refused; the text says what.
    """
    for gateway in gateways:
        index = links.index_of(kernel, gateway.interface)
        if gateway.mac:
            links.set_mac(kernel, index, gateway.mac)
        for address in (*gateway.addresses, *gateway.foreign):
            with netlink.tolerating(errno.EEXIST):
                # Its subnet is reached as the router's own address there says, or else host by host.
                links.add_address(kernel, index, address, prefix_route=False)
