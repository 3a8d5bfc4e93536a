"""What all control messages share: a type in the first four bits."""

from __future__ import annotations

from enum import IntEnum

from nodes.lisp.wire.cursor import Cursor


class MessageType(IntEnum):
    """LISP control packet types (RFC 9301 section 5.1)."""

    MAP_REQUEST = 1
    MAP_REPLY = 2
    MAP_REGISTER = 3
    MAP_NOTIFY = 4
    MAP_NOTIFY_ACK = 5
    ENCAPSULATED_CONTROL_MESSAGE = 8


_TITLES = {one: one.name.replace("_", "-").title() for one in MessageType}


def first_word(message_type: MessageType, flags: int = 0, low: int = 0) -> bytes:
    """The first 32 bits of a message: type, flags, and the low-order fields (Record Count and its neighbours)."""
    return (message_type << 28 | flags | low).to_bytes(4, "big")


def open_message(payload: bytes, message_type: MessageType) -> tuple[Cursor, int]:
    """Start to read a message; returns a cursor behind its first word, and that word.

    Raises:
        DecodeError: The payload is shorter than that, or it is another type of message.
    """
    cursor = Cursor(payload, _TITLES[message_type])
    word = cursor.u32("Type")
    if word >> 28 != message_type:
        raise cursor.error(f"is {word >> 28}, not {message_type}", "Type")
    return cursor, word
