"""Map-Register (RFC 9301 section 5.6): an ETR tells a Map-Server its mappings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nodes.lisp.wire.cursor import Flags
from nodes.lisp.wire.message import MessageType, open_message
from nodes.lisp.wire.records import EidRecord
from nodes.lisp.wire.registration import decode_registration, encode_registration

# RFC 9301 section 5.6; the I-bit follows from xtr_id.
_FLAGS = Flags(proxy_reply=4, security_capable=5, eid_notify=19, use_ttl=20, merge=21, want_notify=23)
_ID_PRESENT = 1 << (31 - 6)


@dataclass(frozen=True, slots=True)
class MapRegister:
    """Mappings for the mapping system, authenticated (see :mod:`nodes.lisp.wire.auth`).

    ::

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |Type=3 |P|S|I|        Reserved       |E|T|a|R|M| Record Count  |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |   Nonce, authentication, EID-Records, xTR-ID and Site-ID      |
        |   as in nodes.lisp.wire.registration                          |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        nonce: Greater in every Map-Register of an ETR (requirement C19).
        key_id: Which shared secret signs it.
        algorithm_id: Which KDF and MAC (section 12.5), an :class:`~nodes.lisp.config.Algorithm` if known.
        records: The mappings.
        proxy_reply: P-bit, the Map-Server is to answer Map-Requests itself.
        security_capable: S-bit, the ETR does LISP-SEC (RFC 9303).
        xtr_id: 16 bytes that name the xTR within its site (I-bit), or None.
        site_id: 64 bits that name the site; sent with the xTR-ID only.
        eid_notify: E-bit, a first-hop router discovered a dynamic EID.
        use_ttl: T-bit, the registration ends with the Record TTL.
        merge: a-bit, merge the locators that different xTRs register.
        want_notify: M-bit, acknowledge with a Map-Notify.
        auth_data: The MAC; empty before :func:`~nodes.lisp.wire.auth.sign`.
    """

    TYPE: ClassVar[MessageType] = MessageType.MAP_REGISTER

    nonce: int
    key_id: int
    algorithm_id: int
    records: tuple[EidRecord, ...]
    proxy_reply: bool = False
    security_capable: bool = False
    xtr_id: bytes | None = None
    site_id: int = 0
    eid_notify: bool = False
    use_ttl: bool = False
    merge: bool = False
    want_notify: bool = True
    auth_data: bytes = b""

    def encode(self) -> bytes:
        """The message's bytes.

        Raises:
            ValueError: There are more than 255 records, or the xTR-ID has not 16 bytes.
        """
        return encode_registration(self, _FLAGS.pack(self) | (0 if self.xtr_id is None else _ID_PRESENT))

    @classmethod
    def decode(cls, payload: bytes) -> MapRegister:
        """Read a whole Map-Register; its MAC is not checked here.

        Raises:
            DecodeError: It is short or too long, or holds an unknown AFI or a mask longer than its address.
        """
        cursor, word = open_message(payload, cls.TYPE)
        fields = decode_registration(cursor, word, identity_present=bool(word & _ID_PRESENT))
        return cls(**fields | _FLAGS.unpack(word))
