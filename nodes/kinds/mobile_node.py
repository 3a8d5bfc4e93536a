"""A mobile node: a host that is its own xTR (draft-ietf-lisp-mn). Its EIDs are addresses of its loopback interface."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from nodes.kinds.base import DEFAULT_METRIC
from nodes.kinds.lisp_router import LispRouter
from nodes.linux import links, routes
from nodes.linux.links import IPInterface
from nodes.linux.netlink import tolerating

_EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True, slots=True)
class Attachment:
    """What an access network gives a node that is attached to it.

    Attributes:
        addresses: Its addresses there: RLOCs.
        gateways: Its default gateways, one of each IP version.
    """

    addresses: tuple[IPInterface, ...]
    gateways: tuple[routes.IPAddress, ...]


class MobileNode(LispRouter):
    """It is attached to one access network at a time, by the interface that leads there; the others are down."""

    def __init__(self, name: str, attachments: Mapping[str, Attachment], **params: Any) -> None:
        """Make the namespace.

        Args:
            name: The node's name.
            attachments: What each network gives it, by the interface that leads there; it starts at the first.
            params: Those of a machine; ``loopbacks`` are its EIDs.
        """
        super().__init__(name, **params)
        self._attachments = dict(attachments)

    def add_routes(self) -> None:
        """Attach it to the first network; the links are up by now."""
        first = next(iter(self._attachments))
        for interface in self._attachments:
            if interface != first:
                links.set_up(self.kernel, links.index_of(self.kernel, interface), up=False)
        self.take(first)

    def leave(self, interface: str) -> None:
        """Lose a network: the link, and with it the routes, then the addresses.

        Raises:
            NetlinkError: The kernel refused.
        """
        index = 0
        with tolerating(errno.ENODEV):  # somebody has deleted it
            index = links.index_of(self.kernel, interface)
        if not index:
            return
        links.set_up(self.kernel, index, up=False)
        for address in self._attachments[interface].addresses:
            with tolerating(errno.EADDRNOTAVAIL):  # somebody has taken it away already
                links.delete_address(self.kernel, index, address)

    def take(self, interface: str) -> None:
        """Take what a network gives; the interface is up.

        Raises:
            NetlinkError: The kernel refused.
        """
        index = links.index_of(self.kernel, interface)
        for address in self._attachments[interface].addresses:
            with tolerating(errno.EEXIST):  # somebody has given it that already
                links.add_address(self.kernel, index, address)
        for route in self._defaults(interface):
            routes.replace_route(self.kernel, route)

    def routes_by_link(self) -> dict[str, frozenset[routes.Route]]:
        """The default routes that each network gives: a link that was down for a while has them again."""
        return {interface: frozenset(self._defaults(interface)) for interface in self._attachments}

    def _defaults(self, interface: str) -> Iterator[routes.Route]:
        index = links.index_of(self.kernel, interface)
        for gateway in self._attachments[interface].gateways:
            yield routes.Route(_EVERYWHERE[gateway.version], gateway, index, metric=DEFAULT_METRIC[gateway.version])
