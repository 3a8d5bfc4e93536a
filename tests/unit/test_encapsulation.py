"""Headers that go around packets and what comes off with them."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from nodes.dataplane.decision import Drop, Encapsulate, Unreachable
from nodes.dataplane.encapsulation import decapsulated_tos, header_writer
from nodes.dataplane.icmp import Budget, error_message, error_packet, may_be_told
from nodes.dataplane.packet import fragments, parse, set_tos_and_ttl
from nodes.lisp.checksum import checksum
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire.data_header import DataHeader
from tests.unit.data_path import ip_packet

NOT_ECT, ECT1, ECT0, CE = range(4)


def test_outer_header_over_ipv4() -> None:
    """D01, D02, D04, D08, D10, D11, D12, D18: every byte in front of the packet."""
    verdict = Encapsulate(ip_address("10.0.2.1"), ip_address("10.0.1.1"), 0xC123)
    header = header_writer(verdict)(0xB8, 32, 100)
    assert header.hex(" ", -4) == (
        "45b80000 00004000 20110000 0a000101 0a000201"  # TOS, DF, TTL, UDP; the kernel fills in the zeros
        " c12310f5 00740000"  # ports, length 16 + 100, checksum zero
        " 00000000 00000000"  # no LISP flag at all
    )


def test_outer_header_over_ipv6() -> None:
    """D01, D04, D11, D12."""
    verdict = Encapsulate(ip_address("2001:db8::2"), ip_address("2001:db8::1"), 0xC123)
    header = header_writer(verdict)(0xB8, 32, 100)
    assert header[:8].hex() == "6b80c12300741120"
    outer = parse(header + bytes(100))
    assert (str(outer.source), str(outer.destination), outer.length) == ("2001:db8::1", "2001:db8::2", 156)
    assert header[40:48].hex() == "c12310f500740000"


def test_the_instance_id_stands_in_the_lisp_header() -> None:
    """D20."""
    verdict = Encapsulate(ip_address("10.0.2.1"), ip_address("10.0.1.1"), 0xC123, 0xABCDEF)
    assert DataHeader.decode(header_writer(verdict)(0, 64, 20)[28:]) == DataHeader(instance_id=0xABCDEF)


@pytest.mark.parametrize(
    ("inner", "outer", "after"),
    [
        (NOT_ECT, NOT_ECT, NOT_ECT), (NOT_ECT, ECT0, NOT_ECT), (NOT_ECT, ECT1, NOT_ECT), (NOT_ECT, CE, None),
        (ECT0, NOT_ECT, ECT0), (ECT0, ECT0, ECT0), (ECT0, ECT1, ECT1), (ECT0, CE, CE),
        (ECT1, NOT_ECT, ECT1), (ECT1, ECT0, ECT1), (ECT1, ECT1, ECT1), (ECT1, CE, CE),
        (CE, NOT_ECT, CE), (CE, ECT0, CE), (CE, ECT1, CE), (CE, CE, CE),
    ],
)  # fmt: skip
def test_ecn_at_decapsulation(inner: int, outer: int, after: int | None) -> None:
    """D13: RFC 6040 figure 4, all sixteen cells; D12: the DSCP is the outer one."""
    found = decapsulated_tos(0x28 | inner, 0xB8 | outer)
    assert found == (None if after is None else 0xB8 | after)


def test_checksum_is_the_complement_of_the_ones_complement_sum() -> None:
    """RFC 1071 section 1, word by word; both zeros and odd lengths included."""
    chance = random.Random(1071)
    samples = [chance.randbytes(length) for length in range(70)]
    for data in (*samples, bytes(20), b"\xff" * 20, b"\xff\xfe\x00\x01", bytes(65535), b"\xff" * 65535):
        total = 0
        for at in range(0, len(data), 2):
            total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
            total = (total & 0xFFFF) + (total >> 16)
        assert checksum(data) == total ^ 0xFFFF


def test_rewriting_keeps_the_header_checksum_right() -> None:
    """D11, D12: for any old and new values (RFC 1624)."""
    chance = random.Random(9300)
    for _ in range(2000):
        octet = [chance.randrange(256) for _ in range(6)]
        source = f"192.168.{octet[0]}.{octet[1]}"
        packet = bytearray(b"LISPHEAD" + ip_packet(source, "192.168.2.1", tos=octet[2], ttl=octet[3]))
        set_tos_and_ttl(packet, 8, octet[4], octet[5])
        assert checksum(bytes(packet[8:28])) == 0
        assert (packet[9], packet[16]) == (octet[4], octet[5])


def test_rewriting_ipv6() -> None:
    """D11, D12."""
    packet = bytearray(ip_packet("2001:db8::1", "2001:db8::2", tos=0x12, ttl=9))
    packet[1] |= 0x0A
    packet[3] = 0x77
    set_tos_and_ttl(packet, 0, 0xB9, 5)
    assert bytes(packet[:8]).hex() == "6b9a007700081105"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x45" + bytes(10),
        ip_packet("192.168.1.1", "192.168.2.1")[:-1],
        b"\x44" + ip_packet("192.168.1.1", "192.168.2.1")[1:],
        b"\x55" + ip_packet("192.168.1.1", "192.168.2.1")[1:],
        ip_packet("2001:db8::1", "2001:db8::2")[:-1],
        ip_packet("2001:db8::1", "2001:db8::2")[:30],
    ],
)
def test_what_is_no_packet_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse(data)


def test_random_bytes_never_raise_anything_else() -> None:
    chance = random.Random(9301)
    for _ in range(3000):
        data = bytearray(ip_packet("192.168.1.1", "192.168.2.1") if chance.random() < 0.5 else chance.randbytes(60))
        for _ in range(3):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            parse(data).flow_hash()
        except DecodeError:
            continue


def test_options_do_not_hide_the_ports() -> None:
    plain = parse(ip_packet("192.168.1.1", "192.168.2.1"))
    assert parse(ip_packet("192.168.1.1", "192.168.2.1", options=bytes(8))).flow_hash() == plain.flow_hash()


def test_icmp_errors_quote_the_packet() -> None:
    """D16: fragmentation needed carries the MTU."""
    data = ip_packet("192.168.1.1", "192.168.2.1", body=bytes(1444), fragment=0x4000)
    packet = parse(data)
    message = error_message(Drop("too big", Unreachable.TOO_BIG, 1444), packet, data)
    assert message[:2] == b"\x03\x04"
    assert int.from_bytes(message[6:8], "big") == 1444
    assert checksum(message) == 0
    assert message[8:] == data[:548]
    whole = error_packet(Drop("x", Unreachable.HOST), packet, data, ip_address("10.0.1.1"))
    assert parse(whole).destination == packet.source
    assert checksum(whole[:20]) == 0


def test_icmp_errors_over_ipv6() -> None:
    data = ip_packet("2001:db8::1", "2001:db8::2", body=bytes(1424))
    packet = parse(data)
    assert error_message(Drop("x", Unreachable.TOO_BIG, 1444), packet, data)[:8].hex() == "02000000000005a4"
    whole = error_packet(Drop("x", Unreachable.HOST), packet, data, ip_address("2001:db8::9"))
    parsed = parse(whole)
    pseudo_header = parsed.source.packed + parsed.destination.packed + (parsed.length - 40).to_bytes(4, "big")
    assert checksum(pseudo_header + bytes([0, 0, 0, 58]) + whole[40:]) == 0


def test_no_error_about_errors_or_later_fragments() -> None:
    """RFC 1122 section 3.2.2: never about an ICMP error, a later fragment or a group."""
    for data, told in (
        (ip_packet("192.168.1.1", "192.168.2.1", 1, b"\x08\0\0\0"), True),
        (ip_packet("192.168.1.1", "192.168.2.1", 1, b"\x03\0\0\0"), False),
        (ip_packet("192.168.1.1", "192.168.2.1", fragment=100), False),
        (ip_packet("192.168.1.1", "224.0.0.1"), False),
        (ip_packet("2001:db8::1", "2001:db8::2", 58, b"\x01\0\0\0"), False),
        (ip_packet("2001:db8::1", "2001:db8::2", 58, b"\x80\0\0\0"), True),
    ):
        assert may_be_told(parse(data), data) is told


def test_the_icmp_budget() -> None:
    budget = Budget(rate=10, burst=3)
    assert [budget.take(1000.0) for _ in range(5)] == [True, True, True, False, False]
    assert [budget.take(1000.1) for _ in range(2)] == [True, False]


def test_fragments_make_up_the_packet() -> None:
    """D17: pieces that fit, whose offsets follow on each other; a fragment keeps its place and its MF flag."""
    body = bytes(range(256)) * 6
    for options in (b"", bytes(8)):
        data = ip_packet("192.168.1.1", "192.168.2.1", body=body, options=options, fragment=0x2000 | 100)
        pieces = fragments(data, 600)
        assert len(pieces) == 3
        whole = b""
        for number, piece in enumerate(pieces):
            packet = parse(piece)
            assert packet.length == len(piece) <= 600
            assert checksum(piece[: packet.header_length]) == 0
            where = int.from_bytes(piece[6:8], "big")
            assert where == 0x2000 | 100 + len(whole) // 8
            assert packet.header_length == (20 + len(options) if number == 0 else 20)
            whole += piece[packet.header_length :]
        assert whole == body
    last = fragments(ip_packet("192.168.1.1", "192.168.2.1", body=body), 600)[-1]
    assert int.from_bytes(last[6:8], "big") & 0x2000 == 0
    assert fragments(last, 600) == [last]
