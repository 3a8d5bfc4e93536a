"""The filter that lets through frames of strangers, run by the kernel: a datagram socket takes it as well."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from nodes.dataplane import first_frames
from nodes.linux.socket_filter import attach
from nodes.lisp.eid import IPAddress, IPNetwork
from tests.unit.data_path import ip_packet

PREFIXES = [ip_network(one) for one in ("11.11.11.0/24", "200.0.0.0/9", "2001:db8:11::/64", "2001:db8:f0::/44")]
SUBNETS = [ip_network(one) for one in ("11.11.11.0/24", "200.1.2.0/24", "2001:db8:11::/64", "2001:db8:f1:7::/64")]


def frame(packet: bytes, kind: int = 0) -> bytes:
    return bytes(12) + struct.pack("!H", kind or {4: 0x0800, 6: 0x86DD}[packet[0] >> 4]) + packet


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.setblocking(False)
    with one, other:
        yield one, other


def passes(ends: tuple[socket.socket, socket.socket], sent: bytes) -> bool:
    """Whether the frame gets through; then its beginning does."""
    ends[0].send(sent)
    try:
        return sent.startswith(ends[1].recv(2000))
    except BlockingIOError:
        return False


def some_of(chance: random.Random, networks: list[IPNetwork]) -> IPAddress:
    network = chance.choice(networks)
    return network[chance.randrange(1, min(network.num_addresses - 1, 1 << 40))]


def from_(source: IPAddress, **rest: int) -> bytes:
    anybody = "203.0.113.1" if source.version == 4 else "2001:db8:ffff::1"
    return frame(ip_packet(str(source), anybody, **rest))


@pytest.mark.parametrize("known", [0, 1, 7, 400])
def test_strangers_get_through_and_nobody_else(ends: tuple[socket.socket, socket.socket], known: int) -> None:
    """X01: inside one of the prefixes, and none of those that are known."""
    chance = random.Random(known)
    there = {some_of(chance, SUBNETS): None for _ in range(2 * known)}
    attach(ends[1], first_frames.program(PREFIXES, list(there)))
    for one in there:
        assert not passes(ends, from_(one)), one
    for _ in range(500):
        one = some_of(chance, SUBNETS)
        assert passes(ends, from_(one)) == (one not in there), one
        outside = some_of(chance, [ip_network(one) for one in ("11.11.10.0/23", "200.128.0.0/9", "2001:db8:e0::/43")])
        inside = any(outside in one for one in PREFIXES if one.version == outside.version)
        assert passes(ends, from_(outside)) == (inside and outside not in there), outside


def test_of_many_hosts_the_last_are_named(ends: tuple[socket.socket, socket.socket]) -> None:
    """The kernel takes no longer filter; what it lets through then is passed over by the daemon."""
    known = [ip_network("200.0.0.0/9")[number] for number in range(1, 1001)]
    attach(ends[1], first_frames.program(PREFIXES, known))
    found = [passes(ends, from_(one)) for one in known]
    assert found == [True] * (1000 - first_frames.MOST_NAMED) + [False] * first_frames.MOST_NAMED


def test_neighbour_discovery_and_what_is_no_ip_stay_out(ends: tuple[socket.socket, socket.socket]) -> None:
    attach(ends[1], first_frames.program(PREFIXES, []))
    source = ip_address("2001:db8:11::1")
    for kind, through in ((135, False), (136, False), (128, True), (133, True)):
        icmp = ip_packet(str(source), "2001:db8:11::2", 58, bytes([kind, 0, 0, 0]) + bytes(20))
        assert passes(ends, frame(icmp)) == through
    assert not passes(ends, frame(ip_packet("11.11.11.1", "11.11.11.2"), 0x0806))
    assert not passes(ends, from_(source)[:30])
    assert passes(ends, frame(ip_packet("11.11.11.1", "255.255.255.255", options=bytes(8))))


def test_without_a_prefix_of_a_version_none_of_it_gets_through(ends: tuple[socket.socket, socket.socket]) -> None:
    attach(ends[1], first_frames.program(PREFIXES[:1], []))
    assert passes(ends, from_(ip_address("11.11.11.1")))
    assert not passes(ends, from_(ip_address("2001:db8:11::1")))
    attach(ends[1], first_frames.program([ip_network("::/0")], []))
    assert not passes(ends, from_(ip_address("11.11.11.1")))
    assert passes(ends, from_(ip_address("2001:db8:11::1")))


def test_hosts_that_are_missed_get_through(ends: tuple[socket.socket, socket.socket]) -> None:
    """X10: of the own subnet, in no dynamic prefix; those of a dynamic prefix do as before."""
    chance = random.Random(10)
    missing = {some_of(chance, [ip_network("192.168.0.0/22"), ip_network("2001:db8:e::/64")]) for _ in range(300)}
    known = {some_of(chance, SUBNETS) for _ in range(300)}
    attach(ends[1], first_frames.program(PREFIXES, [*known], [*missing]))
    for one in missing:
        assert passes(ends, from_(one))
    for one in known:
        assert not passes(ends, from_(one))
    for _ in range(300):
        one = some_of(chance, [ip_network("192.168.0.0/22"), ip_network("2001:db8:e::/64")])
        assert passes(ends, from_(one)) == (one in missing)
        one = some_of(chance, SUBNETS)
        assert passes(ends, from_(one)) == (one not in known)
