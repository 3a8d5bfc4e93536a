"""What a router does about the hosts of its dynamic prefixes: in memory, with an engine that takes every host."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from nodes.daemon.arrivals import PAUSE
from nodes.daemon.dynamic_eids import NEIGHBOURS, TOLD
from nodes.dataplane.neighbours import Arrived, Astray, Heard
from nodes.lisp.config import Gateway
from nodes.lisp.effects import FindHost, HostLeft, RemoveHost
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.inputs import HostGone, HostSeen, HostsSeen, Miss
from tests.unit.site_router import ELSEWHERE, FAR, GATEWAY, HOSTS, MAC, OTHER, OWN, SITE, SIX, THERE, Router


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Router:
    return Router(monkeypatch)


@pytest.mark.parametrize("eid", HOSTS)
def test_neighbours_are_told_of_a_host_that_they_did_not_hear(router: Router, eid: EidPrefix) -> None:
    """X11: once, when it is found, with its own MAC address; and the kernel knows it at once."""
    own = OWN[eid.version]
    assert router.hear(Heard(eid.address, MAC)) == [("announce", eid.address, MAC, own)]
    assert router.hear(Heard(eid.address, MAC)) == []
    assert router.neighbours == {eid: MAC}


def test_hosts_that_are_heard_together_are_one_event(router: Router) -> None:
    """IPv4 and IPv6 of one machine go into one Map-Register; a question about one of them is not answered for it."""
    first, second = HOSTS
    router.is_far(second)
    asks = Heard(first.address, MAC, asked=second.address, announced=True)
    again = Heard(first.address, MAC, announced=True)
    assert router.hear(asks, again, Heard(second.address, MAC, announced=True)) == []
    assert [one for one in router.stepped if isinstance(one, HostsSeen)] == [
        HostsSeen(tuple(HostSeen(eid, SITE) for eid in HOSTS))
    ]


def test_a_machine_that_comes_back_with_one_address_is_asked_for_its_others(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X01: they go into one Map-Register. Not those that it has just said itself, that are here, or another's."""
    for eid in HOSTS:
        router.hear(Heard(eid.address, MAC, announced=True))
    router.hear(Heard(FAR[0].address, OTHER, announced=True))
    for eid in (*HOSTS, FAR[0]):
        router.dynamic.remove(RemoveHost(eid, SITE))
    assert router.hear(*(Heard(eid.address, MAC, announced=True) for eid in HOSTS)) == []
    for eid in HOSTS:
        router.dynamic.remove(RemoveHost(eid, SITE))
    router.stepped.clear()
    first, second = HOSTS

    def ask(wanted: IPAddress, own: IPAddress, mac: bytes | None = None) -> None:
        router.port.said.append(("ask", wanted, mac, own))
        router.port.heard.append(Heard(wanted, MAC, announced=True))

    monkeypatch.setattr(router.port, "ask", ask)
    assert router.hear(Heard(first.address, MAC, announced=True)) == [("ask", second.address, MAC, OWN[6])]
    assert router.stepped == [HostsSeen((HostSeen(first, SITE), HostSeen(second, SITE)))]
    assert router.hear(Heard(first.address, MAC, announced=True)) == []


def test_a_machine_that_stays_another_routers_is_not_asked_for_ever_by_its_own_answers(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in two places, say, and was left to the other: its answers for one address would ask for the next."""
    for eid in HOSTS:
        router.hear(Heard(eid.address, MAC))
    for eid in HOSTS:
        router.dynamic.remove(RemoveHost(eid, SITE))
    monkeypatch.setattr(router.dynamic, "_step", router.stepped.append)
    heard, asked = [Heard(HOSTS[0].address, MAC)], 0
    while heard and asked < 100:
        heard = [Heard(one[1], MAC) for one in router.hear(*heard) if one[0] == "ask"]
        asked += len(heard)
    assert asked == 1
    router.now = PAUSE
    assert [one[1] for one in router.hear(Heard(HOSTS[0].address, MAC))] == [HOSTS[1].address]


@pytest.mark.parametrize("eid", HOSTS)
@pytest.mark.parametrize("announced", [True, False])
def test_a_host_that_came_here_is_told_where_its_gateway_is_now(
    monkeypatch: pytest.MonkeyPatch, eid: EidPrefix, announced: bool
) -> None:
    """S06: it alone, once, and only where gateways of the same address have different MAC addresses."""
    foreign = tuple(ip_interface(f"{one}/{24 if one.version == 4 else 64}") for one in THERE.values())
    router = Router(monkeypatch, gateway=Gateway(SITE, foreign=foreign))
    heard = Heard(eid.address, MAC, announced=announced)
    told = [one for one in router.hear(heard) if one[0] == "answer"]
    assert told == [("answer", eid.address, one, True) for one in (OWN[eid.version], THERE[eid.version])]
    assert router.hear(heard) == []


@pytest.mark.parametrize("eid", HOSTS)
def test_neighbours_that_heard_a_host_are_told_nothing(router: Router, eid: EidPrefix) -> None:
    assert router.hear(Heard(eid.address, MAC, announced=True)) == []
    assert router.seen() == [eid]


@pytest.mark.parametrize("eid", HOSTS)
def test_neighbours_of_a_host_that_left_are_told_the_routers_mac_address(router: Router, eid: EidPrefix) -> None:
    """X11: also by a router that does not know any more that it was here."""
    router.hear(Heard(eid.address, MAC, announced=True))
    router.dynamic.left(HostLeft(eid))
    router.dynamic.remove(RemoveHost(eid, SITE))
    router.dynamic.left(HostLeft(eid))
    assert router.taken() == [("announce", eid.address, None, OWN[eid.version])] * 2


@pytest.mark.parametrize("eid", HOSTS)
def test_a_host_that_is_looked_for_is_asked_and_the_kernel_keeps_no_place_for_it(
    router: Router, eid: EidPrefix
) -> None:
    """X05: all routers of a machine share the kernel's table, which hundreds of hosts that leave would fill."""
    router.hear(Heard(eid.address, MAC, announced=True))
    router.dynamic.find(FindHost(eid, SITE))
    assert router.taken() == [("ask", eid.address, None, OWN[eid.version])]
    assert router.neighbours == {}


@pytest.mark.parametrize("eid", HOSTS)
def test_who_sends_to_a_host_here_by_the_router_of_where_it_was_is_told(router: Router, eid: EidPrefix) -> None:
    """X11: not one whose frame has the right MAC address, which a switch sends everywhere when it does not know it."""
    sender = ip_address("192.168.7.50" if eid.version == 4 else "2001:db8:7::50")
    router.hear(Heard(eid.address, MAC, announced=True), Heard(sender, OTHER, announced=True))
    says = Heard(sender, OTHER, eid.address, misled=True)
    assert router.hear(Astray(says, MAC)) == []
    assert router.hear(Astray(says, GATEWAY), Astray(says, GATEWAY)) == [
        ("announce", eid.address, MAC, OWN[eid.version])
    ]


def test_a_flood_of_hosts_does_not_fill_the_kernels_table(router: Router) -> None:
    """It is one for all routers of a machine. A host that the kernel knows already takes no more room."""
    for n in range(256, 256 + 2 * NEIGHBOURS):
        router.hear(Heard(ip_address(f"2001:db8:7::{n:x}"), (MAC[:4] + n.to_bytes(2, "big")), announced=True))
    assert len(router.seen()) == 2 * NEIGHBOURS
    assert len(router.neighbours) == NEIGHBOURS
    for address in (ip_address("192.168.7.11"), ip_address("2001:db8:7::100")):
        router.hear(Heard(address, OTHER, announced=True))
        assert router.neighbours[host_prefix(address)] == OTHER


@pytest.mark.parametrize("address", [*OWN.values(), ELSEWHERE, ip_address("fe80::1"), ip_address("172.16.0.1")])
def test_routers_and_strangers_are_no_hosts(router: Router, address: IPAddress) -> None:
    """X02: neither this router's addresses nor another site's, link-local ones or those of another prefix."""
    assert router.hear(Heard(address, MAC)) == []
    assert router.stepped == []


@pytest.mark.parametrize("eid", HOSTS)
def test_a_silent_host_is_asked_and_then_gone(router: Router, eid: EidPrefix) -> None:
    """X05: it alone; when it answers, all begins anew."""
    router.hear(Heard(eid.address, MAC, announced=True))
    question = ("ask", eid.address, MAC, OWN[eid.version])
    for start in (0.0, 60.0):
        router.now = start + 59.9
        router.dynamic.expire()
        assert router.taken() == []
        router.now = start + 60.0
        assert router.dynamic.deadline() == router.now
        router.dynamic.expire()
        assert router.taken() == [question]
        if not start:
            assert router.hear(Heard(eid.address, MAC)) == []
    for router.now in (121.0, 122.0):
        router.dynamic.expire()
        assert router.taken() == [question]
    router.now = 123.0
    router.dynamic.expire()
    assert router.stepped[-1] == HostGone(eid, SITE)
    assert router.dynamic.deadline() is None
    assert router.dynamic.counters["silent-hosts-asked"] == 4


@pytest.mark.parametrize("eid", HOSTS)
def test_a_host_that_data_came_for_is_asked_for(router: Router, eid: EidPrefix) -> None:
    """X01: everybody is, for nobody knows its MAC address any more; its answer shows that it is here."""
    router.dynamic.seek([eid])
    assert router.taken() == [("ask", eid.address, None, OWN[eid.version])]
    assert router.dynamic.counters == {"sought-hosts-asked": 1}
    router.hear(Heard(eid.address, MAC))
    assert router.seen() == [eid]


def test_hosts_that_are_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(monkeypatch, silence=0.0)
    router.hear(Heard(HOSTS[0].address, MAC, announced=True))
    assert router.dynamic.deadline() is None


def test_a_machine_that_arrives_is_asked_who_it_is(router: Router) -> None:
    """X01: by RARP of a MAC address that no host here has; IPv6 by a ping as well."""
    router.is_far(FAR[0])
    said = router.hear(Arrived(MAC))
    assert said[1] == ("ask", FAR[0].address, MAC, OWN[4])
    assert said[0] == ("ask", ip_address("2001:db8:7::ff:fe00:11"), MAC, OWN[6])
    assert said[-1] == ("ping", MAC, OWN[6])
    assert not any(one[1] in {*OWN.values()} for one in said)
    assert {one[2] for one in said[:-1]} == {MAC}
    assert router.events == ["machine-arrived"]
    assert router.hear(Arrived(MAC)) == []
    router.hear(Heard(FAR[0].address, MAC))
    router.now = 10.0
    assert router.hear(Arrived(MAC)) == []
    assert router.dynamic.counters["machines-arrived"] == 1


def test_a_machine_that_comes_back_is_asked_for_what_it_had(router: Router) -> None:
    router.hear(*(Heard(eid.address, MAC, announced=True) for eid in HOSTS))
    for eid in HOSTS:
        router.dynamic.remove(RemoveHost(eid, SITE))
    assert [one[1] for one in router.hear(Arrived(MAC))[:2]] == [eid.address for eid in HOSTS]


@pytest.mark.parametrize(("eid", "far"), list(zip(HOSTS, FAR, strict=True)))
def test_who_sends_to_a_host_that_is_not_here_is_corrected(router: Router, eid: EidPrefix, far: EidPrefix) -> None:
    """X11: a moved host goes on sending to the MAC addresses of its old neighbours; only known hosts are answered."""
    astray = Astray(Heard(eid.address, MAC, far.address, misled=True))
    router.is_far(far)
    assert router.hear(astray) == []
    assert router.stepped == []
    router.hear(Heard(eid.address, MAC, announced=True))
    assert router.hear(astray, astray, astray) == [("answer", eid.address, far.address, True)] * 2
    router.now = 0.1
    assert router.hear(astray) == [("answer", eid.address, far.address, True)]
    assert router.hear(Astray(Heard(eid.address, OTHER, far.address, misled=True))) == []
    assert router.hear(Astray(Heard(eid.address, MAC, OWN[eid.version], misled=True))) == []


def test_who_is_misled_about_a_host_that_has_just_left_was_told(router: Router) -> None:
    """What it sends now was under way; what it sends half a second later shows that it did not hear."""
    router.hear(Heard(HOSTS[0].address, MAC, announced=True))
    router.is_far(FAR[0])
    astray = Astray(Heard(HOSTS[0].address, MAC, FAR[0].address, misled=True))
    router.dynamic.left(HostLeft(FAR[0]))
    router.taken()
    assert router.hear(astray) == []
    router.now += TOLD
    assert router.hear(astray) == [("answer", HOSTS[0].address, FAR[0].address, True)]


def test_who_is_misled_waits_for_the_mapping_system(router: Router) -> None:
    router.hear(Heard(HOSTS[0].address, MAC, announced=True))
    assert router.hear(Astray(Heard(HOSTS[0].address, MAC, FAR[0].address, misled=True))) == []
    assert router.stepped[-1] == Miss(FAR[0], HOSTS[0].address)
    router.is_far(FAR[0])
    router.dynamic.installed(FAR[0])
    assert router.taken() == [("answer", HOSTS[0].address, FAR[0].address, True)]


def test_who_asked_long_ago_is_not_answered_any_more(router: Router) -> None:
    """X12: the mapping system takes its time; the host has asked again since, or gave up."""
    router.hear(Heard(HOSTS[0].address, MAC, announced=True))
    router.hear(*[Heard(HOSTS[0].address, MAC, FAR[0].address)] * 2)
    assert router.stepped[-1] == Miss(FAR[0], HOSTS[0].address)
    router.is_far(FAR[0])
    router.now = 5.1
    router.dynamic.installed(FAR[0])
    assert router.taken() == []


def test_who_asks_for_everybody_fills_no_memory(router: Router) -> None:
    """X12: as many are remembered as there is room for; later there is room again."""
    router.hear(Heard(HOSTS[1].address, MAC, announced=True))
    prefix = SIX.network
    for number in range(1000, 7000):
        router.hear(*[Heard(HOSTS[1].address, MAC, prefix[number])] * 2)
    misses = [one for one in router.stepped if isinstance(one, Miss)]
    assert len(misses) == 4096
    router.now = 5.1
    router.hear(*[Heard(HOSTS[1].address, MAC, prefix[9000])] * 2)
    router.is_far(SIX)
    router.dynamic.installed(SIX)
    assert router.taken() == [("answer", HOSTS[1].address, prefix[9000], False)]


@pytest.mark.parametrize(("eid", "far"), list(zip(HOSTS, FAR, strict=True)))
def test_the_second_request_for_a_far_host_is_answered(router: Router, eid: EidPrefix, far: EidPrefix) -> None:
    """X12: one goes unanswered; never those for a host of this site, for the router or for another one's address."""
    router.is_far(far)
    router.hear(Heard(eid.address, MAC, announced=True), Heard(FAR[0].address, OTHER, announced=True))
    router.dynamic.remove(RemoveHost(FAR[0], SITE))
    asks = Heard(eid.address, MAC, far.address)
    assert router.hear(asks) == []
    assert router.hear(asks) == [("answer", eid.address, far.address, False)]
    for other in (OWN[eid.version], ELSEWHERE):
        assert router.hear(*[Heard(eid.address, MAC, other)] * 3) == []
    router.hear(Heard(far.address, OTHER, announced=True))
    assert router.hear(asks, asks) == []
