"""The programs where they hang: at a TUN device's egress, at ports, and what they send on."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nodes.dataplane.bpf.layout import Statistic
from nodes.dataplane.decision import Encapsulate, decide_outbound
from nodes.dataplane.kernel.loading import Attachment
from nodes.dataplane.packet import parse
from nodes.linux import classifier, qdisc, tcx
from nodes.linux.classifier import Hook
from nodes.linux.namespaces import inside
from nodes.lisp.effects import Forwarding
from tests.dataplane.router import CORE_MAC, ELSEWHERE, SITE_NEIGHBOUR, Router, frame
from tests.dataplane.test_inbound import EID, lisp
from tests.dataplane.test_outbound import outer_packet
from tests.unit.data_path import by_family, install, ip_packet, locator, tables

SECONDS = 5.0
ENDS = {4: ("192.168.1.1", "192.168.2.1"), 6: ("2001:db8:1::1", "2001:db8:2::1")}


@contextmanager
def hanging(router: Router) -> Iterator[None]:
    """The programs at their hooks."""
    attachment = Attachment(router.kernel, router.devices)
    with inside(router.namespace):
        attachment.attach(router.loaded)
    try:
        yield
    finally:
        with inside(router.namespace):
            attachment.detach()


def listen(namespace: int, interface: str) -> socket.socket:
    """Everything that comes in by an interface or leaves by it."""
    with inside(namespace):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        opened.bind((interface, 3))
    opened.settimeout(SECONDS)
    return opened


def into_tun(router: Router, packet: bytes) -> None:
    """Route a packet into lisp0."""
    with inside(router.namespace), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sender:
        sender.sendto(packet, ("lisp0", 0x0800 if packet[0] >> 4 == 4 else 0x86DD))


def next_of(opened: socket.socket, what: bytes) -> bytes:
    """The next frame whose IP packet ends like that, its Ethernet header included."""
    while True:
        found = opened.recv(4096)
        if found.endswith(what):
            return found


def from_tun(router: Router) -> bytes | None:
    """What the daemon would read, if anything waits."""
    ready, _, _ = select.select([router.tuns[0]], [], [], 0)
    return os.read(router.tuns[0], 4096) if ready else None


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_out_of_the_tun_device(router: Router, inner: int, outer: int) -> None:
    """A hit leaves encapsulated, its TTL as the kernel left it; a miss waits for the daemon and is counted."""
    into = tables()
    rloc = locator("10.0.2.1" if outer == 4 else "2001:db8:0:2::1")
    for prefix in ("192.168.2.0/24", "2001:db8:2::/64"):
        install(into, prefix, Forwarding.ENCAPSULATE, rloc)
    router.load(into)
    with hanging(router), listen(router.outside, "net") as wire:
        while from_tun(router) is not None:
            pass
        packet = ip_packet(*ENDS[inner], tos=0xB9, ttl=1)
        into_tun(router, packet)
        verdict = decide_outbound(parse(packet), into, by_family)
        assert isinstance(verdict, Encapsulate)
        sent = next_of(wire, packet[-8:])
        assert sent[14:] == outer_packet(verdict, packet, 1)
        assert sent[:6].hex(":") == ELSEWHERE
        assert from_tun(router) is None
        punted, before = router.loaded.maps["gates"].memory()[:8].tobytes(), router.statistics()
        missing = ip_packet(*[one.replace("2.1", "9.1").replace("b8:2", "b8:9") for one in ENDS[inner]])
        into_tun(router, missing)
        assert from_tun(router) == missing
        now = router.loaded.maps["gates"].memory()[:8].tobytes()
        assert struct.unpack("=Q", now)[0] - struct.unpack("=Q", punted)[0] == 1
        assert router.statistics()[Statistic.TO_STACK] - before[Statistic.TO_STACK] == 1


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_through_the_core_port_to_the_host(router: Router, inner: int, outer: int) -> None:
    """Stripped, with the host's MAC address."""
    router.load(tables())
    packet = ip_packet(*EID[inner])
    with hanging(router), listen(router.outside, "host") as host, listen(router.outside, "net") as wire:
        wire.send(frame(lisp(outer, packet), CORE_MAC))
        got = next_of(host, packet[-8:])
    assert got[:6].hex(":") == ELSEWHERE
    assert parse(got[14:]) == parse(packet)


@pytest.mark.parametrize("outer", [4, 6])
def test_a_packet_without_hops_left_is_the_stacks(router: Router, outer: int) -> None:
    """D11: it enters by the TUN device, as out of the daemon's hand, and the kernel says so to its sender."""
    router.load(tables())
    with hanging(router), listen(router.outside, "net") as wire:
        router.ip("route replace 192.168.2.0/24 dev lisp0")
        while from_tun(router) is not None:
            pass
        wire.send(frame(lisp(outer, ip_packet(*EID[4]), ttl=1), CORE_MAC))
        told = b""
        while told[9:10] != b"\x01":  # a device that has just come up may have a word of its own to say first
            ready, _, _ = select.select([router.tuns[0]], [], [], SECONDS)
            assert ready
            told = os.read(router.tuns[0], 4096)
        assert (str(parse(told).destination), parse(told).protocol, told[20]) == (EID[4][0], 1, 11)


@pytest.mark.parametrize("inner", [4, 6])
def test_a_neighbour_is_asked_whether_it_is_still_there(router: Router, inner: int) -> None:
    """A MAC address learnt once would stay good for ever: one frame a second goes by the kernel's neighbour table."""
    router.load(tables())
    neighbour, packet = SITE_NEIGHBOUR[inner], ip_packet(*EID[inner])
    asked = router.loaded.maps["asked"]
    with hanging(router), listen(router.outside, "host") as wire, listen(router.outside, "net") as core:
        for state in ("DELAY", "STALE"):  # the second frame of a second goes past it
            if state == "DELAY":
                for key, _ in list(asked.items()):
                    asked.update(key, bytes(8))
            router.ip(f"neighbour replace {neighbour} lladdr {ELSEWHERE} dev site nud stale")
            core.send(frame(lisp(inner, packet), CORE_MAC))
            assert next_of(wire, packet[-8:])[:6].hex(":") == ELSEWHERE
            assert state in router.ip(f"neighbour show {neighbour} dev site")
    router.ip(f"neighbour replace {neighbour} lladdr {ELSEWHERE} dev site nud permanent")


@pytest.mark.skipif(not tcx.has_tcx(), reason="this kernel has no tcx")
def test_what_loses_packets_on_purpose_is_asked_first(router: Router) -> None:
    """A program that is attached without a classifier would be asked before it."""
    loss, programs = classifier.loss_program(50), {router.core: "lisp_core", router.site: "lisp_site"}
    qdisc.add_clsact(router.kernel, router.core)
    classifier.add_classifier(router.kernel, router.core, loss, Hook.INGRESS)
    try:
        with hanging(router), inside(router.namespace):
            behind = {port: classifier.list_attached(router.kernel, port, Hook.INGRESS) for port in programs}
            before = {port: tcx.list_attached(port, Hook.INGRESS) for port in programs}
    finally:
        classifier.detach(router.kernel, router.core, Hook.INGRESS, 1, 0)
    assert [(one.priority, one.name) for one in behind[router.core]] == [(10, "lisp_core")]
    assert not before[router.core]
    assert not behind[router.site]
    assert [one.name for one in before[router.site]] == ["lisp_site"]
    with inside(router.namespace):
        assert not any(tcx.list_attached(port, Hook.INGRESS) for port in programs)
