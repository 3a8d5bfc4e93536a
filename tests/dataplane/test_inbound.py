"""The program at a core port takes packets out of LISP headers as the Python path does, or leaves or drops them."""

from __future__ import annotations

import random
import struct
from collections import Counter
from ipaddress import ip_address

import pytest

from nodes.dataplane.bpf.layout import Statistic
from nodes.dataplane.decision import (
    Deliver,
    Encapsulate,
    Native,
    Reencapsulate,
    Tables,
    decide_again,
)
from nodes.dataplane.decision_inbound import decide_inbound
from nodes.dataplane.encapsulation import decapsulated_tos
from nodes.dataplane.packet import parse, set_tos_and_ttl
from nodes.lisp.checksum import checksum
from nodes.lisp.config import Role
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import IPAddress
from nodes.lisp.errors import DecodeError
from tests.dataplane import chance as by_chance
from tests.dataplane.router import DROPPED, INSTANCE, LEFT, OLD_KERNEL, REDIRECTED, Router, own
from tests.dataplane.test_outbound import outer_packet
from tests.unit.data_path import PXTR, XTR, by_family, install, ip_packet, locator, tables

HEADER = 14
PEER = {4: "10.0.2.1", 6: "2001:db8:0:2::1"}
EID = {4: ("192.168.2.1", "192.168.1.7"), 6: ("2001:db8:2::1", "2001:db8:1::7")}
MALFORMED, ENCRYPTED, CONGESTED = Statistic.DROP_MALFORMED, Statistic.DROP_ENCRYPTED, Statistic.DROP_CONGESTION
Outcome = tuple[int, bytes] | Statistic


def lisp(version: int, inner: bytes, *, first: int = 0, second: int = 0, tos: int = 0, ttl: int = 60) -> bytes:
    """A LISP packet from the peer to the router, over this IP version, with any two words as its LISP header."""
    payload = struct.pack("!II", first, second) + inner
    udp = struct.pack("!HHHH", 0xC123, 4341, 8 + len(payload), 0)
    return ip_packet(PEER[version], own(version), 17, udp + payload, tos=tos, ttl=ttl)


def decapsulated(inner: bytes, first: int, second: int, tos: int, ttl: int, tables_now: Tables) -> Outcome | None:
    """What the Python path makes of it: what is sent on, or why it is dropped; None: the stack's."""
    if not inner:
        return MALFORMED
    if first & 0x03000000:
        return ENCRYPTED
    instance_id = second >> 8 if first & 0x08000000 else 0
    try:
        packet = parse(inner)
    except DecodeError:
        return MALFORMED
    if packet.version == 4 and packet.header_length > 20:
        return None
    if packet.version == 4 and checksum(inner[:20]):
        return MALFORMED
    verdict = decide_inbound(packet, instance_id, tables_now)
    if not isinstance(verdict, Deliver | Native | Reencapsulate) or instance_id not in (0, INSTANCE):
        return None
    if isinstance(verdict, Deliver) and is_behind(packet.source, instance_id, tables_now):
        return None  # forged: its hosts do not send through the core; the stack knows its own addresses
    before = inner[1] if packet.version == 4 else int.from_bytes(inner[:2], "big") >> 4 & 0xFF
    new_tos = decapsulated_tos(before, tos)
    least = min(ttl, inner[8] if packet.version == 4 else inner[7])
    left = bytearray(inner[: packet.length])
    if isinstance(verdict, Reencapsulate):
        if instance_id and not tables_now.aggregates.lookup_address(instance_id, packet.source):
            return None  # an ICMP error of another router on the way: seldom enough for the daemon
        again = decide_again(packet, tables_now, by_family, instance_id)
        if least <= 1:
            return None
        if new_tos is None:
            return CONGESTED
        if not isinstance(again, Encapsulate) or packet.length > tables_now.inner_mtu(again.locator):
            set_tos_and_ttl(left, 0, new_tos, least - 1)
            return REDIRECTED, bytes(left)  # by the transit device
        set_tos_and_ttl(left, 0, new_tos, least)
        return REDIRECTED, outer_packet(again, bytes(left), least - 1)
    if new_tos is None:
        return CONGESTED
    # The stack takes over what has no hop left, is too big for the next link, or for the router itself.
    forwarded = (
        least > 1 and packet.length <= 1500 and str(packet.destination) not in ("192.168.1.254", "2001:db8:1::fe")
    )
    set_tos_and_ttl(left, 0, new_tos, least - 1 if forwarded else least)
    return REDIRECTED, bytes(left)


def is_behind(source: IPAddress, instance_id: int, tables_now: Tables) -> bool:
    """Whether an address is one of this site; of a dynamic prefix, a host that was found here."""
    here = tables_now.local.lookup_address(instance_id, source)
    dynamic = tables_now.dynamic.lookup_address(instance_id, source)
    return here is not None and (not dynamic or here[0].network.num_addresses == 1)


def compare(router: Router, packet: bytes, wanted: Outcome | None) -> None:
    """Run it, and hold it against what is wanted."""
    before = router.statistics()
    done = router.from_core(packet)
    after = router.statistics()
    grown = {
        one: after[one] - before[one] for one in after if after[one] != before[one] and one.name.startswith("DROP")
    }
    if OLD_KERNEL and isinstance(wanted, tuple) and done.result == LEFT:
        assert b"\x45" not in packet[:1] or packet[36:37] != b"\x45", "the same IP version inside and outside"
        return
    if wanted is None:
        assert (done.result, done.packet[HEADER:].hex(), grown) == (LEFT, packet.hex(), {})
    elif isinstance(wanted, Statistic):
        assert (done.result, grown) == (DROPPED, {wanted: 1})
    else:
        assert (done.result, done.packet[HEADER:].hex(), grown) == (wanted[0], wanted[1].hex(), {})


def some_inner(chance: random.Random, version: int) -> bytes:
    """What is inside: a packet, sometimes not all of it, or with one wrong byte, or something behind it."""
    inner = bytearray(by_chance.packet(chance, version))
    kind = chance.random()
    if kind < 0.1:
        del inner[chance.randrange(len(inner)) :]
    elif kind < 0.2:
        inner[chance.randrange(min(len(inner), 40))] = chance.randrange(256)
    elif kind < 0.3:
        inner += bytes(chance.randrange(1, 30))
    return bytes(inner)


@pytest.mark.parametrize(
    "roles", [XTR, PXTR, frozenset({Role.RTR}), frozenset(Role)], ids=["xtr", "pxtr", "rtr", "all"]
)
@pytest.mark.parametrize("seed", range(4))
def test_random_packets(router: Router, roles: frozenset[Role], seed: int) -> None:
    """D03, D06 to D08, D11 to D15, M14: as decide_inbound, decide_again and decapsulated_tos have it."""
    chance = random.Random(f"{seed} {sorted(roles)}")
    instance_id = chance.choice((0, 0, INSTANCE))
    tables_now = by_chance.some_tables(chance, roles, instance_id)
    router.load(tables_now)
    outcomes: Counter[str] = Counter()
    for _ in range(300):
        inner, outside = some_inner(chance, chance.choice((4, 6))), chance.choice((4, 6))
        first = chance.getrandbits(32) & ~0x0B000000 if chance.random() < 0.95 else chance.getrandbits(32)
        if instance_id:
            first |= 0x08000000
        second = instance_id << 8 | chance.getrandbits(8)
        tos, ttl = chance.randrange(256), chance.choice((1, 2, 40, 255))
        wanted = decapsulated(inner, first, second, tos, ttl, tables_now)
        outcomes["left" if wanted is None else "dropped" if isinstance(wanted, Statistic) else "taken"] += 1
        for _ in ("first of its flow", "known"):
            compare(router, lisp(outside, inner, first=first, second=second, tos=tos, ttl=ttl), wanted)
    proxied = instance_id == 0 or Role.ETR in roles  # the aggregates are those of instance 0
    assert min(outcomes[one] for one in ("left", "dropped", *["taken"] * proxied)) > 3, outcomes


@pytest.mark.parametrize("outside", [4, 6])
@pytest.mark.parametrize("inside", [4, 6])
def test_ecn_of_all_pairs(router: Router, outside: int, inside: int) -> None:
    """D13: RFC 6040 figure 4, all sixteen cells; D12: the outer DSCP."""
    tables_now = tables()
    router.load(tables_now)
    for cell in range(16):
        inner = ip_packet(*EID[inside], tos=0x28 | cell >> 2)
        packet = lisp(outside, inner, tos=0xB8 | cell & 3)
        compare(router, packet, decapsulated(inner, 0, 0, 0xB8 | cell & 3, 60, tables_now))


@pytest.mark.parametrize("outside", [4, 6])
@pytest.mark.parametrize("inside", [4, 6])
def test_what_is_cut_off_is_dropped_or_left(router: Router, outside: int, inside: int) -> None:
    """Every length of a LISP packet, its outer headers true to it and not: never passed on, never more than counted."""
    tables_now = tables()
    router.load(tables_now)
    inner = ip_packet(*EID[inside])
    whole = lisp(outside, inner)
    assert router.from_core(whole).result == REDIRECTED or (OLD_KERNEL and inside != outside)
    for length in range(len(inner)):
        compare(router, lisp(outside, inner[:length]), MALFORMED)
    for length in range(20 if outside == 4 else 40, len(whole)):
        compare(router, whole[:length], None)  # the outer length lies: the kernel's to drop


def test_what_is_no_lisp_data_is_left(router: Router) -> None:
    """Another port, another address, a fragment, another protocol."""
    router.load(tables())
    inner = ip_packet(*EID[4])
    whole = lisp(4, inner)
    udp = whole[20:]
    others = [
        ip_packet(PEER[4], own(4), 17, udp[:2] + struct.pack("!H", 4342) + udp[4:]),
        ip_packet(PEER[4], "10.0.1.2", 17, udp),
        ip_packet(PEER[4], own(4), 17, udp, fragment=0x2000),
        ip_packet(PEER[4], own(4), 17, udp, fragment=0x0010),
        ip_packet(PEER[4], own(4), 6, udp),
        ip_packet(PEER[4], own(4), 17, udp, options=bytes(4)),
    ]
    for packet in others:
        compare(router, packet, None)
    compare(router, whole, (REDIRECTED, inner[:8] + bytes([59]) + inner[9:10] + sum_of(inner, 59) + inner[12:]))


def sum_of(packet: bytes, ttl: int) -> bytes:
    """The header checksum of a packet with another TTL."""
    changed = bytearray(packet)
    set_tos_and_ttl(changed, 0, packet[1], ttl)
    return bytes(changed[10:12])


NOBODY = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "ff02::1"]


@pytest.mark.parametrize("source", [*NOBODY, own(4), own(6), EID[4][1], EID[6][1]])
def test_from_nobody_is_left(router: Router, source: str) -> None:
    """RFC 1812 section 5.3.7: an outer source that no router in the core has; the stack is the one to drop it."""
    version = ip_address(source).version
    router.load(tables())
    udp = lisp(version, ip_packet(*EID[4]))[20 if version == 4 else 40 :]
    compare(router, ip_packet(source, own(version), 17, udp), None)


@pytest.mark.parametrize("inside", [4, 6])
def test_a_host_that_does_not_answer_is_the_stacks(router: Router, inside: int) -> None:
    """D16: the stack asks for it, and tells the sender when it is not there; its TTL is the stack's to lower."""
    router.load(tables())
    inner = ip_packet(EID[inside][0], {4: "192.168.1.77", 6: "2001:db8:1::77"}[inside])
    destination = str(parse(inner).destination)
    packet = lisp(inside, inner, ttl=60)
    router.ip(f"route add {destination} dev site")
    try:
        done = router.from_core(packet)
        assert (done.result, done.packet[HEADER:][8 if inside == 4 else 7]) == (REDIRECTED, 60)
    finally:
        router.ip(f"route del {destination} dev site")


def test_instances_do_not_leak(router: Router) -> None:
    """D20: the same EID in another instance, or in none, is another."""
    router.load(tables(instance_id=INSTANCE))
    inner = ip_packet(*EID[4])
    assert router.from_core(lisp(4, inner, first=0x08000000, second=INSTANCE << 8)).result == REDIRECTED
    for first, second in ((0, 0), (0, INSTANCE << 8), (0x08000000, 8 << 8), (0x08000000, 0)):
        compare(router, lisp(4, inner, first=first, second=second), None)


@pytest.mark.parametrize("before", [4, 6])
@pytest.mark.parametrize("after", [4, 6])
def test_an_rtr_of_mixed_families(router: Router, before: int, after: int) -> None:
    """D14, D15: out of one header into another, ECN and TTL as after decapsulation."""
    tables_now = tables(frozenset({Role.RTR}))
    rloc = "10.0.3.1" if after == 4 else "2001:db8:0:3::1"
    for prefix in ("192.168.3.0/24", "2001:db8:3::/64"):
        install(tables_now, prefix, Forwarding.ENCAPSULATE, locator(rloc))
    router.load(tables_now)
    for ends in (("192.168.2.1", "192.168.3.1"), ("2001:db8:2::1", "2001:db8:3::1")):
        inner = ip_packet(*ends, tos=2)
        wanted = decapsulated(inner, 0, 0, 0xBB, 33, tables_now)
        assert isinstance(wanted, tuple)
        outer = parse(wanted[1])
        assert (str(outer.destination), outer.version) == (str(ip_address(rloc)), after)
        compare(router, lisp(before, inner, tos=0xBB, ttl=33), wanted)
