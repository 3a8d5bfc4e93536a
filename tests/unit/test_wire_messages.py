"""Every field of every control message at its place, byte by byte as the figures of RFC 9301 section 5 draw them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from nodes.lisp.eid import EidPrefix
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire import (
    MESSAGES,
    Action,
    Address,
    EidRecord,
    LocatorRecord,
    MapNotify,
    MapNotifyAck,
    MapRegister,
    MapReply,
    MapRequest,
    Message,
    NoAddress,
    RequestRecord,
    decode,
    sorted_locators,
)

NONCE = 0x0102030405060708
NONCE_BYTES = "0102030405060708"
LOCATOR = LocatorRecord(IPv4Address("198.51.100.1"), 1, 50, 2, 60, local=True, probed=False, reachable=True)
LOCATOR_BYTES = "01 32 02 3c  0005 0001 c6336401"
RECORD = EidRecord.of(EidPrefix.of("192.0.2.0/24"), 1440, [LOCATOR], authoritative=True, map_version=0x123)
RECORD_BYTES = "000005a0 01 18 1000 0123 0001 c0000200" + LOCATOR_BYTES
QUESTION = RequestRecord.of(EidPrefix.of("192.0.2.9"))
QUESTION_BYTES = "00 20 0001 c0000209"

REQUEST = MapRequest(NONCE, IPv4Address("192.0.2.1"), (IPv4Address("198.51.100.1"),), (QUESTION,))
REPLY = MapReply(NONCE, (RECORD,))
REGISTER = MapRegister(NONCE, 3, 2, (RECORD,), auth_data=bytes(range(16)), want_notify=False)
NOTIFY = MapNotify(NONCE, 3, 2, (RECORD,), auth_data=bytes(range(16)))
AUTH_BYTES = "03 02 0010 000102030405060708090a0b0c0d0e0f"

LAYOUTS: dict[str, tuple[Message, str]] = {
    "map-request": (
        REQUEST,
        f"10000001 {NONCE_BYTES} 0001 c0000201 0001 c6336401 {QUESTION_BYTES}",
    ),
    "map-request-three-rlocs-two-records": (
        MapRequest(
            NONCE,
            NoAddress(),
            (IPv4Address("198.51.100.1"), IPv6Address("2001:db8::1"), NoAddress()),
            (QUESTION, RequestRecord.of(EidPrefix.of("2001:db8:e::/48", 7))),
        ),
        f"10000202 {NONCE_BYTES} 0000 0001 c6336401 0002 20010db8000000000000000000000001 0000 {QUESTION_BYTES}"
        "00 30 4003 0000 02 00 0016 00000007 0002 20010db8000e00000000000000000000",
    ),
    "map-request-with-mapping": (
        replace(REQUEST, reply_record=RECORD),
        f"14000001 {NONCE_BYTES} 0001 c0000201 0001 c6336401 {QUESTION_BYTES} {RECORD_BYTES}",
    ),
    "map-request-that-subscribes": (  # RFC 9437 section 4: I-bit, N-bit, xTR-ID and Site-ID
        replace(
            REQUEST,
            records=(RequestRecord.of(EidPrefix.of("192.0.2.9"), notify=True),),
            xtr_id=bytes(range(16, 32)),
            site_id=0xA1A2A3A4A5A6A7A8,
        ),
        f"10100001 {NONCE_BYTES} 0001 c0000201 0001 c6336401 80 20 0001 c0000209"
        "101112131415161718191a1b1c1d1e1f a1a2a3a4a5a6a7a8",
    ),
    "map-request-with-mapping-that-subscribes": (
        replace(REQUEST, reply_record=RECORD, xtr_id=bytes(16), site_id=1),
        f"14100001 {NONCE_BYTES} 0001 c0000201 0001 c6336401 {QUESTION_BYTES} {RECORD_BYTES}{16 * '00'}{'01':0>16}",
    ),
    "map-reply": (REPLY, f"20000001 {NONCE_BYTES} {RECORD_BYTES}"),
    "map-reply-negative": (
        MapReply(NONCE, (EidRecord.of(EidPrefix.of("0.0.0.0/0"), 15, action=Action.NATIVELY_FORWARD),)),
        f"20000001 {NONCE_BYTES} 0000000f 00 00 2000 0000 0001 00000000",
    ),
    "map-reply-secured": (
        replace(REPLY, security=b"\x01\x02\x03"),
        f"22000001 {NONCE_BYTES} {RECORD_BYTES} 010203",
    ),
    "map-register": (REGISTER, f"30000001 {NONCE_BYTES} {AUTH_BYTES} {RECORD_BYTES}"),
    "map-register-identified": (
        replace(REGISTER, xtr_id=bytes(range(16, 32)), site_id=0xA1A2A3A4A5A6A7A8),
        f"32000001 {NONCE_BYTES} {AUTH_BYTES} {RECORD_BYTES}101112131415161718191a1b1c1d1e1f a1a2a3a4a5a6a7a8",
    ),
    "map-notify": (NOTIFY, f"40000001 {NONCE_BYTES} {AUTH_BYTES} {RECORD_BYTES}"),
    "map-notify-identified": (
        replace(NOTIFY, xtr_id=bytes(range(16, 32)), site_id=1),
        f"40000001 {NONCE_BYTES} {AUTH_BYTES} {RECORD_BYTES} 101112131415161718191a1b1c1d1e1f 0000000000000001",
    ),
    "map-notify-ack": (
        MapNotifyAck(NONCE, 3, 2, (RECORD,), auth_data=bytes(range(16))),
        f"50000001 {NONCE_BYTES} {AUTH_BYTES} {RECORD_BYTES}",
    ),
}


@pytest.mark.parametrize(("message", "layout"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layout(message: Message, layout: str) -> None:
    """C05, C12, C22, C39: each field where the RFC draws it, both ways."""
    assert message.encode().hex() == bytes.fromhex(layout).hex()
    assert decode(bytes.fromhex(layout)) == message


# attribute -> mask in the first word, numbered as in RFC 9301 sections 5.2, 5.4 and 5.6
FLAGS: list[tuple[Message, str, int]] = [
    (REQUEST, "authoritative", 0x08000000),
    (REQUEST, "probe", 0x02000000),
    (REQUEST, "smr", 0x01000000),
    (REQUEST, "pitr", 0x00800000),
    (REQUEST, "smr_invoked", 0x00400000),
    (REQUEST, "local_xtr", 0x00004000),
    (REQUEST, "dont_reply", 0x00002000),
    (REPLY, "probe", 0x08000000),
    (REPLY, "echo_nonce", 0x04000000),
    (REGISTER, "proxy_reply", 0x08000000),
    (REGISTER, "security_capable", 0x04000000),
    (REGISTER, "eid_notify", 0x00001000),
    (REGISTER, "use_ttl", 0x00000800),
    (REGISTER, "merge", 0x00000400),
    (REGISTER, "want_notify", 0x00000100),
]


@pytest.mark.parametrize(("message", "flag", "mask"), FLAGS)
def test_header_flag(message: Message, flag: str, mask: int) -> None:
    """C04: each flag sets its own bit and no other."""
    changes: dict[str, Any] = {flag: True}
    changed = replace(message, **changes)
    difference = int.from_bytes(changed.encode()[:4], "big") ^ int.from_bytes(message.encode()[:4], "big")
    assert difference == mask
    assert decode(changed.encode()) == changed


# first words with every reserved bit set
RESERVED: list[tuple[Message, int]] = [
    (REQUEST, 0x002F8000),  # R, Rsvd
    (REPLY, 0x01FFFF00),
    (REGISTER, 0x01FFE200),
    (NOTIFY, 0x0FFFFF00),
]


@pytest.mark.parametrize(("message", "reserved"), RESERVED)
def test_reserved_header_bits(message: Message, reserved: int) -> None:
    """C04: 0 on send, ignored on receipt, one by one and all together."""
    payload = message.encode()
    word = int.from_bytes(payload[:4], "big")
    assert not word & reserved
    single_bits = [1 << n for n in range(32) if reserved >> n & 1]
    for bits in (reserved, *single_bits):
        assert decode((word | bits).to_bytes(4, "big") + payload[4:]) == message, hex(bits)


def test_reserved_record_bits() -> None:
    """C04: reserved bits of EID-Record, RLOC-Record and request record are ignored."""
    reply = bytearray(REPLY.encode())
    record, locator = 12, 12 + 16
    reply[record + 6] |= 0x0F
    reply[record + 7] |= 0xFF
    reply[record + 8] |= 0xF0
    reply[locator + 4] |= 0xFF
    reply[locator + 5] |= 0xF8
    assert decode(bytes(reply)) == REPLY
    request = bytearray(REQUEST.encode())
    request[-8] = 0x7F  # the N-bit stands before them
    assert decode(bytes(request)) == REQUEST


@pytest.mark.parametrize(
    ("flags", "low_byte"), [((True, False, False), 4), ((False, True, False), 2), ((False, False, True), 1)]
)
def test_locator_flags(flags: tuple[bool, bool, bool], low_byte: int) -> None:
    """C14, D23: L, p and R are the last three bits."""
    local, probed, reachable = flags
    locator = replace(LOCATOR, local=local, probed=probed, reachable=reachable)
    assert locator.encode()[4:6] == bytes([0, low_byte])


@pytest.mark.parametrize("action", range(8))
def test_action(action: int) -> None:
    """C12: three bits, the unassigned numbers kept as they came."""
    reply = MapReply(NONCE, (EidRecord.of(EidPrefix.of("192.0.2.0/24"), 1, action=action),))
    assert reply.encode()[18] == action << 5
    decoded = decode(reply.encode())
    assert isinstance(decoded, MapReply)
    assert decoded.records[0].action == action


def test_locator_order() -> None:
    """C16: ascending addresses as numbers, IPv4 before IPv6."""
    ordered: list[Address] = [
        IPv4Address("9.0.0.1"),
        IPv4Address("10.0.0.1"),
        IPv4Address("192.0.2.1"),
        IPv6Address("::1"),
    ]
    locators = [LocatorRecord(address, 1, 1) for address in reversed(ordered)]
    assert [locator.address for locator in sorted_locators(locators)] == ordered


def test_map_request_without_records_is_refused() -> None:
    """C06: one record or more."""
    with pytest.raises(DecodeError, match="Record Count: is 0"):
        decode(bytes.fromhex(f"10000000 {NONCE_BYTES} 0000 0001 c6336401"))


def test_thirty_two_itr_rlocs_and_no_more() -> None:
    """C05: IRC is 5 bits, the count minus one; none at all is not sent."""
    rloc = IPv4Address("198.51.100.1")
    full = replace(REQUEST, itr_rlocs=(rloc,) * 32)
    assert decode(full.encode()) == full
    assert full.encode()[2] == 31
    for count in (0, 33):
        with pytest.raises(ValueError, match="ITR-RLOC Count"):
            replace(REQUEST, itr_rlocs=(rloc,) * count).encode()


def test_map_request_extensions_are_ignored() -> None:
    """C04: a tail that a reserved bit announces is no error to who knows neither."""
    assert decode(REQUEST.encode() + bytes(24)) == REQUEST
    identified = replace(REQUEST, xtr_id=bytes(16))
    assert decode(identified.encode() + bytes(3)) == identified


@pytest.mark.parametrize("size", [0, 1, 15, 16, 23])
def test_an_xtr_id_that_is_announced_and_missing_is_malformed(size: int) -> None:
    """RFC 9437 section 4: such a Map-Request is dropped."""
    payload = replace(REQUEST, xtr_id=bytes(16)).encode()
    with pytest.raises(DecodeError, match=r"xTR-ID|Site-ID"):
        decode(payload[: len(payload) - 24 + size])


@pytest.mark.parametrize("message", [REPLY, REGISTER, NOTIFY], ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("size", [1, 23, 25])
def test_bytes_left_over_are_refused(message: Message, size: int) -> None:
    with pytest.raises(DecodeError, match=f"{size} bytes are left over"):
        decode(message.encode() + bytes(size))


@pytest.mark.parametrize("message", [message for message, _ in LAYOUTS.values()], ids=LAYOUTS.keys())
def test_truncated_anywhere(message: Message) -> None:
    """Every shorter beginning of a message is refused; where an optional end is cut off as a whole, it is another."""
    payload = message.encode()
    for size in range(len(payload)):
        try:
            decoded = decode(payload[:size])
        except DecodeError:
            continue
        assert len(payload) - size == 24 or isinstance(decoded, MapReply), size
        assert decoded != message


@pytest.mark.parametrize("message_type", sorted(set(range(16)) - set(MESSAGES)))
def test_unknown_types_are_refused(message_type: int) -> None:
    with pytest.raises(DecodeError, match=f"LISP control message, Type: is {message_type}, known are 1, 2, 3, 4, 5, 8"):
        decode(bytes([message_type << 4]) + bytes(40))


def test_table_of_types() -> None:
    assert {number: kind.TYPE for number, kind in MESSAGES.items()} == {kind: kind for kind in MESSAGES}


def test_decoding_as_another_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="Map-Reply, Type: is 1, not 2"):
        MapReply.decode(REQUEST.encode())


def test_errors_say_where() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(REPLY.encode()[:-2])
    assert caught.value.where == "Map-Reply, record 1, locator 1, Locator"
    assert caught.value.what == "needs 4 bytes, 2 are left"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (replace(REPLY, records=(RECORD,) * 256), "Record Count: 256 does not fit 8 bits"),
        (replace(REPLY, records=(replace(RECORD, action=8),)), "ACT: 8 does not fit 3 bits"),
        (replace(REPLY, records=(replace(RECORD, map_version=4096),)), "Map-Version Number: 4096 does not fit 12 bits"),
        (replace(REGISTER, xtr_id=b"short"), "xTR-ID: needs 16 bytes, has 5"),
    ],
)
def test_what_does_not_fit_is_not_sent(message: Message, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        message.encode()
