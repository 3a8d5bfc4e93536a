"""Interfaces and their addresses, by netlink: veth pairs across namespaces, bridges, MTU, counters."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from nodes.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Connection,
    attribute,
    number,
    number_attribute,
    parse_attributes,
    text_attribute,
)

RTNLGRP_LINK = 1
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_STATS64, _IFLA_NET_NS_FD = (
    1, 3, 4, 10, 18, 23, 28,
)  # fmt: skip
_IFLA_TXQLEN = 13
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_IFF_UP, _IFF_RUNNING, _IFF_LOWER_UP = 0x1, 0x40, 0x10000
_AF_INET, _AF_INET6 = 2, 10
_CREATE = NLM_F_CREATE | NLM_F_EXCL

IPInterface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a veth pair to be made.

    Attributes:
        name: Its name, at most 15 bytes.
        namespace: Descriptor of the network namespace it is made in; None is the connection's.
        mac: Its MAC address ("02:00:00:00:00:01"), or "" for one that the kernel draws.
        mtu: Bytes.
    """

    name: str
    namespace: int | None = None
    mac: str = ""
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel shows it; counters since it was made.

    Attributes:
        index: The interface index.
        name: Its name.
        kind: "veth", "bridge", "tun", or "" (loopback).
        mac: Its MAC address, or "".
        mtu: Bytes.
        up: Whether it is administratively up.
        carrier: Whether it has one: of a veth pair, whether it and the other end are up.
        running: Whether the kernel has told everybody so, bridges too, which let nothing through before.
        master: Index of the bridge it is a port of, or 0.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    running: bool
    master: int
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int


def _header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, change)


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _end(end: VethEnd, up: bool = True) -> bytes:
    flag = _IFF_UP if up else 0
    body = _header(0, flag, flag) + text_attribute(_IFLA_IFNAME, end.name)
    body += number_attribute(_IFLA_MTU, end.mtu)
    if end.mac:
        body += attribute(_IFLA_ADDRESS, _mac(end.mac))
    if end.namespace is not None:
        body += number_attribute(_IFLA_NET_NS_FD, end.namespace)
    return body


def add_veth(kernel: Connection, a: VethEnd, b: VethEnd) -> None:
    """Make a veth pair, each end in its namespace with its name, MAC address and MTU, both up."""
    # The peer is made first and cannot be up while it has no other end (ENOTCONN).
    data = attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, _end(b, up=False)))
    info = attribute(_IFLA_LINKINFO, text_attribute(_IFLA_INFO_KIND, "veth") + data)
    kernel.request(RTM_NEWLINK, _end(a) + info, _CREATE, f"add veth pair {a.name} - {b.name}")
    if b.namespace is None:
        set_up(kernel, index_of(kernel, b.name))
    else:
        with Connection(b.namespace) as there:
            set_up(there, index_of(there, b.name))


def add_bridge(kernel: Connection, name: str, mac: str = "", mtu: int = 1500) -> int:
    """Make a Linux bridge (a learning switch), up, and return its index."""
    body = _end(VethEnd(name, None, mac, mtu))
    info = attribute(_IFLA_LINKINFO, text_attribute(_IFLA_INFO_KIND, "bridge"))
    kernel.request(RTM_NEWLINK, body + info, _CREATE, f"add bridge {name}")
    return index_of(kernel, name)


def set_master(kernel: Connection, index: int, bridge: int) -> None:
    """Make an interface a port of a bridge (0: of none)."""
    body = _header(index) + number_attribute(_IFLA_MASTER, bridge)
    kernel.request(RTM_NEWLINK, body, 0, f"make interface {index} a port of bridge {bridge}")


def set_up(kernel: Connection, index: int, up: bool = True) -> None:
    """Set an interface up or down; ``lo`` has index 1."""
    body = _header(index, _IFF_UP if up else 0, _IFF_UP)
    kernel.request(RTM_NEWLINK, body, 0, f"set interface {index} {'up' if up else 'down'}")


def set_mtu(kernel: Connection, index: int, mtu: int) -> None:
    """Set an interface's MTU in bytes."""
    body = _header(index) + number_attribute(_IFLA_MTU, mtu)
    kernel.request(RTM_NEWLINK, body, 0, f"set the MTU of interface {index} to {mtu}")


def set_queue_length(kernel: Connection, index: int, packets: int) -> None:
    """Set how many packets an interface queues for sending (for a TUN device: until its reader comes)."""
    body = _header(index) + number_attribute(_IFLA_TXQLEN, packets)
    kernel.request(RTM_NEWLINK, body, 0, f"set the queue length of interface {index} to {packets}")


def set_mac(kernel: Connection, index: int, mac: str) -> None:
    """Set an interface's MAC address."""
    body = _header(index) + attribute(_IFLA_ADDRESS, _mac(mac))
    kernel.request(RTM_NEWLINK, body, 0, f"set the MAC address of interface {index} to {mac}")


def set_name(kernel: Connection, index: int, name: str) -> None:
    """Rename an interface (while it is down on older kernels)."""
    body = _header(index) + text_attribute(_IFLA_IFNAME, name)
    kernel.request(RTM_NEWLINK, body, 0, f"rename interface {index} to {name}")


def delete(kernel: Connection, index: int) -> None:
    """Delete an interface; of a veth pair both ends go."""
    kernel.request(RTM_DELLINK, _header(index), 0, f"delete interface {index}")


def parse_link(payload: bytes) -> Link:
    """Read a link message (a dump's or a notification's)."""
    index, flags = struct.unpack_from("=iI", payload, 4)
    found = parse_attributes(payload, 16)
    info = parse_attributes(found.get(_IFLA_LINKINFO, b""))
    counters = struct.unpack_from("=8Q", found[_IFLA_STATS64]) if _IFLA_STATS64 in found else (0,) * 8
    rx_packets, tx_packets, rx_bytes, tx_bytes, _, _, rx_dropped, tx_dropped = counters
    return Link(
        index=index,
        name=found[_IFLA_IFNAME].rstrip(b"\0").decode(),
        kind=info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=number(found, _IFLA_MTU),
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        running=bool(flags & _IFF_RUNNING),
        master=number(found, _IFLA_MASTER),
        rx_packets=rx_packets,
        tx_packets=tx_packets,
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
        rx_dropped=rx_dropped,
        tx_dropped=tx_dropped,
    )


def get(kernel: Connection, name: str) -> Link:
    """The interface of this name.

    Raises:
        NetlinkError: There is none.
    """
    body = _header() + text_attribute(_IFLA_IFNAME, name)
    return parse_link(kernel.request(RTM_GETLINK, body, 0, f"get interface {name}"))


def index_of(kernel: Connection, name: str) -> int:
    """The index of an interface."""
    return get(kernel, name).index


def list_links(kernel: Connection) -> list[Link]:
    """Every interface of the namespace."""
    return [
        parse_link(payload) for kind, payload in kernel.dump(RTM_GETLINK, _header(), "list interfaces") if kind == 16
    ]


def add_address(
    kernel: Connection, index: int, address: IPInterface, nodad: bool = True, prefix_route: bool = True
) -> None:
    """Give an interface an address; IPv6 without duplicate address detection unless ``nodad`` is False.

    Without ``prefix_route`` its subnet is not reached by the interface on its account.
    """
    family = _AF_INET if address.version == 4 else _AF_INET6
    body = struct.pack("=BBBBI", family, address.network.prefixlen, 0, 0, index)
    body += attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
    flags = (_IFA_F_NODAD if nodad and address.version == 6 else 0) | (0 if prefix_route else _IFA_F_NOPREFIXROUTE)
    if flags:
        body += number_attribute(_IFA_FLAGS, flags)
    kernel.request(_RTM_NEWADDR, body, _CREATE, f"add address {address} to interface {index}")


def delete_address(kernel: Connection, index: int, address: IPInterface) -> None:
    """Take an address away from an interface."""
    family = _AF_INET if address.version == 4 else _AF_INET6
    body = struct.pack("=BBBBI", family, address.network.prefixlen, 0, 0, index)
    body += attribute(_IFA_LOCAL, address.packed)
    kernel.request(_RTM_DELADDR, body, 0, f"take address {address} away from interface {index}")


def list_addresses(kernel: Connection) -> dict[int, list[IPInterface]]:
    """The addresses of every interface of the namespace, by interface index."""
    found: dict[int, list[IPInterface]] = {}
    for kind, payload in kernel.dump(_RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0), "list addresses"):
        if kind != _RTM_NEWADDR:
            continue
        _, length, _, _, index = struct.unpack_from("=BBBBI", payload)
        attributes = parse_attributes(payload, 8)
        packed = attributes.get(_IFA_LOCAL) or attributes[_IFA_ADDRESS]
        found.setdefault(index, []).append(ip_interface((packed, length)))
    return found
