"""LISP messages as bytes and as values: the control plane of RFC 9301, the data header of RFC 9300.

:func:`decode` reads any control message; ``message.encode()`` is its other half. Whatever the network sends, decoding
ends in a value or in a :class:`~nodes.lisp.errors.DecodeError`.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodes.lisp.errors import DecodeError
from nodes.lisp.wire.addresses import (
    Address,
    AfiList,
    DistinguishedName,
    ExplicitLocatorPath,
    InstanceId,
    MacAddress,
    NoAddress,
    OpaqueLcaf,
    ReencapHop,
    decode_address,
    eid_prefix,
    encode_address,
    every_mac,
    in_instance,
    max_mask_len,
)
from nodes.lisp.wire.auth import sealed, sign, verify
from nodes.lisp.wire.cursor import Cursor
from nodes.lisp.wire.data_header import DataHeader, MapVersions
from nodes.lisp.wire.ecm import EncapsulatedControlMessage
from nodes.lisp.wire.inner import InnerControl
from nodes.lisp.wire.map_notify import MapNotify, MapNotifyAck
from nodes.lisp.wire.map_register import MapRegister
from nodes.lisp.wire.map_reply import MapReply
from nodes.lisp.wire.map_request import MapRequest
from nodes.lisp.wire.message import MessageType
from nodes.lisp.wire.records import Action, EidRecord, LocatorRecord, RequestRecord, sorted_locators

Message = MapRequest | MapReply | MapRegister | MapNotify | MapNotifyAck | EncapsulatedControlMessage

MESSAGES: Mapping[int, type[Message]] = {
    MessageType.MAP_REQUEST: MapRequest,
    MessageType.MAP_REPLY: MapReply,
    MessageType.MAP_REGISTER: MapRegister,
    MessageType.MAP_NOTIFY: MapNotify,
    MessageType.MAP_NOTIFY_ACK: MapNotifyAck,
    MessageType.ENCAPSULATED_CONTROL_MESSAGE: EncapsulatedControlMessage,
}
"""The table of message types (RFC 9301 section 5.1): what is not in it is refused."""


def decode(payload: bytes) -> Message:
    """Read a control message, whichever type its first four bits announce.

    Raises:
        DecodeError: The type is unknown, or the message is malformed.
    """
    if not payload:
        raise DecodeError("needs 1 bytes, 0 are left", "LISP control message, Type")
    message_type = payload[0] >> 4
    message = MESSAGES.get(message_type)
    if message is None:
        raise DecodeError(f"is {message_type}, known are {', '.join(map(str, MESSAGES))}", "LISP control message, Type")
    return message.decode(payload)


__all__ = [
    "MESSAGES",
    "Action",
    "Address",
    "AfiList",
    "Cursor",
    "DataHeader",
    "DistinguishedName",
    "EidRecord",
    "EncapsulatedControlMessage",
    "ExplicitLocatorPath",
    "InnerControl",
    "InstanceId",
    "LocatorRecord",
    "MacAddress",
    "MapNotify",
    "MapNotifyAck",
    "MapRegister",
    "MapReply",
    "MapRequest",
    "MapVersions",
    "Message",
    "MessageType",
    "NoAddress",
    "OpaqueLcaf",
    "ReencapHop",
    "RequestRecord",
    "decode",
    "decode_address",
    "eid_prefix",
    "encode_address",
    "every_mac",
    "in_instance",
    "max_mask_len",
    "sealed",
    "sign",
    "sorted_locators",
    "verify",
]
