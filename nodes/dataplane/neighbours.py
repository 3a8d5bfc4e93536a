"""ARP and neighbour discovery, as a router overhears it: who shows itself, who is asked for, and how to answer.

RFC 826, RFC 5227 (probes and announcements), RFC 4861 section 4 and RFC 4862 section 5.4 (duplicate address detection).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nodes.dataplane.packet import ICMPV6
from nodes.lisp.checksum import checksum
from nodes.lisp.eid import IPAddress

ETH_ARP, ETH_IPV6 = 0x0806, 0x86DD
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_OVER_ETHERNET = (1, 0x0800, 6, 4)
_REQUEST, _REPLY = 1, 2
_IPV6 = struct.Struct("!IHBB16s16s")
_ND = struct.Struct("!BBHI16s")
_FROM_THIS_LINK = 255  # the hop limit of what no router forwarded (RFC 4861 section 7.1)
_SOLICITED = 0x40000000
_SOURCE_LINK_LAYER_ADDRESS, _TARGET_LINK_LAYER_ADDRESS = 1, 2
_EVERYBODY = b"\xff" * 6
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")  # RFC 4291 section 2.7.1: and the address's last 24 bits


@dataclass(frozen=True, slots=True)
class Heard:
    """What one frame says.

    Attributes:
        sender: The host that showed itself.
        mac: Its MAC address.
        asked: The address it asks for, or None when it only announces itself or answers.
    """

    sender: IPAddress
    mac: bytes
    asked: IPAddress | None = None


def overhear(frame: bytes) -> Heard | None:
    """Read a frame; None for what tells of nobody: ARP probes, duplicate address detection, anything else."""
    try:
        _, source, kind = _ETHERNET.unpack_from(frame)
        if kind == ETH_ARP:
            return _overhear_arp(frame)
        return _overhear_nd(frame, source) if kind == ETH_IPV6 else None
    except struct.error:
        return None


def _overhear_arp(frame: bytes) -> Heard | None:
    *kinds, operation, mac, sender, _, asked = _ARP.unpack_from(frame, _ETHERNET.size)
    # RFC 5227 section 2.1.1: a probe has no sender address yet.
    if tuple(kinds) != _ARP_OVER_ETHERNET or sender == bytes(4):
        return None
    # RFC 5227 section 2.3: an announcement (gratuitous ARP) asks for the sender's own address, and wants no answer.
    if operation == _REQUEST and sender != asked:
        return Heard(IPv4Address(sender), mac, IPv4Address(asked))
    return Heard(IPv4Address(sender), mac)


def _overhear_nd(frame: bytes, mac: bytes) -> Heard | None:
    start = _ETHERNET.size
    _, _, protocol, hop_limit, source, _ = _IPV6.unpack_from(frame, start)
    kind, _, _, _, target = _ND.unpack_from(frame, start + _IPV6.size)
    if protocol != ICMPV6 or hop_limit != _FROM_THIS_LINK:
        return None
    if kind == NEIGHBOUR_ADVERTISEMENT:
        return Heard(IPv6Address(target), mac)
    # RFC 4862 section 5.4.2: duplicate address detection asks from the unspecified address.
    if kind != NEIGHBOUR_SOLICITATION or source == bytes(16):
        return None
    return Heard(IPv6Address(source), mac, IPv6Address(target) if target != source else None)


def answer(heard: Heard, asked: IPAddress, mac: bytes) -> bytes:
    """The frame that tells who asks that packets for ``asked`` go to ``mac``."""
    if asked.version == 4:
        arp = _ARP.pack(*_ARP_OVER_ETHERNET, _REPLY, mac, asked.packed, heard.mac, heard.sender.packed)
        return _ETHERNET.pack(heard.mac, mac, ETH_ARP) + arp
    # RFC 4861 section 7.2.8: a proxy's advertisement does not override the host's own.
    option = struct.pack("!BB6s", _TARGET_LINK_LAYER_ADDRESS, 1, mac)
    message = _ND.pack(NEIGHBOUR_ADVERTISEMENT, 0, 0, _SOLICITED, asked.packed) + option
    return _ETHERNET.pack(heard.mac, mac, ETH_IPV6) + _over_ipv6(message, asked.packed + heard.sender.packed)


def question(asked: IPAddress, own: IPAddress, mac: bytes) -> bytes:
    """The frame by which a router with the addresses ``own`` and ``mac`` asks for a host, everybody on the link."""
    if asked.version == 4:
        arp = _ARP.pack(*_ARP_OVER_ETHERNET, _REQUEST, mac, own.packed, bytes(6), asked.packed)
        return _ETHERNET.pack(_EVERYBODY, mac, ETH_ARP) + arp
    # RFC 4861 section 7.2.2: to the solicited-node multicast address.
    group = _SOLICITED_NODE + asked.packed[-3:]
    option = struct.pack("!BB6s", _SOURCE_LINK_LAYER_ADDRESS, 1, mac)
    message = _ND.pack(NEIGHBOUR_SOLICITATION, 0, 0, 0, asked.packed) + option
    return _ETHERNET.pack(b"\x33\x33" + group[-4:], mac, ETH_IPV6) + _over_ipv6(message, own.packed + group)


def _over_ipv6(message: bytes, addresses: bytes) -> bytes:
    total = checksum(addresses + struct.pack("!II", len(message), ICMPV6) + message)
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    return struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, _FROM_THIS_LINK) + addresses + message
