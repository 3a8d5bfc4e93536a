"""The kernel's neighbours, ARP and IPv6 alike, by netlink."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from nodes.linux.netlink import NLM_F_CREATE, NLM_F_REPLACE, Connection, attribute, parse_attributes, tolerating
from nodes.linux.routes import IPAddress

_RTM_NEWNEIGH, _RTM_DELNEIGH, _RTM_GETNEIGH = 28, 29, 30
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_REACHABLE = 0x02
_NTF_USE = 0x01  # look for it at once, as if there were a packet to send
_AF_INET, _AF_INET6 = 2, 10
_NDMSG = struct.Struct("=BxxxiHBB")


def list_neighbours(kernel: Connection) -> Iterator[tuple[int, IPAddress]]:
    """Everybody that the kernel knows or has lately looked for, as (interface index, address)."""
    for kind, payload in kernel.dump(_RTM_GETNEIGH, _NDMSG.pack(0, 0, 0, 0, 0), "list neighbours"):
        address = parse_attributes(payload, _NDMSG.size).get(_NDA_DST)
        if kind == _RTM_NEWNEIGH and address and payload[0] in (_AF_INET, _AF_INET6):
            yield _NDMSG.unpack_from(payload)[1], ip_address(address)


def set_neighbour(kernel: Connection, index: int, address: IPAddress, mac: bytes) -> None:
    """Have the kernel believe that a neighbour has this MAC address, as if it had just answered."""
    family = _AF_INET if address.version == 4 else _AF_INET6
    body = _NDMSG.pack(family, index, _NUD_REACHABLE, 0, 0)
    body += attribute(_NDA_DST, address.packed) + attribute(_NDA_LLADDR, mac)
    what = f"set neighbour {address} on interface {index}"
    kernel.request(_RTM_NEWNEIGH, body, NLM_F_CREATE | NLM_F_REPLACE, what)


def forget_neighbour(kernel: Connection, index: int, address: IPAddress) -> None:
    """Have the kernel know nothing of a neighbour."""
    family = _AF_INET if address.version == 4 else _AF_INET6
    known = _NDMSG.pack(family, index, 0, 0, 0) + attribute(_NDA_DST, address.packed)
    with tolerating(errno.ENOENT):
        kernel.request(_RTM_DELNEIGH, known, 0, f"forget neighbour {address} on interface {index}")


def look_for(kernel: Connection, index: int, address: IPAddress) -> None:
    """Have the kernel ask for a neighbour now, whatever it knows of it."""
    forget_neighbour(kernel, index, address)
    family = _AF_INET if address.version == 4 else _AF_INET6
    body = _NDMSG.pack(family, index, 0, _NTF_USE, 0) + attribute(_NDA_DST, address.packed)
    kernel.request(_RTM_NEWNEIGH, body, NLM_F_CREATE, f"look for neighbour {address} on interface {index}")
