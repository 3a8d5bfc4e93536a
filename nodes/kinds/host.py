"""A host: one of the computers that send and receive packets."""

from __future__ import annotations

from typing import ClassVar

from nodes.kinds.base import Machine
from nodes.linux import links


class Host(Machine):
    """A host forwards nothing and announces itself, so that switches and neighbours know it before it first speaks."""

    SYSCTLS: ClassVar = {
        "net/ipv4/ip_forward": 0,
        "net/ipv4/conf/all/arp_notify": 1,
        "net/ipv6/conf/all/ndisc_notify": 1,
    }

    def announce(self) -> None:
        """Send gratuitous ARP requests (RFC 5227 section 3) and unsolicited neighbour advertisements.

        The kernel sends them when a MAC address is set, so the same address is set again. A packet socket would do too,
        but closing one waits for the kernel's grace period, 20 ms for every host.
        """
        for interface in self.intfList():
            links.set_mac(self.kernel, interface.index, interface.mac)
