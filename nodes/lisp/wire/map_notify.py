"""Map-Notify and Map-Notify-Ack (RFC 9301 section 5.7): acknowledged registrations, and news from the Map-Server.

::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Type=4/5|             Reserved                 | Record Count  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |   Nonce, authentication and EID-Records                       |
    |   as in nodes.lisp.wire.registration                          |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The text says both that a Map-Notify has the contents of a Map-Register and, by its figure, that it has no I-bit. So an
xTR-ID and a Site-ID behind the records are read and kept, but only their length tells that they are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from nodes.lisp.wire.message import MessageType, open_message
from nodes.lisp.wire.records import EidRecord
from nodes.lisp.wire.registration import decode_registration, encode_registration


@dataclass(frozen=True, slots=True)
class _Notification:
    """The shape of both messages.

    Attributes:
        nonce: That of the Map-Register, or of the Map-Notify, that it acknowledges.
        key_id: Which shared secret signs it.
        algorithm_id: Which KDF and MAC (section 12.5).
        records: The mappings.
        xtr_id: 16 bytes that name the xTR, where somebody sends them, or None.
        site_id: 64 bits that name the site; sent with the xTR-ID only.
        auth_data: The MAC; empty before :func:`~nodes.lisp.wire.auth.sign`.
    """

    TYPE: ClassVar[MessageType]

    nonce: int
    key_id: int
    algorithm_id: int
    records: tuple[EidRecord, ...]
    xtr_id: bytes | None = None
    site_id: int = 0
    auth_data: bytes = b""

    def encode(self) -> bytes:
        """The message's bytes.

        Raises:
            ValueError: There are more than 255 records, or the xTR-ID has not 16 bytes.
        """
        return encode_registration(self)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read a whole message; its MAC is not checked here.

        Raises:
            DecodeError: It is short or too long, or holds an unknown AFI or a mask longer than its address.
        """
        cursor, word = open_message(payload, cls.TYPE)
        return cls(**decode_registration(cursor, word, identity_present=None))


@dataclass(frozen=True, slots=True)
class MapNotify(_Notification):
    """A Map-Server acknowledges a Map-Register, or tells a change unasked."""

    TYPE: ClassVar[MessageType] = MessageType.MAP_NOTIFY


@dataclass(frozen=True, slots=True)
class MapNotifyAck(_Notification):
    """The acknowledgement of an unsolicited Map-Notify: the same with another type and MAC."""

    TYPE: ClassVar[MessageType] = MessageType.MAP_NOTIFY_ACK
