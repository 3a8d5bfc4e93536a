"""The first octet of every control message (RFC 9301 section 5.1), and what all of them do alike."""

from __future__ import annotations

import struct
from typing import Any

from scapy.config import conf
from scapy.fields import BitEnumField, BitField
from scapy.packet import Packet

MESSAGE_TYPES = {
    1: "Map-Request",
    2: "Map-Reply",
    3: "Map-Register",
    4: "Map-Notify",
    5: "Map-Notify-Ack",
    6: "Map-Referral",
    7: "Info-Request/Info-Reply",
    8: "Encapsulated Control Message",
    15: "Shared Extension Message",
}

MESSAGE_CLASSES: dict[int, type[Packet]] = {}
"""The class of each message type; filled where they are defined."""


def message_type(number: int) -> BitEnumField:
    """The Type field."""
    return BitEnumField("type", number, 4, MESSAGE_TYPES)


class Outermost(Packet):
    """What a UDP datagram carries: whatever that is, reading it raises nothing."""

    def dissect(self, s: bytes) -> None:
        """Read a packet. What cannot be read stays raw: in its place, or behind this when nothing is below it."""
        try:
            super().dissect(s)
        except Exception:
            if conf.debug_dissector or self.underlayer is not None or self.parent is not None:
                raise  # the layer below puts a raw layer in this one's place
            self.fields, self.raw_packet_cache, self.raw_packet_cache_fields = {}, b"", {}
            self.remove_payload()
            self.add_payload(conf.raw_layer(s))


class LISP(Outermost):
    """A control message: of bytes it makes the class of their type; itself it stands for a type that is unassigned."""

    name = "LISP Control Message"
    fields_desc = [message_type(0), BitField("unassigned", 0, 28)]

    @classmethod
    def dispatch_hook(cls, _pkt: bytes | None = None, *_arguments: Any, **_fields: Any) -> type[Packet]:
        """The class of a message by its first four bits."""
        if not _pkt:
            return cls
        kind = MESSAGE_CLASSES.get(_pkt[0] >> 4, cls)
        choose = getattr(kind, "variant", None)
        return choose(_pkt) if choose else kind

    def hashret(self) -> bytes:
        """Messages with the same nonce belong together (RFC 9301 section 5.2)."""
        return struct.pack("!Q", self.nonce) if "nonce" in self.default_fields else b""

    def request(self) -> Packet:
        """This message; of one that encapsulates another, that other."""
        return self

    def _same_nonce(self, other: Packet, *kinds: type[Packet]) -> int:
        asked = other.request() if isinstance(other, LISP) else other
        return int(isinstance(asked, kinds) and asked.nonce == self.nonce)
