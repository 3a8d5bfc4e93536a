"""What a router says unasked while the kernel's queue is full: nothing is lost, and what strangers cause is bounded."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nodes.daemon.announcer import ANNOUNCEMENTS, PATIENCE, PAUSE, QUESTIONS
from nodes.dataplane.strangers import Stranger
from nodes.lisp.effects import FindHost, HostLeft
from nodes.lisp.eid import EidPrefix, host_prefix
from tests.unit.site_router import HOSTS, OWN, SITE, Router


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Router:
    return Router(monkeypatch)


def test_announcements_are_bounded_and_counted(router: Router) -> None:
    for n in range(ANNOUNCEMENTS + 500):
        router.dynamic.left(HostLeft(host_prefix(f"192.168.{n >> 8}.{n & 255}")))
    assert len(router.taken()) == ANNOUNCEMENTS
    assert router.dynamic.counters == {"hosts-announced": ANNOUNCEMENTS, "announcements-refused": 500}


def test_announcements_wait_until_the_kernels_queue_has_room_again(router: Router) -> None:
    """Hundreds of hosts leave at once; each is announced, in order, and nobody waits for it."""
    left = [host_prefix(f"192.168.7.{n}") for n in range(1, 201)]
    router.port.room = 150
    for eid in left:
        router.dynamic.left(HostLeft(eid))
    said = router.taken()
    assert router.dynamic.deadline() == PAUSE
    router.dynamic.expire()
    assert router.taken() == []
    router.now = PAUSE
    router.dynamic.expire()
    assert [one[1] for one in (*said, *router.taken())] == [one.address for one in left]
    assert router.dynamic.counters == {"hosts-announced": len(left)}
    assert router.dynamic.deadline() is None


@pytest.mark.parametrize("eid", HOSTS)
@pytest.mark.parametrize("why", ["it may have left", "data came for it", "it sent something"])
def test_a_host_is_looked_for_as_soon_as_the_kernels_queue_has_room_again(
    router: Router, eid: EidPrefix, why: str
) -> None:
    """X01, X05: where it is goes by whether it answers, and nobody asks again."""
    router.port.room = 0
    if why == "it may have left":
        router.dynamic.find(FindHost(eid, SITE))
    elif why == "data came for it":
        router.dynamic.seek([eid])
    else:
        router.dynamic.found([Stranger(eid)])
    assert (router.taken(), router.dynamic.deadline()) == ([], PAUSE)
    router.port.room = 1
    router.now = PAUSE
    router.dynamic.expire()
    assert router.taken() == [("ask", eid.address, None, OWN[eid.version])]
    assert router.dynamic.deadline() is None


def test_questions_that_strangers_cause_leave_room_for_announcements(router: Router) -> None:
    """While the kernel takes nothing: so many wait, and the neighbours of a host are told all the same."""
    router.port.room = 0
    router.dynamic.seek(host_prefix(ip_address(0x0A000000 + n)) for n in range(QUESTIONS + 500))
    router.dynamic.left(HostLeft(HOSTS[0]))
    router.port.room, router.now = 10_000, PAUSE
    router.dynamic.expire()
    assert [one[0] for one in router.taken()] == ["ask"] * QUESTIONS + ["announce"]
    assert router.dynamic.counters["questions-refused"] == 500


def test_an_interface_that_takes_nothing_is_not_waited_for_for_ever(router: Router) -> None:
    """The router does not wake up for it any more; what is to be said when it takes frames again, is."""
    router.port.room = 0
    router.dynamic.left(HostLeft(HOSTS[0]))
    router.now = PATIENCE - PAUSE
    router.dynamic.expire()
    assert router.dynamic.deadline() == PATIENCE
    router.now = PATIENCE
    router.dynamic.expire()
    assert router.dynamic.deadline() is None
    router.port.room, router.now = 1, PATIENCE + PAUSE
    router.dynamic.left(HostLeft(HOSTS[1]))
    assert [one[1] for one in router.taken()] == [HOSTS[1].address]


def test_where_the_queue_of_one_interface_is_full_another_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites of other tenants, say."""
    router = Router(monkeypatch, (SITE, "sw2"))
    full, other = router.ports
    full.room, router.where[HOSTS[1]] = 0, other.interface
    for eid in HOSTS:
        router.dynamic.left(HostLeft(eid))
    assert [one[1] for one in other.said] == [HOSTS[1].address]
    full.room, router.now = 1, PAUSE
    router.dynamic.expire()
    assert [one[1] for one in full.said] == [HOSTS[0].address]
    assert len(other.said) == 1
