"""Encapsulated Control Message (RFC 9301 section 5.8), and the Shared Extension Message (RFC 9304 section 3).

::

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Type=8 |S|D|R|R|            Reserved                           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | Authentication Data (S) ... | IPv4 or IPv6 header | UDP | ... |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

from scapy.fields import BitField, XBitField
from scapy.packet import Packet

from testbed.observe.scapy_lisp.message import LISP, MESSAGE_CLASSES, message_type
from testbed.observe.scapy_lisp.security import AD_TYPE_SECURITY, ECMAuthentication, inner_header


class EncapsulatedControlMessage(LISP):
    """A control message on its way through the mapping system."""

    name = "LISP Encapsulated Control Message"
    fields_desc = [
        message_type(8),
        BitField("security", 0, 1),
        BitField("ddt", 0, 1),
        XBitField("reserved", 0, 26),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """RFC 9301 section 5.8: Authentication Data where the S-bit is set, else the inner header."""
        known = inner_header(payload)
        if self.security:
            known = ECMAuthentication if payload[0] == AD_TYPE_SECURITY else None
        return known or super().guess_payload_class(payload)

    def request(self) -> Packet:
        """The message inside."""
        inner = self.payload.getlayer(LISP, _subclass=True)
        return self if inner is None else inner.request()

    def hashret(self) -> bytes:
        """What is asked inside is answered outside."""
        inner = self.request()
        return b"" if inner is self else bytes(inner.hashret())


class SharedExtensionMessage(LISP):
    """A message whose sub-type says what it is; what it carries is not read here."""

    name = "LISP Shared Extension Message"
    fields_desc = [message_type(15), XBitField("sub_type", 0, 12), XBitField("extension_specific", 0, 16)]


MESSAGE_CLASSES.update({8: EncapsulatedControlMessage, 15: SharedExtensionMessage})
