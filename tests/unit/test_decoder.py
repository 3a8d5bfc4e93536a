"""The judge's own eyes."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from testbed.observe.decoder import decode
from tests.unit.frames import echo_request, ethernet, ip_packet, lisp_data


@pytest.mark.parametrize(
    ("source", "destination"), [("192.168.1.11", "192.168.2.11"), ("2001:db8:1::b", "2001:db8:2::b")]
)
@pytest.mark.parametrize("outer", [("10.0.0.1", "10.0.0.5"), ("2001:db8:ff::1", "2001:db8:ff::5")])
def test_a_lisp_packet_shows_both_headers_and_the_echo(source: str, destination: str, outer: tuple[str, str]) -> None:
    """D15: all four family pairs are read."""
    packet = decode(ethernet(lisp_data(outer, echo_request(source, destination, 7, 3), flags=0x08, instance_id=100)))
    assert packet is not None
    assert [str(header.source) for header in packet.headers] == [outer[0], source]
    assert [str(header.destination) for header in packet.headers] == [outer[1], destination]
    assert packet.lisp is not None
    assert (packet.lisp.source_port, packet.lisp.checksum, packet.lisp.instance_id) == (61000, 0, 100)
    assert packet.echo is not None
    assert (packet.echo.kind, packet.echo.identifier, packet.echo.sequence) == ("request", 7, 3)


def test_a_native_packet_has_one_header_and_no_lisp() -> None:
    packet = decode(ethernet(echo_request("192.168.1.11", "203.0.113.10", 1, 2)))
    assert packet is not None
    assert packet.lisp is None
    assert packet.headers[0].destination == ip_address("203.0.113.10")
    assert packet.echo is not None


def test_the_instance_id_counts_only_with_its_bit() -> None:
    inner = echo_request("192.168.1.11", "192.168.2.11", 1, 1)
    packet = decode(ethernet(lisp_data(("10.0.0.1", "10.0.0.5"), inner, flags=0, instance_id=100)))
    assert packet is not None
    assert packet.lisp is not None
    assert packet.lisp.instance_id == 0


def test_ttl_and_traffic_class_are_read_in_both_families() -> None:
    for source, destination in (("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")):
        packet = decode(ethernet(ip_packet(source, destination, 6, bytes(20), ttl=33, tos=0xB8)))
        assert packet is not None
        assert (packet.headers[0].ttl, packet.headers[0].traffic_class) == (33, 0xB8)


def test_what_is_cut_short_is_never_an_error() -> None:
    frame = ethernet(lisp_data(("10.0.0.1", "10.0.0.5"), echo_request("192.168.1.11", "192.168.2.11", 1, 1)))
    for length in range(len(frame)):
        decode(frame[:length])
    assert decode(frame[:20]) is None
    cut = decode(frame[: 14 + 20 + 8 + 8 + 10])
    assert cut is not None
    assert len(cut.headers) == 1


def test_arp_and_later_fragments_are_nothing_to_judge() -> None:
    assert decode(bytes(12) + b"\x08\x06" + bytes(28)) is None
    fragment = bytearray(ethernet(ip_packet("10.0.0.1", "10.0.0.2", 17, bytes(64))))
    fragment[14 + 7] = 1
    assert decode(bytes(fragment)) is None
