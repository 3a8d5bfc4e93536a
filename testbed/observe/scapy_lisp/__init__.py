"""LISP for Scapy: control plane (RFC 9301, 8111, 9303, 9437), addresses (RFC 8060), data plane (RFC 9300, 9305).

Written as a module of ``scapy.contrib`` would be: importing it binds the layers to UDP 4341 and 4342. It shares no
code with ``nodes``: what it reads, it reads by the texts alone. Names of fields are the texts' own, in full where they
are one letter there. ::

    IP(dst="198.51.100.1") / UDP() / MapRequest(
        nonce=7,
        itr_rlocs=["198.51.100.2"],
        records=[RequestRecord(eid_prefix="192.0.2.1", eid_mask_len=32)],
    )
"""

# scapy.contrib.description = Locator/ID Separation Protocol (LISP)
# scapy.contrib.status = loads

from __future__ import annotations

from scapy.layers.inet import UDP
from scapy.packet import bind_layers, bind_top_down

from testbed.observe.scapy_lisp.addresses import (
    DistinguishedName,
    IPv4Address,
    IPv6Address,
    MACAddress,
    NoAddress,
)
from testbed.observe.scapy_lisp.authentication import signed, verify
from testbed.observe.scapy_lisp.data import LISPGPE, LISPData, Shim
from testbed.observe.scapy_lisp.defects import defects, reserved_bits
from testbed.observe.scapy_lisp.ecm import EncapsulatedControlMessage, SharedExtensionMessage
from testbed.observe.scapy_lisp.info import InfoReply, InfoRequest
from testbed.observe.scapy_lisp.lcaf import (
    LCAF,
    AFIList,
    ASNumber,
    ExplicitLocatorPath,
    GeoCoordinates,
    InstanceID,
    KeySection,
    MulticastInfo,
    NATTraversal,
    NullBody,
    ReencapHop,
    ReplicationEntry,
    ReplicationListEntry,
    SecurityKey,
    SourceDestKey,
    VendorSpecific,
)
from testbed.observe.scapy_lisp.lcaf_experimental import (
    ApplicationData,
    EncapsulationFormat,
    JSONDataModel,
    KeyValueAddressPair,
    NonceLocator,
    OpaqueKey,
)
from testbed.observe.scapy_lisp.map_notify import MapNotify, MapNotifyAck
from testbed.observe.scapy_lisp.map_referral import MapReferral, ReferralRecord, Signature
from testbed.observe.scapy_lisp.map_register import MapRegister
from testbed.observe.scapy_lisp.map_reply import MapReply
from testbed.observe.scapy_lisp.map_request import MapRequest
from testbed.observe.scapy_lisp.message import LISP
from testbed.observe.scapy_lisp.records import EIDRecord, Identity, RequestRecord, RLOCRecord
from testbed.observe.scapy_lisp.security import (
    AuthorizedPrefix,
    ECMAuthentication,
    EIDAuthentication,
    MapReplyAuthentication,
)

LISP_DATA_PORT, LISP_CONTROL_PORT = 4341, 4342

# RFC 9301 section 5: a control message has 4342 as its source or its destination port.
bind_layers(UDP, LISP, sport=LISP_CONTROL_PORT)
bind_layers(UDP, LISP, dport=LISP_CONTROL_PORT)
bind_layers(UDP, LISP, sport=LISP_CONTROL_PORT, dport=LISP_CONTROL_PORT)
# RFC 9300 section 5.3: a data packet has 4341 as its destination port.
bind_layers(UDP, LISPData, dport=LISP_DATA_PORT)
bind_top_down(UDP, LISPGPE, dport=LISP_DATA_PORT)

__all__ = [
    "LCAF",
    "LISP",
    "LISPGPE",
    "LISP_CONTROL_PORT",
    "LISP_DATA_PORT",
    "AFIList",
    "ASNumber",
    "ApplicationData",
    "AuthorizedPrefix",
    "DistinguishedName",
    "ECMAuthentication",
    "EIDAuthentication",
    "EIDRecord",
    "EncapsulatedControlMessage",
    "EncapsulationFormat",
    "ExplicitLocatorPath",
    "GeoCoordinates",
    "IPv4Address",
    "IPv6Address",
    "Identity",
    "InfoReply",
    "InfoRequest",
    "InstanceID",
    "JSONDataModel",
    "KeySection",
    "KeyValueAddressPair",
    "LISPData",
    "MACAddress",
    "MapNotify",
    "MapNotifyAck",
    "MapReferral",
    "MapRegister",
    "MapReply",
    "MapReplyAuthentication",
    "MapRequest",
    "MulticastInfo",
    "NATTraversal",
    "NoAddress",
    "NonceLocator",
    "NullBody",
    "OpaqueKey",
    "RLOCRecord",
    "ReencapHop",
    "ReferralRecord",
    "ReplicationEntry",
    "ReplicationListEntry",
    "RequestRecord",
    "SecurityKey",
    "SharedExtensionMessage",
    "Shim",
    "Signature",
    "SourceDestKey",
    "VendorSpecific",
    "defects",
    "reserved_bits",
    "signed",
    "verify",
]
