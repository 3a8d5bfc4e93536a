"""Addresses as LISP messages carry them: an AFI and what it announces (RFC 9301 section 5.1, RFC 8060).

The address families are IANA's: 0 no address, 1 IPv4, 2 IPv6, 6 MAC (RFC 8060 section 4.10.2), 17 distinguished name
(section 4.10.3), 16387 LISP Canonical Address Format. Anything else is refused (requirement C03).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from nodes.lisp.eid import EidPrefix, IPAddress, network_around
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire.cursor import Cursor, fit

MAX_INSTANCE_ID = (1 << 24) - 1
"""The greatest instance-ID that a data header can carry (RFC 9300 section 5.3)."""

MAX_NESTING = 8
"""How deep LCAFs may hold one another here. RFC 8060 sets no limit; a decoder that recurses needs one."""

_REMEMBERED = 256


class Afi(IntEnum):
    """Address family identifiers that LISP messages use."""

    NONE = 0
    IPV4 = 1
    IPV6 = 2
    MAC = 6
    DISTINGUISHED_NAME = 17
    LCAF = 16387


class LcafType(IntEnum):
    """The canonical address types that are understood here; others stay opaque (RFC 8060 section 3)."""

    AFI_LIST = 1
    INSTANCE_ID = 2
    EXPLICIT_LOCATOR_PATH = 10


@dataclass(frozen=True, slots=True)
class NoAddress:
    """AFI 0: no address, as the Source-EID of a Map-Request that has none."""


@dataclass(frozen=True, slots=True)
class MacAddress:
    """A 48-bit MAC address (RFC 8060 section 4.10.2)."""

    octets: bytes

    def __str__(self) -> str:
        return self.octets.hex(":")


@dataclass(frozen=True, slots=True)
class DistinguishedName:
    """An ASCII name, ended by a zero byte on the wire (RFC 8060 section 4.10.3)."""

    name: bytes


@dataclass(frozen=True, slots=True)
class InstanceId:
    """An address inside an instance (RFC 8060 section 4.1).

    Attributes:
        instance_id: 32 bits; only the low-order 24 fit a data header.
        address: The address in that instance; :class:`NoAddress` makes it a range of instances.
        mask_len: For a range, how many high-order bits of the instance-ID count.
    """

    instance_id: int
    address: Address
    mask_len: int = 0

    def __str__(self) -> str:
        return f"[{self.instance_id}] {self.address}"


@dataclass(frozen=True, slots=True)
class AfiList:
    """Several addresses as one (RFC 8060 section 4.10)."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class ReencapHop:
    """One hop of an :class:`ExplicitLocatorPath`.

    Attributes:
        address: Where the packet goes next, of any AFI.
        lookup: L-bit, the address is no RLOC but is to be looked up in the mapping system.
        probe: P-bit, the hop may be RLOC-probed.
        strict: S-bit, the hop may not be left out.
    """

    address: Address
    lookup: bool = False
    probe: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ExplicitLocatorPath:
    """A locator that is reached by way of RTRs: whom packets go to, one after the other (RFC 8060 section 4.6).

    Attributes:
        hops: The RTRs in order and, last, the ETR.
    """

    hops: tuple[ReencapHop, ...]

    def __str__(self) -> str:
        return " > ".join(str(hop.address) for hop in self.hops)


@dataclass(frozen=True, slots=True)
class OpaqueLcaf:
    """A canonical address of another type, kept as it came so that it can be passed on.

    Attributes:
        lcaf_type: Its type.
        body: What follows the Length field.
        flags: The Flags field, whose meaning only the type knows.
        rsvd2: The byte after the type, which some types use.
    """

    lcaf_type: int
    body: bytes
    flags: int = 0
    rsvd2: int = 0


Address = (
    NoAddress
    | IPv4Address
    | IPv6Address
    | MacAddress
    | DistinguishedName
    | InstanceId
    | AfiList
    | ExplicitLocatorPath
    | OpaqueLcaf
)


def encode_address(address: Address) -> bytes:
    """The AFI and the address behind it."""
    match address:
        case NoAddress():
            return _afi(Afi.NONE)
        case IPv4Address():
            return _afi(Afi.IPV4) + address.packed
        case IPv6Address():
            return _afi(Afi.IPV6) + address.packed
        case MacAddress():
            if len(address.octets) != 6:
                raise ValueError(f"MAC address: needs 6 bytes, has {len(address.octets)}")
            return _afi(Afi.MAC) + address.octets
        case DistinguishedName():
            if 0 in address.name:
                raise ValueError("distinguished name: holds a zero byte, which would end it")
            return _afi(Afi.DISTINGUISHED_NAME) + address.name + b"\0"
        case InstanceId():
            body = fit(address.instance_id, 32, "instance-ID").to_bytes(4, "big") + encode_address(address.address)
            return _lcaf(LcafType.INSTANCE_ID, body, rsvd2=address.mask_len)
        case AfiList():
            return _lcaf(LcafType.AFI_LIST, b"".join(encode_address(one) for one in address.addresses))
        case ExplicitLocatorPath():
            return _lcaf(LcafType.EXPLICIT_LOCATOR_PATH, b"".join(_encode_hop(hop) for hop in address.hops))
        case OpaqueLcaf():
            return _lcaf(address.lcaf_type, address.body, address.flags, address.rsvd2)


def decode_address(cursor: Cursor, field: str, nesting: int = 0) -> Address:
    """Read an AFI and the address behind it.

    Args:
        cursor: Stands before the AFI.
        field: What the address is, for errors.
        nesting: How many LCAFs it is inside of.

    Raises:
        DecodeError: The AFI is unknown (RFC 9301 section 5.1: the message is dropped), or the address is malformed.
    """
    afi = int.from_bytes(cursor.take(2, f"{field} AFI"), "big")
    # By far the most are IPv4 or IPv6.
    if afi == Afi.IPV4:
        return IPv4Address(cursor.take(4, field))
    if afi == Afi.IPV6:
        return IPv6Address(cursor.take(16, field))
    if afi == Afi.LCAF:
        return _decode_lcaf(cursor, field, nesting)
    if afi not in _PLAIN:
        raise cursor.error(f"AFI {afi} is unknown", field)
    return _PLAIN[afi](cursor, field)


_PLAIN: dict[int, Callable[[Cursor, str], Address]] = {
    Afi.NONE: lambda _cursor, _field: NoAddress(),
    Afi.MAC: lambda cursor, field: MacAddress(cursor.take(6, field)),
    Afi.DISTINGUISHED_NAME: lambda cursor, field: DistinguishedName(cursor.take_past(b"\0", field)),
}

#  LISP Canonical Address Format (RFC 8060 section 3), with the body of type 2 (section 4.1)
#
#   0                   1                   2                   3
#   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#  |           AFI = 16387         |     Rsvd1     |     Flags     |
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#  |     Type      |     Rsvd2     |            Length             |
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#  |   Type = 2    | IID mask-len  |            Length             |
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#  |                         Instance ID                           |
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#  |              AFI = x          |         Address  ...          |
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#
#  Explicit Locator Path, type 10 (section 4.6): its body is a number of hops, each like this
#
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#  |           Rsvd3         |L|P|S|           AFI = x             |
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
#  |                         Reencap Hop  ...                      |
#  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

_LOOKUP, _PROBE, _STRICT = 1 << 2, 1 << 1, 1 << 0


def _lcaf(lcaf_type: int, body: bytes, flags: int = 0, rsvd2: int = 0) -> bytes:
    return struct.pack("!HBBBBH", Afi.LCAF, 0, flags, lcaf_type, rsvd2, len(body)) + body


def _decode_lcaf(cursor: Cursor, field: str, nesting: int) -> Address:
    if nesting == MAX_NESTING:
        raise cursor.error(f"more than {MAX_NESTING} LCAFs inside one another", field)
    cursor.u8(f"{field} Rsvd1")
    flags = cursor.u8(f"{field} Flags")
    lcaf_type = cursor.u8(f"{field} Type")
    rsvd2 = cursor.u8(f"{field} Rsvd2")
    body = cursor.part(cursor.u16(f"{field} Length"), field)
    address: Address
    if lcaf_type == LcafType.INSTANCE_ID:
        instance_id = body.u32("Instance ID")
        address = InstanceId(instance_id, decode_address(body, "address", nesting + 1), rsvd2)
    elif lcaf_type == LcafType.AFI_LIST:
        members: list[Address] = []
        while body.left:
            members.append(decode_address(body, f"address {len(members) + 1}", nesting + 1))
        address = AfiList(tuple(members))
    elif lcaf_type == LcafType.EXPLICIT_LOCATOR_PATH:
        hops: list[ReencapHop] = []
        while body.left:
            hops.append(_decode_hop(body, f"Reencap Hop {len(hops) + 1}", nesting + 1))
        address = ExplicitLocatorPath(tuple(hops))
    else:
        address = OpaqueLcaf(lcaf_type, body.take_all(), flags, rsvd2)
    body.end()
    return address


def _encode_hop(hop: ReencapHop) -> bytes:
    flags = _LOOKUP * hop.lookup | _PROBE * hop.probe | _STRICT * hop.strict
    return flags.to_bytes(2, "big") + encode_address(hop.address)


def _decode_hop(body: Cursor, field: str, nesting: int) -> ReencapHop:
    # RFC 8060 section 4.6: Rsvd3 is ignored on receipt.
    flags = body.u16(f"{field} flags")
    bits = bool(flags & _LOOKUP), bool(flags & _PROBE), bool(flags & _STRICT)
    return ReencapHop(decode_address(body, field, nesting), *bits)


def _afi(afi: Afi) -> bytes:
    return afi.to_bytes(2, "big")


def max_mask_len(address: Address) -> int:
    """The longest mask that makes sense for an address, in bits."""
    match address:
        case IPv4Address() | IPv6Address():
            return address.max_prefixlen
        case MacAddress():
            return 48
        case NoAddress():
            return 0
        case InstanceId(address=NoAddress()):
            return 32  # a range of instance-IDs
        case InstanceId():
            return max_mask_len(address.address)
        case DistinguishedName() | AfiList() | ExplicitLocatorPath() | OpaqueLcaf():
            return 255  # the texts set no limit but that of the field


_BITS: dict[type, int] = {IPv4Address: 32, IPv6Address: 128}


def decode_mask_len(cursor: Cursor, address: Address, mask_len: int) -> int:
    """Check a mask length, which the wire puts before its address.

    Raises:
        DecodeError: It is longer than the address.
    """
    longest = _BITS.get(type(address)) or max_mask_len(address)
    if mask_len > longest:
        raise cursor.error(f"{mask_len} is more than the address has bits ({longest})", "EID mask-len")
    return mask_len


def in_instance(address: Address, instance_id: int = 0) -> Address:
    """An EID as messages carry it: bare in the default instance, else inside an Instance ID LCAF."""
    return InstanceId(instance_id, address) if instance_id else address


@lru_cache(_REMEMBERED)
def eid_prefix(address: Address, mask_len: int) -> EidPrefix:
    """The EID-prefix that an address and a mask length name; bits behind the mask do not count.

    Remembered: each step of what is done about a message asks its records for it again.

    Raises:
        DecodeError: It is no IP prefix, or its instance-ID does not fit 24 bits.
    """
    instance_id = 0
    if isinstance(address, InstanceId):
        instance_id, address = address.instance_id, address.address
    if not isinstance(address, IPAddress):
        raise DecodeError(f"a {type(address).__name__} is no IP prefix", "EID-Prefix")
    if instance_id > MAX_INSTANCE_ID:
        raise DecodeError(f"instance-ID {instance_id} does not fit 24 bits", "EID-Prefix")
    return EidPrefix(network_around(address, mask_len), instance_id)


def every_mac(address: Address) -> tuple[Address, int] | None:
    """The prefix of length 0 around a MAC address, in its instance; None if the address is none.

    RFC 8060 section 4.10.2 has MAC addresses as EIDs, each inside an instance or by itself.

    Raises:
        DecodeError: Its instance-ID does not fit 24 bits.
    """
    if isinstance(address, MacAddress):
        return MacAddress(bytes(6)), 0
    if not isinstance(address, InstanceId) or not isinstance(address.address, MacAddress):
        return None
    if address.instance_id > MAX_INSTANCE_ID:
        raise DecodeError(f"instance-ID {address.instance_id} does not fit 24 bits", "EID-Prefix")
    return InstanceId(address.instance_id, MacAddress(bytes(6))), 0


def sort_key(address: Address) -> tuple[int, int]:
    """Order locators as RFC 9301 section 5.5 and RFC 8060 section 3 say: by AFI, then by address or LCAF type.

    LCAFs of one type have no order of their own: a stable sort leaves them as the ETR has put them.
    """
    match address:
        case NoAddress():
            return Afi.NONE, 0
        case IPv4Address():
            return Afi.IPV4, int(address)
        case IPv6Address():
            return Afi.IPV6, int(address)
        case MacAddress():
            return Afi.MAC, int.from_bytes(address.octets, "big")
        case DistinguishedName():
            return Afi.DISTINGUISHED_NAME, 0
        case InstanceId():
            return Afi.LCAF, LcafType.INSTANCE_ID
        case AfiList():
            return Afi.LCAF, LcafType.AFI_LIST
        case ExplicitLocatorPath():
            return Afi.LCAF, LcafType.EXPLICIT_LOCATOR_PATH
        case OpaqueLcaf():
            return Afi.LCAF, address.lcaf_type
