"""The canonical addresses that RFC 8060 section 5 describes and IANA has not registered: types 4, 6, 8, 14, 15, 16."""

from __future__ import annotations

from scapy.fields import (
    BitField,
    ByteField,
    FieldLenField,
    ShortField,
    StrLenField,
    X3BytesField,
    XByteField,
    XShortField,
    XStrField,
)

from testbed.observe.scapy_lisp.addresses import LCAF_CLASSES, LCAF_HEADER, AddressField, Cut
from testbed.observe.scapy_lisp.lcaf import LCAF, lcaf_header


class ApplicationData(LCAF):
    """Type 4 (section 5.1)."""

    name = "LCAF Application Data"
    fields_desc = [
        *lcaf_header(4),
        X3BytesField("tos_tc_or_flow_label", 0),
        ByteField("protocol", 0),
        ShortField("local_port_lower", 0),
        ShortField("local_port_upper", 0),
        ShortField("remote_port_lower", 0),
        ShortField("remote_port_upper", 0),
        AddressField("address"),
    ]


class OpaqueKey(LCAF):
    """Type 6 (section 5.2): ``key_field_num`` is the number of sub-fields minus one."""

    name = "LCAF Opaque Key"
    fields_desc = [
        *lcaf_header(6),
        ByteField("key_field_num", 0),
        XShortField("key_wildcard_fields", 0),
        XStrField("key", b""),
    ]


class NonceLocator(LCAF):
    """Type 8 (section 5.3)."""

    name = "LCAF Nonce Locator"
    fields_desc = [*lcaf_header(8), XByteField("reserved", 0), X3BytesField("nonce", 0), AddressField("address")]


class JSONDataModel(LCAF):
    """Type 14 (section 5.4): text of RFC 7159, or with ``binary`` set, binary JSON."""

    name = "LCAF JSON Data Model"
    fields_desc = [
        *lcaf_header(14, BitField("rsvd2", 0, 7), BitField("binary", 0, 1)),
        FieldLenField("json_length", None, length_of="json"),
        StrLenField("json", b"", length_from=lambda pkt: pkt.json_length),
        AddressField("address"),
    ]

    def do_dissect(self, s: bytes) -> bytes:
        """Read a whole JSON field, or none."""
        if len(s) < LCAF_HEADER + 2 + int.from_bytes(s[LCAF_HEADER : LCAF_HEADER + 2], "big"):
            raise Cut("JSON is cut short")
        return super().do_dissect(s)


class KeyValueAddressPair(LCAF):
    """Type 15 (section 5.5)."""

    name = "LCAF Key/Value Address Pair"
    fields_desc = [*lcaf_header(15), AddressField("address_as_key"), AddressField("address_as_value")]


class EncapsulationFormat(LCAF):
    """Type 16 (section 5.6): what the RLOC can decapsulate."""

    name = "LCAF Encapsulation Format"
    fields_desc = [
        *lcaf_header(16),
        BitField("reserved_for_future_encapsulations", 0, 25),
        BitField("gue", 0, 1),
        BitField("geneve", 0, 1),
        BitField("nvgre", 0, 1),
        BitField("vxlan_gpe", 0, 1),
        BitField("vxlan", 0, 1),
        BitField("lisp_layer_2", 0, 1),
        BitField("lisp", 0, 1),
        AddressField("address"),
    ]


LCAF_CLASSES.update(
    {
        4: ApplicationData,
        6: OpaqueKey,
        8: NonceLocator,
        14: JSONDataModel,
        15: KeyValueAddressPair,
        16: EncapsulationFormat,
    }
)
