"""The LISP header of an encapsulated packet (RFC 9300 section 5.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from nodes.lisp.wire.cursor import Cursor, fit

_N, _L, _E, _V, _I = (1 << bit for bit in (31, 30, 29, 28, 27))
_KK_SHIFT = 24


@dataclass(frozen=True, slots=True)
class MapVersions:
    """The Map-Version Numbers of a packet, 12 bits each (RFC 9302 section 7).

    Attributes:
        source: The version of the sender's own mapping.
        destination: The version of the mapping the sender used.
    """

    source: int
    destination: int


@dataclass(frozen=True, slots=True)
class DataHeader:
    """What stands between the outer UDP header and the inner packet.

    ::

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |N|L|E|V|I|R|K|K|            Nonce/Map-Version                  |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                 Instance ID/Locator-Status-Bits               |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    A field that is None is absent: its bit is 0. Absent fields are sent as zero and ignored on receipt.

    Attributes:
        instance_id: 24 bits (I-bit).
        nonce: 24 bits (N-bit); excludes ``versions``.
        echo: E-bit, the nonce is to be echoed; means nothing without a nonce.
        versions: The Map-Version Numbers (V-bit).
        locator_status_bits: The L-bit's field: bit n is the n-th locator; 32 bits, or 8 with an instance-ID.
        key_id: KK, 1 to 3 when the inner packet is encrypted (RFC 8061), else 0.
    """

    SIZE: ClassVar[int] = 8

    instance_id: int | None = None
    nonce: int | None = None
    echo: bool = False
    versions: MapVersions | None = None
    locator_status_bits: int | None = None
    key_id: int = 0

    def encode(self) -> bytes:
        """The eight bytes of the header, the reserved bit 0.

        Raises:
            ValueError: Nonce and versions are both set, an echo is asked without a nonce, or a value does not fit.
        """
        first = fit(self.key_id, 2, "KK") << _KK_SHIFT
        second = 0
        if self.nonce is not None:
            # RFC 9300 section 5.3: N and V MUST NOT both be set.
            if self.versions is not None:
                raise ValueError("a header carries a nonce or Map-Versions, never both")
            first |= _N | fit(self.nonce, 24, "Nonce") | (_E if self.echo else 0)
        elif self.echo:
            raise ValueError("an echo needs a nonce")
        elif self.versions is not None:
            source = fit(self.versions.source, 12, "Source Map-Version")
            first |= _V | source << 12 | fit(self.versions.destination, 12, "Dest Map-Version")
        lsb_width = 32
        if self.instance_id is not None:
            first |= _I
            second = fit(self.instance_id, 24, "Instance ID") << 8
            lsb_width = 8
        if self.locator_status_bits is not None:
            first |= _L
            second |= fit(self.locator_status_bits, lsb_width, "Locator-Status-Bits")
        return struct.pack("!II", first, second)

    @classmethod
    def decode(cls, packet: bytes) -> DataHeader:
        """Read the first eight bytes of a UDP payload; the inner packet follows them.

        Raises:
            DecodeError: There are fewer.
        """
        cursor = Cursor(packet, "LISP data header")
        first = cursor.u32("flags and Nonce/Map-Version")
        second = cursor.u32("Instance ID/Locator-Status-Bits")
        nonce = versions = instance_id = locator_status_bits = None
        # RFC 9300 section 5.3: with both N and V set, the field is a nonce.
        if first & _N:
            nonce = first & 0xFFFFFF
        elif first & _V:
            versions = MapVersions(first >> 12 & 0xFFF, first & 0xFFF)
        if first & _I:
            instance_id = second >> 8
            second &= 0xFF
        if first & _L:
            locator_status_bits = second
        return cls(
            instance_id=instance_id,
            nonce=nonce,
            # RFC 9300 section 5.3: E means nothing without N.
            echo=bool(first & _E and first & _N),
            versions=versions,
            locator_status_bits=locator_status_bits,
            key_id=first >> _KK_SHIFT & 0b11,
        )
