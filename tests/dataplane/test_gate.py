"""What the programs and the daemon tell each other: gates, events, contacts."""

from __future__ import annotations

import struct
import time

import pytest

from nodes.dataplane.bpf.layout import LONG, Action, EventKind, LocalFlag
from nodes.dataplane.decision import Tables
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel.encoding import Event, Past
from nodes.dataplane.kernel_path import KernelPath
from nodes.linux.bpf_maps import RingBuffer
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix
from tests.dataplane.router import LEFT, REDIRECTED, Router
from tests.dataplane.test_inbound import EID, PEER, lisp
from tests.unit.data_path import install, ip_packet, locator, tables

NEVER = 2**63
SECOND = 1_000_000_000
SITE_2 = EidPrefix.of("192.168.2.0/24")
TO_SITE_2 = ip_packet("192.168.1.1", "192.168.2.1")
DYNAMIC = EidPrefix.of("11.11.11.0/24")


def encapsulating() -> Tables:
    into = tables()
    install(into, str(SITE_2), Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    return into


def set_gate(router: Router, punted: int, handled: int) -> None:
    """As the program at the TUN device and the daemon count."""
    router.loaded.maps["gates"].memory()[:16] = struct.pack("=QQ", punted, handled)


def close(router: Router, until: int) -> None:
    """Shut the gate of the mapping until a time."""
    there, key = router.loaded.maps["map_cache"], encoding.eid_key(SITE_2)
    old = there.lookup(key)
    assert old is not None
    candidates = encoding.candidates(list(encoding.Mapping.read(old).candidates))
    there.update(key, encoding.mapping(Action.ENCAPSULATE, 1, 24, until, Past(1), candidates))
    router.forget_flows()


def is_open(router: Router) -> bool:
    value = router.loaded.maps["map_cache"].lookup(encoding.eid_key(SITE_2))
    assert value is not None
    return encoding.Mapping.read(value).is_open


@pytest.fixture
def path(router: Router) -> KernelPath:
    set_gate(router, 0, 0)
    return router.load(encapsulating())


def test_a_new_mapping_waits_until_the_daemon_is_done(router: Router, path: KernelPath) -> None:
    """Nothing overtakes packets that wait in the TUN device or the daemon; once open, it stays open."""
    close(router, NEVER)
    set_gate(router, 5, 4)
    assert router.from_site(TO_SITE_2).result == LEFT
    assert not is_open(router)
    set_gate(router, 5, 5)
    assert router.from_site(TO_SITE_2).result == REDIRECTED
    assert is_open(router)
    set_gate(router, 9, 5)  # packets of another flow
    assert router.from_site(TO_SITE_2).result == REDIRECTED


def test_a_gate_opens_in_any_case_when_its_time_is_over(router: Router, path: KernelPath) -> None:
    set_gate(router, 5, 4)
    close(router, time.monotonic_ns() + 3600 * SECOND)
    assert router.from_site(TO_SITE_2).result == LEFT
    close(router, time.monotonic_ns())
    assert router.from_site(TO_SITE_2).result == REDIRECTED
    assert is_open(router)


def test_a_new_host_waits_as_well(router: Router, path: KernelPath) -> None:
    """Its first packets wait in the daemon until it has answered (requirement X01)."""
    there, key = router.loaded.maps["local"], encoding.eid_key(EidPrefix.of("192.168.1.1/32"))
    there.update(key, encoding.local(LocalFlag.EID, False, NEVER))
    router.forget_flows()
    set_gate(router, 5, 4)
    assert router.from_site(TO_SITE_2).result == LEFT
    set_gate(router, 5, 5)
    assert router.from_site(TO_SITE_2).result == REDIRECTED
    set_gate(router, 6, 5)
    assert router.from_site(TO_SITE_2).result == REDIRECTED


def events(router: Router, reader: RingBuffer) -> list[Event]:
    return [Event.read(record) for record in reader.read()]


def make_old(router: Router) -> None:
    """What was told a moment ago was told more than a second ago."""
    told = router.loaded.maps["told"]
    for key, value in list(told.items()):
        told.update(key, LONG.pack(LONG.unpack(value)[0] - 2 * SECOND))


def test_the_daemon_hears_of_unknown_sources_and_absent_hosts(router: Router) -> None:
    """X01, X06: once a second for each of them; the packet is the stack's."""
    into = encapsulating()
    into.dynamic.set(DYNAMIC, True)
    into.local.set(EidPrefix.of("11.11.11.11/32"), True)
    router.load(into)
    reader = RingBuffer(router.loaded.maps["events"])
    try:
        stranger, known = (ip_packet(one, "192.168.2.1") for one in ("11.11.11.12", "11.11.11.11"))
        for_absent = lisp(4, ip_packet("192.168.2.1", "11.11.11.13"))
        assert router.from_site(known).result == REDIRECTED
        assert events(router, reader) == []
        for _ in range(3):
            assert router.from_site(stranger).result == LEFT
            assert router.from_core(for_absent).result == LEFT
        first, second = events(router, reader)
        assert (first.kind, str(first.eid), first.mac.hex(":")) == (
            EventKind.SOURCE,
            "11.11.11.12",
            "02:00:00:00:00:99",
        )
        assert (second.kind, str(second.eid), str(second.rloc)) == (EventKind.ABSENT, "11.11.11.13", PEER[4])
        make_old(router)
        router.from_site(stranger)
        router.from_site(stranger)
        assert [str(one.eid) for one in events(router, reader)] == ["11.11.11.12"]
    finally:
        reader.close()


def test_the_daemon_hears_of_other_status_bits(router: Router) -> None:
    """D09: once for each change, of each source; beside an instance-ID only eight of them say something."""
    into = encapsulating()
    into.registered.set(EidPrefix.of("192.168.1.0/24"), (locator("10.0.1.1").address,))
    router.load(into)
    reader = RingBuffer(router.loaded.maps["events"])
    try:
        heard = []
        for first, second in (
            (0x40000000, 3),
            (0x40000000, 3),
            (0, 0),
            (0x40000000, 1),
            (0x48000000, 0xFE),
            (0x40000000, 3),
        ):
            router.forget_flows()
            assert router.from_core(lisp(4, ip_packet(*EID[4]), first=first, second=second)).result == REDIRECTED
            heard += events(router, reader)
        assert [(one.kind, str(one.eid), str(one.rloc)) for one in heard] == [
            (EventKind.STATUS, EID[4][0], PEER[4])
        ] * len(heard)
        assert [one.status_bits for one in heard] == [3, 1, 0xFFFFFFFE, 3]
        router.load(encapsulating())  # switched off
        assert router.from_core(lisp(4, ip_packet(*EID[4]), first=0x40000000, second=0)).result == REDIRECTED
        assert events(router, reader) == []
    finally:
        reader.close()


def test_contacts_of_both_directions(router: Router, path: KernelPath) -> None:
    """C34: written anew when they are older than a second."""
    router.from_site(TO_SITE_2)
    router.from_core(lisp(6, ip_packet(*EID[4])))
    ends = {(str(eid), str(rloc)) for _, eid, rloc, _ in path.contacts()}
    assert {("192.168.1.1", "10.0.2.1"), ("192.168.1.7", PEER[6])} <= ends
    contacts = router.loaded.maps["contacts"]
    first = dict(contacts.items())
    router.from_site(TO_SITE_2)
    assert dict(contacts.items()) == first
    for key in first:
        contacts.update(key, LONG.pack(1))
    router.forget_flows()
    router.from_site(TO_SITE_2)
    assert sum(LONG.unpack(value)[0] > 1 for _, value in contacts.items()) == 1


def test_a_locator_that_is_down_moves_its_flows(router: Router) -> None:
    """C37: with the next packet, in whatever mapping; and back."""
    into = tables()
    install(into, str(SITE_2), Forwarding.ENCAPSULATE, locator("10.0.2.1", 1), locator("10.0.3.1", 2))
    path = router.load(into)

    def taken() -> bytes:
        return router.from_site(TO_SITE_2).packet[14 + 16 : 14 + 20]

    one, other = locator("10.0.2.1").address, locator("10.0.3.1").address
    assert taken() == one.packed
    into.down.add(one)
    path.locator_changed(one)
    assert taken() == other.packed
    into.down.add(other)
    path.locator_changed(other)
    assert router.from_site(TO_SITE_2).result == LEFT
    into.down.clear()
    path.locator_changed(one)
    assert taken() == one.packed
