"""A bounds-checked reader for wire formats, and the bit numbering of the RFCs' header art."""

from __future__ import annotations

import struct
from typing import Any

from nodes.lisp.errors import DecodeError


class Layout:
    """Fields of fixed sizes, one behind the other: a :class:`Cursor` reads them at once.

    Fewer steps than a read of each: a router that was asleep has its code far away, and goes there for each of them.
    """

    __slots__ = ("fields", "size", "unpack")

    def __init__(self, *fields: tuple[str, str]) -> None:
        """Name the fields, each with its format as in :mod:`struct`: ``("H", "flags")``."""
        together = struct.Struct("!" + "".join(code for code, _ in fields))
        self.size = together.size
        self.unpack = together.unpack_from
        self.fields = [(struct.calcsize("!" + code), name) for code, name in fields]


class Cursor:
    """Reads big-endian fields from bytes, front to back; every read names its field.

    Whatever is short or wrong ends in a :class:`DecodeError` that says where it happened.
    """

    __slots__ = ("_data", "_path", "_position")

    def __init__(self, data: bytes, where: str) -> None:
        """Start at the first byte of ``data``; ``where`` opens the place named in errors ("Map-Request")."""
        self._data = data
        self._position = 0
        self._path = [where]

    @property
    def left(self) -> int:
        """How many bytes are unread."""
        return len(self._data) - self._position

    def u8(self, field: str) -> int:
        """Read an unsigned integer of 8 bits."""
        return self.take(1, field)[0]

    def u16(self, field: str) -> int:
        """Read an unsigned integer of 16 bits."""
        return int.from_bytes(self.take(2, field), "big")

    def u32(self, field: str) -> int:
        """Read an unsigned integer of 32 bits."""
        return int.from_bytes(self.take(4, field), "big")

    def u64(self, field: str) -> int:
        """Read an unsigned integer of 64 bits."""
        return int.from_bytes(self.take(8, field), "big")

    def read(self, layout: Layout) -> tuple[Any, ...]:
        """Read several fields.

        Raises:
            DecodeError: Fewer bytes are left; it names the first field that is short.
        """
        start = self._position
        if start + layout.size > len(self._data):
            for size, field in layout.fields:
                self.take(size, field)
        self._position = start + layout.size
        return layout.unpack(self._data, start)

    def take(self, size: int, field: str) -> bytes:
        """Read ``size`` bytes.

        Raises:
            DecodeError: Fewer are left.
        """
        start = self._position
        end = start + size
        if end > len(self._data):
            raise self.error(f"needs {size} bytes, {self.left} are left", field)
        self._position = end
        return self._data[start:end]

    def take_all(self) -> bytes:
        """Read everything that is left."""
        start, self._position = self._position, len(self._data)
        return self._data[start:]

    def take_past(self, mark: bytes, field: str) -> bytes:
        """Read up to ``mark`` and past it; the mark itself is not returned.

        Raises:
            DecodeError: There is no such mark in what is left.
        """
        end = self._data.find(mark, self._position)
        if end < 0:
            raise self.error(f"is not ended by {mark!r}", field)
        value = self.take(end - self._position, field)
        self._position += len(mark)
        return value

    def part(self, size: int, field: str) -> Cursor:
        """Split off a reader of the next ``size`` bytes; this one moves past them."""
        cursor = Cursor(self.take(size, field), "")
        cursor._path = [*self._path, field]
        return cursor

    def end(self) -> None:
        """Insist that nothing is left.

        Raises:
            DecodeError: Something is.
        """
        if self.left:
            raise self.error(f"{self.left} bytes are left over", "end")

    def inside(self, place: str, error: DecodeError) -> DecodeError:
        """The same error, found by this cursor in a part of what it reads ("record 2"): the part is named too."""
        here = ", ".join(self._path)
        return DecodeError(error.what, f"{here}, {place}{error.where.removeprefix(here)}")

    def error(self, what: str, field: str) -> DecodeError:
        """Build the error for something wrong in ``field``, here."""
        return DecodeError(what, ", ".join([*self._path, field]))


class Flags:
    """The one-bit fields of a 32-bit header word: attribute name -> bit position, from the left as in the RFCs.

    Bits that have no name are reserved: 0 when packed, ignored when unpacked (requirement C04).
    """

    __slots__ = ("_masks",)

    def __init__(self, **positions: int) -> None:
        """Name the bits, ``probe=6`` for the P-bit of a Map-Request."""
        self._masks = {name: 1 << (31 - position) for name, position in positions.items()}

    def pack(self, message: object) -> int:
        """The header word with the bits of the attributes that are true of ``message``."""
        return sum(mask for name, mask in self._masks.items() if getattr(message, name))

    def unpack(self, word: int) -> dict[str, bool]:
        """The attributes, by name, that the header word says."""
        return dict(zip(self._masks, map(bool, map(word.__and__, self._masks.values())), strict=True))


def fit(value: int, bits: int, field: str) -> int:
    """Return ``value`` if it fits an unsigned field of ``bits`` bits.

    Raises:
        ValueError: It does not: the caller's mistake, not the network's.
    """
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{field}: {value} does not fit {bits} bits")
    return value
