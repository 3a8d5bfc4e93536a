"""A host: one of the computers that send and receive packets."""

from __future__ import annotations

import socket
from typing import ClassVar

from nodes.kinds.base import Machine
from nodes.linux import namespaces

_BROADCAST = b"\xff" * 6
_ETHERTYPE_ARP = 0x0806
_REQUEST_OVER_ETHERNET_FOR_IPV4 = bytes.fromhex("0001080006040001")


class Host(Machine):
    """A host forwards nothing and announces itself, so that switches and neighbours know it before it first speaks."""

    SYSCTLS: ClassVar = {"net/ipv4/ip_forward": 0}

    def announce(self) -> None:
        """Send a gratuitous ARP request (RFC 5227 section 3) from each interface with an IPv4 address."""
        ours = [interface for interface in self.intfList() if interface.ip and ":" not in interface.ip]
        if not ours:
            return
        with namespaces.inside(self.namespace):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with opened:
            for interface in ours:
                mac, address = bytes.fromhex(interface.mac.replace(":", "")), socket.inet_aton(interface.ip)
                arp = _REQUEST_OVER_ETHERNET_FOR_IPV4 + mac + address + bytes(6) + address
                opened.sendto(_BROADCAST + mac + _ETHERTYPE_ARP.to_bytes(2) + arp, (interface.name, 0))
