"""The program at a core port sends on what comes for a host that left, as the Python path does (requirement X06)."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import ip_address

import pytest

from nodes.dataplane.bpf.layout import EventKind, Statistic
from nodes.dataplane.decision import Encapsulate, Reencapsulate, Tables, decide_again
from nodes.dataplane.decision_inbound import decide_inbound
from nodes.dataplane.encapsulation import decapsulated_tos
from nodes.dataplane.packet import Packet, parse, set_tos_and_ttl
from nodes.linux.bpf_maps import RingBuffer
from nodes.lisp.config import Locator, Role
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, host_prefix
from tests.dataplane import chance as by_chance
from tests.dataplane.router import INSTANCE, LEFT, OLD_KERNEL, REDIRECTED, SITE_NEIGHBOUR, Router
from tests.dataplane.test_gate import events, make_old
from tests.dataplane.test_inbound import CONGESTED, HEADER, PEER, Outcome, compare, decapsulated, lisp
from tests.dataplane.test_outbound import outer_packet
from tests.unit.data_path import XTR, by_family, install, ip_packet, locator, tables

DYNAMIC = {4: EidPrefix.of("192.168.2.0/24"), 6: EidPrefix.of("2001:db8:2::/64")}
HOST = {4: "192.168.2.11", 6: "2001:db8:2::11"}
BRANCH = {4: "192.168.3.33", 6: "2001:db8:3::33"}
THERE = {4: "10.0.4.1", 6: "2001:db8:0:4::1"}


def sent_on(inner: bytes, over: int, tos: int, ttl: int, now: Tables, instance_id: int) -> Outcome | None:
    """What the Python path makes of a packet for a host that is not here; None: it is left to that path."""
    packet = parse(inner)
    if packet.version == 4 and packet.header_length > 20:
        return None
    least = min(ttl, inner[8] if packet.version == 4 else inner[7])
    before = inner[1] if packet.version == 4 else int.from_bytes(inner[:2], "big") >> 4 & 0xFF
    new_tos = decapsulated_tos(before, tos)
    if least <= 1:
        return None
    if new_tos is None:
        return CONGESTED
    again = decide_again(packet, now, by_family, instance_id, ip_address(PEER[over]))
    if not isinstance(again, Encapsulate) or packet.length > now.inner_mtu(again.locator):
        return None
    left = bytearray(inner[: packet.length])
    set_tos_and_ttl(left, 0, new_tos, least)
    return REDIRECTED, outer_packet(again, bytes(left), least - 1)


def some_tables(chance: random.Random, roles: frozenset[Role], instance_id: int) -> Tables:
    """Of a stretched subnet: a few hosts were found here, and the others are elsewhere, or nobody knows where."""
    made = by_chance.some_tables(chance, roles, instance_id)
    for version, prefix in DYNAMIC.items():
        made.dynamic.set(EidPrefix(prefix.network, instance_id), True)
        if chance.random() < 0.3:
            made.local.set(EidPrefix(prefix.network, instance_id), True)  # a home site
        for _ in range(8):
            made.local.set(host_prefix(site_eid(chance, version, 2), instance_id), True)
    for _, entry in list(made.map_cache.items()):
        if entry.locators and chance.random() < 0.5:
            back = Locator(ip_address(PEER[entry.prefix.version]), chance.randrange(1, 4), 100)
            made.map_cache.set(entry.prefix, ForwardingEntry(entry.prefix, entry.forwarding, (*entry.locators, back)))
    return made


def site_eid(chance: random.Random, version: int, site: int) -> str:
    """One of twenty addresses of a site, spread over it."""
    number = 12 * chance.randrange(1, 20)
    return f"192.168.{site}.{number}" if version == 4 else f"2001:db8:{site}::{number:x}"


def wanted_of(packet: Packet, inner: bytes, over: int, how: tuple[int, int], now: Tables, iid: int) -> Outcome | None:
    verdict = decide_inbound(packet, iid, now)
    if isinstance(verdict, Reencapsulate) and verdict.absent:
        return sent_on(inner, over, *how, now, iid)
    return decapsulated(inner, 0x08000000 if iid else 0, iid << 8, *how, now)


@pytest.mark.parametrize("roles", [XTR, XTR | {Role.RTR}, frozenset(Role)], ids=["xtr", "xtr-rtr", "all"])
@pytest.mark.parametrize("seed", range(3))
def test_random_packets(router: Router, roles: frozenset[Role], seed: int) -> None:
    """X06, D11, D12, D14, D15: all four pairs of IP versions, each packet twice: no flow is remembered wrongly."""
    chance = random.Random(f"{seed} {sorted(roles)}")
    iid = chance.choice((0, INSTANCE))
    now = some_tables(chance, roles, iid)
    router.load(now)
    outcomes: Counter[str] = Counter()
    for _ in range(250):
        version, over = chance.choice((4, 6)), chance.choice((4, 6))
        source = site_eid(chance, version, chance.choice((1, 2, 3, 3, 3)))
        inner = ip_packet(
            source,
            site_eid(chance, version, 2),
            chance.choice(by_chance.PROTOCOLS),
            chance.randbytes(chance.choice((8, 64, *range(1380, 1481, 20)))),
            tos=chance.randrange(256),
            ttl=chance.choice((1, 2, 64, 255)),
            options=bytes(4) if version == 4 and chance.random() < 0.05 else b"",
        )
        how = chance.randrange(256), chance.choice((1, 2, 40, 255))
        wanted = wanted_of(parse(inner), inner, over, how, now, iid)
        outcomes["left" if wanted is None else "dropped" if isinstance(wanted, Statistic) else "taken"] += 1
        for _ in range(2):
            first, second = 0x08000000 if iid else 0, iid << 8
            compare(router, lisp(over, inner, first=first, second=second, tos=how[0], ttl=how[1]), wanted)
    assert min(outcomes[one] for one in ("left", "dropped", "taken")) > 3, outcomes


def stretched() -> Tables:
    made = tables()
    for version, prefix in DYNAMIC.items():
        made.dynamic.set(prefix, True)
        install(made, f"{HOST[version]}/{32 if version == 4 else 128}", Forwarding.ENCAPSULATE, locator(THERE[version]))
    return made


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_the_next_packet_goes_where_the_host_is(router: Router, inner: int, outer: int) -> None:
    """X04, X06: delivered while it is here, sent on from the packet on after it left, and to each place it went to."""
    now, host = stretched(), host_prefix(HOST[inner])
    now.map_cache.pop(host)
    router.ip(f"route replace {HOST[inner]} via {SITE_NEIGHBOUR[inner]}")
    path = router.load(now)
    packet = lisp(outer, ip_packet(BRANCH[inner], HOST[inner], ttl=40), ttl=30)

    def taken() -> tuple[str, int] | None:
        """The locator that it went to, and its TTL; "" to the host; None: the daemon's."""
        done = router.from_core(packet)
        if done.result != REDIRECTED:
            return None
        sent = parse(done.packet[HEADER:])
        ttl = done.packet[HEADER + (8 if sent.version == 4 else 7)]
        return "" if str(sent.destination) == HOST[inner] else str(sent.destination), ttl

    if OLD_KERNEL and inner != outer:
        pytest.skip("this kernel may leave packets of another IP version than their header to the stack")
    for _ in range(5):  # each within the moment that a flow would be known
        now.local.set(host, True)
        path.add_host(host)
        assert taken() == ("", 29)
        for rloc in (THERE[4], THERE[6], "10.0.6.1"):
            entry = ForwardingEntry(host, Forwarding.ENCAPSULATE, (locator(rloc),))
            now.map_cache.set(host, entry)
            path.install(entry)
            if host in now.local:
                now.local.pop(host)
                path.remove_host(host)
            assert taken() == (rloc, 29)
        now.map_cache.pop(host)
        path.remove(host)
        assert taken() is None


def test_the_daemon_hears_of_it_while_packets_go_on(router: Router) -> None:
    """X06: once a second for each sender; and whom data went to is a contact (requirement C34)."""
    path = router.load(stretched())
    reader = RingBuffer(router.loaded.maps["events"])
    try:
        make_old(router)
        reader.read()  # what other tests caused
        before = router.statistics()
        for _ in range(3):
            for version in (4, 6):
                packet = lisp(version, ip_packet(BRANCH[4], HOST[4]))
                assert router.from_core(packet).result == REDIRECTED or (OLD_KERNEL and version == 6)
        told = events(router, reader)
        assert [(one.kind, str(one.eid), str(one.rloc)) for one in told] == [
            (EventKind.ABSENT, HOST[4], PEER[version]) for version in (4, 6)
        ]
        make_old(router)
        router.from_core(lisp(4, ip_packet(BRANCH[4], HOST[4])))
        assert len(events(router, reader)) == 1
        after = router.statistics()
        assert after[Statistic.REENCAPSULATED] - before[Statistic.REENCAPSULATED] >= 4
        ends = {(str(eid), str(rloc)) for _, eid, rloc, _ in path.contacts()}
        assert {(HOST[4], PEER[4]), (BRANCH[4], THERE[4])} <= ends
    finally:
        reader.close()


@pytest.mark.parametrize("version", [4, 6])
def test_never_back_and_never_what_is_forged(router: Router, version: int) -> None:
    """A mapping that leads back, and a source that is here: those are the daemon's, untouched."""
    now, host = stretched(), host_prefix(HOST[version])
    now.map_cache.set(host, ForwardingEntry(host, Forwarding.ENCAPSULATE, (locator(PEER[version]),)))
    router.load(now)
    packet = lisp(version, ip_packet(BRANCH[version], HOST[version]))
    compare(router, packet, None)
    assert router.from_core(packet).result == LEFT
    now = stretched()
    router.load(now)
    assert router.from_core(packet).result == REDIRECTED
    now.local.set(host_prefix(BRANCH[version]), True)
    router.load(now)
    compare(router, packet, None)
