"""Flows that the programs know: they go on as decided, for a moment, and until any table changes."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from nodes.dataplane.bpf.layout import MOST_FLOWS, PORT, Statistic
from nodes.dataplane.decision import Encapsulate, Tables, decide_outbound
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel_path import KernelPath
from nodes.dataplane.packet import parse
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix
from tests.dataplane.router import INSTANCE, LEFT, REDIRECTED, SITE_NEIGHBOUR, Router
from tests.dataplane.test_inbound import EID, lisp
from tests.dataplane.test_outbound import outer_packet
from tests.unit.data_path import by_family, install, ip_packet, locator, tables

SITE_2 = EidPrefix.of("192.168.2.0/24")
TO_SITE_2 = ip_packet("192.168.1.1", "192.168.2.1")
HEADER = 14
LIFE = 0.02
"""Seconds that a flow is known (known.h)."""
LONGEST = 20.0
ATTEMPTS = 50
"""Of what has to come about within a flow's life, where the machine may do something else meanwhile."""


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Each CPU knows flows of its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def made() -> Tables:
    into = tables()
    for prefix in (str(SITE_2), "2001:db8:2::/64"):
        install(into, prefix, Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    return into


@pytest.fixture
def path(router: Router, made: Tables) -> KernelPath:
    return router.load(made)


def entry(prefix: EidPrefix, *rlocs: str) -> ForwardingEntry:
    return ForwardingEntry(prefix, Forwarding.ENCAPSULATE, tuple(map(locator, rlocs)))


def moment(run: Callable[[], int], result: int) -> float:
    """How long it takes until a run has this result."""
    start = time.monotonic()
    while run() != result:
        assert time.monotonic() - start < LONGEST
    return time.monotonic() - start


def test_a_known_flow_goes_on_for_a_moment(router: Router, path: KernelPath) -> None:
    """What nobody told the programs, they see when the flow is decided anew."""

    def goes_on(number: int) -> bool:
        packet = ip_packet("192.168.1.1", "192.168.2.1", 17, struct.pack("!HHHH", 5000, number, 8, 0))
        path.remove(SITE_2)
        path.install(entry(SITE_2, "10.0.2.1"))
        assert router.from_site(packet).result == REDIRECTED
        router.loaded.maps["map_cache"].delete(encoding.eid_key(SITE_2))
        known = router.from_site(packet).result == REDIRECTED
        return moment(lambda: router.from_site(packet).result, LEFT) < 10 * LIFE and known

    assert any(map(goes_on, range(ATTEMPTS)))


def test_the_next_packet_goes_by_the_changed_tables(router: Router, path: KernelPath, made: Tables) -> None:
    """Mapping replaced, removed; locator down, up; path MTU; native route."""
    one, other = locator("10.0.2.1").address, locator("10.0.3.1").address

    def taken() -> bytes | None:
        done = router.from_site(TO_SITE_2)
        return done.packet[HEADER + 16 : HEADER + 20] if done.result == REDIRECTED else None

    for _ in range(20):  # each within the moment that the flow would be known
        assert taken() == one.packed
        path.install(entry(SITE_2, "10.0.3.1"))
        assert taken() == other.packed
        made.down.add(other)
        path.locator_changed(other)
        assert taken() is None
        made.down.clear()
        path.locator_changed(other)
        assert taken() == other.packed
        made.path_mtu[other] = 60
        path.locator_changed(other)
        assert taken() is None
        made.path_mtu.clear()
        path.locator_changed(other)
        assert taken() == other.packed
        made.native.set(SITE_2, True)
        path.native_changed()
        assert taken() is None
        made.native.pop(SITE_2)
        path.native_changed()
        assert taken() == other.packed
        path.remove(SITE_2)
        assert taken() is None
        path.install(entry(SITE_2, "10.0.2.1"))


def test_a_host_that_has_gone_gets_nothing_more(router: Router) -> None:
    """X06: from the next packet on it is absent."""
    into, host = tables(), EidPrefix.of("11.11.11.11/32")
    into.dynamic.set(EidPrefix.of("11.11.11.0/24"), True)
    router.ip(f"route replace 11.11.11.11/32 via {SITE_NEIGHBOUR[4]}")
    path = router.load(into)
    packet = lisp(4, ip_packet("192.168.2.1", "11.11.11.11"))
    for _ in range(10):
        into.local.set(host, True)
        path.add_host(host)
        assert [router.from_core(packet).result for _ in range(3)] == [REDIRECTED] * 3
        into.local.pop(host)
        path.remove_host(host)
        assert router.from_core(packet).result == LEFT


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_what_differs_from_packet_to_packet(router: Router, made: Tables, inner: int, outer: int) -> None:
    """D10 to D12, D15: TTL, DSCP, ECN and length are each packet's own; too big, or no hop left, is the stack's."""
    source, destination = ("192.168.1.1", "192.168.2.1") if inner == 4 else ("2001:db8:1::1", "2001:db8:2::1")
    ports = struct.pack("!HHHH", 5000, 6000, 0, 0)
    for prefix in (str(SITE_2), "2001:db8:2::/64"):
        install(made, prefix, Forwarding.ENCAPSULATE, locator("10.0.2.1" if outer == 4 else "2001:db8:0:2::1"))
    router.load(made)
    most = 1500 - (36 if outer == 4 else 56)
    room = most - (28 if inner == 4 else 48)
    for length, tos, ttl in ((0, 0, 64), (1, 0xB9, 2), (room, 0xFF, 255), (77, 0x02, 1), (room + 1, 0, 64), (5, 3, 3)):
        packet = ip_packet(source, destination, 17, ports + bytes(length), tos=tos, ttl=ttl)
        verdict = decide_outbound(parse(packet), made, by_family)
        done = router.from_site(packet)
        if ttl > 1 and length <= room:
            assert isinstance(verdict, Encapsulate)
            assert (done.result, done.packet[HEADER:]) == (REDIRECTED, outer_packet(verdict, packet, ttl - 1))
        else:
            assert (done.result, done.packet[HEADER:]) == (LEFT, packet)


def test_tenants_never_share_a_flow(router: Router) -> None:
    """D20: the same addresses and ports in another instance are another flow, both ways."""
    into = tables()
    install(into, str(SITE_2), Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    router.load(into)
    inner = ip_packet(*EID[4])
    for _ in range(3):
        assert router.from_core(lisp(4, inner)).result == REDIRECTED
        assert router.from_core(lisp(4, inner, first=0x08000000, second=INSTANCE << 8)).result == LEFT
    assert router.from_site(TO_SITE_2).result == REDIRECTED
    with router.in_instance(INSTANCE):
        assert router.from_site(TO_SITE_2).result == LEFT


@pytest.mark.parametrize("way", ["out", "in"])
def test_a_daemon_that_died_is_missed_within_a_moment(router: Router, path: KernelPath, way: str) -> None:
    """Its TUN device goes with it; known flows end when they are decided anew."""
    ports, devices = router.loaded.maps["ports"], router.loaded.maps["devices"]
    before = dict(ports.items()), dict(devices.items())

    def run() -> int:
        return (
            router.from_site(TO_SITE_2).result if way == "out" else router.from_core(lisp(4, ip_packet(*EID[4]))).result
        )

    def missed() -> float:
        """Seconds."""
        assert moment(run, REDIRECTED) < LONGEST
        for key, value in before[0].items():
            instance_id, _, gate = PORT.unpack(value)
            ports.update(key, PORT.pack(instance_id, 999999, gate))
        for key in before[1]:
            devices.update(key, struct.pack("=I", 999999))
        try:
            return moment(run, LEFT)
        finally:
            for name, contents in zip(("ports", "devices"), before, strict=True):
                for key, value in contents.items():
                    router.loaded.maps[name].update(key, value)

    assert any(missed() < 10 * LIFE for _ in range(ATTEMPTS))


def test_counts_are_exact_whatever_is_known(router: Router, path: KernelPath) -> None:
    """Of more flows than there is room for: by mapping, by locator, in all. A mapping that comes again starts anew."""
    before, rloc = router.statistics(), locator("10.0.2.1").address
    at_first = path.locator_counts()[rloc].packets
    path.remove(SITE_2)  # its count goes with it
    path.install(entry(SITE_2, "10.0.2.1"))
    packets = 0
    for _ in range(4):
        for number in range(2 * MOST_FLOWS):
            packet = ip_packet("192.168.1.1", "192.168.2.1", body=struct.pack("!HHHH", number, 80, 8, 0))
            assert router.from_site(packet).result == REDIRECTED
            packets += 1
        counted = path.mapping_counts()[SITE_2]
        assert (counted.packets, counted.bytes) == (packets, packets * len(TO_SITE_2))
    assert path.locator_counts()[rloc].packets - at_first == packets
    after = router.statistics()
    assert after[Statistic.ENCAPSULATED] - before[Statistic.ENCAPSULATED] == packets
    path.install(entry(SITE_2, "10.0.2.1"))
    assert path.mapping_counts()[SITE_2].packets == packets
    path.remove(SITE_2)
    path.install(entry(SITE_2, "10.0.2.1"))
    assert path.mapping_counts()[SITE_2].packets == 0
    assert router.from_site(TO_SITE_2).result == REDIRECTED
    assert path.mapping_counts()[SITE_2].packets == 1
