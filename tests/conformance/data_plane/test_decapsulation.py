"""What an ETR makes of LISP packets from the core (RFC 9300 section 5.3, RFC 6040), seen at the host behind it."""

from __future__ import annotations

import struct
from itertools import product

import pytest

from tests.conformance.clause import clause
from tests.conformance.data_plane.pair import Pair
from tests.conformance.tester import packets
from tests.conformance.tester.counters import fast_packets
from tests.conformance.tester.packets import CE, ECT_0, ECT_1, NOT_ECT, Ip
from tests.conformance.tester.traffic import SINK

NONCE, LSB, ECHO, VERSION, INSTANCE, RESERVED = (1 << bit for bit in (31, 30, 29, 28, 27, 26))

# RFC 6040 section 4.2, figure 4: the ECN field after decapsulation, by the inner and the outer one.
DROPPED = None
ARRIVING = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT_0: NOT_ECT, ECT_1: NOT_ECT, CE: DROPPED},
    ECT_0: {NOT_ECT: ECT_0, ECT_0: ECT_0, ECT_1: ECT_1, CE: CE},
    ECT_1: {NOT_ECT: ECT_1, ECT_0: ECT_1, ECT_1: ECT_1, CE: CE},
    CE: {NOT_ECT: CE, ECT_0: CE, ECT_1: CE, CE: CE},
}


def delivered(pair: Pair, *sent: bytes, fast: int | None = None) -> dict[str, Ip]:
    """LISP packets to the far router; what of them arrives at the host, by text.

    The fast path takes them all, or ``fast`` of them.
    """
    with pair.watch(pair.there) as seen:
        before = fast_packets(pair.lab, pair.etr, "decapsulated")
        pair.arrive(*sent)
        pair.all_arrived(seen)
        found = {text: one for text in seen.texts(pair.there) if (one := seen.arrived(pair.there, text))}
        assert len(found) == len(seen.texts(pair.there))
        wanted = 1 + (len(found) if fast is None else fast)
        if before is not None:
            assert pair.counted(pair.etr, "decapsulated") - before == (wanted if pair.dataplane == "ebpf" else 0)
    return found


@pytest.mark.requirement("D03")
def test_any_right_or_no_udp_checksum_is_accepted(pair: Pair) -> None:
    """Zero, as most ITRs send it, over IPv6 too; and a right one."""
    sent = [pair.tunnel(pair.datagram(text), checksum=value) for text, value in (("zero", 0), ("right", None))]
    assert set(delivered(pair, *sent)) == {"zero", "right"}


@pytest.mark.requirement("D05")
def test_a_wrong_udp_checksum_causes_no_icmp(pair: Pair) -> None:
    """Always taken, or dropped in silence."""
    with pair.watch("core3", pair.there) as seen:
        pair.arrive(pair.tunnel(pair.datagram("wrong"), checksum=0x1234))
        pair.all_arrived(seen)
        errors = {packets.ICMP: (3, 4, 11, 12), packets.ICMPV6: (1, 2, 3, 4)}
        assert [one for one in seen.packets("core3", pair.etr) if one.payload[0] in errors.get(one.protocol, ())] == []


@pytest.mark.requirement("D06", "D07", "D08")
def test_flags_keep_no_packet_from_its_host(pair: Pair) -> None:
    """Reserved bits; N and V together is a nonce; E without N means nothing; I names instance 0."""
    alone = [RESERVED, NONCE, LSB, VERSION, ECHO, INSTANCE, NONCE | VERSION, NONCE | ECHO, NONCE | VERSION | ECHO]
    all_but_instance = NONCE | LSB | ECHO | VERSION | RESERVED
    words = [*alone, all_but_instance | 0xABCDEF, RESERVED | 0xFFFFFF, INSTANCE | NONCE | LSB | RESERVED | 0x123456]
    second = [0xA5 if word & INSTANCE else 0xFFFFFFFF for word in words]
    sent = [pair.tunnel(pair.datagram(one), first=one, second=two) for one, two in zip(words, second, strict=True)]
    with pair.watch("core3") as seen:
        found = delivered(pair, *sent, fast=None)
        pair.answer(packets.datagram(pair.target, pair.source, (SINK, 7777), b"packet back"))
        (one,) = seen.all_of(1, lambda: seen.data("core3", pair.etr), "LISP packet back")
    lost = [word for word in words if str(word) not in found]
    with clause("D06"):
        assert not [word for word in lost if word & NONCE and word & VERSION]
    with clause("D07"):  # and no echo follows, neither of the nonce with E nor of the one without N
        assert not [word for word in lost if word & ECHO and not word & NONCE]
        assert not one.header[0] & 0xA0
    with clause("D08"):
        assert not [word for word in lost if word & RESERVED and not (word & NONCE and word & VERSION)]
    assert [word for word in lost if not word & (VERSION | ECHO | RESERVED)] == []


@pytest.mark.requirement("D20")
def test_an_inner_destination_counts_in_its_own_instance(pair: Pair) -> None:
    """A packet of another instance-ID is not for this host; it is counted."""
    numbers = [1, 5, 0x010000, 0xFFFFFF]
    strays = [pair.tunnel(pair.datagram(one), first=INSTANCE, second=one << 8) for one in numbers]
    with pair.counting(pair.etr, {"not an EID of this site": len(numbers)}):
        assert delivered(pair, *strays) == {}


@pytest.mark.requirement("D11")
def test_the_smaller_ttl_is_left(pair: Pair) -> None:
    """The outer TTL goes into the inner header where it is smaller; then the router forwards, one less."""
    wanted = {f"{inner}-{outer}": (inner, outer) for inner, outer in product((2, 20, 64, 255), (2, 21, 64, 255))}
    sent = [pair.tunnel(pair.datagram(text, ttl=ttls[0]), ttl=ttls[1]) for text, ttls in wanted.items()]
    found = delivered(pair, *sent)
    assert {text: one.ttl for text, one in found.items()} == {text: min(ttls) - 1 for text, ttls in wanted.items()}
    assert all(one.checksum_is_right for one in found.values())


@pytest.mark.requirement("D11")
@pytest.mark.parametrize("ttls", [(1, 64), (64, 1)])
def test_a_packet_whose_life_ends_here_is_not_delivered(pair: Pair, ttls: tuple[int, int]) -> None:
    """A router that would have to send it with TTL 0 drops it, when it is out of its LISP header."""
    assert delivered(pair, pair.tunnel(pair.datagram("dead", ttl=ttls[0]), ttl=ttls[1]), fast=1) == {}


@pytest.mark.requirement("D12")
def test_dscp_changed_on_the_way_reaches_the_host(pair: Pair) -> None:
    """The outer DSCP is copied back, whatever the inner one was."""
    wanted = {f"{inner}-{outer}": (inner, outer) for inner, outer in product((0, 10, 46, 63), repeat=2)}
    sent = [pair.tunnel(pair.datagram(text, tos=one[0] << 2), tos=one[1] << 2) for text, one in wanted.items()]
    found = delivered(pair, *sent)
    assert {text: one.tos & 0xFC for text, one in found.items()} == {text: one[1] << 2 for text, one in wanted.items()}
    assert all(one.checksum_is_right for one in found.values())


@pytest.mark.requirement("D13")
def test_every_combination_of_ecn(pair: Pair) -> None:
    """All sixteen of RFC 6040; congestion that a packet cannot tell of ends it, and that is counted."""
    sent = [pair.tunnel(pair.datagram(f"{i}-{o}", tos=0xB8 | i), tos=0x28 | o) for i, o in product(range(4), repeat=2)]
    with pair.counting(pair.etr, {"congestion experienced, inner packet not ECN-capable": 1}):
        found = delivered(pair, *sent)
    wanted = {f"{inner}-{outer}": ARRIVING[inner][outer] for inner, outer in product(range(4), repeat=2)}
    assert {text: one.tos & 3 for text, one in found.items()} == {
        text: ecn for text, ecn in wanted.items() if ecn is not DROPPED
    }
    assert all(one.checksum_is_right for one in found.values())


def test_only_eids_of_the_site_are_delivered(pair: Pair) -> None:
    """Not to other EIDs, to addresses without LISP, to RLOCs, to the router itself; all are counted."""
    lab, before = pair.lab, pair.drops(pair.etr)
    nearer = [lab["client"].address_of(pair.inner), lab["core3"].address_of(pair.inner), pair.source]
    others = [lab[pair.itr].link_to("core1").addresses[pair.inner == 6].ip, lab["msmr"].address_of(pair.inner)]
    watched = ["core3", "core2", "client", pair.here, pair.there]
    with pair.watch(*watched) as seen:
        stray = [packets.datagram(pair.source, one, (7777, SINK), b"packet stray") for one in (*nearer, *others)]
        pair.arrive(*(pair.tunnel(one) for one in stray))
        pair.all_arrived(seen)
        assert [text for node in watched for text in seen.texts(node)] == []
    assert pair.drops(pair.etr) - before == {"not an EID of this site": len(stray)}


def test_a_source_may_be_anybody(pair: Pair) -> None:
    """A host without LISP through a PITR, or one of a site that is not in the map-cache."""
    outsider = pair.lab["client"].address_of(pair.inner)
    packet = packets.datagram(outsider, pair.target, (7777, SINK), b"packet outsider")
    assert set(delivered(pair, pair.tunnel(packet))) == {"outsider"}


@pytest.mark.requirement("D15")
def test_inner_options_extensions_and_fragments_arrive(pair: Pair) -> None:
    """What a fast path may not understand is delivered as it is."""
    body = packets.udp(pair.source, pair.target, (7, SINK), b"packet option")
    if pair.inner == 4:
        odd = packets.ip(pair.source, pair.target, body, options=b"\x01" * 8)
    else:
        odd = packets.ip(pair.source, pair.target, struct.pack("!BBBBI", packets.UDP, 0, 1, 4, 0) + body, protocol=60)
    pieces = packets.fragments(pair.datagram("fragment " * 100), 400, 77)
    sent = [odd, *pieces, packets.ip(pair.source, pair.target, b"packet of protocol 253", protocol=253)]
    with pair.watch(pair.there) as seen:
        pair.arrive(*map(pair.tunnel, sent))
        pair.all_arrived(seen)
        found = [one.payload for one in seen.packets(pair.there) if one.source == pair.source]
    for one in sent:
        assert Ip(one).payload in found


def test_an_outer_packet_in_pieces_is_put_together(pair: Pair) -> None:
    """Our ITRs send none, others may: in order or not."""
    for number, order in enumerate((1, -1)):
        whole = pair.tunnel(pair.datagram(f"{number} " + "p" * 900))
        pieces = packets.fragments(whole, 400, 500 + number)
        assert len(pieces) == 3
        assert len(delivered(pair, *pieces[::order], fast=0)) == 1


def test_outer_options_and_extensions_do_not_hurt(pair: Pair) -> None:
    """The router takes its packets as any host would."""
    assert set(delivered(pair, pair.slow(pair.tunnel(pair.datagram("optional"))), fast=0)) == {"optional"}
