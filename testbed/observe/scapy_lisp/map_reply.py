"""Map-Reply (RFC 9301 section 5.4).

::

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Type=2 |P|E|S|          Reserved               | Record Count  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       Nonce (64 bits) . . .                   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | EID-Records ... | Authentication Data (S) ...                 |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

from scapy.fields import BitField, FieldLenField, PacketListField, XBitField, XLongField
from scapy.packet import Packet

from testbed.observe.scapy_lisp.map_request import MapRequest
from testbed.observe.scapy_lisp.message import LISP, MESSAGE_CLASSES, message_type
from testbed.observe.scapy_lisp.records import EIDRecord
from testbed.observe.scapy_lisp.security import AD_TYPE_SECURITY, MapReplyAuthentication


class MapReply(LISP):
    """Here it is, or: nowhere, and what to do then."""

    name = "LISP Map-Reply"
    fields_desc = [
        message_type(2),
        BitField("probe", 0, 1),
        BitField("echo_nonce", 0, 1),
        BitField("security", 0, 1),
        XBitField("reserved", 0, 17),
        FieldLenField("record_count", None, fmt="B", count_of="records"),
        XLongField("nonce", 0),
        PacketListField("records", [], EIDRecord, count_from=lambda pkt: pkt.record_count),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """RFC 9303 section 6.2: with the S-bit, Authentication Data follows the records."""
        if self.security and payload[0] == AD_TYPE_SECURITY:
            return MapReplyAuthentication
        return super().guess_payload_class(payload)

    def answers(self, other: Packet) -> int:
        """RFC 9301 section 5.4: the nonce of the Map-Request, whether that was encapsulated or not."""
        return self._same_nonce(other, MapRequest)


MESSAGE_CLASSES[2] = MapReply
