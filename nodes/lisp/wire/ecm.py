"""Encapsulated Control Message (RFC 9301 section 5.8): a control message on its way through others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nodes.lisp.effects import CONTROL_PORT
from nodes.lisp.eid import IPAddress
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire.cursor import Flags
from nodes.lisp.wire.inner import InnerControl
from nodes.lisp.wire.message import MessageType, first_word, open_message

# IANA's bit positions (RFC 9301 section 12.6). Section 5.8 draws E and M, which are DDT's, as reserved.
_FLAGS = Flags(security=4, ddt=5, to_etr=6, to_map_server=7)


@dataclass(frozen=True, slots=True)
class EncapsulatedControlMessage:
    """A control message inside IP and UDP headers of its own.

    ::

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |Type=8 |S|D|E|M|            Reserved                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |           IPv4 or IPv6 header, with RLOCs or EIDs             |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |       Source Port = xxxx      |       Dest Port = yyyy        |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |           UDP Length          |        UDP Checksum           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                      LISP Control Message                     |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        inner: The inner packet, from its IP header on; with the S-bit, the authentication data and then the packet.
        security: S-bit, LISP-SEC authentication data comes first (RFC 9303).
        ddt: D-bit, a Map-Referral is wanted (RFC 8111).
        to_etr: E-bit, forwarded to an ETR (RFC 8111).
        to_map_server: M-bit, destined to a Map-Server (RFC 8111).
    """

    TYPE: ClassVar[MessageType] = MessageType.ENCAPSULATED_CONTROL_MESSAGE

    inner: bytes
    security: bool = False
    ddt: bool = False
    to_etr: bool = False
    to_map_server: bool = False

    def encode(self) -> bytes:
        """The message's bytes."""
        return first_word(self.TYPE, _FLAGS.pack(self)) + self.inner

    @classmethod
    def decode(cls, payload: bytes) -> EncapsulatedControlMessage:
        """Read the outer part; :meth:`unwrap` reads the inner one.

        Raises:
            DecodeError: It is shorter than its first word.
        """
        _, word = open_message(payload, cls.TYPE)
        return cls(inner=payload[4:], **_FLAGS.unpack(word))

    @classmethod
    def wrap(
        cls,
        message: bytes,
        source: IPAddress,
        source_port: int,
        destination: IPAddress,
        destination_port: int = CONTROL_PORT,
        ttl: int = 64,
    ) -> EncapsulatedControlMessage:
        """Put a control message into IP and UDP headers.

        Args:
            message: The control message.
            source: The inner source, of the destination's address family: an RLOC or an EID.
            source_port: Where a Map-Reply is to go.
            destination: For a Map-Request, the EID asked for.
            destination_port: 4342 but for a Map-Reply.
            ttl: The inner TTL or hop limit.

        Raises:
            ValueError: The address families differ, a port is the data port 4341, or the message is too long.
        """
        return cls(InnerControl(source, source_port, destination, destination_port, message).encode(ttl))

    def unwrap(self) -> InnerControl:
        """Read the inner headers and check their lengths and checksums.

        Raises:
            DecodeError: They are wrong, or authentication data stands before them (LISP-SEC is not understood).
        """
        if self.security:
            raise DecodeError("LISP-SEC authentication data is not understood", "Encapsulated-Control-Message, S-bit")
        return InnerControl.decode(self.inner)
