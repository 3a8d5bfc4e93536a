"""The RLOCs of a mobile node: what its core interfaces have now (draft-ietf-lisp-mn, requirement S15)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from nodes.linux import links, routes
from nodes.linux.netlink import Connection
from nodes.lisp.config import NodeConfig
from nodes.lisp.eid import IPAddress
from nodes.lisp.locators import is_unicast

MOST = 8
"""RLOCs of a mobile node: whatever somebody gives its interfaces by hand, a Map-Request has room for that many."""


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
