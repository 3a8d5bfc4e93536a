"""Map-Referral (RFC 8111 section 6.4).

::

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Type=6 |                Reserved               | Record Count  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       Nonce (64 bits) . . .                   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

from scapy.fields import (
    BitEnumField,
    BitField,
    BitFieldLenField,
    ByteEnumField,
    ByteField,
    FieldLenField,
    IntField,
    PacketListField,
    UTCTimeField,
    X3BytesField,
    XBitField,
    XLongField,
    XShortField,
    XStrLenField,
)
from scapy.packet import Packet

from testbed.observe.scapy_lisp.addresses import AddressField, Cut, Item
from testbed.observe.scapy_lisp.map_request import MapRequest
from testbed.observe.scapy_lisp.message import LISP, MESSAGE_CLASSES, message_type
from testbed.observe.scapy_lisp.records import RLOCRecord

REFERRAL_ACTIONS = {
    0: "NODE-REFERRAL",
    1: "MS-REFERRAL",
    2: "MS-ACK",
    3: "MS-NOT-REGISTERED",
    4: "DELEGATION-HOLE",
    5: "NOT-AUTHORITATIVE",
}

_SIGNATURE_HEADER = 20


class Signature(Item):
    """A signature of the record (section 6.4.1)."""

    name = "Signature"
    fields_desc = [
        IntField("original_record_ttl", 1440),
        UTCTimeField("signature_expiration", 0),
        UTCTimeField("signature_inception", 0),
        XShortField("key_tag", 0),
        FieldLenField("sig_length", None, length_of="signature"),
        ByteEnumField("sig_algorithm", 2, {1: "RSA-SHA1", 2: "RSA-SHA256"}),
        X3BytesField("reserved", 0),
        XStrLenField("signature", b"", length_from=lambda pkt: pkt.sig_length),
    ]

    def do_dissect(self, s: bytes) -> bytes:
        """Read a whole signature, or none."""
        if len(s) < _SIGNATURE_HEADER + int.from_bytes(s[14:16], "big"):
            raise Cut("a signature is cut short")
        return super().do_dissect(s)


class ReferralRecord(Item):
    """A delegated XEID-prefix, and the DDT nodes to ask about it."""

    name = "Referral Record"
    fields_desc = [
        IntField("record_ttl", 1440),
        FieldLenField("referral_count", None, fmt="B", count_of="referrals"),
        ByteField("eid_mask_len", 0),
        BitEnumField("act", 0, 3, REFERRAL_ACTIONS),
        BitField("authoritative", 0, 1),
        BitField("incomplete", 0, 1),
        XBitField("reserved", 0, 11),
        BitFieldLenField("sig_cnt", None, 4, count_of="signatures"),
        BitField("map_version_number", 0, 12),
        AddressField("eid_prefix"),
        PacketListField("referrals", [], RLOCRecord, count_from=lambda pkt: pkt.referral_count),
        PacketListField("signatures", [], Signature, count_from=lambda pkt: pkt.sig_cnt),
    ]


class MapReferral(LISP):
    """A DDT node says whom to ask next."""

    name = "LISP Map-Referral"
    fields_desc = [
        message_type(6),
        XBitField("reserved", 0, 20),
        FieldLenField("record_count", None, fmt="B", count_of="records"),
        XLongField("nonce", 0),
        PacketListField("records", [], ReferralRecord, count_from=lambda pkt: pkt.record_count),
    ]

    def answers(self, other: Packet) -> int:
        """RFC 8111 section 6: it is sent in response to a DDT Map-Request, and carries its nonce."""
        return self._same_nonce(other, MapRequest)


MESSAGE_CLASSES[6] = MapReferral
