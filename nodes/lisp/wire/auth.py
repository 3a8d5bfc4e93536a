"""The Authentication Data of Map-Register, Map-Notify and Map-Notify-Ack (RFC 9301 sections 5.6 and 12.5)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from nodes.lisp.config import Algorithm
from nodes.lisp.wire.map_notify import MapNotify, MapNotifyAck
from nodes.lisp.wire.map_register import MapRegister
from nodes.lisp.wire.message import MessageType
from nodes.lisp.wire.registration import AUTH_DATA_OFFSET

Authenticated = MapRegister | MapNotify | MapNotifyAck
"""The messages that carry Authentication Data."""

_M = TypeVar("_M", bound=Authenticated)

_SALTS: Mapping[MessageType, bytes] = {
    MessageType.MAP_REGISTER: b"Map-Register Authentication",
    MessageType.MAP_NOTIFY: b"Map-Notify Authentication",
    MessageType.MAP_NOTIFY_ACK: b"Map-Notify-Ack Authentication",
}


@dataclass(frozen=True, slots=True)
class _Scheme:
    """One row of RFC 9301 section 12.5.

    Attributes:
        digest: The hash under the HMAC.
        size: How many bytes of the HMAC are sent.
        accepted: Which truncations are accepted.
        per_message_key: Whether HKDF-SHA256 derives a key for each message.
    """

    digest: str
    size: int
    accepted: frozenset[int]
    per_message_key: bool = False


# HMAC-SHA-1-96 is 12 bytes by RFC 2404, yet implementations send all 20: both are accepted, 20 are sent.
_SCHEMES: Mapping[int, _Scheme] = {
    Algorithm.HMAC_SHA_1_96: _Scheme("sha1", 20, frozenset({12, 20})),
    Algorithm.HMAC_SHA_256_128: _Scheme("sha256", 16, frozenset({16})),
    Algorithm.HMAC_SHA_256_128_HKDF_SHA256: _Scheme("sha256", 16, frozenset({16}), per_message_key=True),
}


def sealed(message: Authenticated, secret: str) -> bytes:
    """The bytes of a message with its Authentication Data, made by the message's algorithm.

    Raises:
        ValueError: The algorithm is none of RFC 9301 section 12.5, or is 0, none.
    """
    scheme = _SCHEMES.get(message.algorithm_id)
    if scheme is None:
        raise ValueError(f"Algorithm ID {message.algorithm_id} is unknown; known are {', '.join(map(str, _SCHEMES))}")
    blank = replace(message, auth_data=bytes(scheme.size)).encode()
    auth_data = _mac(scheme, blank, message, secret)[: scheme.size]
    return blank[:AUTH_DATA_OFFSET] + auth_data + blank[AUTH_DATA_OFFSET + scheme.size :]


def sign(message: _M, secret: str) -> _M:
    """The same message with its Authentication Data. Raises ValueError as :func:`sealed` does."""
    size = _SCHEMES[message.algorithm_id].size if message.algorithm_id in _SCHEMES else 0
    auth_data = sealed(message, secret)[AUTH_DATA_OFFSET:][:size]
    return replace(message, auth_data=auth_data)


def verify(payload: bytes, message: Authenticated, secret: str) -> bool:
    """Whether the Authentication Data of a received message is right.

    Args:
        payload: The bytes as they came, so that what we would encode otherwise counts as well.
        message: What they were decoded to.
        secret: The shared secret that ``message.key_id`` names.
    """
    scheme = _SCHEMES.get(message.algorithm_id)
    size = len(message.auth_data)
    if scheme is None or size not in scheme.accepted:
        return False
    blank = payload[:AUTH_DATA_OFFSET] + bytes(size) + payload[AUTH_DATA_OFFSET + size :]
    return hmac.compare_digest(_mac(scheme, blank, message, secret)[:size], message.auth_data)


def _mac(scheme: _Scheme, blank: bytes, message: Authenticated, secret: str) -> bytes:
    """The whole MAC over a payload whose Authentication Data is zeroed (RFC 9301 section 5.6, steps 3 to 5)."""
    key = secret.encode()
    if scheme.per_message_key:
        key = hkdf_sha256(salt=_SALTS[message.TYPE], key_material=message.nonce.to_bytes(8, "big") + key)
    return hmac.digest(key, blank, scheme.digest)


def hkdf_sha256(salt: bytes, key_material: bytes, info: bytes = b"", size: int = 32) -> bytes:
    """Derive a key with HKDF over SHA-256 (RFC 5869).

    Args:
        salt: Public; may be empty.
        key_material: The secret input.
        info: The context; empty for LISP.
        size: Bytes wanted, at most 8160.
    """
    # RFC 5869 section 2.2: extract; an empty salt is a block of zeros, which is what HMAC makes of it.
    pseudorandom_key = hmac.digest(salt, key_material, "sha256")
    # Section 2.3: expand.
    output = block = b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(pseudorandom_key, block + info + bytes([counter]), "sha256")
        output += block
    return output[:size]
