"""What control messages hold in numbers: EID-Records, RLOC-Records, the questions of a Map-Request, the xTR-ID."""

from __future__ import annotations

from scapy.fields import (
    BitEnumField,
    BitField,
    ByteField,
    FieldLenField,
    IntField,
    PacketListField,
    XBitField,
    XStrFixedLenField,
)
from scapy.packet import Packet

from testbed.observe.scapy_lisp.addresses import AddressField, Item

ACTIONS = {
    0: "No-Action",
    1: "Natively-Forward",
    2: "Send-Map-Request",
    3: "Drop/No-Reason",
    4: "Drop/Policy-Denied",
    5: "Drop/Auth-Failure",
}
"""What to do without locators (RFC 9301 section 5.4)."""

IDENTITY_SIZE = 24


class RLOCRecord(Item):
    """A locator (RFC 9301 section 5.4).

    ::

        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |    Priority   |    Weight     |  M Priority   |   M Weight    |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |        Unused Flags     |L|p|R|           Loc-AFI             |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                             Locator                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    """

    name = "RLOC-Record"
    fields_desc = [
        ByteField("priority", 1),
        ByteField("weight", 100),
        ByteField("m_priority", 255),
        ByteField("m_weight", 0),
        XBitField("unused_flags", 0, 13),
        BitField("local", 0, 1),
        BitField("probed", 0, 1),
        BitField("reachable", 1, 1),
        AddressField("locator"),
    ]


class EIDRecord(Item):
    """A mapping (RFC 9301 section 5.4).

    ::

        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                          Record TTL                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        | Locator Count | EID mask-len  | ACT |A|      Reserved         |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        | Rsvd  |  Map-Version Number   |         EID-Prefix-AFI        |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                          EID-Prefix                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    """

    name = "EID-Record"
    fields_desc = [
        IntField("record_ttl", 1440),
        FieldLenField("locator_count", None, fmt="B", count_of="locators"),
        ByteField("eid_mask_len", 0),
        BitEnumField("act", 0, 3, ACTIONS),
        BitField("authoritative", 0, 1),
        XBitField("reserved", 0, 12),
        XBitField("rsvd", 0, 4),
        BitField("map_version_number", 0, 12),
        AddressField("eid_prefix"),
        PacketListField("locators", [], RLOCRecord, count_from=lambda pkt: pkt.locator_count),
    ]


class RequestRecord(Item):
    """A question of a Map-Request (RFC 9301 section 5.2); the N-bit asks to be notified (RFC 9437 section 4)."""

    name = "Map-Request Record"
    fields_desc = [
        BitField("notification_requested", 0, 1),
        XBitField("reserved", 0, 7),
        ByteField("eid_mask_len", 0),
        AddressField("eid_prefix"),
    ]


class Identity(Packet):
    """The xTR-ID and Site-ID at the end of a message (RFC 9301 section 5.6)."""

    name = "xTR-ID and Site-ID"
    fields_desc = [XStrFixedLenField("xtr_id", bytes(16), 16), XStrFixedLenField("site_id", bytes(8), 8)]


def is_identity(octets: bytes) -> bool:
    """Whether what is left of a message has the size of an xTR-ID and a Site-ID."""
    return len(octets) == IDENTITY_SIZE
