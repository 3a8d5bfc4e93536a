"""Info-Request and Info-Reply (draft-ermagan-lisp-nat-traversal sections 4.1 and 4.2), told apart by the R-bit.

::

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Type=7 |R|            Reserved                                 |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       Nonce (64 bits) . . .                   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |              Key ID           |  Authentication Data Length   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    ~                     Authentication Data                       ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                              TTL                              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |   Reserved    | EID mask-len  |        EID-Prefix-AFI ...     |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |     AFI = 0, or in a reply a NAT-Traversal LCAF ...           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

from typing import Any

from scapy.fields import BitField, ByteField, FieldLenField, IntField, ShortField, XBitField, XLongField, XStrLenField
from scapy.packet import Packet

from testbed.observe.scapy_lisp.addresses import AddressField
from testbed.observe.scapy_lisp.lcaf import NATTraversal
from testbed.observe.scapy_lisp.message import LISP, MESSAGE_CLASSES, message_type


def _fields(reply: int, nat: Any) -> list[Any]:
    return [
        message_type(7),
        BitField("reply", reply, 1),
        XBitField("reserved", 0, 27),
        XLongField("nonce", 0),
        ShortField("key_id", 0),
        FieldLenField("authentication_data_length", None, length_of="authentication_data"),
        XStrLenField("authentication_data", b"", length_from=lambda pkt: pkt.authentication_data_length),
        IntField("ttl", 0),
        ByteField("reserved_octet", 0),
        ByteField("eid_mask_len", 0),
        AddressField("eid_prefix"),
        AddressField("nat", nat),
    ]


class InfoRequest(LISP):
    """Which address and port do my packets come from? And to whom shall I send?"""

    name = "LISP Info-Request"
    fields_desc = _fields(0, None)

    @classmethod
    def variant(cls, octets: bytes) -> type[Packet]:
        """A request or a reply."""
        return InfoReply if octets[0] & 0x08 else InfoRequest


class InfoReply(LISP):
    """From these, and to these RTRs."""

    name = "LISP Info-Reply"
    fields_desc = _fields(1, NATTraversal())

    def answers(self, other: Packet) -> int:
        """The nonce is copied from the Info-Request."""
        return self._same_nonce(other, InfoRequest)


MESSAGE_CLASSES[7] = InfoRequest
