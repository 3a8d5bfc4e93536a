"""Reads the captures in this directory: the UDP datagrams of pcap files with Linux cooked v2 headers over IPv4."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CAPTURES = tuple(sorted(Path(__file__).parent.glob("*.pcap")))
SECRET = "testkey"

_LINKTYPE_LINUX_SLL2 = 276
_SLL2_HEADER = 20


@dataclass(frozen=True)
class Captured:
    """One UDP datagram over IPv4."""

    capture: str
    number: int
    source_port: int
    destination_port: int
    payload: bytes


@cache
def control_messages() -> tuple[Captured, ...]:
    """Every datagram with a control port, without repetitions of the same bytes."""
    return _unique(one for one in _datagrams() if 4342 in (one.source_port, one.destination_port))


@cache
def data_packets() -> tuple[Captured, ...]:
    """Every datagram to the data port."""
    return tuple(one for one in _datagrams() if one.destination_port == 4341)


def _unique(datagrams: Iterator[Captured]) -> tuple[Captured, ...]:
    return tuple({one.payload: one for one in datagrams}.values())


def _datagrams() -> Iterator[Captured]:
    for path in CAPTURES:
        content = path.read_bytes()
        magic, linktype = struct.unpack_from("<I16xI", content)
        assert (magic, linktype) == (0xA1B2C3D4, _LINKTYPE_LINUX_SLL2), path
        offset, number = 24, 0
        while offset < len(content):
            number += 1
            (size,) = struct.unpack_from("<8xI4x", content, offset)
            frame = content[offset + 16 : offset + 16 + size]
            offset += 16 + size
            packet = frame[_SLL2_HEADER:]
            if frame[:2] != b"\x08\x00" or packet[9] != 17:
                continue
            udp = (packet[0] & 0xF) * 4
            source_port, destination_port, length = struct.unpack_from("!HHH", packet, udp)
            payload = packet[udp + 8 : udp + length]
            yield Captured(path.stem, number, source_port, destination_port, payload)
