"""The Authentication Data of Map-Register, Map-Notify and Map-Notify-Ack: computed and verified with a key.

RFC 9301 sections 5.6 and 12.5; RFC 5869 for the key derivation of Algorithm ID 3.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from scapy.packet import Packet

MAC_SIZES = {1: (20, 12), 2: (16,), 3: (16,)}
"""Octets of Authentication Data by Algorithm ID; the first is what is sent. Of HMAC-SHA-1 both lengths are in use."""

_SALTS = {
    3: b"Map-Register Authentication",
    4: b"Map-Notify Authentication",
    5: b"Map-Notify-Ack Authentication",
}
_OFFSET = 16


def signed(message: Packet, secret: bytes) -> Packet:
    """A copy of a message, with what follows it, and its Authentication Data by its Algorithm ID.

    Args:
        message: A Map-Register, Map-Notify or Map-Notify-Ack, an xTR-ID behind it included.
        secret: The pre-shared secret that its Key ID names.

    Raises:
        ValueError: The Algorithm ID has no MAC.
    """
    if message.algorithm_id not in MAC_SIZES:
        raise ValueError(f"Algorithm ID {message.algorithm_id} has no MAC, known are {', '.join(map(str, MAC_SIZES))}")
    copy = message.copy()
    size = MAC_SIZES[message.algorithm_id][0]
    copy.authentication_data_length = None
    copy.authentication_data = bytes(size)
    copy.authentication_data = _mac(bytes(copy), size, secret)
    return copy


def verify(octets: bytes, secret: bytes) -> bool:
    """Whether the Authentication Data of a message is right.

    Args:
        octets: The message as it came: the whole UDP payload.
        secret: The pre-shared secret that its Key ID names.
    """
    if len(octets) < _OFFSET or octets[0] >> 4 not in _SALTS:
        return False
    algorithm, size = struct.unpack_from("!BH", octets, 13)
    if size not in MAC_SIZES.get(algorithm, ()) or len(octets) < _OFFSET + size:
        return False
    return hmac.compare_digest(octets[_OFFSET : _OFFSET + size], _mac(octets, size, secret))


def _mac(octets: bytes, size: int, secret: bytes) -> bytes:
    # RFC 9301 section 5.6: over the whole payload, the Authentication Data preset to 0.
    blank = octets[:_OFFSET] + bytes(size) + octets[_OFFSET + size :]
    algorithm = octets[13]
    if algorithm == 1:
        return hmac.digest(secret, blank, hashlib.sha1)[:size]
    if algorithm == 3:
        # RFC 9301 section 5.6, item 4: per-msg-key = KDF(nonce + PSK, salt), a key of one SHA-256 block.
        extracted = hmac.digest(_SALTS[octets[0] >> 4], octets[4:12] + secret, hashlib.sha256)
        secret = hmac.digest(extracted, b"\x01", hashlib.sha256)
    return hmac.digest(secret, blank, hashlib.sha256)[:size]
