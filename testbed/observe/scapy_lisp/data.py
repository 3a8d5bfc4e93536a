"""The data header (RFC 9300 section 5.3), with the KK-bits of RFC 8061 section 8, and LISP-GPE (RFC 9305 section 3).

::

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |N|L|E|V|I|P|K|K|        Nonce/Map-Version/Next Protocol        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                 Instance ID/Locator-Status-Bits               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

What follows is what the bits before it say, and named so.
"""

from __future__ import annotations

from typing import Any

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    X3BytesField,
    XBitField,
    XIntField,
    XShortField,
    XStrLenField,
)
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, bind_layers

from testbed.observe.scapy_lisp.addresses import Cut
from testbed.observe.scapy_lisp.message import Outermost
from testbed.observe.scapy_lisp.security import inner_header

NEXT_PROTOCOLS = {1: "IPv4", 2: "IPv6", 3: "Ethernet", 4: "NSH"}
"""RFC 9305 section 3; from 0x80 on they are shim headers."""

_P_BIT = 0x04


def _flags(p_bit: BitField) -> list[Any]:
    return [
        BitField("nonce_present", 0, 1),
        BitField("lsb_enabled", 0, 1),
        BitField("echo_nonce_request", 0, 1),
        BitField("map_version_present", 0, 1),
        BitField("instance_id_present", 0, 1),
        p_bit,
        BitField("key_id", 0, 2),
    ]


# RFC 9300 section 5.3: with the I-bit, 24 bits of instance-ID and 8 Locator-Status-Bits; else 32 of the latter.
_SECOND_WORD = [
    ConditionalField(BitField("instance_id", 0, 24), lambda pkt: pkt.instance_id_present),
    ConditionalField(XBitField("lsbs", 0, 8), lambda pkt: pkt.instance_id_present),
    ConditionalField(XIntField("locator_status_bits", 0), lambda pkt: not pkt.instance_id_present),
]


def _has_versions(packet: Packet) -> bool:
    # RFC 9300 section 5.3: when both bits are set, it is a nonce.
    return bool(packet.map_version_present and not packet.nonce_present)


class _DataHeader(Outermost):
    @property
    def encrypted(self) -> bool:
        """Whether cipher text follows (RFC 8061 section 8)."""
        return bool(self.key_id)


class LISPData(_DataHeader):
    """The header of a data packet."""

    name = "LISP Data Header"
    fields_desc = [
        *_flags(BitField("reserved", 0, 1)),
        ConditionalField(BitField("source_map_version", 0, 12), _has_versions),
        ConditionalField(BitField("dest_map_version", 0, 12), _has_versions),
        ConditionalField(X3BytesField("nonce", 0), lambda pkt: not _has_versions(pkt)),
        *_SECOND_WORD,
    ]

    @classmethod
    def dispatch_hook(cls, _pkt: bytes | None = None, *_arguments: Any, **_fields: Any) -> type[Packet]:
        """RFC 9305 section 3: with the P-bit it is a LISP-GPE header."""
        return LISPGPE if _pkt and _pkt[0] & _P_BIT else cls

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """RFC 8061 section 8: with a key ID the payload is cipher text; else an IP packet of either family."""
        found = None if self.encrypted else inner_header(payload)
        return found or super().guess_payload_class(payload)


class LISPGPE(_DataHeader):
    """The header of a data packet that says what it carries."""

    name = "LISP-GPE Header"
    fields_desc = [
        *_flags(BitField("next_protocol_present", 1, 1)),
        XShortField("reserved", 0),
        ByteEnumField("next_protocol", 0, NEXT_PROTOCOLS),
        *_SECOND_WORD,
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """RFC 9305 section 3: as Next Protocol says; cipher text says nothing."""
        if self.encrypted:
            return self.default_payload_class(payload)
        return _shim(self.next_protocol) or super().guess_payload_class(payload)


class Shim(Packet):
    """A generic shim header: Length counts words of four octets behind the first."""

    name = "LISP-GPE Shim Header"
    fields_desc = [
        ByteField("type", 0),
        FieldLenField("length", None, fmt="B", length_of="specific", adjust=lambda _pkt, size: size // 4),
        ByteField("reserved", 0),
        ByteEnumField("next_protocol", 0, NEXT_PROTOCOLS),
        XStrLenField("specific", b"", length_from=lambda pkt: pkt.length * 4),
    ]

    def do_dissect(self, s: bytes) -> bytes:
        """Read a whole shim header, or none."""
        if len(s) < 4 + 4 * s[1]:
            raise Cut("a shim header is cut short")
        return super().do_dissect(s)

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """The next shim header, or the packet."""
        return _shim(self.next_protocol) or super().guess_payload_class(payload)


def _shim(next_protocol: int) -> type[Packet] | None:
    return Shim if 0x80 <= next_protocol <= 0xFD else None


for _below in (LISPGPE, Shim):
    for _above, _number in ((IP, 1), (IPv6, 2), (Ether, 3)):
        bind_layers(_below, _above, next_protocol=_number)
