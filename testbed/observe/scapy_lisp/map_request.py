"""Map-Request (RFC 9301 section 5.2; the I-bit and N-bit of RFC 9437 section 4).

::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |Type=1 |A|M|P|S|p|s|R|I|  Rsvd   |L|D|   IRC   | Record Count  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                       Nonce (64 bits) . . .                   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | Source-EID-AFI ... | ITR-RLOC-AFI 1 ... | ITR-RLOC-AFI n ...  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | records ... | Map-Reply Record (M) ... | xTR-ID, Site-ID (I)  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

from scapy.fields import BitField, BitFieldLenField, FieldLenField, PacketListField, XBitField, XLongField
from scapy.packet import Packet

from testbed.observe.scapy_lisp.addresses import AddressField, AddressListField
from testbed.observe.scapy_lisp.message import LISP, MESSAGE_CLASSES, message_type
from testbed.observe.scapy_lisp.records import EIDRecord, Identity, RequestRecord, is_identity


class MapRequest(LISP):
    """Where is this EID? With its bits also: is this RLOC up (P), and ask again, my mapping changed (S)."""

    name = "LISP Map-Request"
    fields_desc = [
        message_type(1),
        BitField("authoritative", 0, 1),
        BitField("map_data_present", 0, 1),
        BitField("probe", 0, 1),
        BitField("smr", 0, 1),
        BitField("pitr", 0, 1),
        BitField("smr_invoked", 0, 1),
        BitField("reserved", 0, 1),
        BitField("xtr_id_present", 0, 1),
        XBitField("rsvd", 0, 5),
        BitField("local_xtr", 0, 1),
        BitField("dont_map_reply", 0, 1),
        # RFC 9301 section 5.2: the number of ITR-RLOCs minus one.
        BitFieldLenField("irc", None, 5, count_of="itr_rlocs", adjust=lambda _pkt, count: max(count - 1, 0)),
        FieldLenField("record_count", None, fmt="B", count_of="records"),
        XLongField("nonce", 0),
        AddressField("source_eid"),
        AddressListField("itr_rlocs", ["0.0.0.0"], count_from=lambda pkt: pkt.irc + 1),
        PacketListField("records", [], RequestRecord, count_from=lambda pkt: pkt.record_count),
        PacketListField("map_reply_record", [], EIDRecord, count_from=lambda pkt: pkt.map_data_present),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """RFC 9437 section 4: with the I-bit, xTR-ID and Site-ID end the message."""
        if self.xtr_id_present and is_identity(payload):
            return Identity
        return super().guess_payload_class(payload)

    def mysummary(self) -> str:
        """One line."""
        what = "SMR" if self.smr else "RLOC-probe" if self.probe else "Map-Request"
        return f"LISP {what} {self.nonce:#018x}"


MESSAGE_CLASSES[1] = MapRequest
