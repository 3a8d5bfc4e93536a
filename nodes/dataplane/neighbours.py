"""ARP and neighbour discovery, as a router overhears it: who shows itself, who is asked for, and what it says itself.

RFC 826, RFC 903, RFC 5227 (probes and announcements), RFC 4861 section 4 and RFC 4862 section 5.4 (duplicate address
detection).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from nodes.dataplane.packet import ICMPV6
from nodes.lisp.checksum import checksum
from nodes.lisp.eid import IPAddress

ETH_IPV4, ETH_ARP, ETH_RARP, ETH_IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
ECHO_REQUEST, ECHO_REPLY, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 128, 129, 135, 136
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_OVER_ETHERNET = (1, 0x0800, 6, 4)
_REQUEST, _REPLY, _REVERSE_REQUEST = 1, 2, 3
_IPV4_ADDRESSES = struct.Struct("!12x4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_ICMP, _ND, _OPTION = struct.Struct("!BBHI"), struct.Struct("!BBHI16s"), struct.Struct("!BB6s")
_FROM_THIS_LINK = 255  # the hop limit of what no router forwarded (RFC 4861 section 7.1)
_SOLICITED, _OVERRIDE = 0x40000000, 0x20000000
_SOURCE_LINK_LAYER_ADDRESS, _TARGET_LINK_LAYER_ADDRESS = 1, 2
PING = 0x4C495350
"""Identifier and sequence number of :func:`ping`: of all echo replies, those to it are looked at."""

_EVERYBODY = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")  # RFC 4291 section 2.7.1: and the last 24 bits
_ALL_NODES_MAC = bytes.fromhex("333300000001")


@dataclass(frozen=True, slots=True)
class Heard:
    """What one frame says.

    Attributes:
        sender: The host that showed itself.
        mac: Its MAC address.
        asked: The address it asks for, or None when it only announces itself or answers.
        announced: Whether its neighbours were told as well: that this is its MAC address now.
        misled: Whether it sent to a MAC address that is not here (any more), believing that it is that of ``asked``.
    """

    sender: IPAddress
    mac: bytes
    asked: IPAddress | None = None
    announced: bool = False
    misled: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """A machine says that it is here, not which addresses it has: RARP, as hypervisors send it after a migration."""

    mac: bytes


@dataclass(frozen=True, slots=True)
class Astray:
    """A packet for another machine, which is not here. That ``who.sender`` is who sent it, it does not show.

    Attributes:
        who: What it says.
        to: The MAC address that it was sent to.
    """

    who: Heard
    to: bytes = field(default=b"", compare=False)

    @property
    def mac(self) -> bytes:
        """The MAC address that it was sent from."""
        return self.who.mac


def overhear(frame: bytes) -> Heard | Arrived | None:
    """Read a frame; None for what tells of nobody: ARP probes, duplicate address detection, anything else."""
    try:
        to, source, kind = _ETHERNET.unpack_from(frame)
        if kind == ETH_RARP:
            return _overhear_rarp(frame)
        heard = _overhear_arp(frame, to) if kind == ETH_ARP else None
        if kind == ETH_IPV6:
            heard = _overhear_icmp(frame, to, source)
    except struct.error:
        return None
    # RFC 1812 section 3.3.2: that a host has a broadcast or multicast MAC address is not to be believed.
    return heard if heard is not None and is_a_station(heard.mac) else None


def _overhear_arp(frame: bytes, to: bytes) -> Heard | None:
    *kinds, operation, mac, sender, _, asked = _ARP.unpack_from(frame, _ETHERNET.size)
    # RFC 5227 section 2.1.1: a probe has no sender address yet.
    if tuple(kinds) != _ARP_OVER_ETHERNET or sender == bytes(4):
        return None
    # RFC 5227 section 2.3: an announcement (gratuitous ARP) asks for the sender's own address, and wants no answer.
    if sender == asked:
        return Heard(IPv4Address(sender), mac, announced=to == _EVERYBODY)
    return Heard(IPv4Address(sender), mac, IPv4Address(asked) if operation == _REQUEST else None)


def _overhear_rarp(frame: bytes) -> Arrived | None:
    *kinds, operation, sender, _, target, _ = _ARP.unpack_from(frame, _ETHERNET.size)
    # RFC 903: who asks for its own addresses; with no answer a hypervisor lets its guest's MAC address be learnt.
    is_one = tuple(kinds) == _ARP_OVER_ETHERNET and operation == _REVERSE_REQUEST and sender == target
    return Arrived(sender) if is_one and is_a_station(sender) else None


def _overhear_icmp(frame: bytes, to: bytes, mac: bytes) -> Heard | None:
    start = _ETHERNET.size
    _, _, protocol, hop_limit, source, _ = _IPV6.unpack_from(frame, start)
    kind, _, _, word = _ICMP.unpack_from(frame, start + _IPV6.size)
    if protocol != ICMPV6:
        return None
    if kind == ECHO_REPLY and word == PING:
        return Heard(IPv6Address(source), mac)
    if hop_limit != _FROM_THIS_LINK or kind not in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT):
        return None
    *_, target = _ND.unpack_from(frame, start + _IPV6.size)
    # RFC 4861 section 4.6.1: whose MAC address it is stands in an option; another one may have sent the frame.
    option = _OPTION.unpack(frame[start + _IPV6.size + _ND.size :][: _OPTION.size].ljust(_OPTION.size, b"\0"))
    if option[:2] in ((_SOURCE_LINK_LAYER_ADDRESS, 1), (_TARGET_LINK_LAYER_ADDRESS, 1)):
        mac = option[2]
    if kind == NEIGHBOUR_ADVERTISEMENT:
        return Heard(IPv6Address(target), mac, announced=to == _ALL_NODES_MAC)
    # RFC 4862 section 5.4.2: duplicate address detection asks from the unspecified address.
    if source == bytes(16):
        return None
    return Heard(IPv6Address(source), mac, IPv6Address(target) if target != source else None)


def mislead(heard: Heard | Arrived | Astray | None, frame: bytes) -> Heard | Arrived | Astray | None:
    """What a frame says that was for another machine, but a switch has sent it everywhere: it does not know where.

    Ethernet cannot tell the sender that nobody is there. Of a moved host, this is who its neighbours were.

    Args:
        heard: What :func:`overhear` has read in it.
        frame: The frame.
    """
    if isinstance(heard, Heard):
        return replace(heard, misled=True)
    try:
        dest, source, kind = _ETHERNET.unpack_from(frame)
        if kind == ETH_IPV4:
            sender, to = _IPV4_ADDRESSES.unpack_from(frame, _ETHERNET.size)
            return Astray(Heard(IPv4Address(sender), source, IPv4Address(to), misled=True), dest)
        if kind == ETH_IPV6:
            *_, sender, to = _IPV6.unpack_from(frame, _ETHERNET.size)
            return Astray(Heard(IPv6Address(sender), source, IPv6Address(to), misled=True), dest)
    except struct.error:
        pass
    return heard


def is_a_station(mac: bytes) -> bool:
    """Whether a MAC address is one of a single machine."""
    return bool(any(mac)) and not mac[0] & 1


def answer(heard: Heard, asked: IPAddress, mac: bytes) -> bytes:
    """The frame that tells who asks that packets for ``asked`` go to ``mac``; who is misled forgets what it knew."""
    if isinstance(asked, IPv4Address):
        if heard.misled:
            # RFC 5227 section 3: an announcement is believed whatever was known before, an answer not always.
            arp = _ARP.pack(*_ARP_OVER_ETHERNET, _REQUEST, mac, asked.packed, bytes(6), asked.packed)
            return _ETHERNET.pack(heard.mac, mac, ETH_ARP) + arp
        arp = _ARP.pack(*_ARP_OVER_ETHERNET, _REPLY, mac, asked.packed, heard.mac, heard.sender.packed)
        return _ETHERNET.pack(heard.mac, mac, ETH_ARP) + arp
    # RFC 4861 section 7.2.8: a proxy's advertisement does not override the host's own.
    message = _nd(
        NEIGHBOUR_ADVERTISEMENT, _OVERRIDE if heard.misled else _SOLICITED, asked, _TARGET_LINK_LAYER_ADDRESS, mac
    )
    return _icmp(heard.mac, mac, asked.packed, heard.sender.packed, message)


def announce(address: IPAddress, mac: bytes, router: bytes, source: IPAddress) -> bytes:
    """The frame that tells everybody who has a neighbour that it has this MAC address now, whatever they knew.

    Args:
        address: The neighbour's address.
        mac: Its MAC address.
        router: The MAC address of who sends it: switches are to go on knowing where the neighbour is.
        source: The sender's own address, for IPv6.
    """
    if isinstance(address, IPv4Address):
        # RFC 5227 section 3: as an announcement of the host itself, a request for its own address.
        arp = _ARP.pack(*_ARP_OVER_ETHERNET, _REQUEST, mac, address.packed, bytes(6), address.packed)
        return _ETHERNET.pack(_EVERYBODY, router, ETH_ARP) + arp
    # RFC 4861 section 7.2.6: unsolicited, to all nodes, with the Override flag.
    message = _nd(NEIGHBOUR_ADVERTISEMENT, _OVERRIDE, address, _TARGET_LINK_LAYER_ADDRESS, mac)
    return _icmp(_ALL_NODES_MAC, router, source.packed, _ALL_NODES.packed, message)


def question(asked: IPAddress, own: IPAddress, mac: bytes, to: bytes | None = None) -> bytes:
    """The frame by which a router with the addresses ``own`` and ``mac`` asks for a host, everybody on the link.

    Or, with the MAC address ``to``, the one machine that has it.
    """
    if asked.version == 4:
        arp = _ARP.pack(*_ARP_OVER_ETHERNET, _REQUEST, mac, own.packed, bytes(6), asked.packed)
        return _ETHERNET.pack(to or _EVERYBODY, mac, ETH_ARP) + arp
    # RFC 4861 section 7.2.2: to the solicited-node multicast address; section 7.3.3: or to the host itself.
    group = asked.packed if to else _SOLICITED_NODE + asked.packed[-3:]
    message = _nd(NEIGHBOUR_SOLICITATION, 0, asked, _SOURCE_LINK_LAYER_ADDRESS, mac)
    return _icmp(to or b"\x33\x33" + group[-4:], mac, own.packed, group, message)


def ping(to: bytes, router: bytes, source: IPAddress) -> bytes:
    """The frame that has the machine with this MAC address answer from its own address of the prefix of ``source``."""
    message = _ICMP.pack(ECHO_REQUEST, 0, 0, PING)
    return _icmp(to, router, source.packed, _ALL_NODES.packed, message)


def _nd(kind: int, flags: int, target: IPAddress, option: int, mac: bytes) -> bytes:
    return _ND.pack(kind, 0, 0, flags, target.packed) + _OPTION.pack(option, 1, mac)


def _icmp(to: bytes, router: bytes, source: bytes, destination: bytes, message: bytes) -> bytes:
    addresses = source + destination
    total = checksum(addresses + struct.pack("!II", len(message), ICMPV6) + message)
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, _FROM_THIS_LINK) + addresses
    return _ETHERNET.pack(to, router, ETH_IPV6) + header + message
