"""Map-Register (RFC 9301 section 5.6), and the fields it shares with Map-Notify and Map-Notify-Ack.

::

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Type=3 |P|S|I|        Reserved       |E|T|a|R|M| Record Count  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       Nonce (64 bits) . . .                   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |    Key ID     | Algorithm ID  |  Authentication Data Length   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    ~ Authentication Data ... | EID-Records ... | xTR-ID, Site-ID (I)
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

from typing import Any

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    FieldLenField,
    PacketListField,
    XBitField,
    XLongField,
    XStrLenField,
)
from scapy.packet import Packet

from testbed.observe.scapy_lisp.message import LISP, MESSAGE_CLASSES, message_type
from testbed.observe.scapy_lisp.records import EIDRecord, Identity, is_identity

ALGORITHMS = {0: "None", 1: "HMAC-SHA-1-96-None", 2: "HMAC-SHA-256-128-None", 3: "HMAC-SHA-256-128+HKDF-SHA256"}
"""RFC 9301 section 12.5."""


def authenticated_fields() -> list[Any]:
    """From the Record Count on, what the three messages have alike."""
    return [
        FieldLenField("record_count", None, fmt="B", count_of="records"),
        XLongField("nonce", 0),
        ByteField("key_id", 0),
        ByteEnumField("algorithm_id", 2, ALGORITHMS),
        FieldLenField("authentication_data_length", None, length_of="authentication_data"),
        XStrLenField("authentication_data", b"", length_from=lambda pkt: pkt.authentication_data_length),
        PacketListField("records", [], EIDRecord, count_from=lambda pkt: pkt.record_count),
    ]


class MapRegister(LISP):
    """An ETR tells the Map-Server its mappings."""

    name = "LISP Map-Register"
    fields_desc = [
        message_type(3),
        BitField("proxy_map_reply", 0, 1),
        BitField("security_capable", 0, 1),
        BitField("id_present", None, 1),
        XBitField("reserved", 0, 12),
        BitField("eid_notify", 0, 1),
        BitField("use_ttl_for_timeout", 0, 1),
        BitField("merge_request", 0, 1),
        BitField("reserved_r", 0, 1),
        BitField("want_map_notify", 0, 1),
        *authenticated_fields(),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """RFC 9301 section 5.6: with the I-bit, xTR-ID and Site-ID end the message."""
        if self.id_present and is_identity(payload):
            return Identity
        return super().guess_payload_class(payload)

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Set the I-bit when an xTR-ID follows."""
        if self.id_present is None and isinstance(self.payload, Identity):
            pkt = bytes([pkt[0] | 0x02]) + pkt[1:]
        return pkt + pay


MESSAGE_CLASSES[3] = MapRegister
