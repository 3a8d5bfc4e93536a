"""EID-prefixes inside one another (RFC 9301 section 5.5), and as many as fit a message (section 5)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, ip_network
from itertools import islice
from typing import Any

import pytest

from testbed.lab import Lab
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import EARLY_S, Clock
from tests.conformance.tester.daemons import frozen
from tests.conformance.tester.places import rloc
from tests.conformance.tester.players import Etr, Itr, MapResolver, fresh_nonce
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.watch import Seen, Watch

NESTED = [ip_network(one) for one in ("192.168.0.0/20", "192.168.1.0/24", "192.168.2.0/24", "192.168.2.128/25")]
MOST_BYTES = {4: 576, 6: 1280}
"""What a whole IP packet with a control message may have (RFC 9301 section 5)."""
MOST_RECORDS = 255


def said(seen: Seen) -> list[Any]:
    """The EID-prefixes of a Map-Reply."""
    return [one.prefix for one in seen.message.records]


def tunnelled(watch: Watch, eid: Any) -> None:
    """Wait for a LISP packet with a datagram to an EID."""
    watch.until(lambda: [one for _, one in watch.data() if one.destination == eid], f"a LISP packet to {eid}")


@pytest.fixture
def etr(lab: Lab) -> Iterator[Etr]:
    """An ETR of the site in which anything more specific may be registered; the Map-Server is to answer for it."""
    with Watch(lab, ["core2"]) as watch:
        yield Etr(lab, "ms", watch, secret="open-secret")


@pytest.mark.requirement("C17")
@pytest.mark.parametrize(
    ("eid", "wanted"),
    [
        ("192.168.3.3", NESTED),
        ("192.168.2.3", NESTED[2:]),
        ("192.168.2.200", NESTED[3:]),
        ("192.168.1.3", NESTED[1:2]),
    ],
)
def test_an_etr_fills_out_the_best_match(lab: Lab, eid: str, wanted: Sequence[IPv4Network]) -> None:
    """The best match and what is inside it, nothing that is only around it; one Map-Reply, one Record TTL."""
    with Watch(lab, ["core1"]) as watch:
        itr = Itr(lab, "xtr1", watch)
        reply = itr.reply(itr.ask(eid))
    assert sorted(said(reply)) == list(wanted)
    assert said(reply)[0] == wanted[0]
    assert {one.ttl for one in reply.message.records} == {1440}


@pytest.mark.requirement("C17")
def test_a_map_server_fills_out_what_was_registered(lab: Lab, asker: Itr, etr: Etr) -> None:
    """Also where their Record TTLs differ: all get one, the least."""
    registered = {"172.16.64.0/22": 30, "172.16.65.0/24": 20, "172.16.65.128/25": 10, "172.16.68.0/24": 40}
    locators = [(rloc(lab, "xtr4"), 1, 100)]
    etr.registered(*(wire.mapping(one, ttl, locators) for one, ttl in registered.items()), flags=wire.PROXY_REPLY)
    reply = asker.reply(asker.look_up("172.16.66.1"))
    assert said(reply) == [ip_network(one) for one in list(registered)[:3]]
    assert {one.ttl for one in reply.message.records} == {10}
    reply = asker.reply(asker.look_up("172.16.65.1"))
    assert said(reply) == [ip_network(one) for one in list(registered)[1:3]]


@pytest.mark.requirement("C18")
def test_a_less_specific_mapping_that_comes_later_ends_with_the_first_inside_it(lab: Lab) -> None:
    """A day for the /24, a minute for the /25 that was there before: after that minute the ITR asks anew for both."""
    inner, outer = (ip_network(one) for one in ("172.16.200.128/25", "172.16.200.0/24"))
    there, clock = [(rloc(lab, "xtr4"), 1, 100)], Clock.of(lab)
    h1 = lab["h1"].address

    def packet_to(eid: Any) -> None:
        inject(lab, "h1", packets.datagram(h1, eid, (7, 7), b"x"))

    with frozen(lab, "mr"), Watch(lab, ["core1"]) as watch:
        oracle = MapResolver(lab, "xtr1", watch, resolver=rloc(lab, "mr"))
        begun = 0.0
        for mapping, ttl, eid in ((inner, 1, inner[1]), (outer, 1440, outer[1])):
            packet_to(eid)
            question = oracle.question(eid)
            begun = begun or time.monotonic()
            oracle.answer(question, wire.mapping(mapping, ttl, there))
            tunnelled(watch, eid)
        packet_to(outer[2])
        tunnelled(watch, outer[2])

        def asked_again() -> bool:
            packet_to(outer[3])
            watch.drain()
            return bool(oracle.questions(outer[3]))

        clock.eventually(asked_again, "a Map-Request for the /24", within=60)
        assert clock.real(60) - EARLY_S <= time.monotonic() - begun < clock.real(60) + clock.late(60) + 2


@pytest.mark.requirement("C40")
@pytest.mark.parametrize("version", [4, 6])
def test_three_hundred_host_routes_do_not_fit_a_map_reply(lab: Lab, etr: Etr, version: int) -> None:
    """All of them are registered under one /16: an EID beside them is answered alone, and so is one of them.

    The /16 is the tester's, too: the site's own ETR, which would take it back, stands still.
    """
    cover, beside = IPv4Network("172.16.0.0/16"), "172.16.143.254"
    first, *_ = addresses = list(islice(IPv4Network("172.16.128.0/20").hosts(), 300))
    hosts = [wire.mapping(one, 60, [(rloc(lab, "xtr4"), 1, 100)]) for one in addresses]
    around = wire.mapping(cover, 60, [(rloc(lab, "xtr4"), 1, 100)])
    with frozen(lab, "xtr4"), Watch(lab, ["core2"], exact=True) as watch:
        for start in range(0, 300, 40):
            etr.registered(*hosts[start : start + 40], *([] if start else [around]), flags=wire.PROXY_REPLY)
        itr = Itr(lab, "ms", watch, version)
        replies = [itr.reply(itr.look_up(eid)) for eid in (beside, first)]
    assert [said(one) for one in replies] == [[ip_network(beside)], [ip_network(first)]]
    for reply in replies:
        assert [one.rloc for one in reply.message.records[0].locators] == [rloc(lab, "xtr4")]
        assert len(reply.outer.packet) <= MOST_BYTES[version]


@pytest.mark.requirement("C40")
def test_many_eid_prefixes_are_registered_in_several_messages(lab: Lab) -> None:
    """Each of 576 bytes at most, none without its records, every EID-prefix in one of them."""
    wanted = {one.network for one in lab.topology.sites["many"].eid_prefixes}
    with Watch(lab, ["ms"], exact=True) as watch:
        lab.restart("xtr2")

        def registers() -> list[Seen]:
            return [one for one in watch.control(wire.MAP_REGISTER) if one.outer.source == rloc(lab, "xtr2")]

        watch.until(lambda: {prefix for one in registers() for prefix in said(one)} >= wanted, "all EID-prefixes")
        found = registers()
    assert len({tuple(said(one)) for one in found}) > 1
    assert max(len(one.outer.packet) for one in found) <= MOST_BYTES[4]
    assert all(1 <= len(one.message.records) <= MOST_RECORDS for one in found)


@pytest.mark.requirement("C02")
@pytest.mark.parametrize(("version", "checksum"), [(4, 0x1234), (6, 0x1234), (6, 0)])
def test_a_control_message_without_a_right_checksum_is_dropped(lab: Lab, version: int, checksum: int) -> None:
    """The Map-Request behind it is answered. Zero is wrong over IPv6 as well; over IPv4 it says that there is none."""
    with Watch(lab, ["core1"], exact=True) as watch:
        itr = Itr(lab, "xtr1", watch, version)
        itr.send(itr.request("192.168.1.9", nonce=fresh_nonce()), checksum=checksum)
        good = itr.ask("192.168.1.10")
        reply = itr.reply(good)
        assert [one.message.nonce for one in itr.replies()] == [good]
    assert reply.outer.source.version == version
    assert reply.outer.checksum_is_right
