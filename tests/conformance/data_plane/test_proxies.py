"""Between LISP sites and hosts that know nothing of LISP: the PITR and the PETR (RFC 6832)."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address

import pytest

from tests.conformance.clause import clause
from tests.conformance.data_plane.pair import Pair
from tests.conformance.tester import packets
from tests.conformance.tester.counters import drops
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.traffic import SINK
from tests.conformance.tester.waiting import in_background

OCTETS = 2 << 20
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
STRANGER: dict[int, IPAddress] = {4: IPv4Address("198.51.100.7"), 6: IPv6Address("2001:db8:5555::7")}


def client(pair: Pair) -> IPAddress:
    """The host outside."""
    return pair.lab["client"].address_of(pair.inner)


def warm(pair: Pair) -> None:
    """The PITR knows the mapping of the far site, the near router that the client has none."""
    for host in (pair.here, pair.there):
        done = pair.lab.run(host, ["ping", "-n", "-c", "1", "-W", "10", str(client(pair))])
        assert done.returncode == 0, done.stdout


@pytest.mark.order
@pytest.mark.requirement("D02", "D11", "D12", "M13", "S10")
def test_a_pitr_encapsulates_what_comes_from_outside(pair: Pair) -> None:
    """Natively to the PITR, from there in a LISP header to the site's own RLOC."""
    warm(pair)
    sent = [pair.between(client(pair), pair.target, number, ttl=50, tos=number) for number in range(10)]
    with pair.watch("pxtr", "core2", pair.there) as seen, pair.fast("pxtr", "encapsulated", 10):
        pair.send("client", "edge", *sent)
        seen.until(lambda: len(seen.texts(pair.there)) == 10, "ten packets at the host")
        native, tunnelled = seen.packets("pxtr"), seen.data("core2", "pxtr")
        arrived = [one for one in seen.packets(pair.there) if one.text]
    assert [one.ttl for one in native if one.source == client(pair)] == [48] * 10
    assert {(one.outer.source, one.outer.destination) for one in tunnelled} == {
        (pair.rloc("pxtr"), pair.rloc(pair.etr))
    }
    with clause("D11"):
        assert [(one.outer.ttl, one.inner.ttl) for one in tunnelled] == [(47, 47)] * 10
        assert [one.ttl for one in arrived] == [44] * 10
    with clause("D12"):
        assert [one.outer.tos for one in tunnelled] == list(range(10))
    with clause("D02"):
        assert len({one.source_port for one in tunnelled}) == 1


@pytest.mark.requirement("D16")
def test_a_pitr_tells_the_outside_what_is_too_big(pair: Pair) -> None:
    """S is what fits the locator of the site."""
    warm(pair)
    fields = {"fragment": packets.DONT_FRAGMENT} if pair.inner == 4 else {}
    size = pair.most + 1 - len(pair.between(client(pair), pair.target, ""))
    with pair.watch("client", "core2", exact=True) as seen:
        pair.send("client", "edge", pair.between(client(pair), pair.target, "b" * size, **fields))
        kind, at = {4: ((3, 4), 6), 6: ((2, 0), 4)}[pair.inner]
        error = seen.until(
            lambda: [one for one in seen.packets("client") if tuple(one.payload[:2]) == kind and one.protocol != 17],
            "an ICMP error",
        )[0]
        assert int.from_bytes(error.payload[at:8], "big") == pair.most
        assert not seen.data("core2", "pxtr")


@pytest.mark.requirement("D11", "D12", "D13", "M14", "S10")
def test_a_petr_forwards_natively_what_a_site_sends_it(pair: Pair) -> None:
    """By the rules of decapsulation; then as any router, to where no LISP is."""
    outer = pair.rloc(pair.itr), pair.rloc("pxtr")
    inner = [pair.between(pair.source, client(pair), number, ttl=40, tos=0x02) for number in range(4)]
    with pair.watch("client", "edge") as seen, pair.fast("pxtr", "natively_forwarded", 4):
        for number, one in enumerate(inner):
            pair.send(
                "core2", "pxtr", packets.lisp(*outer, one, ttl=(20, 60)[number % 2], tos=0xB8 | (2, 3)[number // 2])
            )
        seen.until(lambda: len(seen.texts("client")) == 4, "four packets at the client")
        # The first may be overtaken while the edge asks for its neighbour.
        found = sorted((one for one in seen.packets("client") if one.text), key=lambda one: one.text)
        assert not seen.data("edge", "core2")
    # One hop less at the PETR, at core2 and at the edge.
    with clause("D11"):
        assert [one.ttl for one in found] == [17, 37, 17, 37]
    with clause("D12"):
        assert [one.tos >> 2 for one in found] == [0xB8 >> 2] * 4
    with clause("D13"):
        assert [one.tos & 3 for one in found] == [2, 2, 3, 3]
    assert all(one.checksum_is_right for one in found)


@pytest.mark.requirement("M14")
def test_an_itr_gives_its_petr_what_goes_outside(pair: Pair) -> None:
    """Natively-forward means through the PETR, in a LISP header; by IPv4, for every site has an IPv4 RLOC."""
    warm(pair)
    with pair.watch("core1", "client") as seen, pair.fast(pair.itr, "encapsulated", 1):
        pair.leave(pair.between(pair.source, client(pair), "outside"))
        found = seen.until(lambda: seen.arrived("client", "outside"), "the packet at the client")
        (one,) = seen.data("core1", pair.itr)
    assert one.outer.destination == pair.lab["pxtr"].address_of(4)
    assert found is not None
    # xn, core1 and core2 outside; pxtr, core2 and edge inside.
    assert found.ttl == 64 - 6


@pytest.mark.requirement("M14", "S01")
def test_a_petr_is_no_way_round_the_rules(pair: Pair) -> None:
    """From other sources, back into the aggregates, to RLOCs: dropped and counted."""
    aggregate = next(one.network for one in pair.lab.topology.eid_aggregates if one.network.version == pair.inner)
    nobody = aggregate[-2]
    wrong = {
        "source outside the aggregates": [(STRANGER[pair.inner], client(pair))],
        "destination inside the aggregates": [(pair.source, pair.target), (pair.source, nobody)],
        "destination is an RLOC": [(pair.source, pair.lab["msmr"].address_of(pair.inner))],
    }
    outer = pair.rloc(pair.itr), pair.rloc("pxtr")
    before = drops(pair.lab, "pxtr")
    with pair.watch("client", "core2", "msmr", pair.there) as seen:
        stray = [pair.between(*ends, reason) for reason, pairs in wrong.items() for ends in pairs]
        good = pair.between(pair.source, client(pair), "good")
        pair.send("core2", "pxtr", *(packets.lisp(*outer, one) for one in (*stray, good)))
        seen.until(lambda: seen.arrived("client", "good"), "the packet that is allowed")
        texts = [text for node in ("client", "core2", "msmr", pair.there) for text in set(seen.texts(node))]
    counted = None if before is None else pair.drops("pxtr") - before
    assert texts.count("good") == 2
    for reason, pairs in wrong.items():
        with clause("S01" if reason == "destination is an RLOC" else "M14"):
            assert texts.count(reason) == 0
            assert counted is None or counted[reason] == len(pairs)
    assert set(counted or ()) <= set(wrong)


@pytest.mark.requirement("D11", "S10")
def test_a_petr_tells_a_site_that_the_hops_are_over(pair: Pair) -> None:
    """Its ICMP error has one of its RLOCs as source, and takes the way of what comes from outside: by the PITR."""
    warm(pair)
    late = pair.between(pair.source, client(pair), "late", ttl=1)
    with pair.watch(pair.here) as seen:
        pair.send("core2", "pxtr", packets.lisp(pair.rloc(pair.itr), pair.rloc("pxtr"), late))
        over = {packets.ICMP: 11, packets.ICMPV6: 3}
        seen.until(
            lambda: [one for one in seen.packets(pair.here) if one.payload[0] == over.get(one.protocol)],
            "the PETR's word that the hops are over",
        )


@pytest.mark.requirement("M24")
def test_a_pitr_does_not_forward_natively_into_its_aggregates(pair: Pair) -> None:
    """To an EID that nobody has; the packet does not come back to it until its TTL ends."""
    aggregate = next(one.network for one in pair.lab.topology.eid_aggregates if one.network.version == pair.inner)
    with pair.watch("pxtr", "client") as seen:
        pair.send("client", "edge", pair.between(client(pair), aggregate[-3], "nowhere"))
        errors = {packets.ICMP: 3, packets.ICMPV6: 1}
        seen.until(
            lambda: [one for one in seen.packets("client") if one.payload[0] == errors.get(one.protocol)], "a refusal"
        )
        assert seen.texts("pxtr") == ["nowhere"]


@pytest.mark.requirement("M13", "M14", "S10")
def test_tcp_through_pitr_and_petr(pair: Pair) -> None:
    """A session of a host outside with a host of a site: every byte, there and back, and no packet by the daemon."""
    warm(pair)
    with pair.lab.socket(pair.there, FAMILY[pair.inner], socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(pair.target), SINK))
        listener.listen()
        with pair.lab.socket("client", FAMILY[pair.inner], socket.SOCK_STREAM) as out:
            out.settimeout(10)
            out.connect((str(pair.target), SINK))
            far, _ = listener.accept()
            with far:
                far.settimeout(10)
                exchange(out, far, 1 << 17)  # both ends learn which segments fit
                with carried(pair) as counts:
                    exchange(out, far, OCTETS)
    for what, (slow, fast) in counts.items():
        assert slow + fast >= OCTETS // pair.most, what
        assert (fast if pair.dataplane == "python" else slow) == 0, what


def exchange(one: socket.socket, other: socket.socket, octets: int) -> None:
    """So many octets in one direction, then in the other one: they arrive as they were."""
    for sender, receiver in ((one, other), (other, one)):
        body = random.Random(octets).randbytes(octets)
        sending = in_background(partial(sender.sendall, body))
        got = bytearray()
        while len(got) < octets and (part := receiver.recv(1 << 18)):
            got += part
        sending.join()
        assert got == body


@contextmanager
def carried(pair: Pair) -> Iterator[dict[tuple[str, str], tuple[int, int]]]:
    """What routers handle of a session of a host outside, there and back: packets of the daemon and of the kernel."""
    etr = pair.etr
    roles = [("pxtr", "encapsulated"), (etr, "decapsulated"), (etr, "encapsulated"), ("pxtr", "natively_forwarded")]
    roles = [one for one in roles if pair.lab.tells(one[0], "statistics")]  # the bytes have arrived all the same

    def now() -> dict[tuple[str, str], tuple[int, int]]:
        found = {}
        for router, kind in roles:
            fast = pair.counted(router, kind)
            whole = int(pair.lab.show(router, "statistics")["data"][f"{kind}_packets"])
            found[router, kind] = whole - fast, fast
        return found

    before, meanwhile = now(), dict[tuple[str, str], tuple[int, int]]()
    yield meanwhile
    for what, (slow, fast) in now().items():
        meanwhile[what] = slow - before[what][0], fast - before[what][1]
