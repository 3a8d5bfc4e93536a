"""Map-Reply (RFC 9301 section 5.4): mappings, or the answer that there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nodes.lisp.wire.cursor import Flags, fit
from nodes.lisp.wire.message import MessageType, first_word, open_message
from nodes.lisp.wire.records import EidRecord, decode_records

# IANA's bit positions (RFC 9301 section 12.6); the S-bit follows from the security field.
_FLAGS = Flags(probe=4, echo_nonce=5)
_SECURITY = 1 << (31 - 6)


@dataclass(frozen=True, slots=True)
class MapReply:
    """The answer to a Map-Request.

    ::

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |Type=2 |P|E|S|          Reserved               | Record Count  |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                         Nonce . . .                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                         . . . Nonce                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                      EID-Records  ...                         |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |    AD Type    |       Authentication Data Content . . .       |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        nonce: The Map-Request's.
        records: The mappings.
        probe: P-bit, the answer to a probe.
        echo_nonce: E-bit, the site does the echo-nonce algorithm (RFC 9300 section 10.1).
        security: The LISP-SEC authentication data (S-bit, RFC 9303), or None.
    """

    TYPE: ClassVar[MessageType] = MessageType.MAP_REPLY

    nonce: int
    records: tuple[EidRecord, ...]
    probe: bool = False
    echo_nonce: bool = False
    security: bytes | None = None

    def encode(self) -> bytes:
        """The message's bytes.

        Raises:
            ValueError: There are more than 255 records.
        """
        flags = _FLAGS.pack(self) | (0 if self.security is None else _SECURITY)
        return b"".join(
            (
                first_word(self.TYPE, flags, fit(len(self.records), 8, "Record Count")),
                self.nonce.to_bytes(8, "big"),
                *(record.encode() for record in self.records),
                self.security or b"",
            )
        )

    @classmethod
    def decode(cls, payload: bytes) -> MapReply:
        """Read a whole Map-Reply.

        Raises:
            DecodeError: It is short or too long, or holds an unknown AFI or a mask longer than its address.
        """
        cursor, word = open_message(payload, cls.TYPE)
        nonce = cursor.u64("Nonce")
        records = decode_records(cursor, word & 0xFF)
        security = cursor.take_all() if word & _SECURITY else None
        cursor.end()
        return cls(nonce=nonce, records=records, security=security, **_FLAGS.unpack(word))
