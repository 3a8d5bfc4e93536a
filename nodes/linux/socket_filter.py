"""Classic BPF programs at sockets: which frames a packet socket gets, and how much of each.

Kernel documentation: "networking/filter", packet(7).
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30
"""Into the accumulator, from this place in the frame."""
AND, MULTIPLY, XOR_X, TO_X = 0x54, 0x24, 0xAC, 0x07
"""With a number; the accumulator and the index register."""
JUMP, JUMP_EQUAL = 0x05, 0x15
"""The first always, by its number; the second by its offsets: instructions to skip if equal, if not."""
RETURN = 0x06
"""So many bytes of the frame; 0: none of it."""

LONGEST_JUMP = 255
"""Of a conditional one."""

Instruction = tuple[int, int, int, int]
"""What, offset if true, offset if not, number."""

_SO_ATTACH_FILTER = 26


def attach(opened: socket.socket, program: Sequence[Instruction]) -> None:
    """Let a socket get what a program lets through, instead of what the one before did.

    Raises:
        OSError: The kernel refused: the program is wrong, or too long.
    """
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    opened.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(program), ctypes.addressof(packed))
    )
