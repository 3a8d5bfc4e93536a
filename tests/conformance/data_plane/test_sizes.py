"""Packets too big for the core (RFC 9300 section 7): refused, or cut before they are encapsulated."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.conformance.clause import clause
from tests.conformance.data_plane.pair import CORE_MTU, Pair, Seen
from tests.conformance.tester import packets
from tests.conformance.tester.packets import DONT_FRAGMENT, Ip
from tests.conformance.tester.traffic import SINK, received

FRAGMENTATION_NEEDED, PACKET_TOO_BIG = (3, 4), (2, 0)


def sized(pair: Pair, size: int, text: str, fragment: int = DONT_FRAGMENT) -> bytes:
    """A packet of ``size`` bytes."""
    padding = size - len(pair.datagram(text + " "))
    fields = {"fragment": fragment, "identification": size} if pair.inner == 4 else {}
    return pair.datagram(text + " " + "s" * padding, **fields)


def told(pair: Pair, seen: Seen) -> Callable[[], list[tuple[int, Ip]]]:
    """The MTUs that ICMP told the near host, and the packets that it quoted."""
    kind = {4: FRAGMENTATION_NEEDED, 6: PACKET_TOO_BIG}[pair.inner]
    protocol, at = {4: (packets.ICMP, 6), 6: (packets.ICMPV6, 4)}[pair.inner]

    def found() -> list[tuple[int, Ip]]:
        errors = [one.payload for one in seen.packets(pair.here) if one.protocol == protocol]
        return [(int.from_bytes(one[at:8], "big"), Ip(one[8:])) for one in errors if tuple(one[:2]) == kind]

    return found


@pytest.mark.requirement("D16")
def test_too_big_and_not_to_be_fragmented_is_refused_with_the_size_that_fits(pair: Pair) -> None:
    """One byte too many: S is 1464 over IPv4, 1444 over IPv6, whatever the EIDs are; S itself goes through."""
    with pair.watch("core1", pair.here, exact=True) as seen:
        pair.leave(sized(pair, pair.most + 1, "too big"), sized(pair, pair.most, "fits"))
        (errors,) = seen.all_of(1, lambda: [found] if (found := told(pair, seen)()) else [], "ICMP error")
        (one,) = seen.all_of(1, lambda: seen.data("core1", pair.itr), "LISP packet")
    ((mtu, quoted),) = errors
    assert mtu == {4: 1464, 6: 1444}[pair.outer] == pair.most
    assert (quoted.source, quoted.destination) == (pair.source, pair.target)
    assert one.inner.length == pair.most
    assert len(one.outer.packet) == CORE_MTU


@pytest.mark.requirement("D17", "D18")
def test_what_may_be_fragmented_is_cut_before_encapsulation(pair: Pair) -> None:
    """Pieces that fit, each in a LISP packet with DF that is no fragment; IPv6: cut by the host alone."""
    sizes = [pair.most + 1, pair.most + 8, 1500]
    with pair.watch("core1", pair.here, exact=True) as seen:
        pair.leave(*(sized(pair, size, f"size {size}", fragment=0) for size in sizes))
        if pair.inner == 6:
            # Each is refused, but how often the kernel says so is its own affair.
            seen.until(told(pair, seen), "the host is told")
            assert not seen.data("core1", pair.itr)
            return
        outers = []
        with clause("D17"):
            outers = seen.until(lambda: whole(seen.packets("core1", pair.itr), sizes), "the pieces of each")
    with clause("D18"):
        assert pair.outer == 6 or {one.word(6) for one in outers} <= {DONT_FRAGMENT}
    with clause("D17"):
        assert [one for one in outers if one.length > CORE_MTU or one.is_fragment] == []
        for size in sizes:
            pieces = [one for one in map(inner, outers) if one.word(4) == size]
            assert len(pieces) == 2
            assert {at for one in pieces for at in covers(one)} == set(range(size - 20))
            assert sum(len(one.payload) for one in pieces) == size - 20


def whole(seen: list[Ip], sizes: list[int]) -> list[Ip]:
    """The LISP packets around fragments, once they have as many bytes as packets of these sizes."""
    found = [one for one in seen if packets.tunnelled(one) and inner(one).is_fragment]
    arrived = sum(len(inner(one).payload) for one in found)
    return found if arrived >= sum(size - 20 for size in sizes) else []


def covers(fragment: Ip) -> range:
    """The places of a fragment's bytes in its packet."""
    begin = (fragment.word(6) & 0x1FFF) * 8
    return range(begin, begin + len(fragment.payload))


def inner(outer: Ip) -> Ip:
    """The packet inside a LISP packet."""
    return Ip(outer.payload[16:])


@pytest.mark.requirement("D17")
def test_a_large_datagram_arrives_whole(pair: Pair) -> None:
    """Through the hosts' own sockets, as the kernel cuts it and puts it together."""
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[pair.inner]
    body = bytes(range(250)) * 16
    learn_the_size(pair)
    with (
        pair.lab.socket(pair.there, family, socket.SOCK_DGRAM) as ear,
        pair.lab.socket(pair.here, family, socket.SOCK_DGRAM) as mouth,
    ):
        ear.bind((str(pair.target), SINK))
        if pair.inner == 4:
            mouth.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: never DF
        mouth.sendto(body, (str(pair.target), SINK))
        assert received(ear, 1, 10.0) == [body]


def learn_the_size(pair: Pair) -> None:
    """An IPv6 host cuts by what it was told, so it has to be told first; an IPv4 host may not know."""
    if pair.inner == 6:
        for size in (1500, 1464):  # the kernel may tell what an IPv4 locator lets through first
            ping(pair, size)


def ping(pair: Pair, size: int) -> str:
    """What ping says of one packet of ``size`` bytes that must not be cut."""
    body = size - {4: 28, 6: 48}[pair.inner]
    command = ["ping", "-n", "-c", "1", "-W", "0.3", "-M", "do", "-s", str(body), str(pair.target)]
    done = pair.lab.run(pair.here, command)
    return done.stdout + done.stderr


@pytest.mark.requirement("D16")
def test_hosts_that_know_the_size_lose_nothing(pair: Pair) -> None:
    """Path MTU discovery by the host's own kernel: what it is told, it goes by."""
    pair.lab.run(pair.here, ["ip", f"-{pair.inner}", "route", "flush", "cache"])
    said = [ping(pair, size) for size in (1500, pair.most)]
    assert any(f"mtu{by}{pair.most}" in said[0] for by in ("=", " = ", ": ")), said
    assert " 0% packet loss" in said[-1]
