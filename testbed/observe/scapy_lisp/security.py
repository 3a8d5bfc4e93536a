"""LISP-SEC Authentication Data (RFC 9303): in an Encapsulated Control Message, and at the end of a Map-Reply."""

from __future__ import annotations

import struct

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    PacketListField,
    ShortEnumField,
    ShortField,
    X3BytesField,
    XBitField,
    XByteField,
    XLongField,
    XStrFixedLenField,
    XStrLenField,
)
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from testbed.observe.scapy_lisp.addresses import AddressField, Cut, Item

AD_TYPE_SECURITY = 1
AD_TYPES = {AD_TYPE_SECURITY: "LISP-SEC"}
HMAC_IDS = {0: "NOPREF", 1: "AUTH-HMAC-SHA-1-96", 2: "AUTH-HMAC-SHA-256-128"}
KEY_WRAP_IDS = {1: "NULL-KEY-WRAP-128", 2: "AES-KEY-WRAP-128+HKDF-SHA256"}
KDF_IDS = {0: "NOPREF", 1: "HKDF-SHA1-128", 2: "HKDF-SHA256"}

_HMAC_SIZES = {1: 12, 2: 16}
_BARE_EID_AD = 4


class AuthorizedPrefix(Item):
    """An EID-prefix that the Map-Server vouches for."""

    name = "EID-AD Record"
    fields_desc = [XByteField("unassigned", 0), ByteField("eid_mask_len", 0), AddressField("eid_prefix")]


class EIDAuthentication(Item):
    """EID-AD (section 6.1). An ITR sends its first four octets only.

    EID-AD Length counts from itself to the end of the EID HMAC: section 6.4 sets it to 4 for Length and KDF ID alone.
    """

    name = "EID-AD"
    fields_desc = [
        ShortField("eid_ad_length", None),
        ShortEnumField("kdf_id", 0, KDF_IDS),
        ConditionalField(FieldLenField("record_count", None, fmt="B", count_of="records"), lambda pkt: pkt.is_full()),
        ConditionalField(BitField("etr_cant_sign", 0, 1), lambda pkt: pkt.is_full()),
        ConditionalField(XBitField("unassigned", 0, 7), lambda pkt: pkt.is_full()),
        ConditionalField(ShortEnumField("eid_hmac_id", 2, HMAC_IDS), lambda pkt: pkt.is_full()),
        ConditionalField(
            PacketListField("records", [], AuthorizedPrefix, count_from=lambda pkt: pkt.record_count),
            lambda pkt: pkt.is_full(),
        ),
        ConditionalField(
            XStrLenField("eid_hmac", bytes(16), length_from=lambda pkt: _HMAC_SIZES.get(pkt.eid_hmac_id, 0)),
            lambda pkt: pkt.is_full(),
        ),
    ]

    def is_full(self) -> bool:
        """Whether more follows than the KDF ID: as its length says, or, to be built, as it holds records."""
        if self.eid_ad_length is None:
            return bool(self.fields.get("records"))
        return bool(self.eid_ad_length > _BARE_EID_AD)

    def do_dissect(self, s: bytes) -> bytes:
        """Read as many octets as the length says."""
        size = int.from_bytes(s[:2], "big")
        if not _BARE_EID_AD <= size <= len(s):
            raise Cut("EID-AD Length")
        if left := super().do_dissect(s[:size]):
            raise Cut(f"{len(left)} octets of EID-AD behind the EID HMAC")
        return s[size:]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Write EID-AD Length."""
        if self.eid_ad_length is None:
            pkt = struct.pack("!H", len(pkt)) + pkt[2:]
        return pkt + pay


class EIDAuthenticationField(PacketListField):
    """Exactly one EID-AD."""

    def __init__(self, name: str) -> None:
        super().__init__(name, [EIDAuthentication()], EIDAuthentication, count_from=lambda _pkt: 1)


class ECMAuthentication(Packet):
    """What an Encapsulated Control Message with the S-bit has in front of the inner IP header (section 6.1)."""

    name = "LISP-SEC ECM Authentication Data"
    fields_desc = [
        ByteEnumField("ad_type", AD_TYPE_SECURITY, AD_TYPES),
        XByteField("unassigned", 0),
        ShortEnumField("requested_hmac_id", 0, HMAC_IDS),
        ShortField("otk_length", 24),
        ByteField("key_id", 0),
        ByteEnumField("otk_wrapping_id", 1, KEY_WRAP_IDS),
        XLongField("one_time_key_preamble", 0),
        XStrFixedLenField("one_time_key", bytes(16), 16),
        EIDAuthenticationField("eid_ad"),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """The inner header follows."""
        return inner_header(payload) or super().guess_payload_class(payload)


class MapReplyAuthentication(Packet):
    """What a Map-Reply with the S-bit ends with (section 6.2)."""

    name = "LISP-SEC Map-Reply Authentication Data"
    fields_desc = [
        ByteEnumField("mr_ad_type", AD_TYPE_SECURITY, AD_TYPES),
        X3BytesField("unassigned", 0),
        EIDAuthenticationField("eid_ad"),
        FieldLenField("pkt_ad_length", None, length_of="pkt_hmac", adjust=lambda _pkt, size: size + 4),
        ShortEnumField("pkt_hmac_id", 2, HMAC_IDS),
        XStrLenField("pkt_hmac", bytes(16), length_from=lambda pkt: max(pkt.pkt_ad_length - 4, 0)),
    ]


def inner_header(octets: bytes) -> type[Packet] | None:
    """IPv4 or IPv6, as the first four bits say."""
    return {4: IP, 6: IPv6}.get(octets[0] >> 4)
