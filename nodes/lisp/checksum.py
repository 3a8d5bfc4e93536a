"""The Internet checksum (RFC 1071), the only one of its kind in control plane and data path."""

from __future__ import annotations


def checksum(data: bytes) -> int:
    """The Internet checksum of ``data``; 0 over data that holds its own right checksum."""
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 0xFFFF: the remainder is the one's complement sum, but for which of its two zeros it is.
    total = int.from_bytes(data, "big")
    remainder = total % 0xFFFF
    return 0xFFFF - (remainder or (0xFFFF if total else 0))
