"""AFI-encoded addresses (RFC 9301 section 5.1) and the fields that hold them.

Every address is a packet that starts with its AFI, so a field may hold one of any family. Where an address is wanted, a
string will do: ``"192.0.2.1"``, ``"2001:db8::1"``, ``"02:00:00:00:00:01"``, any other string as a distinguished name;
``None`` stands for AFI 0.
"""

from __future__ import annotations

import re
import struct
from ipaddress import ip_address
from typing import Any

from scapy.config import conf
from scapy.error import Scapy_Exception
from scapy.fields import IP6Field, IPField, MACField, PacketField, PacketListField, ShortEnumField, StrNullField
from scapy.packet import Packet

AFI_NONE, AFI_IPV4, AFI_IPV6, AFI_MAC, AFI_NAME, AFI_LCAF = 0, 1, 2, 6, 17, 16387

AFIS = {
    AFI_NONE: "no address",
    AFI_IPV4: "IPv4",
    AFI_IPV6: "IPv6",
    AFI_MAC: "48-bit MAC",
    AFI_NAME: "distinguished name",
    AFI_LCAF: "LCAF",
}

LCAF_HEADER = 8
"""Octets from the AFI to the Length of an LCAF (RFC 8060 section 3)."""

MAX_NESTING = 12
"""How many LCAFs may hold one another: hostile input must not exhaust the stack."""

_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


class Cut(Scapy_Exception):
    """The octets end before the field does, or announce what cannot be read: what is there stays raw."""


class Item(Packet):
    """A packet inside a field: what follows it belongs to whoever holds it."""

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes | None]:
        """Leave what follows to the holder."""
        return b"", s


def _afi(number: int) -> ShortEnumField:
    return ShortEnumField("afi", number, AFIS)


class NoAddress(Item):
    """AFI 0: nothing follows."""

    name = "No Address"
    fields_desc = [_afi(AFI_NONE)]


class IPv4Address(Item):
    """AFI 1."""

    name = "IPv4 Address"
    fields_desc = [_afi(AFI_IPV4), IPField("address", "0.0.0.0")]


class IPv6Address(Item):
    """AFI 2."""

    name = "IPv6 Address"
    fields_desc = [_afi(AFI_IPV6), IP6Field("address", "::")]


class MACAddress(Item):
    """AFI 6 (RFC 8060 section 4.10.2)."""

    name = "MAC Address"
    fields_desc = [_afi(AFI_MAC), MACField("address", "00:00:00:00:00:00")]


class DistinguishedName(Item):
    """AFI 17 (RFC 8060 section 4.10.3): ASCII, ended by a zero octet (RFC 9735 section 3)."""

    name = "Distinguished Name"
    fields_desc = [_afi(AFI_NAME), StrNullField("address", b"")]


_PLAIN: dict[int, tuple[type[Packet], int]] = {
    AFI_NONE: (NoAddress, 2),
    AFI_IPV4: (IPv4Address, 6),
    AFI_IPV6: (IPv6Address, 18),
    AFI_MAC: (MACAddress, 8),
}

LCAF_CLASSES: dict[int, type[Packet]] = {}
"""The class of each LCAF type; filled where they are defined."""

LCAF_FALLBACK: list[type[Packet]] = []
"""The class of a type that has none of its own."""


def _extent(octets: bytes, parent: Packet | None) -> tuple[type[Packet], int]:
    """The class of the address at the start of these octets, and how many of them are its own."""
    if len(octets) < 2:
        raise Cut("an AFI is cut short")
    (afi,) = struct.unpack_from("!H", octets)
    if afi == AFI_NAME:
        end = octets.find(b"\0", 2)
        if end < 0:
            raise Cut("a distinguished name has no end")
        return DistinguishedName, end + 1
    if afi == AFI_LCAF:
        if len(octets) < LCAF_HEADER:
            raise Cut("an LCAF header is cut short")
        if _nesting(parent) >= MAX_NESTING:
            raise Cut(f"more than {MAX_NESTING} LCAFs inside one another")
        size = LCAF_HEADER + struct.unpack_from("!H", octets, 6)[0]
        return LCAF_CLASSES.get(octets[4], LCAF_FALLBACK[0]), size
    if afi not in _PLAIN:
        raise Cut(f"AFI {afi} is unknown")
    return _PLAIN[afi]


def _nesting(packet: Packet | None) -> int:
    depth = 0
    while packet is not None:
        depth += getattr(packet, "afi", None) == AFI_LCAF
        packet = packet.parent
    return depth


def read_address(octets: bytes = b"", _parent: Packet | None = None) -> Packet:
    """The address at the start of these octets; what follows it is its padding, as Scapy's packet fields want it.

    Raises:
        Cut: There is none, or its AFI is unknown: then nobody can say where it ends.
    """
    if not octets:
        return NoAddress()
    kind, size = _extent(octets, _parent)
    if len(octets) < size:
        raise Cut(f"an address is cut short: {len(octets)} of {size} octets")
    packet = kind(octets[:size], _parent=_parent)
    if octets[size:]:
        packet.add_payload(conf.padding_layer(octets[size:]))
    return packet


def to_address(value: Any) -> Any:
    """An address from a string, bytes (a name) or None; a packet stays what it is."""
    if value is None:
        return NoAddress()
    if isinstance(value, bytes):
        return DistinguishedName(address=value)
    if not isinstance(value, str):
        return value
    if _MAC.fullmatch(value):
        return MACAddress(address=value)
    try:
        version = ip_address(value).version
    except ValueError:
        return DistinguishedName(address=value)
    return IPv4Address(address=value) if version == 4 else IPv6Address(address=value)


class AddressField(PacketField):
    """One AFI-encoded address."""

    def __init__(self, name: str, default: Any = None) -> None:
        super().__init__(name, to_address(default), read_address)

    def any2i(self, pkt: Packet | None, x: Any) -> Any:
        """Take strings for addresses."""
        return super().any2i(pkt, to_address(x))

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, Any]:
        """Read one address; there has to be one."""
        if not s:
            raise Cut(f"{self.name}: nothing is left")
        return super().getfield(pkt, s)


class AddressListField(PacketListField):
    """AFI-encoded addresses one after the other: a number of them, or all that is left."""

    def __init__(self, name: str, default: list[Any], **how_many: Any) -> None:
        super().__init__(name, [to_address(one) for one in default], read_address, **how_many)

    def any2i(self, pkt: Packet | None, x: Any) -> Any:
        """Take strings for addresses."""
        return super().any2i(pkt, [to_address(one) for one in x] if isinstance(x, list) else to_address(x))
