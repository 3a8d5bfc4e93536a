"""What is read out of ICMP errors about LISP packets, and that nothing breaks the reading (requirements C35, D19)."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from random import Random

import pytest

from nodes.dataplane.decision import Encapsulate
from nodes.dataplane.encapsulation import header_writer
from nodes.dataplane.icmp_errors import read_error
from nodes.lisp.eid import IPAddress
from nodes.lisp.inputs import TooBig, Unreachable

OWN = frozenset(ip_address(text) for text in ("10.0.1.1", "2001:db8:1::1"))
RLOCS = {4: ip_address("10.0.2.1"), 6: ip_address("2001:db8:2::1")}
SOURCES = {one.version: one for one in OWN}
HEADER_LENGTH = {4: 20, 6: 40}
V4_UNREACHABLE = {0: True, 1: True, 3: True, 2: False, 4: False, 5: False, 9: False, 10: False, 13: False, 15: False}
V6_UNREACHABLE = {0: True, 3: True, 4: True, 1: False, 2: False, 5: False, 6: False}


def quoted(version: int, source: IPAddress | None = None, port: int = 4341) -> bytearray:
    """The beginning of a LISP packet, as the data path sends it."""
    verdict = Encapsulate(RLOCS[version], source or SOURCES[version], 0xC123)
    whole = bytearray(header_writer(verdict)(0, 64, 100) + bytes(100))
    whole[HEADER_LENGTH[version] + 2 : HEADER_LENGTH[version] + 4] = port.to_bytes(2, "big")
    return whole


def error(kind: int, code: int, rest: int, quote: bytes) -> bytes:
    return struct.pack("!BBHI", kind, code, 0, rest) + quote


@pytest.mark.parametrize("port", [4341, 4342])
@pytest.mark.parametrize("code", V4_UNREACHABLE)
def test_ipv4_unreachable(code: int, port: int) -> None:
    """RFC 9301 section 7: network, host and port unreachable; eight bytes behind the IP header are enough."""
    found = read_error(4, error(3, code, 0, quoted(4, port=port)[:28]), OWN)
    assert (found == Unreachable(RLOCS[4])) == V4_UNREACHABLE[code]


@pytest.mark.parametrize("code", V6_UNREACHABLE)
def test_ipv6_unreachable(code: int) -> None:
    found = read_error(6, error(1, code, 0, quoted(6)), OWN)
    assert found == (Unreachable(RLOCS[6]) if V6_UNREACHABLE[code] else None)


def test_too_big() -> None:
    assert read_error(4, error(3, 4, 1400, quoted(4)[:28]), OWN) == TooBig(RLOCS[4], 1400)
    assert read_error(6, error(2, 0, 1400, quoted(6)), OWN) == TooBig(RLOCS[6], 1400)


def test_options_of_the_quoted_header_are_skipped() -> None:
    quote = quoted(4)
    quote[0] = 0x46
    quote[20:20] = bytes(4)
    assert read_error(4, error(3, 1, 0, quote), OWN) == Unreachable(RLOCS[4])


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_not_about_a_packet_of_ours(version: int) -> None:
    kind = {4: 3, 6: 1}[version]
    stranger = ip_address({4: "10.0.9.9", 6: "2001:db8:9::9"}[version])
    protocol = {4: 9, 6: 6}[version]
    of_tcp, of_other_version, later = quoted(version), quoted(version), quoted(version)
    of_tcp[protocol] = 6
    of_other_version[0] = 0x50
    later[7] = 1 if version == 4 else 64
    good = Unreachable(RLOCS[version])
    assert read_error(version, error(kind, 0, 0, quoted(version)), OWN) == good
    assert read_error(version, error(kind, 0, 0, quoted(version)), frozenset()) is None
    assert read_error(version, error(kind, 0, 0, quoted(version, source=stranger)), OWN) is None
    assert read_error(version, error(kind, 0, 0, quoted(version, port=53)), OWN) is None
    assert read_error(version, error(kind, 0, 0, of_tcp), OWN) is None
    assert read_error(version, error(kind, 0, 0, of_other_version), OWN) is None
    assert read_error(version, error(kind, 0, 0, later), OWN) == (None if version == 4 else good)  # a later fragment
    assert read_error(version, error(8 if version == 4 else 128, 0, 0, quoted(version)), OWN) is None
    assert read_error(10 - version, error(kind, 0, 0, quoted(version)), OWN) is None


@pytest.mark.parametrize("version", [4, 6])
def test_every_cut_and_any_bytes_are_read_without_an_error(version: int) -> None:
    """Anybody can send an ICMP message: nothing in it raises, and a short quote names nobody."""
    whole = error({4: 3, 6: 1}[version], 0, 0, quoted(version))
    enough = 8 + HEADER_LENGTH[version] + 4
    for length in range(len(whole)):
        assert (read_error(version, whole[:length], OWN) is not None) == (length >= enough)
    random = Random(version)
    accepted = 0
    for _ in range(20_000):
        spoiled = bytearray(whole)
        for _ in range(random.randrange(4)):
            spoiled[random.randrange(len(spoiled))] = random.randrange(256)
        found = read_error(version, bytes(spoiled[: random.randrange(len(spoiled) + 1)]), OWN)
        accepted += found is not None
        assert found is None or found.rloc.version == version
    assert 0 < accepted < 20_000
    for _ in range(5_000):
        assert read_error(version, random.randbytes(random.randrange(120)), OWN) is None
