"""Known answers for the key derivation and the MACs (RFC 5869 appendix A; RFC 9301 sections 5.6 and 12.5)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from nodes.lisp.eid import EidPrefix
from nodes.lisp.wire import EidRecord, LocatorRecord, MapNotify, MapNotifyAck, MapRegister, decode, sign, verify
from nodes.lisp.wire.auth import Authenticated, hkdf_sha256

RECORD = EidRecord.of(EidPrefix.of("192.0.2.0/24"), 1440, [LocatorRecord(IPv4Address("198.51.100.1"), 1, 100)])

# key material, salt, info, size, output
RFC_5869 = {
    "A.1": (
        b"\x0b" * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "A.2": (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    "A.3": (
        b"\x0b" * 22,
        b"",
        b"",
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
}


@pytest.mark.parametrize("case", RFC_5869.values(), ids=RFC_5869.keys())
def test_hkdf_known_answers(case: tuple[bytes, bytes, bytes, int, str]) -> None:
    """C39: the KDF of algorithm 3."""
    key_material, salt, info, size, output = case
    assert hkdf_sha256(salt, key_material, info, size).hex() == output


def _register(algorithm_id: int) -> MapRegister:
    return MapRegister(7, 1, algorithm_id, (RECORD,), xtr_id=bytes(range(16)), site_id=5)


def _notify(algorithm_id: int) -> MapNotify:
    return MapNotify(7, 1, algorithm_id, (RECORD,))


def _notify_ack(algorithm_id: int) -> MapNotifyAck:
    return MapNotifyAck(7, 1, algorithm_id, (RECORD,))


Maker = Callable[[int], MapRegister] | Callable[[int], MapNotify] | Callable[[int], MapNotifyAck]
MAKERS: list[Maker] = [_register, _notify, _notify_ack]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("algorithm_id", "size"), [(1, 20), (2, 16), (3, 16)])
def test_sign_then_verify(make: Maker, algorithm_id: int, size: int) -> None:
    """C20, C21, C22: every byte counts, the xTR-ID and Site-ID included."""
    payload = sign(make(algorithm_id), "secret").encode()
    message = decode(payload)
    assert isinstance(message, Authenticated)
    assert len(message.auth_data) == size
    assert verify(payload, message, "secret")
    assert not verify(payload, message, "Secret")
    for position in (*range(4, 13), *range(len(payload) - 24, len(payload))):
        changed = payload[:position] + bytes([payload[position] ^ 0x10]) + payload[position + 1 :]
        assert not verify(changed, message, "secret"), position


def test_algorithm_2_is_a_truncated_hmac_with_the_shared_secret() -> None:
    """C20: HMAC-SHA-256-128 without a KDF."""
    blank = replace(_register(2), auth_data=bytes(16)).encode()
    expected = hmac.new(b"secret", blank, hashlib.sha256).digest()[:16]
    assert sign(_register(2), "secret").auth_data == expected


@pytest.mark.parametrize(
    ("make", "salt"),
    [
        (_register, b"Map-Register Authentication"),
        (_notify, b"Map-Notify Authentication"),
        (_notify_ack, b"Map-Notify-Ack Authentication"),
    ],
)
def test_algorithm_3_derives_a_key_for_each_message(make: Maker, salt: bytes) -> None:
    """C39: per-message key = HKDF(nonce + secret, salt of the message type), worked out here by hand."""
    extracted = hmac.new(salt, bytes([0, 0, 0, 0, 0, 0, 0, 7]) + b"secret", hashlib.sha256).digest()
    key = hmac.new(extracted, b"\x01", hashlib.sha256).digest()
    blank = replace(make(3), auth_data=bytes(16)).encode()
    assert sign(make(3), "secret").auth_data == hmac.new(key, blank, hashlib.sha256).digest()[:16]


def test_the_received_bytes_count_not_our_encoding_of_them() -> None:
    """C04, C21: a sender that sets a reserved bit signs it, and its message verifies."""
    blank = bytearray(replace(_register(2), auth_data=bytes(16)).encode())
    blank[1] |= 0x80  # a reserved bit
    blank[16:32] = hmac.new(b"secret", blank, hashlib.sha256).digest()[:16]
    message = decode(bytes(blank))
    assert isinstance(message, MapRegister)
    assert message.encode() != bytes(blank)
    assert verify(bytes(blank), message, "secret")


@pytest.mark.parametrize("algorithm_id", [0, 4, 255])
def test_unknown_algorithms(algorithm_id: int) -> None:
    """C20: neither "none" nor an unknown number authenticates anything."""
    message = _register(algorithm_id)
    assert not verify(message.encode(), message, "secret")
    with pytest.raises(ValueError, match=f"Algorithm ID {algorithm_id} is unknown"):
        sign(message, "secret")


@pytest.mark.parametrize(("algorithm_id", "sizes"), [(1, {12, 20}), (2, {16}), (3, {16})])
def test_truncation(algorithm_id: int, sizes: set[int]) -> None:
    """C20: a MAC is accepted only at the lengths its algorithm has; an empty or one-byte MAC never is."""
    for size in range(33):
        blank = replace(_notify(algorithm_id), auth_data=bytes(size))
        key = b"secret"
        if algorithm_id == 3:
            key = hkdf_sha256(b"Map-Notify Authentication", (7).to_bytes(8, "big") + key)
        digest = hashlib.sha1 if algorithm_id == 1 else hashlib.sha256
        mac = hmac.new(key, blank.encode(), digest).digest()[:size].ljust(size, b"\0")
        message = replace(blank, auth_data=mac)
        assert verify(message.encode(), message, "secret") is (size in sizes), size
