"""Addresses on the wire: AFIs, canonical addresses (RFC 8060), prefixes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from nodes.lisp.eid import EidPrefix
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire import (
    Address,
    AfiList,
    Cursor,
    DistinguishedName,
    EidRecord,
    ExplicitLocatorPath,
    InstanceId,
    MacAddress,
    NoAddress,
    OpaqueLcaf,
    ReencapHop,
    RequestRecord,
    decode_address,
    encode_address,
)
from nodes.lisp.wire.addresses import MAX_NESTING

IPV4 = IPv4Address("192.0.2.1")
IPV6 = IPv6Address("2001:db8::1")
IPV6_BYTES = "20010db8000000000000000000000001"

LAYOUTS: list[tuple[Address, str]] = [
    (NoAddress(), "0000"),
    (IPV4, "0001 c0000201"),
    (IPV6, f"0002 {IPV6_BYTES}"),
    (MacAddress(bytes.fromhex("020000000001")), "0006 020000000001"),
    (DistinguishedName(b"dc1"), "0011 64633100"),
    (InstanceId(0x01020304, IPV4), "4003 00 00 02 00 000a 01020304 0001 c0000201"),
    (InstanceId(100, IPV6), f"4003 00 00 02 00 0016 00000064 0002 {IPV6_BYTES}"),
    (InstanceId(0x100, NoAddress(), mask_len=24), "4003 00 00 02 18 0006 00000100 0000"),
    (InstanceId(5, MacAddress(bytes(6))), "4003 00 00 02 00 000c 00000005 0006 000000000000"),
    (AfiList(()), "4003 00 00 01 00 0000"),
    (AfiList((IPV4, IPV6)), f"4003 00 00 01 00 0018 0001 c0000201 0002 {IPV6_BYTES}"),
    (AfiList((InstanceId(1, IPV4),)), "4003 00 00 01 00 0012 4003 00 00 02 00 000a 00000001 0001 c0000201"),
    (ExplicitLocatorPath(()), "4003 00 00 0a 00 0000"),
    (
        ExplicitLocatorPath((ReencapHop(IPV4, probe=True, strict=True), ReencapHop(IPV6, lookup=True))),
        f"4003 00 00 0a 00 001c 0003 0001 c0000201 0004 0002 {IPV6_BYTES}",
    ),
    (
        ExplicitLocatorPath((ReencapHop(InstanceId(1, IPV4)),)),
        "4003 00 00 0a 00 0014 0000 4003 00 00 02 00 000a 00000001 0001 c0000201",
    ),
    (OpaqueLcaf(13, b"\x01\x02\x03", flags=0x80, rsvd2=9), "4003 00 80 0d 09 0003 010203"),
]


@pytest.mark.parametrize(("address", "layout"), LAYOUTS, ids=lambda value: str(value)[:40])
def test_layout(address: Address, layout: str) -> None:
    """M20: each kind of address, both ways; nothing behind it is touched."""
    assert encode_address(address).hex() == bytes.fromhex(layout).hex()
    cursor = Cursor(bytes.fromhex(layout) + b"rest", "test")
    assert decode_address(cursor, "address") == address
    assert cursor.take_all() == b"rest"


def _decode(layout: str) -> Address:
    return decode_address(Cursor(bytes.fromhex(layout), "test"), "address")


@pytest.mark.parametrize("afi", [3, 5, 16, 18, 0x4002, 0x4004, 0x7777, 0xFFFF])
def test_unknown_afi(afi: int) -> None:
    """C03: an AFI that is not recognized ends the message, also inside a canonical address."""
    with pytest.raises(DecodeError, match=f"AFI {afi} is unknown"):
        _decode(f"{afi:04x} 00000000")
    with pytest.raises(DecodeError, match=f"address, address: AFI {afi} is unknown"):
        _decode(f"4003 0000 0200 000a 00000001 {afi:04x} 00000000")


def test_reserved_fields_are_ignored() -> None:
    """C04: Rsvd1 and Flags of a canonical address we understand."""
    assert _decode("4003 ff ff 02 00 000a 00000001 0001 c0000201") == InstanceId(1, IPV4)
    hop = ReencapHop(IPV4, strict=True)
    assert _decode("4003 ff ff 0a ff 0008 fff9 0001 c0000201") == ExplicitLocatorPath((hop,))


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("4003 0000 0200 000b 00000001 0001 c0000201 00", "1 bytes are left over"),
        ("4003 0000 0200 0009 00000001 0001 c0000201", "needs 4 bytes, 3 are left"),
        ("4003 0000 0200 000a 00000001 0001 c00002", "needs 10 bytes, 9 are left"),
        ("4003 0000 0100 0001 00", "needs 2 bytes, 1 are left"),
        ("0011 646331", "is not ended"),
    ],
)
def test_lengths_must_agree(layout: str, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        _decode(layout)


def test_nesting_is_bounded() -> None:
    """Hostile depth is a DecodeError, not the interpreter's recursion limit."""

    def nested(depth: int) -> bytes:
        address: Address = NoAddress()
        for _ in range(depth):
            address = AfiList((address,)) if depth % 2 else ExplicitLocatorPath((ReencapHop(address),))
        return encode_address(address)

    decode_address(Cursor(nested(MAX_NESTING), "test"), "address")
    for too_deep in (MAX_NESTING + 1, MAX_NESTING + 2):
        with pytest.raises(DecodeError, match="inside one another"):
            decode_address(Cursor(nested(too_deep), "test"), "address")

    deep = b""
    while len(deep) < 60_000:
        deep = bytes.fromhex("400300000100") + len(deep).to_bytes(2, "big") + deep
    with pytest.raises(DecodeError, match="inside one another"):
        decode_address(Cursor(deep, "test"), "address")


@pytest.mark.parametrize("text", ["192.0.2.0/24", "0.0.0.0/0", "192.0.2.1/32", "2001:db8::/32", "2001:db8::1/128"])
@pytest.mark.parametrize("instance_id", [0, 1, 0xFFFFFF])
def test_prefix_round_trip(text: str, instance_id: int) -> None:
    """D20: instance 0 goes bare, any other inside an Instance ID LCAF."""
    prefix = EidPrefix.of(text, instance_id)
    record = EidRecord.of(prefix, 1)
    assert isinstance(record.address, InstanceId) == bool(instance_id)
    assert EidRecord.decode(Cursor(record.encode(), "test")).prefix == prefix
    assert RequestRecord.decode(Cursor(RequestRecord.of(prefix).encode(), "test")).prefix == prefix


def test_bits_behind_the_mask_do_not_count() -> None:
    assert EidRecord(IPV4, 24, 1).prefix == EidPrefix.of("192.0.2.0/24")


@pytest.mark.parametrize(
    "address",
    [
        NoAddress(),
        MacAddress(bytes(6)),
        AfiList((IPV4,)),
        ExplicitLocatorPath((ReencapHop(IPV4),)),
        OpaqueLcaf(9, b""),
        InstanceId(1, MacAddress(bytes(6))),
        InstanceId(1, InstanceId(1, IPV4)),
        InstanceId(1 << 24, IPV4),
    ],
    ids=str,
)
def test_not_an_ip_prefix(address: Address) -> None:
    with pytest.raises(DecodeError, match="EID-Prefix"):
        _ = RequestRecord(address, 0).prefix


@pytest.mark.parametrize(
    ("address", "longest"),
    [(NoAddress(), 0), (IPV4, 32), (IPV6, 128), (MacAddress(bytes(6)), 48), (InstanceId(7, IPV4), 32)],
    ids=str,
)
def test_mask_longer_than_the_address(address: Address, longest: int) -> None:
    for mask_len in (0, longest):
        record = EidRecord(address, mask_len, 1)
        assert EidRecord.decode(Cursor(record.encode(), "test")) == record
    for kind, record_bytes in (
        (EidRecord, EidRecord(address, longest + 1, 1).encode()),
        (RequestRecord, RequestRecord(address, longest + 1).encode()),
    ):
        with pytest.raises(DecodeError, match=rf"EID mask-len: {longest + 1} is more than .* \({longest}\)"):
            kind.decode(Cursor(record_bytes, "test"))


@pytest.mark.parametrize(
    "address", [MacAddress(bytes(5)), DistinguishedName(b"a\0b"), InstanceId(1 << 32, IPV4)], ids=str
)
def test_what_does_not_fit_is_not_sent(address: Address) -> None:
    with pytest.raises(ValueError, match=r"needs 6 bytes|zero byte|does not fit 32 bits"):
        encode_address(address)
