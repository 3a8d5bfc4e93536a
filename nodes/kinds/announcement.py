"""How a host that was moved says where it is, without forgetting whom it knows.

Like a virtual machine after its migration. The kernel's own announcement needs the MAC address set anew
(``Host.announce``), and that empties the neighbour cache.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from nodes.linux.namespaces import inside
from nodes.lisp.checksum import checksum

_PATIENCE, _PAUSE = 100, 0.002
_BROADCAST = b"\xff" * 6
_ALL_NODES = bytes.fromhex("333300000001")
_ALL_NODES_ADDRESS = IPv6Address("ff02::1")
_ETH_ARP, _ETH_IPV6, _ICMPV6 = 0x0806, 0x86DD, 58
_NEIGHBOUR_ADVERTISEMENT, _OVERRIDE, _TARGET_LINK_LAYER_ADDRESS = 136, 0x20000000, 2
_FROM_THIS_LINK = 255  # the hop limit (RFC 4861 section 7.1.2)


class Announcement:
    """What a host will say on one of its links, made ahead: opening a socket is no part of a move."""

    def __init__(self, host: Any, interface: Any) -> None:
        """Prepare it.

        Raises:
            OSError: There is no such interface, or the caller may not.
        """
        mac = bytes.fromhex(interface.mac.replace(":", ""))
        self._frames = [announcement(address.ip, mac) for address in interface.addresses]
        with inside(host.namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # it hears nothing
            self._socket.bind((interface.name, 0))

    def send(self) -> None:
        """Say it once.

        Where hundreds say something at once, each word goes to all of them: the kernel's queue for what a switch has to
        hand out can be full, and is empty again after milliseconds.

        Raises:
            OSError: The interface is down, or the queue stays full.
        """
        for frame in self._frames:
            for _ in range(_PATIENCE):
                try:
                    self._socket.send(frame)
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                time.sleep(_PAUSE)  # the kernel tells nobody that its queue has room again
            else:
                self._socket.send(frame)

    def close(self) -> None:
        """Close the socket, which takes the kernel up to 20 ms."""
        self._socket.close()


def announcement(address: IPv4Address | IPv6Address, mac: bytes) -> bytes:
    """A gratuitous ARP request (RFC 5227 section 3), or an unsolicited advertisement (RFC 4861 section 7.2.6)."""
    if address.version == 4:
        arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, address.packed, bytes(6), address.packed)
        return _BROADCAST + mac + struct.pack("!H", _ETH_ARP) + arp
    option = struct.pack("!BB6s", _TARGET_LINK_LAYER_ADDRESS, 1, mac)
    message = struct.pack("!BBHI16s", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE, address.packed) + option
    addresses = address.packed + _ALL_NODES_ADDRESS.packed
    total = checksum(addresses + struct.pack("!II", len(message), _ICMPV6) + message)
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, _FROM_THIS_LINK) + addresses
    return _ALL_NODES + mac + struct.pack("!H", _ETH_IPV6) + header + message
