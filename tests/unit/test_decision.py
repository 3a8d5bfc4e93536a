"""The forwarding decision, rule by rule."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from nodes.dataplane.decision import (
    Deliver,
    Drop,
    Encapsulate,
    Hold,
    Native,
    Reencapsulate,
    Unreachable,
    choose,
    decide_outbound,
)
from nodes.dataplane.decision_inbound import decide_inbound
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, IPAddress
from tests.unit.data_path import OWN, PXTR, XTR, by_family, install, locator, packet, tables

ENCAPSULATE, NATIVE, DROP = Forwarding.ENCAPSULATE, Forwarding.NATIVE, Forwarding.DROP
TO_SITE_2 = packet("192.168.1.1", "192.168.2.1")


def test_a_fresh_map_cache_holds_the_packet() -> None:
    """S04: the default entry says send-map-request; the lookup does not miss."""
    assert decide_outbound(TO_SITE_2, tables(), by_family) == Hold(EidPrefix.of("192.168.2.1/32"))


def test_a_mapping_encapsulates() -> None:
    """S04, D02."""
    into = tables()
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1"))
    verdict = decide_outbound(TO_SITE_2, into, by_family)
    assert isinstance(verdict, Encapsulate)
    assert (verdict.locator, verdict.source) == (ip_address("10.0.2.1"), OWN[4])
    assert 0xC000 <= verdict.source_port <= 0xFFFF
    assert verdict.instance_id == 0


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("no-action", Unreachable.HOST),
        ("no-reason", Unreachable.HOST),
        ("policy-denied", Unreachable.PROHIBITED),
        ("auth-failure", Unreachable.PROHIBITED),
    ],
)
def test_drop_actions_tell_the_sender(reason: str, told: Unreachable) -> None:
    """S04, C12."""
    into = tables()
    install(into, "192.168.2.0/24", DROP, reason=reason)
    assert decide_outbound(TO_SITE_2, into, by_family) == Drop(f"map-cache: {reason}", told)


def test_only_default_missing_and_null0_routes_make_candidates() -> None:
    """S02: a specific route forwards natively, a Null0 inside it does not."""
    into = tables()
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1"))
    into.native.set(EidPrefix.of("192.168.0.0/16"), True)
    assert decide_outbound(TO_SITE_2, into, by_family) == Native()
    into.native.set(EidPrefix.of("192.168.2.0/25"), False)
    assert isinstance(decide_outbound(TO_SITE_2, into, by_family), Encapsulate)


def test_a_source_outside_the_local_prefixes_is_native() -> None:
    """S03."""
    into = tables()
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1"))
    assert decide_outbound(packet("172.16.1.1", "192.168.2.1"), into, by_family) == Native()
    assert decide_outbound(packet("172.16.1.1", "198.51.100.1"), into, by_family) == Native()


def test_the_route_to_the_locator_gives_the_source_rloc() -> None:
    """S05: two interfaces, two RLOCs; a locator without a route is not taken."""
    into = tables()
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1", 1), locator("10.0.9.1", 2))
    routes: dict[IPAddress, IPAddress] = {ip_address("10.0.9.1"): ip_address("10.0.1.129")}
    verdict = decide_outbound(TO_SITE_2, into, routes.get)
    assert isinstance(verdict, Encapsulate)
    assert (verdict.locator, verdict.source) == (ip_address("10.0.9.1"), ip_address("10.0.1.129"))
    assert decide_outbound(TO_SITE_2, into, {}.get) == Drop("no route to a locator", Unreachable.HOST)


def test_a_mapping_that_leads_here_does_not_loop() -> None:
    into = tables()
    install(into, "192.168.2.0/24", ENCAPSULATE, locator(str(OWN[4])), locator("10.0.2.1"))
    assert decide_outbound(TO_SITE_2, into, by_family) == Drop("mapping leads to this node", Unreachable.HOST)


def test_a_petr_takes_what_is_no_eid() -> None:
    """M14: with a PETR encapsulated to it, without one natively."""
    outside = packet("192.168.1.1", "203.0.113.9")
    for petrs in ((), ("10.0.3.1", "10.0.4.1")):
        into = tables(petrs=petrs)
        install(into, "203.0.113.0/24", NATIVE)
        verdict = decide_outbound(outside, into, by_family)
        if petrs:
            assert isinstance(verdict, Encapsulate)
            assert verdict.locator == ip_address("10.0.3.1")
        else:
            assert verdict == Native()


def test_a_pitr_never_forwards_natively_into_its_aggregates() -> None:
    """M24, and S03 does not bind a PITR: its sources have no EIDs."""
    into = tables(PXTR)
    inward = packet("203.0.113.9", "192.168.2.1")
    assert decide_outbound(inward, into, by_family) == Hold(EidPrefix.of("192.168.2.1/32"))
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1"))
    assert isinstance(decide_outbound(inward, into, by_family), Encapsulate)
    install(into, "192.168.128.0/17", NATIVE)
    unregistered = packet("203.0.113.9", "192.168.200.1")
    assert decide_outbound(unregistered, into, by_family) == Drop("unregistered EID", Unreachable.HOST)
    assert decide_outbound(packet("203.0.113.9", "198.51.100.1"), into, by_family) == Native()


def test_a_petr_serves_lisp_sites_towards_others_only() -> None:
    """M14: aggregates as sources, never as destinations; never the RLOC space (S01)."""
    into = tables(PXTR)
    assert decide_inbound(packet("192.168.1.1", "203.0.113.9"), 0, into) == Native()
    for source, destination in (
        ("203.0.113.9", "198.51.100.1"),
        ("192.168.1.1", "192.168.2.1"),
        ("192.168.1.1", "10.0.2.1"),
        ("192.168.1.1", "224.0.0.5"),
    ):
        assert isinstance(decide_inbound(packet(source, destination), 0, into), Drop), destination


def test_an_etr_delivers_to_its_own_eids_only() -> None:
    """D20: in the same instance."""
    into = tables(instance_id=7)
    inward = packet("192.168.2.1", "192.168.1.1")
    assert decide_inbound(inward, 7, into) == Deliver()
    assert decide_inbound(inward, 0, into) == Drop("not an EID of this site")
    assert decide_inbound(packet("192.168.2.1", "192.168.3.1"), 7, into) == Drop("not an EID of this site")


def test_a_host_of_a_dynamic_prefix_is_of_the_site_before_it_is_found() -> None:
    """X01: its first packet is encapsulated already; what comes back is delivered once it is found here (X06)."""
    into = tables()
    into.dynamic.set(EidPrefix.of("11.11.11.0/24"), True)
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1"))
    assert isinstance(decide_outbound(packet("11.11.11.11", "192.168.2.1"), into, by_family), Encapsulate)
    back = packet("192.168.2.1", "11.11.11.11")
    assert decide_inbound(back, 0, into) == Reencapsulate(absent=True)
    into.local.set(EidPrefix.of("11.11.11.11/32"), True)
    assert decide_inbound(back, 0, into) == Deliver()


def test_an_instance_keeps_to_itself() -> None:
    """D20: its own routes and mappings count, and there is no native way out of it."""
    into = tables(instance_id=7)
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1"), instance_id=7)
    into.native.set(EidPrefix.of("192.168.2.0/24"), True)
    verdict = decide_outbound(TO_SITE_2, into, by_family, 7)
    assert isinstance(verdict, Encapsulate)
    assert verdict.instance_id == 7
    assert decide_outbound(TO_SITE_2, into, by_family) == Native()
    no_way_out = Drop("no way out of the instance", Unreachable.NETWORK)
    assert decide_outbound(packet("172.16.1.1", "192.168.2.1"), into, by_family, 7) == no_way_out
    install(into, "203.0.113.0/24", NATIVE, instance_id=7)
    assert decide_outbound(packet("192.168.1.1", "203.0.113.9"), into, by_family, 7) == no_way_out


def test_too_big_depends_on_the_locator() -> None:
    """D16: 36 bytes over IPv4, 56 over IPv6; only what may not be fragmented."""
    body = bytes(1464 - 20)
    into = tables()
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1"))
    fits = packet("192.168.1.1", "192.168.2.1", body=body, fragment=0x4000)
    assert isinstance(decide_outbound(fits, into, by_family), Encapsulate)
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("2001:db8:0:2::1"))
    assert decide_outbound(fits, into, by_family) == Drop("too big", Unreachable.TOO_BIG, 1444)
    free = packet("192.168.1.1", "192.168.2.1", body=body)
    assert isinstance(decide_outbound(free, into, by_family), Encapsulate)


@pytest.mark.parametrize("destination", ["224.0.0.1", "255.255.255.255", "127.0.0.1", "169.254.1.1", "0.0.0.0"])
def test_only_unicast_is_encapsulated(destination: str) -> None:
    assert decide_outbound(packet("192.168.1.1", destination), tables(), by_family) == Drop("not unicast")


def test_one_flow_one_port_many_flows_many() -> None:
    """D02: a hash of the 5-tuple."""
    into = tables()
    install(into, "192.168.2.0/24", ENCAPSULATE, locator("10.0.2.1"))

    def port(source_port: int, length: int = 8) -> int:
        body = struct.pack("!HHHH", source_port, 80, 8, 0) + bytes(length)
        verdict = decide_outbound(packet("192.168.1.1", "192.168.2.1", body=body), into, by_family)
        assert isinstance(verdict, Encapsulate)
        return verdict.source_port

    assert len({port(40000 + number) for number in range(50)}) > 45
    assert len({port(40000, length) for length in range(50)}) == 1


def test_fragments_of_one_packet_stay_together() -> None:
    """D02: fragments hash on addresses alone."""
    first = packet("192.168.1.1", "192.168.2.1", fragment=0x2000)
    later = packet("192.168.1.1", "192.168.2.1", fragment=0x00B9, body=b"\xff" * 8)
    assert first.flow_hash() == later.flow_hash()
    assert later.later_fragment
    assert not first.later_fragment


def test_weights_share_the_flows() -> None:
    """D21, D22: 75/25 among the best, none to the worse, within 3 percentage points over 2000 flows."""
    locators = (locator("10.0.2.1", 1, 75), locator("10.0.3.1", 1, 25), locator("10.0.4.1", 2, 100))
    counted = dict.fromkeys(locators, 0)
    for number in range(2000):
        body = struct.pack("!HHHH", 30000 + number, 80, 8, 0)
        flow = packet("192.168.1.1", "192.168.2.1", body=body).flow_hash()
        chosen = choose(locators, flow)
        assert chosen is not None
        counted[chosen] += 1
    first, second, third = counted.values()
    assert abs(first / 2000 - 0.75) < 0.03
    assert abs(second / 2000 - 0.25) < 0.03
    assert third == 0


def test_choose_at_the_edges() -> None:
    """D21: 255 is never used; all weights 0 share evenly; a weight of 0 beside others gets nothing."""
    flows = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    assert choose((), 1) is None
    assert choose((locator("10.0.2.1", 255),), 1) is None
    evenly = (locator("10.0.2.1", 1, 0), locator("10.0.3.1", 1, 0))
    assert [choose(evenly, flow) for flow in flows] == [evenly[0]] * 3 + [evenly[1]] * 2
    one_sided = (locator("10.0.2.1", 1, 0), locator("10.0.3.1", 1, 1))
    assert {choose(one_sided, flow) for flow in flows} == {one_sided[1]}


def test_the_flow_hash_is_the_kernels() -> None:
    """D02, D22: by hand, word by word; the programs in bpf/ have the same rule, and the other end of a flow another."""
    of_a_flow = packet("192.168.1.1", "192.168.2.1", body=struct.pack("!HHHH", 1111, 2222, 8, 0)).flow_hash()
    value = 0x4C495350
    for word in (0xC0A80101, 0xC0A80201, 17, 1111 << 16 | 2222):
        value = (value ^ word) * 0x9E3779B1 % 2**32
        value ^= value >> 16
    value = (value ^ value >> 13) * 0x85EBCA6B % 2**32
    assert of_a_flow == value ^ value >> 16


def test_ipv6_eids_over_ipv4_and_ipv6_locators() -> None:
    """D15: the decision does not care for the families."""
    for address in ("10.0.2.1", "2001:db8:0:2::1"):
        into = tables(XTR)
        install(into, "2001:db8:2::/64", ENCAPSULATE, locator(address))
        verdict = decide_outbound(packet("2001:db8:1::1", "2001:db8:2::1"), into, by_family)
        assert isinstance(verdict, Encapsulate)
        assert verdict.locator == ip_address(address)


def test_a_locator_that_is_down_is_not_used() -> None:
    """C37: the next best takes its flows; with all of them down, the sender is told, as without a route."""
    made = tables()
    install(made, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"), locator("10.0.3.1", priority=2))
    of_host = packet("192.168.1.11", "192.168.2.22")

    def chosen() -> str:
        verdict = decide_outbound(of_host, made, by_family)
        return str(verdict.locator) if isinstance(verdict, Encapsulate) else str(verdict)

    assert chosen() == "10.0.2.1"
    made.down.add(ip_address("10.0.2.1"))
    assert chosen() == "10.0.3.1"
    made.down.add(ip_address("10.0.3.1"))
    assert decide_outbound(of_host, made, by_family) == Drop("no route to a locator", Unreachable.HOST)
    made.down.clear()
    assert chosen() == "10.0.2.1"


def test_too_big_depends_on_the_path() -> None:
    """D19: S is the path's MTU less H, of the locator that is chosen; a path is never wider than the core."""
    made = tables()
    install(made, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    install(made, "192.168.3.0/24", Forwarding.ENCAPSULATE, locator("2001:db8:0:2::1"))
    made.path_mtu |= {ip_address("10.0.2.1"): 1400, ip_address("2001:db8:0:2::1"): 9000}
    for destination, most in (("192.168.2.22", 1400 - 36), ("192.168.3.33", 1500 - 56)):
        for length, fits in ((most, True), (most + 1, False)):
            big = packet("192.168.1.11", destination, body=bytes(length - 20), fragment=0x4000)
            verdict = decide_outbound(big, made, by_family)
            assert isinstance(verdict, Encapsulate) if fits else verdict == Drop("too big", Unreachable.TOO_BIG, most)
