"""What Map-Register, Map-Notify and Map-Notify-Ack have in common (RFC 9301 sections 5.6 and 5.7).

::

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Type |              flags                    | Record Count  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                         Nonce . . .                           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                         . . . Nonce                           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |    Key ID     | Algorithm ID  |  Authentication Data Length   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    ~                     Authentication Data                       ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                      EID-Records  ...                         |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                    xTR-ID (128 bits)  ...                     |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                    Site-ID (64 bits)  ...                     |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Protocol

from nodes.lisp.wire.cursor import Cursor, fit
from nodes.lisp.wire.message import MessageType, first_word
from nodes.lisp.wire.records import EidRecord, decode_records

AUTH_DATA_OFFSET = 16
"""Where the Authentication Data starts, in bytes."""

IDENTITY_SIZE = 24
"""The xTR-ID and Site-ID at the end, in bytes."""


class Registration(Protocol):
    """The fields that the three messages share."""

    TYPE: ClassVar[MessageType]

    @property
    def nonce(self) -> int:
        """64 bits."""

    @property
    def key_id(self) -> int:
        """Which shared secret."""

    @property
    def algorithm_id(self) -> int:
        """Which KDF and MAC."""

    @property
    def records(self) -> tuple[EidRecord, ...]:
        """The mappings."""

    @property
    def xtr_id(self) -> bytes | None:
        """16 bytes, or None."""

    @property
    def site_id(self) -> int:
        """64 bits, sent with the xTR-ID only."""

    @property
    def auth_data(self) -> bytes:
        """The MAC."""


def encode_registration(message: Registration, flags: int = 0) -> bytes:
    """The bytes of one of the three messages; ``flags`` are the bits between its type and its Record Count.

    Raises:
        ValueError: There are more than 255 records, or the xTR-ID has not 16 bytes.
    """
    return b"".join(
        (
            first_word(message.TYPE, flags, fit(len(message.records), 8, "Record Count")),
            struct.pack("!QBBH", message.nonce, message.key_id, message.algorithm_id, len(message.auth_data)),
            message.auth_data,
            *(record.encode() for record in message.records),
            encode_identity(message.xtr_id, message.site_id),
        )
    )


def decode_registration(cursor: Cursor, word: int, identity_present: bool | None) -> dict[str, Any]:
    """Read the shared fields, by attribute name.

    Args:
        cursor: Stands behind the first word.
        word: The first word.
        identity_present: Whether an xTR-ID and a Site-ID end the message; None looks at what is left.

    Raises:
        DecodeError: It is short or too long, or holds an unknown AFI or a mask longer than its address.
    """
    fields: dict[str, Any] = {
        "nonce": cursor.u64("Nonce"),
        "key_id": cursor.u8("Key ID"),
        "algorithm_id": cursor.u8("Algorithm ID"),
        "auth_data": cursor.take(cursor.u16("Authentication Data Length"), "Authentication Data"),
        "records": decode_records(cursor, word & 0xFF),
    }
    if identity_present is None:
        identity_present = cursor.left == IDENTITY_SIZE
    if identity_present:
        fields["xtr_id"], fields["site_id"] = decode_identity(cursor)
    cursor.end()
    return fields


def encode_identity(xtr_id: bytes | None, site_id: int) -> bytes:
    """The xTR-ID and Site-ID that end a message, Map-Requests included (RFC 9437 section 4); nothing if there is none.

    Raises:
        ValueError: The xTR-ID has not 16 bytes.
    """
    if xtr_id is None:
        return b""
    if len(xtr_id) != 16:
        raise ValueError(f"xTR-ID: needs 16 bytes, has {len(xtr_id)}")
    return xtr_id + site_id.to_bytes(8, "big")


def decode_identity(cursor: Cursor) -> tuple[bytes, int]:
    """Read the xTR-ID and the Site-ID.

    Raises:
        DecodeError: It is short.
    """
    return cursor.take(16, "xTR-ID"), cursor.u64("Site-ID")
