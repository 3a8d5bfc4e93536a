"""Map-Request (RFC 9301 section 5.2, RFC 9437 section 4): who asks, where to answer, and for which EIDs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nodes.lisp.errors import DecodeError
from nodes.lisp.wire.addresses import Address, decode_address, encode_address
from nodes.lisp.wire.cursor import Flags, fit
from nodes.lisp.wire.message import MessageType, first_word, open_message
from nodes.lisp.wire.records import EidRecord, RequestRecord
from nodes.lisp.wire.registration import decode_identity, encode_identity

# IANA's bit positions (RFC 9301 section 12.6, RFC 9437 section 9); the M-bit follows from reply_record, the I-bit from
# xtr_id.
_FLAGS = Flags(authoritative=4, probe=6, smr=7, pitr=8, smr_invoked=9, local_xtr=17, dont_reply=18)
_MAP_DATA_PRESENT = 1 << (31 - 5)
_ID_PRESENT = 1 << (31 - 11)


@dataclass(frozen=True, slots=True)
class MapRequest:
    """A question for mappings, a probe of an RLOC, or a solicit-map-request.

    ::

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |Type=1 |A|M|P|S|p|s|R|I|  Rsvd   |L|D|   IRC   | Record Count  |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                         Nonce . . .                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                         . . . Nonce                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |         Source-EID-AFI        |   Source EID Address  ...     |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |        ITR-RLOC-AFI 1..n      |   ITR-RLOC Address 1..n ...   |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                    Request Records  ...                       |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                   Map-Reply Record  ...                       |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                 xTR-ID (128 bits), Site-ID (64 bits)  ...     |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        nonce: 64 random bits, returned by the Map-Reply.
        source_eid: The EID whose packet started this, or :class:`NoAddress`.
        itr_rlocs: Where to reply to, 1 to 32 of them; the count minus one is the wire's IRC (requirement C05).
        records: The questions; a sender sends exactly one (requirement C06).
        authoritative: A-bit, the site itself should answer, not the mapping system.
        probe: P-bit, this probes an RLOC; never inside an Encapsulated Control Message.
        smr: S-bit, solicit-map-request: ask again, your mapping is old (section 6.1).
        pitr: p-bit, a PITR asks.
        smr_invoked: s-bit, sent because of a solicit-map-request.
        local_xtr: L-bit, the sender is one of its site's RLOCs.
        dont_reply: D-bit, no Map-Reply is wanted.
        reply_record: The mapping of the Source-EID, piggybacked (M-bit); unverified.
        xtr_id: 16 bytes that name the xTR, or None (I-bit).
        site_id: 64 bits that name its site; sent with the xTR-ID only.
    """

    TYPE: ClassVar[MessageType] = MessageType.MAP_REQUEST

    nonce: int
    source_eid: Address
    itr_rlocs: tuple[Address, ...]
    records: tuple[RequestRecord, ...]
    authoritative: bool = False
    probe: bool = False
    smr: bool = False
    pitr: bool = False
    smr_invoked: bool = False
    local_xtr: bool = False
    dont_reply: bool = False
    reply_record: EidRecord | None = None
    xtr_id: bytes | None = None
    site_id: int = 0

    def encode(self) -> bytes:
        """The message's bytes.

        Raises:
            ValueError: There is no ITR-RLOC, or there are more than 32 of them or 255 records, or the xTR-ID has not 16
                bytes.
        """
        map_data = b"" if self.reply_record is None else self.reply_record.encode()
        identity = encode_identity(self.xtr_id, self.site_id)
        flags = _FLAGS.pack(self) | (_MAP_DATA_PRESENT if map_data else 0) | (_ID_PRESENT if identity else 0)
        # RFC 9301 section 5.2: IRC is the number of ITR-RLOCs behind the first one.
        irc = fit(len(self.itr_rlocs) - 1, 5, "ITR-RLOC Count")
        count = fit(len(self.records), 8, "Record Count")
        return b"".join(
            (
                first_word(self.TYPE, flags, irc << 8 | count),
                self.nonce.to_bytes(8, "big"),
                encode_address(self.source_eid),
                *(encode_address(rloc) for rloc in self.itr_rlocs),
                *(record.encode() for record in self.records),
                map_data,
                identity,
            )
        )

    @classmethod
    def decode(cls, payload: bytes) -> MapRequest:
        """Read a whole Map-Request.

        Bytes behind the last field are ignored, as are the reserved bits that would announce them: extensions put
        fields there.

        Raises:
            DecodeError: It is short, has no record, or holds an unknown AFI or a mask longer than its address.
        """
        cursor, word = open_message(payload, cls.TYPE)
        nonce = cursor.u64("Nonce")
        source_eid = decode_address(cursor, "Source-EID")
        itr_rlocs = [decode_address(cursor, f"ITR-RLOC {n + 1}") for n in range((word >> 8 & 0x1F) + 1)]
        record_count = word & 0xFF
        # RFC 9301 section 5.2: one or more records.
        if not record_count:
            raise cursor.error("is 0, a Map-Request asks for at least one EID", "Record Count")
        records: list[RequestRecord] = []
        try:
            while len(records) < record_count:
                records.append(RequestRecord.decode(cursor))
        except DecodeError as error:
            raise cursor.inside(f"record {len(records) + 1}", error) from None
        reply_record = None
        if word & _MAP_DATA_PRESENT:
            try:
                reply_record = EidRecord.decode(cursor)
            except DecodeError as error:
                raise cursor.inside("Map-Reply Record", error) from None
        # RFC 9437 section 4: with the I-bit, a message that ends without an xTR-ID and a Site-ID is malformed.
        xtr_id, site_id = decode_identity(cursor) if word & _ID_PRESENT else (None, 0)
        return cls(
            nonce=nonce,
            source_eid=source_eid,
            itr_rlocs=tuple(itr_rlocs),
            records=tuple(records),
            reply_record=reply_record,
            xtr_id=xtr_id,
            site_id=site_id,
            **_FLAGS.unpack(word),
        )
