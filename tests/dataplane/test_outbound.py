"""The program at a site port does what the Python path decides, byte for byte, or leaves the packet as it is."""

from __future__ import annotations

import random
import struct
from collections import Counter
from ipaddress import ip_address

import pytest

from nodes.dataplane.bpf.layout import Statistic
from nodes.dataplane.decision import Encapsulate, Tables, decide_outbound, is_of_the_site
from nodes.dataplane.encapsulation import header_writer
from nodes.dataplane.packet import parse, set_tos_and_ttl
from nodes.lisp.checksum import checksum
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, IPAddress
from tests.dataplane import chance as by_chance
from tests.dataplane.router import INSTANCE, LEFT, REDIRECTED, Router
from tests.unit.data_path import PXTR, XTR, by_family, install, ip_packet, locator, tables

HEADER = 14
TO_SITE_2 = ip_packet("192.168.1.1", "192.168.2.1")


def outer_packet(verdict: Encapsulate, packet: bytes, ttl: int) -> bytes:
    """The packet that leaves, with what the kernel fills in where the Python path sends it."""
    headers = parse(packet)
    inner = bytearray(packet[: headers.length])
    tos = packet[1] if headers.version == 4 else int.from_bytes(packet[:2], "big") >> 4 & 0xFF
    set_tos_and_ttl(inner, 0, tos, ttl)
    header = bytearray(header_writer(verdict)(tos, ttl, len(inner)))
    if verdict.locator.version == 4:
        header[2:4] = struct.pack("!H", len(header) + len(inner))
        header[10:12] = checksum(bytes(header[:20])).to_bytes(2, "big")
    return bytes(header + inner)


def is_denied(destination: IPAddress, tables_now: Tables) -> bool:
    """S01: the stack refuses it, or it is for the router itself; the Python path never sees it."""
    return destination in tables_now.own or tables_now.rloc_space.lookup_address(0, destination) is not None


def expected(packet: bytes, tables_now: Tables, unreachable: dict[IPAddress, IPAddress | None]) -> bytes | None:
    """What leaves at once; None: the packet is the stack's."""
    headers = parse(packet)
    ttl = packet[8] if headers.version == 4 else packet[7]
    if ttl <= 1 or packet[0] == 0x46 or not is_of_the_site(headers.source, 0, tables_now):
        return None
    if is_denied(headers.destination, tables_now):
        return None
    verdict = decide_outbound(headers, tables_now, lambda rloc: None if rloc in unreachable else by_family(rloc))
    if not isinstance(verdict, Encapsulate) or headers.length > tables_now.inner_mtu(verdict.locator):
        return None
    return outer_packet(verdict, packet, ttl - 1)


@pytest.mark.parametrize("seed", range(12))
def test_random_packets_and_tables(router: Router, seed: int) -> None:
    """D01, D02, D10 to D12, D15, D18, D21 to D23, S02 to S05: as decide_outbound, choose and header_writer have it."""
    chance = random.Random(seed)
    tables_now, unreachable = by_chance.some_tables(chance, XTR), by_chance.routes(chance)
    router.load(tables_now, lambda rloc: None if rloc in unreachable else by_family(rloc))
    outcomes: Counter[bool] = Counter()
    for _ in range(300):
        packet = by_chance.packet(chance, chance.choice((4, 6)))
        wanted = expected(packet, tables_now, unreachable)
        outcomes[wanted is not None] += 1
        for _ in ("first of its flow", "known"):
            done = router.from_site(packet)
            assert (done.result, done.packet[HEADER:].hex()) == (
                (LEFT, packet.hex()) if wanted is None else (REDIRECTED, wanted.hex())
            ), parse(packet)
    assert min(outcomes[True], outcomes[False]) > 5, outcomes


def test_a_flow_keeps_port_and_locator_between_the_paths(router: Router) -> None:
    """D02, D21, D22: 500 flows over three weights, each as Python has it."""
    into = tables()
    candidates = (locator("10.0.2.1", 1, 75), locator("10.0.3.1", 1, 25), locator("10.0.4.1", 2))
    install(into, "192.168.2.0/24", Forwarding.ENCAPSULATE, *candidates)
    router.load(into)
    chosen: Counter[IPAddress] = Counter()
    for number in range(500):
        packet = ip_packet("192.168.1.1", "192.168.2.1", body=struct.pack("!HHHH", 30000 + number, 80, 8, 0))
        verdict = decide_outbound(parse(packet), into, by_family)
        assert isinstance(verdict, Encapsulate)
        chosen[verdict.locator] += 1
        assert router.from_site(packet).packet[HEADER:] == outer_packet(verdict, packet, 63)
    assert sorted(chosen.values()) == sorted([chosen[candidates[0].address], chosen[candidates[1].address]])


@pytest.mark.parametrize("instance_id", [0, INSTANCE])
def test_locator_status_bits(router: Router, instance_id: int) -> None:
    """D09: where the node sends them; 32, or 8 beside an instance-ID. They follow the site's locators."""
    into = tables(instance_id=instance_id)
    install(into, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"), instance_id=instance_id)
    rlocs = tuple(ip_address(f"10.0.1.{number}") for number in range(1, 12))
    into.registered.set(EidPrefix.of("192.168.1.0/24", instance_id), rlocs)
    path = router.load(into)
    sent = set()
    with router.in_instance(instance_id):
        for down in (rlocs[0], rlocs[9], rlocs[3]):
            into.down.add(down)
            path.locator_changed(down)
            verdict = decide_outbound(parse(TO_SITE_2), into, by_family, instance_id)
            assert isinstance(verdict, Encapsulate)
            assert verdict.status_bits is not None
            assert router.from_site(TO_SITE_2).packet[HEADER:] == outer_packet(verdict, TO_SITE_2, 63)
            sent.add(verdict.status_bits)
    assert len(sent) == (2 if instance_id else 3)


def test_padding_stays_behind(router: Router) -> None:
    """A short frame is padded to 60 bytes; the padding is no data."""
    into = tables()
    install(into, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    router.load(into)
    done = router.from_site(TO_SITE_2 + bytes(30))
    assert len(done.packet) == HEADER + 36 + len(TO_SITE_2)
    assert done.packet.endswith(TO_SITE_2[12:])


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_cut_off_or_wrong_is_left_alone(router: Router, version: int) -> None:
    """Every length of a correct packet, and every header bit turned over once."""
    into = tables()
    for prefix in ("192.168.2.0/24", "2001:db8:2::/64"):
        install(into, prefix, Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    router.load(into)
    source, destination = ("192.168.1.1", "192.168.2.1") if version == 4 else ("2001:db8:1::1", "2001:db8:2::1")
    whole = ip_packet(source, destination)
    assert router.from_site(whole).result == REDIRECTED
    for length in range(20 if version == 4 else 40, len(whole)):  # the kernel's trial run takes nothing shorter
        done = router.from_site(whole[:length])
        assert (done.result, done.packet[HEADER:]) == (LEFT, whole[:length])
    for bit in range(20 * 8 if version == 4 else 0):
        turned = bytearray(whole)
        turned[bit // 8] ^= 0x80 >> bit % 8
        assert router.from_site(bytes(turned), version=4).result == LEFT, f"bit {bit}: the header checksum is wrong"


def test_super_packets_that_are_not_tcp_or_do_not_fit_are_left_alone(router: Router) -> None:
    """UDP's would vanish inside a LISP header; the segments of TCP's have to fit the locator's MTU."""
    into = tables()
    install(into, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    router.load(into)
    udp = ip_packet("192.168.1.1", "192.168.2.1", body=bytes(2000))
    assert router.from_site(udp, gso_size=1000).result == LEFT
    segment = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 0x50, 0, 0, 0, 0) + bytes(2900)
    tcp = ip_packet("192.168.1.1", "192.168.2.1", 6, segment)
    assert router.from_site(tcp, gso_size=1425).result == LEFT  # 1465 bytes with their headers: one too many


def test_frames_for_others_are_left_alone(router: Router) -> None:
    into = tables()
    install(into, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    router.load(into)
    for mac in ("02:00:00:00:00:77", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05"):
        assert router.run("lisp_site", TO_SITE_2, router.site, mac).result == LEFT
    assert router.from_site(TO_SITE_2).result == REDIRECTED


@pytest.mark.parametrize("seed", range(4))
def test_a_pitr_encapsulates_what_comes_by_the_core(router: Router, seed: int) -> None:
    """M24, RFC 6832 section 5: for sources without EID, into the aggregates, and never natively."""
    chance = random.Random(seed)
    tables_now = by_chance.some_tables(chance, PXTR)
    router.load(tables_now)
    outcomes: Counter[bool] = Counter()
    for _ in range(300):
        version = chance.choice((4, 6))
        packet = by_chance.packet(chance, version, "203.0.113.9" if version == 4 else "2001:dead::9")
        headers, ttl = parse(packet), packet[8] if version == 4 else packet[7]
        verdict = decide_outbound(headers, tables_now, by_family)
        taken = (
            isinstance(verdict, Encapsulate)
            and ttl > 1
            and not is_denied(headers.destination, tables_now)
            and packet[0] != 0x46
            and headers.length <= tables_now.inner_mtu(verdict.locator)
        )
        wanted = outer_packet(verdict, packet, ttl - 1) if taken and isinstance(verdict, Encapsulate) else packet
        outcomes[taken] += 1
        for _ in ("first of its flow", "known"):
            done = router.from_core(packet)
            assert (done.result, done.packet[HEADER:].hex()) == (REDIRECTED if taken else LEFT, wanted.hex()), headers
    assert min(outcomes[True], outcomes[False]) > 5, outcomes


def test_what_left_is_counted(router: Router) -> None:
    """By mapping, by locator, and in all."""
    into = tables()
    install(into, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    path, before = router.load(into), router.statistics()
    rloc, prefix = locator("10.0.2.1").address, EidPrefix.of("192.168.2.0/24")
    mapping_before, locator_before = path.mapping_counts()[prefix], path.locator_counts()[rloc]
    for _ in range(3):
        assert router.from_site(TO_SITE_2).result == REDIRECTED
    of_mapping, of_locator = path.mapping_counts()[prefix], path.locator_counts()[rloc]
    after = router.statistics()
    for counted, at_first in ((of_mapping, mapping_before), (of_locator, locator_before)):
        assert (counted.packets - at_first.packets, counted.bytes - at_first.bytes) == (3, 3 * len(TO_SITE_2))
    assert after[Statistic.ENCAPSULATED] - before[Statistic.ENCAPSULATED] == 3
    assert after[Statistic.ENCAPSULATED_BYTES] - before[Statistic.ENCAPSULATED_BYTES] == 3 * len(TO_SITE_2)
    ends = {(str(eid), str(rloc)) for _, eid, rloc, _ in path.contacts()}
    assert ("192.168.1.1", "10.0.2.1") in ends


def test_without_its_daemon_nothing_is_forwarded(router: Router) -> None:
    """Its TUN device went with it; or it has said so."""
    into = tables()
    install(into, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    path = router.load(into)
    path.stop()
    assert router.from_site(TO_SITE_2).result == LEFT
    path.start()
    assert router.from_site(TO_SITE_2).result == REDIRECTED
    there = router.loaded.maps["ports"]
    key = struct.pack("=I", router.site)
    port = there.lookup(key)
    assert port is not None
    there.update(key, port[:4] + struct.pack("=I", 999999) + port[8:])
    router.forget_flows()  # or they go on for a moment
    assert router.from_site(TO_SITE_2).result == LEFT
