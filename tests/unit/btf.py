"""The types in a compiled object: a reader of the BTF section (kernel documentation "bpf/btf"), enough for a test."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VAR, _DATASEC, _DECL_TAG, _ENUM64 = 1, 3, 4, 5, 6, 8, 14, 15, 17, 19
_FUNC_PROTO, _VOLATILE, _CONST, _RESTRICT = 13, 9, 10, 11
_MEMBER_WORDS = {_STRUCT: 3, _UNION: 3, _ENUM: 2, _FUNC_PROTO: 2, _DATASEC: 3, _ENUM64: 3}
_MORE_WORDS = {_INT: 1, _ARRAY: 3, _VAR: 1, _DECL_TAG: 1}


@dataclass(frozen=True)
class Type:
    """One type: its kind, its name, its size or the type that it refers to, and the words behind it."""

    kind: int
    name: str
    size_or_type: int
    words: tuple[int, ...]


class Btf:
    def __init__(self, path: Path) -> None:
        data = _section(path.read_bytes(), b".BTF")
        magic, _, _, header, type_start, type_length, text_start, text_length = struct.unpack_from("=HBBIIIII", data)
        assert magic == 0xEB9F
        self._texts = data[header + text_start : header + text_start + text_length]
        self.types = [Type(0, "void", 0, ())]
        at, end = header + type_start, header + type_start + type_length
        while at < end:
            name, info, size_or_type = struct.unpack_from("=III", data, at)
            kind = info >> 24 & 0x1F
            words = _MORE_WORDS.get(kind, 0) + _MEMBER_WORDS.get(kind, 0) * (info & 0xFFFF)
            found = struct.unpack_from(f"={words}I", data, at + 12)
            self.types.append(Type(kind, self._text(name), size_or_type, found))
            at += 12 + 4 * words

    def _text(self, at: int) -> str:
        return self._texts[at : self._texts.index(b"\0", at)].decode()

    def size(self, number: int) -> int:
        """Bytes of a type."""
        one = self.types[number]
        if one.kind in (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT):
            return self.size(one.size_or_type)
        if one.kind == _ARRAY:
            return one.words[2] * self.size(one.words[0])
        assert one.kind in (_INT, _STRUCT, _UNION, _ENUM), one
        return one.size_or_type

    def struct(self, name: str) -> tuple[int, dict[str, tuple[int, int]]]:
        """Size of a structure, and of each member where it begins and its size, in bytes."""
        (found,) = [one for one in self.types if one.kind == _STRUCT and one.name == name]
        members = [found.words[n : n + 3] for n in range(0, len(found.words), 3)]
        return found.size_or_type, {
            self._text(text): (offset // 8, self.size(number)) for text, number, offset in members
        }

    def enum(self, name: str) -> dict[str, int]:
        """The values of an enumeration."""
        (found,) = [one for one in self.types if one.kind == _ENUM and one.name == name]
        return {self._text(text): value for text, value in zip(found.words[::2], found.words[1::2], strict=True)}

    def variable(self, name: str) -> int:
        """Bytes of a global variable."""
        (found,) = [one for one in self.types if one.kind == _VAR and one.name == name]
        return self.size(found.size_or_type)


def _section(elf: bytes, wanted: bytes) -> bytes:
    """A section of an ELF file of 64 bits."""
    (table,) = struct.unpack_from("=Q", elf, 40)
    size, count, names = struct.unpack_from("=HHH", elf, 58)
    headers = [struct.unpack_from("=IIQQQQ", elf, table + n * size) for n in range(count)]
    texts = headers[names][4]
    for name, _, _, _, offset, length in headers:
        if elf[texts + name : elf.index(b"\0", texts + name)] == wanted:
            return elf[offset : offset + length]
    raise AssertionError(f"no section {wanted.decode()}")
