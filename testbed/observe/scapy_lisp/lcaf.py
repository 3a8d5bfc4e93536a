"""The LISP Canonical Address Format (RFC 8060 sections 3 and 4), and the vendor-specific type of RFC 9306.

::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |           AFI = 16387         |     Rsvd1     |     Flags     |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |    Type       |     Rsvd2     |            Length             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

What Length covers beyond the fields of a type stays behind them, raw.
"""

from __future__ import annotations

import struct
from typing import Any

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    FieldLenField,
    IntField,
    PacketListField,
    ShortEnumField,
    ShortField,
    SignedIntField,
    StrField,
    X3BytesField,
    XByteField,
    XStrField,
    XStrLenField,
)
from scapy.packet import Packet

from testbed.observe.scapy_lisp.addresses import (
    AFI_LCAF,
    AFIS,
    LCAF_CLASSES,
    LCAF_FALLBACK,
    LCAF_HEADER,
    AddressField,
    AddressListField,
    Cut,
    Item,
)

LCAF_TYPES = {
    0: "Null Body",
    1: "AFI List",
    2: "Instance ID",
    3: "AS Number",
    4: "Application Data",
    5: "Geo-Coordinates",
    6: "Opaque Key",
    7: "NAT-Traversal",
    8: "Nonce Locator",
    9: "Multicast Info",
    10: "Explicit Locator Path",
    11: "Security Key",
    12: "Source/Dest Key",
    13: "Replication List Entry",
    14: "JSON Data Model",
    15: "Key/Value Address Pair",
    16: "Encapsulation Format",
    255: "Vendor Specific",
}

CIPHER_SUITES = {
    1: "LISP_2048MODP_AES128_CBC_SHA256",
    2: "LISP_EC25519_AES128_CBC_SHA256",
    3: "LISP_2048MODP_AES128_GCM",
    4: "LISP_3072MODP_AES128_GCM",
    5: "LISP_256_EC25519_AES128_GCM",
    6: "LISP_256_EC25519_CHACHA20_POLY1305",
}
"""Key Algorithms of the data plane (RFC 8061 section 6)."""


def lcaf_header(number: int, *rsvd2: Any) -> list[Any]:
    """The common fields; ``rsvd2`` are the fields of that octet where a type uses it."""
    return [
        ShortEnumField("afi", AFI_LCAF, AFIS),
        XByteField("rsvd1", 0),
        XByteField("flags", 0),
        ByteEnumField("type", number, LCAF_TYPES),
        *(rsvd2 or [XByteField("rsvd2", 0)]),
        ShortField("length", None),
    ]


class LCAF(Packet):
    """A type that nobody has told us of (RFC 9306 section 3): its body is kept as it came."""

    name = "LCAF"
    fields_desc = [*lcaf_header(0), XStrField("body", b"")]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Write Length."""
        if self.length is None:
            pkt = pkt[:6] + struct.pack("!H", len(pkt) + len(pay) - LCAF_HEADER) + pkt[8:]
        return pkt + pay


class NullBody(LCAF):
    """Type 0 (section 3)."""

    name = "LCAF Null Body"
    fields_desc = lcaf_header(0)


class AFIList(LCAF):
    """Type 1 (section 4.10)."""

    name = "LCAF AFI List"
    fields_desc = [*lcaf_header(1), AddressListField("addresses", [])]


class InstanceID(LCAF):
    """Type 2 (section 4.1); with an address of AFI 0 it is a range of instances, ``iid_mask_len`` bits long."""

    name = "LCAF Instance ID"
    fields_desc = [*lcaf_header(2, ByteField("iid_mask_len", 0)), IntField("instance_id", 0), AddressField("address")]


class ASNumber(LCAF):
    """Type 3 (section 4.2)."""

    name = "LCAF AS Number"
    fields_desc = [*lcaf_header(3), IntField("as_number", 0), AddressField("address")]


class GeoCoordinates(LCAF):
    """Type 5 (section 4.3): WGS 84, altitude in metres, 0x7fffffff for none."""

    name = "LCAF Geo-Coordinates"
    fields_desc = [
        *lcaf_header(5),
        BitField("north", 0, 1),
        BitField("latitude_degrees", 0, 15),
        ByteField("latitude_minutes", 0),
        ByteField("latitude_seconds", 0),
        BitField("east", 0, 1),
        BitField("longitude_degrees", 0, 15),
        ByteField("longitude_minutes", 0),
        ByteField("longitude_seconds", 0),
        SignedIntField("altitude", 0x7FFFFFFF),
        AddressField("address"),
    ]


class NATTraversal(LCAF):
    """Type 7 (section 4.4)."""

    name = "LCAF NAT-Traversal"
    fields_desc = [
        *lcaf_header(7),
        ShortField("ms_udp_port", 4342),
        ShortField("etr_udp_port", 0),
        AddressField("global_etr_rloc"),
        AddressField("ms_rloc"),
        AddressField("private_etr_rloc"),
        AddressListField("rtr_rlocs", []),
    ]


class MulticastInfo(LCAF):
    """Type 9 (section 4.5)."""

    name = "LCAF Multicast Info"
    fields_desc = [
        *lcaf_header(9),
        IntField("instance_id", 0),
        ShortField("reserved", 0),
        ByteField("source_mask_len", 0),
        ByteField("group_mask_len", 0),
        AddressField("source"),
        AddressField("group"),
    ]


class ReencapHop(Item):
    """One hop of an explicit locator path."""

    name = "Reencap Hop"
    fields_desc = [
        BitField("rsvd3", 0, 13),
        BitField("lookup", 0, 1),
        BitField("rloc_probe", 0, 1),
        BitField("strict", 0, 1),
        AddressField("hop"),
    ]


class ExplicitLocatorPath(LCAF):
    """Type 10 (section 4.6)."""

    name = "LCAF Explicit Locator Path"
    fields_desc = [*lcaf_header(10), PacketListField("hops", [], ReencapHop)]


class KeySection(Item):
    """A key: Key Length and Key Material."""

    name = "Key"
    fields_desc = [
        FieldLenField("key_length", None, length_of="key_material"),
        XStrLenField("key_material", b"", length_from=lambda pkt: pkt.key_length),
    ]

    def do_dissect(self, s: bytes) -> bytes:
        """Read a whole key, or none."""
        if len(s) < 2 or len(s) < 2 + struct.unpack_from("!H", s)[0]:
            raise Cut("Key Material is cut short")
        return super().do_dissect(s)


class SecurityKey(LCAF):
    """Type 11 (section 4.7; Key Algorithm as in RFC 8061 section 6 for the data plane)."""

    name = "LCAF Security Key"
    fields_desc = [
        *lcaf_header(11),
        FieldLenField("key_count", None, fmt="B", count_of="keys"),
        XByteField("rsvd3", 0),
        ByteEnumField("key_algorithm", 0, CIPHER_SUITES),
        BitField("rsvd4", 0, 7),
        BitField("revoke", 0, 1),
        PacketListField("keys", [], KeySection, count_from=lambda pkt: pkt.key_count),
        AddressField("locator"),
    ]


class SourceDestKey(LCAF):
    """Type 12 (section 4.8)."""

    name = "LCAF Source/Dest Key"
    fields_desc = [
        *lcaf_header(12),
        ShortField("reserved", 0),
        ByteField("source_ml", 0),
        ByteField("dest_ml", 0),
        AddressField("source_prefix"),
        AddressField("destination_prefix"),
    ]


class ReplicationEntry(Item):
    """An RTR or ETR at a level of the distribution tree."""

    name = "RTR/ETR"
    fields_desc = [
        ShortField("rsvd3", 0),
        XByteField("rsvd4", 0),
        ByteField("level_value", 0),
        AddressField("address"),
    ]


class ReplicationListEntry(LCAF):
    """Type 13 (section 4.9)."""

    name = "LCAF Replication List Entry"
    fields_desc = [*lcaf_header(13), PacketListField("entries", [], ReplicationEntry)]


class VendorSpecific(LCAF):
    """Type 255 (RFC 9306 section 4)."""

    name = "LCAF Vendor Specific"
    fields_desc = [
        *lcaf_header(255),
        XByteField("rsvd3", 0),
        X3BytesField("oui", 0),
        StrField("internal_format", b""),
    ]


LCAF_FALLBACK.append(LCAF)
LCAF_CLASSES.update(
    {
        0: NullBody,
        1: AFIList,
        2: InstanceID,
        3: ASNumber,
        5: GeoCoordinates,
        7: NATTraversal,
        9: MulticastInfo,
        10: ExplicitLocatorPath,
        11: SecurityKey,
        12: SourceDestKey,
        13: ReplicationListEntry,
        255: VendorSpecific,
    }
)
