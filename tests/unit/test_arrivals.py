"""X01: what a machine is asked of which only the MAC address is known."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nodes.daemon.arrivals import BURST, MOST_QUESTIONS, PAUSE, Arrivals
from nodes.lisp.eid import EidPrefix, host_prefix

MAC, OTHER = bytes.fromhex("525400123456"), bytes.fromhex("525400123457")
SUBNET, SIX, LARGE = (EidPrefix.of(one) for one in ("192.168.7.0/24", "2001:db8:7::/64", "192.168.0.0/16"))
FAR = [host_prefix(f"192.168.7.{n}") for n in (200, 100)]


def arrivals(*permitted: EidPrefix, far: list[EidPrefix] = FAR) -> Arrivals:
    return Arrivals(permitted, lambda prefix: [one for one in far if prefix.covers(one)])


def test_what_it_had_here_comes_first_then_what_is_elsewhere_then_everything() -> None:
    one = arrivals(SUBNET)
    one.had(MAC, host_prefix("192.168.7.42"))
    one.had(OTHER, host_prefix("192.168.7.43"))
    asked = list(one.questions(MAC, 0, 0.0))
    assert [str(each) for each in asked[:3]] == ["192.168.7.42", "192.168.7.200", "192.168.7.100"]
    assert sorted(map(int, asked)) == list(map(int, SUBNET.network))


def test_an_ipv6_machine_is_asked_for_the_address_that_it_makes_of_its_mac_address() -> None:
    """RFC 4291 appendix A; the rest of a /64 is not tried: it is pinged."""
    one = arrivals(SIX, far=[host_prefix("2001:db8:7::99")])
    asked = list(one.questions(MAC, 0, 0.0))
    assert asked == [ip_address("2001:db8:7:0:5054:ff:fe12:3456"), ip_address("2001:db8:7::99")]


def test_a_large_prefix_is_asked_in_part() -> None:
    one = arrivals(LARGE)
    one.had(MAC, host_prefix("192.168.255.42"))
    asked = list(one.questions(MAC, 0, 0.0))
    assert len(asked) == len(set(asked)) == MOST_QUESTIONS
    assert [str(each) for each in asked[:4]] == ["192.168.255.42", "192.168.7.200", "192.168.7.100", "192.168.0.0"]


def test_a_machine_that_announces_itself_again_and_again_is_asked_once_a_second() -> None:
    one = arrivals(SUBNET)
    assert list(one.questions(MAC, 0, 0.0))
    assert not list(one.questions(MAC, 0, PAUSE / 2))
    assert list(one.questions(MAC, 0, PAUSE))


def test_a_flood_of_machines_costs_so_many_frames() -> None:
    """As many at once as there is room for; then one in a millisecond, whoever arrives."""
    one = arrivals(SUBNET)
    flood = [n.to_bytes(6, "big") for n in range(2, 1000)]
    assert sum(len(list(one.questions(mac, 0, 0.0))) for mac in flood) == BURST
    assert sum(len(list(one.questions(mac, 0, 2.0))) for mac in flood) == pytest.approx(2000, abs=2)


def test_a_flood_of_machines_does_not_have_the_map_cache_read_again_and_again() -> None:
    """Who has had no turn is asked when there is room again, without a pause."""
    reads: list[EidPrefix] = []

    def elsewhere(prefix: EidPrefix) -> list[EidPrefix]:
        reads.append(prefix)
        return []

    one = Arrivals([SUBNET], elsewhere)
    machines = [n.to_bytes(6, "big") for n in range(2, 1000)]
    for mac in machines:
        list(one.questions(mac, 0, 0.0))
    assert len(reads) == BURST / MOST_QUESTIONS
    assert len(list(one.questions(machines[-1], 0, PAUSE / 2))) == MOST_QUESTIONS


def test_another_instance_has_other_hosts() -> None:
    one = arrivals(EidPrefix(SUBNET.network, 7))
    one.had(MAC, host_prefix("192.168.7.42", 7))
    assert not list(one.questions(MAC, 0, 0.0))
    assert str(next(one.questions(MAC, 7, PAUSE))) == "192.168.7.42"


def test_what_is_remembered_is_bounded() -> None:
    one = arrivals(SUBNET)
    for n in range(10_000):
        one.had(n.to_bytes(6, "big"), host_prefix("192.168.7.42"))
    for n in range(1000):
        one.had(MAC, host_prefix(f"192.168.{n >> 8}.{n & 255}"))
    assert next(one.questions((1).to_bytes(6, "big"), 0, 0.0)) == FAR[0].address
    assert len(list(one.questions(MAC, 0, 0.0))) == MOST_QUESTIONS
