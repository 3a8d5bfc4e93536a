"""Files of packets in the pcapng format (draft-ietf-opsawg-pcapng), which names the interfaces that they came by.

Little-endian, Ethernet, times in nanoseconds. What is read is what is written here, and no more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.observe.capture import Frame

_SECTION, _INTERFACE, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_LINKTYPE_ETHERNET = 1
_END, _COMMENT = 0, 1
_USER_APPLICATION, _INTERFACE_NAME, _INTERFACE_DESCRIPTION, _TIME_RESOLUTION = 4, 2, 3, 9
_NANOSECONDS = b"\x09"
_MOST_TEXT = 0xFFFF - 3


@dataclass(frozen=True, slots=True)
class Record:
    """A frame in a file, and what somebody noted about it."""

    frame: Frame
    comment: str = ""


def write(path: Path, records: Iterable[Record], comment: str = "") -> None:
    """Keep frames in the order in which they are given; ``comment`` is about all of them.

    Interfaces are named ``NODE:INTERFACE``.
    """
    with path.open("wb") as file:
        about = [(_USER_APPLICATION, b"lisp-testbed"), *_text(_COMMENT, comment)]
        file.write(_block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1), about))
        known: dict[tuple[str, str], int] = {}
        for one in records:
            frame = one.frame
            place = (frame.node, frame.interface)
            if place not in known:
                known[place] = len(known)
                named = [*_text(_INTERFACE_NAME, ":".join(place)), (_TIME_RESOLUTION, _NANOSECONDS)]
                named += _text(_INTERFACE_DESCRIPTION, f"what arrives at {frame.node} by {frame.interface}")
                file.write(_block(_INTERFACE, struct.pack("<HHI", _LINKTYPE_ETHERNET, 0, 0), named))
            high, low = divmod(frame.time_ns, 1 << 32)
            length = frame.length or len(frame.data)
            head = struct.pack("<IIIII", known[place], high, low, len(frame.data), length)
            data = head + frame.data + bytes(-len(frame.data) % 4)
            file.write(_block(_ENHANCED_PACKET, data, _text(_COMMENT, one.comment)))


def _text(code: int, text: str) -> list[tuple[int, bytes]]:
    return [(code, text.encode()[:_MOST_TEXT])] if text else []


def _block(kind: int, body: bytes, options: list[tuple[int, bytes]]) -> bytes:
    for code, value in options:
        body += struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
    body += struct.pack("<HH", _END, 0) if options else b""
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length


def read(path: Path) -> Iterator[Record]:
    """The frames of a file that :func:`write` has written.

    Raises:
        ValueError: It is no such file.
    """
    data = path.read_bytes()
    if data[:4] != struct.pack("<I", _SECTION):
        raise ValueError(f"{path} is no pcapng file")
    at, places = 0, list[tuple[str, str]]()
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if length < 12 or at + length > len(data):
            raise ValueError(f"{path} is cut short, or no pcapng file of ours")
        body = data[at + 8 : at + length - 4]
        if kind == _INTERFACE:
            node, _, interface = _options(body[8:])[_INTERFACE_NAME].decode().partition(":")
            places.append((node, interface))
        elif kind == _ENHANCED_PACKET:
            number, high, low, kept, size = struct.unpack_from("<IIIII", body)
            comment = _options(body[20 + kept + -kept % 4 :]).get(_COMMENT, b"").decode()
            node, interface = places[number]
            yield Record(Frame(high << 32 | low, node, interface, body[20 : 20 + kept], size), comment)
        at += length


def _options(data: bytes) -> dict[int, bytes]:
    found, at = dict[int, bytes](), 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from("<HH", data, at)
        found[code] = data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return found
