"""A host: one of the computers that send and receive packets."""

from __future__ import annotations

from typing import Any, ClassVar

from nodes.kinds.base import Machine
from nodes.linux import ethtool, links


class Host(Machine):
    """A host forwards nothing and announces itself, so that switches and neighbours know it before it first speaks."""

    SYSCTLS: ClassVar = {
        "net/ipv4/ip_forward": 0,
        "net/ipv4/conf/all/arp_notify": 1,
        "net/ipv6/conf/all/ndisc_notify": 1,
    }

    def addIntf(self, intf: Any, *args: Any, **kwargs: Any) -> None:
        """Add an interface, one that never gets a UDP super-packet.

        Raises:
            OSError: The kernel did not switch UDP segmentation off.
        """
        super().addIntf(intf, *args, **kwargs)
        # A veth pair hands UDP super-packets (UDP_SEGMENT) on in one piece. One inside a LISP header would have to be
        # cut inside a UDP tunnel, where the kernel drops it: 1000 of 1000 datagrams; so the fast path leaves them all
        # to the stack. Cut here, as by a real network card, they take the fast path. Super-packets of TCP go through
        # tunnels and may stay. Hosts outside LISP sites need it as well: a PITR encapsulates what they send.
        ethtool.set_features(intf.name, {ethtool.UDP_SEGMENTATION: False}, self.namespace)
        if ethtool.get_features(intf.name, self.namespace)[ethtool.UDP_SEGMENTATION]:
            raise OSError(f"{self.name}: interface {intf.name}: {ethtool.UDP_SEGMENTATION} cannot be switched off")

    def announce(self) -> None:
        """Send gratuitous ARP requests (RFC 5227 section 3) and unsolicited neighbour advertisements.

        The kernel sends them when a MAC address is set, so the same address is set again. A packet socket would do too,
        but closing one waits for the kernel's grace period, 20 ms for every host.
        """
        for interface in self.intfList():
            links.set_mac(self.kernel, interface.index, interface.mac)
