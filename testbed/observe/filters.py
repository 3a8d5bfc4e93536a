"""Programs of the classic BPF for packet sockets: which frames the kernel hands on, and how much of each."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""

_SO_ATTACH_FILTER = 26
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _LOAD_HALF_BEHIND = 0x20, 0x28, 0x30, 0x48
_HEADER_LENGTH = 0xB1  # four times the low half of an octet, into the index register
_MODULO, _IF_EQUAL, _IF_SET, _RETURN = 0x94, 0x15, 0x45, 0x06
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM

_IPV4, _IPV6, _UDP = 0x0800, 0x86DD, 17
_SOURCE, _ETHERTYPE, _ETHERNET, _PROTOCOL, _FRAGMENT, _NEXT_HEADER, _BEHIND_IPV6 = 6, 12, 14, 23, 20, 20, 54
"""Where fields are in a frame."""


def sample(one_in: int, octets: int) -> list[Instruction]:
    """One frame in ``one_in``, drawn by the kernel, and no more than its first ``octets``."""
    return [
        (_LOAD_WORD, 0, 0, _RANDOM),
        (_MODULO, 0, 0, one_in),
        (_IF_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, octets),
        (_RETURN, 0, 0, 0),
    ]


def udp_port(port: int, octets: int) -> list[Instruction]:
    """UDP from or to a port, over either IP version, and no more than the first ``octets`` of each frame.

    Of fragments it takes the first, of IPv6 only packets without extension headers.
    """
    return [
        (_LOAD_HALF, 0, 0, _ETHERTYPE),
        (_IF_EQUAL, 0, 9, _IPV4),
        (_LOAD_BYTE, 0, 0, _PROTOCOL),
        (_IF_EQUAL, 0, 15, _UDP),
        (_LOAD_HALF, 0, 0, _FRAGMENT),
        (_IF_SET, 13, 0, 0x1FFF),
        (_HEADER_LENGTH, 0, 0, _ETHERNET),
        (_LOAD_HALF_BEHIND, 0, 0, _ETHERNET),
        (_IF_EQUAL, 9, 0, port),
        (_LOAD_HALF_BEHIND, 0, 0, _ETHERNET + 2),
        (_IF_EQUAL, 7, 8, port),
        (_IF_EQUAL, 0, 7, _IPV6),
        (_LOAD_BYTE, 0, 0, _NEXT_HEADER),
        (_IF_EQUAL, 0, 5, _UDP),
        (_LOAD_HALF, 0, 0, _BEHIND_IPV6),
        (_IF_EQUAL, 2, 0, port),
        (_LOAD_HALF, 0, 0, _BEHIND_IPV6 + 2),
        (_IF_EQUAL, 0, 1, port),
        (_RETURN, 0, 0, octets),
        (_RETURN, 0, 0, 0),
    ]


def from_mac(mac: bytes, octets: int) -> list[Instruction]:
    """Frames from a MAC address, and no more than the first ``octets`` of each."""
    return [
        (_LOAD_WORD, 0, 0, _SOURCE),
        (_IF_EQUAL, 0, 3, int.from_bytes(mac[:4], "big")),
        (_LOAD_HALF, 0, 0, _SOURCE + 4),
        (_IF_EQUAL, 0, 1, int.from_bytes(mac[4:], "big")),
        (_RETURN, 0, 0, octets),
        (_RETURN, 0, 0, 0),
    ]


def attach(tap: socket.socket, program: Sequence[Instruction]) -> None:
    """From now on a packet socket takes what the program takes."""
    octets = b"".join(struct.pack("=HBBI", *one) for one in program)
    kept = ctypes.create_string_buffer(octets, len(octets))
    option = struct.pack("@HP", len(program), ctypes.addressof(kept))
    tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
