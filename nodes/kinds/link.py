"""Veth links between machines. An interface is named after the machine at the other end."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_interface
from typing import Any

from nodes.kinds.delay_lines import DelayLines
from nodes.kinds.impairment import UNIMPAIRED, Impairment, impair
from nodes.kinds.stock import Intf, Link
from nodes.linux import ethtool, links
from nodes.linux.links import IPInterface, VethEnd
from nodes.linux.netlink import NetlinkError

DEFAULT_MTU = 1500


class VethInterface(Intf):
    """One end of a link: Mininet's interface API over netlink.

    Attributes:
        addresses: All that it was given.
    """

    addresses: tuple[IPInterface, ...] = ()
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
        **_params: Any,
    ) -> dict[str, Any]:
        """Give it its addresses, all of them."""
        if mac:
            self.setMAC(mac)
        if ip:
            self.setIP(ip)
        index = 0
        for address in addresses:
            index = index or self.index
            links.add_address(self.node.kernel, index, address)
            self.addresses += (address,)
            if self.ip is None:
                self.ip, self.prefixLen = str(address.ip), address.network.prefixlen
        return {}

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> str:
        """Add an address: "192.0.2.1/24", or the address and its prefix length."""
        address = ip_interface(ipstr if "/" in ipstr else f"{ipstr}/{prefixLen}")
        links.add_address(self.node.kernel, self.index, address)
        self.addresses += (address,)
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

    def send_as_on_the_wire(self) -> None:
        """Have the kernel complete checksums and cut super-packets before they leave by this interface.

        Raises:
            OSError: The kernel refused, or an offload is still on.
        """
        ethtool.offloads_off(self.name, self.node.namespace)
        features = ethtool.get_features(self.name, self.node.namespace)
        if left := [one for one in ethtool.OFFLOADS if features[one]]:
            raise OSError(f"{self.node.name}: interface {self.name}: offloads that stay on: {', '.join(left)}")

    def delete(self) -> None:
        """Delete it, and with it the other end."""
        with suppress(NetlinkError):  # it may have gone with its other end
            links.delete(self.node.kernel, self.index)
        self.node.delIntf(self)
        self.link = None


class VethLink(Link):
    """A veth pair, each end made inside its machine's namespace; or two, with a relay between them."""

    def __init__(
        self,
        node1: Any,
        node2: Any,
        impairment: Impairment = UNIMPAIRED,
        delay_lines: DelayLines | None = None,
        netem: bool = False,
        **params: Any,
    ) -> None:
        """Connect two machines; without ``intfName1`` and ``intfName2`` each end is named after the other machine.

        Args:
            node1: A machine.
            node2: Another.
            impairment: What the link does to packets.
            delay_lines: Where a link with a delay leads through; None where netem delays.
            netem: Whether netem makes delay and loss.
            params: Mininet's own. ``params1`` and ``params2`` may hold ``mtu``, in bytes.

        Raises:
            LinkError: The kernel made something else of it.
        """
        params.setdefault("intfName1", _free_name(node1, node2.name))
        params.setdefault("intfName2", _free_name(node2, node1.name))
        self._mtus = tuple((params.get(end) or {}).get("mtu", DEFAULT_MTU) for end in ("params1", "params2"))
        self._delay = impairment.delay
        self._delay_lines = delay_lines if impairment.delay else None
        super().__init__(node1, node2, **{**params, "intf": VethInterface})
        if impairment != UNIMPAIRED or self._mtus != (DEFAULT_MTU, DEFAULT_MTU):
            for interface, mtu in zip((self.intf1, self.intf2), self._mtus, strict=True):
                impair(interface.node, interface.name, impairment, mtu, netem)

    def makeIntfPair(
        self,
        intfname1: str,
        intfname2: str,
        addr1: str | None = None,
        addr2: str | None = None,
        node1: Any = None,
        node2: Any = None,
        deleteIntfs: bool = True,
    ) -> None:
        """Make the pair, both ends up, with their MAC addresses and MTUs."""
        a = VethEnd(intfname1, node1.namespace, addr1 or "", self._mtus[0])
        b = VethEnd(intfname2, node2.namespace, addr2 or "", self._mtus[1])
        if self._delay_lines is None:
            links.add_veth(node1.kernel, a, b)
        else:
            self._delay_lines.join(node1, a, node2, b, self._delay)

    def stop(self) -> None:
        """Nothing: the pair goes with the namespaces."""


def _free_name(node: Any, peer: str) -> str:
    """``peer``, or "peer-2" for a second link."""
    name, number = peer, 1
    while name in node.nameToIntf:
        number += 1
        name = f"{peer}-{number}"
    return name
