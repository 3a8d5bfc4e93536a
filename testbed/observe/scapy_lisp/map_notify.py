"""Map-Notify and Map-Notify-Ack (RFC 9301 section 5.7): the contents of a Map-Register, without its flags.

An xTR-ID and Site-ID are copied from the Map-Register with the rest; as no bit says so, their size does.
"""

from __future__ import annotations

from scapy.fields import XBitField
from scapy.packet import Packet

from testbed.observe.scapy_lisp.map_register import MapRegister, authenticated_fields
from testbed.observe.scapy_lisp.message import LISP, MESSAGE_CLASSES, message_type
from testbed.observe.scapy_lisp.records import Identity, is_identity


class MapNotify(LISP):
    """The Map-Server has it; or, unsolicited, tells of a change."""

    name = "LISP Map-Notify"
    fields_desc = [message_type(4), XBitField("reserved", 0, 20), *authenticated_fields()]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """What the Map-Register ended with."""
        return Identity if is_identity(payload) else super().guess_payload_class(payload)

    def answers(self, other: Packet) -> int:
        """RFC 9301 section 5.6: the Map-Register's nonce comes back."""
        return self._same_nonce(other, MapRegister)


class MapNotifyAck(MapNotify):
    """An unsolicited Map-Notify has arrived."""

    name = "LISP Map-Notify-Ack"
    fields_desc = [message_type(5), XBitField("reserved", 0, 20), *authenticated_fields()]

    def answers(self, other: Packet) -> int:
        """RFC 9301 section 5.7: the same nonce as the Map-Notify."""
        return self._same_nonce(other, MapNotify)


MESSAGE_CLASSES.update({4: MapNotify, 5: MapNotifyAck})
