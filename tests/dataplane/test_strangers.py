"""Whoever sends a frame at a site port shows that it is there, whatever the frame is (requirement X01)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from nodes.dataplane.bpf.layout import EventKind
from nodes.dataplane.decision import Tables
from nodes.linux.bpf_maps import RingBuffer
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, host_prefix
from tests.dataplane.router import ELSEWHERE, LEFT, REDIRECTED, SITE_MAC, Router, own
from tests.dataplane.test_gate import events, make_old
from tests.unit.data_path import install, ip_packet, locator, tables

SUBNET = {4: "192.168.2.", 6: "2001:db8:2::"}
TO = {
    "the gateway": ("192.168.1.254", "2001:db8:1::fe"),
    "a host of its subnet": (f"{SUBNET[4]}9", f"{SUBNET[6]}9"),
    "a native route": ("172.16.1.1", "2620::1"),
    "the router's RLOC": (own(4), own(6)),
    "another site": ("192.168.3.1", "2001:db8:3::1"),
    "a group": ("224.0.0.251", "ff02::fb"),
    "everybody": ("255.255.255.255", "ff02::1"),
    "nobody": ("0.0.0.0", "::"),
}
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def stretched() -> Tables:
    made = tables()
    for prefix in ("192.168.2.0/24", "2001:db8:2::/64"):
        made.dynamic.set(EidPrefix.of(prefix), True)
    for prefix in ("192.168.3.0/24", "2001:db8:3::/64"):
        install(made, prefix, Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    for prefix in ("172.16.0.0/12", "2620::/32"):
        made.native.set(EidPrefix.of(prefix), True)
    return made


@pytest.fixture
def reader(router: Router) -> Iterator[RingBuffer]:
    made = RingBuffer(router.loaded.maps["events"])
    make_old(router)
    made.read()  # what other tests caused
    yield made
    made.close()


def told(router: Router, reader: RingBuffer) -> list[str]:
    return [str(one.eid) for one in events(router, reader) if one.kind is EventKind.SOURCE]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("to", TO)
def test_whomever_it_is_for(router: Router, reader: RingBuffer, version: int, to: str) -> None:
    router.load(stretched())
    source, destination = f"{SUBNET[version]}77", TO[to][version == 6]
    for mac in (SITE_MAC, EVERYBODY, ELSEWHERE):
        make_old(router)
        done = router.run("lisp_site", ip_packet(source, destination), router.site, mac)
        assert done.result == LEFT
        [event] = events(router, reader)
        assert (event.kind, str(event.eid), event.interface) == (EventKind.SOURCE, source, router.site)
        assert event.mac.hex(":") == ELSEWHERE


@pytest.mark.parametrize("version", [4, 6])
def test_whatever_it_is(router: Router, reader: RingBuffer, version: int) -> None:
    """Fragments, options, no hop left, a packet that is cut short: but neighbour discovery the daemon hears itself."""
    router.load(stretched())
    source, destination = f"{SUBNET[version]}78", TO["another site"][version == 6]
    packets = [
        ip_packet(source, destination, ttl=1),
        ip_packet(source, destination, ttl=0),
        ip_packet(source, destination, fragment=0x2000),
        ip_packet(source, destination, options=bytes(8) if version == 4 else b""),
        ip_packet(source, destination, 44 if version == 6 else 47, bytes(8)),
        ip_packet(source, destination)[:-3],
    ]
    for packet in packets:
        make_old(router)
        assert router.from_site(packet).result == LEFT
        assert told(router, reader) == [source]
    make_old(router)
    for kind in (135, 136):
        router.from_site(
            ip_packet(f"{SUBNET[6]}78", f"{SUBNET[6]}1", 58, struct.pack("!BBHI", kind, 0, 0, 0) + bytes(16))
        )
    assert told(router, reader) == []


@pytest.mark.parametrize("version", [4, 6])
def test_who_is_known_or_none_of_ours_is_no_stranger(router: Router, reader: RingBuffer, version: int) -> None:
    now, host = stretched(), host_prefix(f"{SUBNET[version]}79")
    path = router.load(now)
    destination = TO["another site"][version == 6]
    now.local.set(host, True)
    path.add_host(host)
    assert router.from_site(ip_packet(str(host.address), destination)).result == REDIRECTED
    for source in (
        TO["the gateway"][version == 6],
        TO["another site"][version == 6],
        TO["a native route"][version == 6],
    ):
        router.from_site(ip_packet(source, TO["the gateway"][version == 6]))
    router.from_core(ip_packet(f"{SUBNET[version]}80", own(version)))  # who is behind the core is not of this site
    assert told(router, reader) == []


@pytest.mark.parametrize("version", [4, 6])
def test_who_comes_back_within_the_second_is_told_at_once(router: Router, reader: RingBuffer, version: int) -> None:
    """X01: there and back: what was told of its first coming does not hide its second."""
    now, host = stretched(), host_prefix(f"{SUBNET[version]}81")
    path = router.load(now)
    packet = ip_packet(str(host.address), TO["the gateway"][version == 6])
    for _ in range(3):
        router.from_site(packet)
        router.from_site(packet)
        assert told(router, reader) == [str(host.address)]
        now.local.set(host, True)
        path.add_host(host)
        router.from_site(packet)
        assert told(router, reader) == []
        now.local.pop(host)
        path.remove_host(host)
