"""Veth links between machines. An interface is named after the machine at the other end."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_interface
from typing import Any

from nodes.kinds.stock import Intf, Link
from nodes.linux import links
from nodes.linux.links import IPInterface, VethEnd
from nodes.linux.netlink import NetlinkError


class VethInterface(Intf):
    """One end of a link: Mininet's interface API over netlink."""

    ip: str | None
    prefixLen: int | None

    @property
    def index(self) -> int:
        """Its interface index in its node's namespace."""
        return links.index_of(self.node.kernel, self.name)

    def config(
        self,
        mac: str | None = None,
        ip: str | None = None,
        addresses: Iterable[IPInterface] = (),
        mtu: int = 1500,
        **_params: Any,
    ) -> dict[str, Any]:
        """Give it its addresses, all of them, and its MTU in bytes."""
        if mac:
            self.setMAC(mac)
        if ip:
            self.setIP(ip)
        index = 0
        for address in addresses:
            index = index or self.index
            links.add_address(self.node.kernel, index, address)
            if self.ip is None:
                self.ip, self.prefixLen = str(address.ip), address.network.prefixlen
        if mtu != 1500:
            links.set_mtu(self.node.kernel, index or self.index, mtu)
        return {}

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> str:
        """Add an address: "192.0.2.1/24", or the address and its prefix length."""
        address = ip_interface(ipstr if "/" in ipstr else f"{ipstr}/{prefixLen}")
        links.add_address(self.node.kernel, self.index, address)
        self.ip, self.prefixLen = str(address.ip), address.network.prefixlen
        return ""

    def setMAC(self, macstr: str) -> str:
        """Set the MAC address."""
        links.set_mac(self.node.kernel, self.index, macstr)
        self.mac = macstr
        return ""

    def isUp(self, setUp: bool = False) -> bool:
        """Whether it is up; with ``setUp`` it is set up first."""
        if setUp:
            links.set_up(self.node.kernel, self.index)
        return links.get(self.node.kernel, self.name).up

    def delete(self) -> None:
        """Delete it, and with it the other end."""
        with suppress(NetlinkError):  # it may have gone with its other end
            links.delete(self.node.kernel, self.index)
        self.node.delIntf(self)
        self.link = None


class VethLink(Link):
    """A veth pair, each end made inside its machine's namespace."""

    def __init__(self, node1: Any, node2: Any, **params: Any) -> None:
        """Connect two machines; without ``intfName1`` and ``intfName2`` each end is named after the other machine."""
        params.setdefault("intfName1", _free_name(node1, node2.name))
        params.setdefault("intfName2", _free_name(node2, node1.name))
        super().__init__(node1, node2, **{**params, "intf": VethInterface})

    @classmethod
    def makeIntfPair(
        cls,
        intfname1: str,
        intfname2: str,
        addr1: str | None = None,
        addr2: str | None = None,
        node1: Any = None,
        node2: Any = None,
        deleteIntfs: bool = True,
    ) -> None:
        """Make the pair, both ends up, with their MAC addresses."""
        a = VethEnd(intfname1, node1.namespace, addr1 or "")
        b = VethEnd(intfname2, node2.namespace, addr2 or "")
        links.add_veth(node1.kernel, a, b)

    def stop(self) -> None:
        """Nothing: the pair goes with the namespaces."""


def _free_name(node: Any, peer: str) -> str:
    """``peer``, or "peer-2" for a second link."""
    name, number = peer, 1
    while name in node.nameToIntf:
        number += 1
        name = f"{peer}-{number}"
    return name
