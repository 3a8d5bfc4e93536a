"""An RTR's programs: what they hand to the daemon and when they take over, and the flows that they know."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from nodes.dataplane.bpf.layout import Action, Statistic
from nodes.dataplane.decision import Tables
from nodes.dataplane.kernel import cells, encoding
from nodes.dataplane.kernel.encoding import Past
from nodes.dataplane.kernel_path import KernelPath
from nodes.lisp.config import Role
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix
from tests.conformance.tester.waiting import eventually
from tests.dataplane.router import LEFT, REDIRECTED, Router
from tests.dataplane.test_inbound import PEER, lisp
from tests.unit.data_path import install, ip_packet, locator, tables

THERE = EidPrefix.of("192.168.3.0/24")
HEADER, TUNNEL = 14, 36
NEVER = 2**63


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Each CPU knows flows of its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def made() -> Tables:
    into = tables(frozenset({Role.RTR}))
    install(into, str(THERE), Forwarding.ENCAPSULATE, locator("10.0.4.1"))
    return into


@pytest.fixture
def path(router: Router, made: Tables) -> KernelPath:
    for place in range(4):
        set_gate(router, place, 0, 0)
    return router.load(made)


def set_gate(router: Router, place: int, punted: int, handled: int) -> None:
    router.loaded.maps["gates"].memory()[16 * place : 16 * place + 16] = struct.pack("=QQ", punted, handled)


def inner(port: int = 80, **rest: int) -> bytes:
    return ip_packet("192.168.2.1", "192.168.3.1", body=struct.pack("!HHHH", 5000, port, 8, 0), **rest)


def close(router: Router) -> None:
    """Shut the gate of the mapping, until nothing waits."""
    there, key = router.loaded.maps["map_cache"], encoding.eid_key(THERE)
    old = there.lookup(key)
    assert old is not None
    candidates = encoding.candidates(list(encoding.Mapping.read(old).candidates))
    there.update(key, encoding.mapping(Action.ENCAPSULATE, 1, 24, NEVER, Past(1), candidates))
    router.forget_flows()


def to(router: Router, packet: bytes) -> str | None:
    """The locator that the packet goes to; None: it is handed to the daemon, without its LISP header."""
    done = router.from_core(packet)
    assert done.result == REDIRECTED
    return ".".join(map(str, done.packet[HEADER + 16 : HEADER + 20])) if len(done.packet) == HEADER + 64 else None


@pytest.mark.parametrize("which", ["transit", "site"])
def test_nothing_overtakes_what_waits_in_the_daemon(router: Router, path: KernelPath, which: str) -> None:
    """D22: the instance's own device counts as well: an RTR may have a site, whose packets go by the same mappings."""
    places = cells.places(router.devices.tuns)
    place = {"site": places[0], "transit": cells.places(router.devices.transits, len(places))[0]}[which]
    packet = lisp(4, inner())
    close(router)
    set_gate(router, place, 5, 4)
    assert to(router, packet) is None
    assert to(router, packet) is None
    set_gate(router, place, 5, 5)
    assert to(router, packet) == "10.0.4.1"
    set_gate(router, place, 6, 5)
    assert to(router, packet) == "10.0.4.1", "once open, it stays open"


def test_what_the_daemon_gets_is_as_an_rtr_sends_it_on(router: Router, path: KernelPath) -> None:
    """D11, D12, D14: DSCP, ECN and TTL are done. Without a hop left, it is left as it came: the daemon says so."""
    path.remove(THERE)
    done = router.from_core(lisp(4, inner(ttl=40, tos=2), tos=0xBB, ttl=33))
    assert (done.result, done.packet[HEADER:]) == (REDIRECTED, inner(ttl=32, tos=0xBB))
    ends = {(str(eid), str(rloc)) for _, eid, rloc, _ in path.contacts()}
    assert ("192.168.3.1", PEER[4]) in ends
    assert router.from_core(lisp(4, inner(ttl=1))).result == LEFT


def test_a_known_flow_goes_on_for_a_moment(router: Router, path: KernelPath) -> None:
    """Until its mapping is seen to be gone, each packet with its own TTL, DSCP and ECN."""
    for _ in range(50):  # a machine that does something else meanwhile may be too late for it
        path.remove(THERE)
        path.install(ForwardingEntry(THERE, Forwarding.ENCAPSULATE, (locator("10.0.4.1"),)))
        assert to(router, lisp(4, inner())) == "10.0.4.1"
        router.loaded.maps["map_cache"].delete(encoding.eid_key(THERE))
        done = router.from_core(lisp(4, inner(ttl=9), tos=0xB8))
        assert to(router, lisp(4, inner(port=81))) is None, "another flow between the same hosts"
        assert to(router, lisp(6, inner())) is None, "the same flow by another tunnel"
        eventually(lambda: to(router, lisp(4, inner())) is None, "its end")
        if len(done.packet) == HEADER + 64:
            break
    else:
        pytest.fail("the flow is not known")
    assert done.packet[HEADER + TUNNEL :] == inner(ttl=8, tos=0xB8)
    assert (done.packet[HEADER + 1], done.packet[HEADER + 8]) == (0xB8, 8)


def test_the_next_packet_goes_by_the_changed_tables(router: Router, path: KernelPath, made: Tables) -> None:
    """C37: a next hop that is down, and one that is up again."""
    path.install(ForwardingEntry(THERE, Forwarding.ENCAPSULATE, (locator("10.0.4.1", 1), locator("10.0.6.1", 2))))
    first = locator("10.0.4.1").address
    for _ in range(10):
        assert to(router, lisp(4, inner())) == "10.0.4.1"
        made.down.add(first)
        path.locator_changed(first)
        assert to(router, lisp(4, inner())) == "10.0.6.1"
        made.down.clear()
        path.locator_changed(first)


def test_counts_are_exact(router: Router, path: KernelPath) -> None:
    """By mapping, by locator and in all, however many flows are known."""
    rloc = locator("10.0.4.1").address
    path.remove(THERE)  # its count goes with it
    path.install(ForwardingEntry(THERE, Forwarding.ENCAPSULATE, (locator("10.0.4.1"),)))
    before, at_first = router.statistics(), path.locator_counts()[rloc].packets
    for _ in range(3):
        for port in range(200):
            assert to(router, lisp(4, inner(port))) == "10.0.4.1"
    after = router.statistics()
    for one in (Statistic.ENCAPSULATED, Statistic.DECAPSULATED, Statistic.REENCAPSULATED):
        assert after[one] - before[one] == 600
    assert path.mapping_counts()[THERE].packets == 600
    assert path.locator_counts()[rloc].packets - at_first == 600
