"""What is a candidate for encapsulation and what is not: the mission's rules 1 to 4 (S01 to S05)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from testbed.observe.decoder import decode
from tests.conformance.data_plane.pair import Pair, Seen
from tests.conformance.tester import packets
from tests.conformance.tester.counters import fast_packets
from tests.conformance.tester.daemons import map_cache, settled
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.waiting import eventually

STRANGER: dict[int, IPAddress] = {4: IPv4Address("198.51.100.7"), 6: IPv6Address("2001:db8:5555::7")}


@contextmanager
def route(pair: Pair, *words: object) -> Iterator[None]:
    """A route of the near router, for a while; in its main table, from which the daemon mirrors it."""
    ip = ["ip", f"-{pair.inner}", "route"]
    assert pair.lab.run(pair.itr, [*ip, "add", *map(str, words)]).returncode == 0
    try:
        settled(pair.lab, pair.itr)  # it has heard of the route when it answers
        yield
    finally:
        assert pair.lab.run(pair.itr, [*ip, "del", *map(str, words)]).returncode == 0
        settled(pair.lab, pair.itr)


def way(pair: Pair, seen: Seen, text: str) -> str:
    """How a packet to the far site leaves the near router: "lisp", "native"."""
    before = fast_packets(pair.lab, pair.itr, "encapsulated")
    pair.leave(pair.datagram(text))

    def found() -> str:
        if any(one.inner.text.endswith(b" " + text.encode()) for one in seen.data("core1", pair.itr)):
            return "lisp"
        return "native" if text in seen.texts("core1") else ""

    went = seen.until(found, f"the packet {text} in the core")
    if before is not None:
        fast = pair.dataplane == "ebpf" and went == "lisp"
        assert pair.counted(pair.itr, "encapsulated") - before == fast
    return went


def gateway(pair: Pair) -> IPAddress:
    """The core router's address."""
    return next(one.ip for one in pair.lab["core1"].link_to(pair.itr).addresses if one.version == pair.inner)


@pytest.mark.requirement("S02")
def test_a_specific_route_switches_encapsulation_off(pair: Pair) -> None:
    """While it is there packets leave without a LISP header, one hop less; afterwards they are encapsulated."""
    host, wider = ip_network(pair.target), ip_network(pair.target).supernet(prefixlen_diff=8)
    with pair.watch("core1") as seen:
        assert way(pair, seen, "before") == "lisp"
        for number, prefix in enumerate((host, wider)):
            with route(pair, prefix, "via", gateway(pair)):
                assert way(pair, seen, f"specific{number}") == "native"
                one = seen.arrived("core1", f"specific{number}")
                assert one is not None
                assert one.ttl == 63
        assert way(pair, seen, "after") == "lisp"


@pytest.mark.requirement("S02")
@pytest.mark.parametrize("null0", ["unreachable", "blackhole"])
def test_a_null0_route_leaves_encapsulation_on(pair: Pair, null0: str) -> None:
    """Also below a specific route that leads somewhere."""
    host, wider = ip_network(pair.target), ip_network(pair.target).supernet(prefixlen_diff=8)
    with pair.watch("core1") as seen, route(pair, wider, "via", gateway(pair)):
        assert way(pair, seen, "wider") == "native"
        with route(pair, null0, host):
            assert way(pair, seen, null0) == "lisp"
        assert way(pair, seen, "again") == "native"


@pytest.mark.requirement("S03")
def test_sources_outside_the_eid_prefixes_go_natively(pair: Pair) -> None:
    """No LISP header, one hop less; whatever the destination is."""
    targets = [pair.target, pair.lab["client"].address_of(pair.inner)]
    with pair.watch("core1") as seen:
        pair.leave(*(pair.between(STRANGER[pair.inner], one, number, ttl=50) for number, one in enumerate(targets)))
        seen.until(lambda: sorted(seen.texts("core1")) == ["0", "1"], "two native packets")
        assert {one.ttl for one in seen.packets("core1") if one.source == STRANGER[pair.inner]} == {49}
        assert not seen.data("core1", pair.itr)


@pytest.mark.requirement("S01")
def test_hosts_do_not_reach_rlocs(pair: Pair) -> None:
    """Neither others' nor the router's own, nor the core; not with a LISP header either; the host is told."""
    lab = pair.lab
    nodes = [lab[pair.itr].link_to("core1"), lab[pair.etr].link_to("core3"), lab["core3"].link_to(pair.etr)]
    targets = [one.ip for face in nodes for one in face.addresses if one.version == pair.inner]
    with pair.watch("core1", pair.here) as seen:
        for target in targets:
            pair.leave(pair.between(pair.source, target, "to an RLOC"))
            pair.leave(packets.lisp(pair.source, target, pair.datagram("forged")))
        assert way(pair, seen, "behind") == "lisp"
        assert seen.texts("core1") == []
        told = {4: b"\x03\x0d", 6: b"\x01\x01"}[pair.inner]
        errors = {packets.ICMP, packets.ICMPV6}
        seen.until(
            lambda: [one for one in seen.packets(pair.here) if one.protocol in errors and one.payload[:2] == told],
            "the host is told that it is prohibited",
        )
        assert not [one for frame in seen.frames if frame.node == "core1" and (one := decode(frame.data)) and one.lisp
                    and one.headers[-1].destination in targets]  # fmt: skip


@pytest.mark.order
@pytest.mark.requirement("S04")
def test_the_map_cache_always_has_an_answer(pair: Pair) -> None:
    """A default entry of each IP version whose action is to send a Map-Request; a miss resolves and goes on."""
    default = {4: "0.0.0.0/0", 6: "::/0"}[pair.inner]
    told = pair.lab.tells(pair.itr, "map-cache")
    if told:
        assert map_cache(pair.lab, pair.itr)[default]["action"] == "send-map-request"
    pair.lab.restart(pair.itr)
    rows = map_cache(pair.lab, pair.itr) if told else {}
    assert {row["source"] for row in rows.values()} <= {"default"}
    with pair.watch(pair.there) as seen:
        pair.leave(*(pair.datagram(number) for number in range(20)))
        seen.until(lambda: len(seen.texts(pair.there)) == 20, "twenty packets")
        assert seen.texts(pair.there) == [str(number) for number in range(20)]
    if told:
        eventually(lambda: len(map_cache(pair.lab, pair.itr)) > len(rows), "the mapping is there")
    pair.warm()


def test_what_a_host_may_not_say_goes_nowhere(pair: Pair) -> None:
    """Groups and addresses that mean nobody, as source or destination: no LISP header, no native packet."""
    odd = {4: ("224.1.2.3", "127.0.0.1", "0.0.0.0"), 6: ("ff0e::1", "::1", "::")}[pair.inner]
    with pair.watch("core1") as seen:
        for text in odd:
            one = type(pair.source)(text)
            pair.leave(pair.between(pair.source, one, "odd"), pair.between(one, pair.target, "odd"))
        assert way(pair, seen, "behind") == "lisp"
        assert seen.texts("core1") == []
        assert [one.inner.text for one in seen.data("core1", pair.itr)] == [b"packet behind"]
