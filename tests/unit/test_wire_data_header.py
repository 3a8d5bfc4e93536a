"""The LISP data header, bit by bit (RFC 9300 section 5.3)."""

from __future__ import annotations

import pytest

from nodes.lisp.errors import DecodeError
from nodes.lisp.wire import DataHeader, MapVersions

LAYOUTS: list[tuple[DataHeader, str]] = [
    (DataHeader(), "00000000 00000000"),
    (DataHeader(instance_id=0x010203), "08000000 01020300"),
    (DataHeader(instance_id=0), "08000000 00000000"),
    (DataHeader(nonce=0xABCDEF), "80abcdef 00000000"),
    (DataHeader(nonce=0, echo=True), "a0000000 00000000"),
    (DataHeader(versions=MapVersions(0x123, 0xABC)), "10123abc 00000000"),
    (DataHeader(locator_status_bits=0x80000001), "40000000 80000001"),
    (DataHeader(locator_status_bits=0), "40000000 00000000"),
    (DataHeader(instance_id=0xFFFFFF, locator_status_bits=0x81, nonce=1), "c8000001 ffffff81"),
    (DataHeader(key_id=3), "03000000 00000000"),
]


@pytest.mark.parametrize(("header", "layout"), LAYOUTS, ids=str)
def test_layout(header: DataHeader, layout: str) -> None:
    """D09, D20: each field at its place, both ways, whatever packet follows."""
    assert header.encode() == bytes.fromhex(layout)
    assert DataHeader.decode(bytes.fromhex(layout) + b"packet") == header


def test_reserved_bit() -> None:
    """D08: never sent, ignored on receipt."""
    assert all(not header.encode()[0] & 0x04 for header, _ in LAYOUTS)
    assert DataHeader.decode(bytes.fromhex("04000000 00000000")) == DataHeader()


def test_nonce_and_versions_exclude_each_other() -> None:
    """D06: never sent together; received together, the field is a nonce."""
    with pytest.raises(ValueError, match="never both"):
        DataHeader(nonce=1, versions=MapVersions(1, 1)).encode()
    assert DataHeader.decode(bytes.fromhex("90123456 00000000")) == DataHeader(nonce=0x123456)


def test_echo_means_nothing_without_a_nonce() -> None:
    """D07: E is ignored when N is 0, and never sent so."""
    assert DataHeader.decode(bytes.fromhex("20000000 00000000")) == DataHeader()
    with pytest.raises(ValueError, match="needs a nonce"):
        DataHeader(echo=True).encode()


def test_absent_fields_are_ignored() -> None:
    """D08, D10: with N=V=0 the first field, with L=0 the status bits, with I=L=0 the whole second word."""
    assert DataHeader.decode(bytes.fromhex("00ffffff ffffffff")) == DataHeader()
    assert DataHeader.decode(bytes.fromhex("08000000 000064ff")) == DataHeader(instance_id=100)


@pytest.mark.parametrize(
    "header",
    [
        DataHeader(instance_id=1 << 24),
        DataHeader(nonce=1 << 24),
        DataHeader(versions=MapVersions(4096, 1)),
        DataHeader(versions=MapVersions(1, 4096)),
        DataHeader(locator_status_bits=1 << 32),
        DataHeader(instance_id=1, locator_status_bits=256),
        DataHeader(key_id=4),
    ],
    ids=str,
)
def test_what_does_not_fit_is_not_sent(header: DataHeader) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        header.encode()


@pytest.mark.parametrize("size", range(8))
def test_short(size: int) -> None:
    with pytest.raises(DecodeError, match="LISP data header"):
        DataHeader.decode(bytes(size))
