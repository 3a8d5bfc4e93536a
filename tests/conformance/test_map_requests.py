"""Map-Requests and who answers them: ETR, Map-Server, Map-Resolver (RFC 9301 sections 5.2 to 5.5, 8.3 and 8.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.daemons import expect_drop, frozen, log_lines
from tests.conformance.tester.mappings import resolved
from tests.conformance.tester.places import rloc, uplink
from tests.conformance.tester.players import PORT, Itr, MapServer, fresh_nonce
from tests.conformance.tester.watch import Watch, inner_request

NATIVELY_FORWARD = 1


@pytest.fixture
def etr(lab: Lab) -> Iterator[Itr]:
    """Asks xtr1."""
    with Watch(lab, [uplink(lab, "xtr1")], exact=True) as watch:
        yield Itr(lab, "xtr1", watch)


@pytest.fixture
def map_resolver(lab: Lab) -> Iterator[Itr]:
    """Asks the Map-Resolver."""
    with Watch(lab, [uplink(lab, "mr")]) as watch:
        yield Itr(lab, "mr", watch)


def site(lab: Lab, name: str) -> IPv4Network:
    """The one EID-prefix of a site."""
    (prefix,) = lab.topology.sites[name].eid_prefixes
    assert isinstance(prefix.network, IPv4Network)
    return prefix.network


def hole(lab: Lab, eid: Any) -> IPv4Network:
    """M09 by brute force: the shortest prefix around an address that holds no EID-prefix of the topology."""
    known = [prefix.network for one in lab.topology.sites.values() for prefix in one.eid_prefixes]
    return next(
        prefix
        for length in range(33)
        if not any(one.overlaps(prefix := ip_network(f"{eid}/{length}", strict=False)) for one in known)
    )


@pytest.mark.requirement("C01", "C02", "C04", "C07", "C14")
def test_etr_answers_to_the_port_that_asked(lab: Lab, etr: Itr) -> None:
    """From 4342 to the ephemeral port, nonce copied, A set, no p-bit."""
    nonce = fresh_nonce()
    etr.send(etr.request(lab["h1"].address, nonce=nonce))
    seen = etr.reply(nonce)
    with clause("C01"):
        assert (seen.outer.source_port, seen.outer.destination_port) == (wire.CONTROL, PORT)
    assert (seen.outer.source, seen.outer.destination) == (etr.target, etr.address)
    with clause("C02"):
        assert seen.outer.checksum_is_right
    (record,) = seen.message.records
    with clause("C04"):
        assert (seen.message.word, record.reserved) == (wire.MAP_REPLY << 28 | 1, 0)
    assert (record.prefix, record.authoritative, record.action) == (site(lab, "dc1"), True, 0)
    with clause("C14"):
        assert [(one.rloc, one.bits) for one in record.locators] == [(etr.target, 0b101)]


@pytest.mark.requirement("C01")
def test_an_etr_answers_what_a_map_server_hands_it(lab: Lab, etr: Itr) -> None:
    """Straight to the ITR, at the port that the Map-Request inside came from; the tester is the Map-Server."""
    eid, nonce = site(lab, "dc1")[66], fresh_nonce()
    with frozen(lab, "ms"):
        server = MapServer.instead_of(lab, "ms", "xtr1", etr.watch)
        server.forward(eid, etr.request(eid, nonce=nonce), etr.address, PORT + 1)
        seen = etr.reply(nonce)
    assert (seen.outer.source, seen.outer.destination) == (etr.target, etr.address)
    assert (seen.outer.source_port, seen.outer.destination_port) == (wire.CONTROL, PORT + 1)
    (record,) = seen.message.records
    assert (record.prefix, record.authoritative, len(record.locators)) == (site(lab, "dc1"), True, 1)


@pytest.mark.requirement("C01")
def test_a_message_without_a_control_port_is_not_read(lab: Lab, etr: Itr) -> None:
    """Source or destination port is 4342, or the message is none of ours."""
    (ecm_port,) = {one.source_port for one in map_request_of(lab, "xtr1", "h4")}
    with expect_drop(lab, "xtr1", "not-a-control-port"):
        etr.send(etr.request(lab["h1"].address, nonce=fresh_nonce()), ports=(PORT, ecm_port))
    nonce = fresh_nonce()
    etr.send(etr.request(lab["h1"].address, nonce=nonce), ports=(wire.CONTROL, ecm_port))
    assert etr.reply(nonce).outer.destination_port == wire.CONTROL


@pytest.mark.requirement("C09")
def test_map_replies_are_rate_limited(lab: Lab, etr: Itr) -> None:
    """A burst of requests for one EID gets three replies; another EID does not wait for it."""
    eid, other = site(lab, "dc1")[77], site(lab, "dc1")[78]
    # Of a router that does not tell what it drops, what it answers is counted below.
    with expect_drop(lab, "xtr1", "map-reply-rate", 7) if lab.tells("xtr1", "statistics") else nullcontext():
        for _ in range(10):
            etr.send(etr.request(eid, nonce=fresh_nonce()))
    nonce = fresh_nonce()
    etr.send(etr.request(other, nonce=nonce))
    etr.reply(nonce)
    assert len(etr.replies()) == 4


def map_request_of(lab: Lab, node: str, host: str) -> list[packets.Datagram]:
    """The Encapsulated Control Message by which a node asks for a host."""
    return [resolved(lab, node, lab[host].address).question.outer]


@pytest.mark.requirement("C03")
def test_unknown_address_family_is_dropped_and_logged(lab: Lab, etr: Itr) -> None:
    good = etr.request(lab["h1"].address, nonce=fresh_nonce())
    record = good.rindex(b"\x00\x01" + lab["h1"].address.packed)
    before = len(log_lines(lab, "xtr1"))
    with expect_drop(lab, "xtr1", "malformed"):
        etr.send(good[:record] + b"\x77\x77" + good[record + 2 :])
    fresh = log_lines(lab, "xtr1")[before:]
    assert [one["fields"]["reason"] for one in fresh if one["event"] == "dropped"] == ["malformed"]
    assert "30583" in fresh[-1]["fields"]["error"] or "0x7777" in fresh[-1]["fields"]["error"]


@pytest.mark.requirement("C04")
def test_reserved_bits_are_ignored(lab: Lab, etr: Itr) -> None:
    """Every reserved bit of the Map-Request and of its record is set; the answer has none.

    But for two that RFC 9437 section 4 takes: the I-bit would announce an xTR-ID, the N-bit subscribe by it.
    """
    nonce = fresh_nonce()
    flags = 0x007F8000 & ~wire.PITR & ~wire.ASKED_WITH_XTR_ID
    request = bytearray(etr.request(lab["h1"].address, nonce=nonce, flags=flags))
    request[-8] = 0xFF & ~wire.NOTIFY
    etr.send(bytes(request))
    message = etr.reply(nonce).message
    assert message.word == wire.MAP_REPLY << 28 | 1
    assert message.records[0].reserved == 0


@pytest.mark.requirement("C05")
def test_the_first_itr_rloc_of_our_family_gets_the_reply(lab: Lab, etr: Itr) -> None:
    """IRC counts those behind the first; IPv6 ones are no way back from an IPv4 node."""
    nonce = fresh_nonce()
    etr.send(etr.request(lab["h2"].address, nonce=nonce, rlocs=("2001:db8::1", etr.address, rloc(lab, "xtr3"))))
    assert etr.reply(nonce).outer.destination == etr.address


@pytest.mark.requirement("C05", "C15")
@pytest.mark.parametrize("useless", [None, "224.0.0.5", "0.0.0.0", "127.0.0.1", "255.255.255.255"])
def test_a_request_without_a_usable_itr_rloc_is_dropped(lab: Lab, etr: Itr, useless: str | None) -> None:
    """Without an ITR-RLOC there is nobody to answer."""
    with expect_drop(lab, "xtr1", "map-request-no-usable-itr-rloc"):
        etr.send(etr.request(lab["h1"].address, nonce=fresh_nonce(), rlocs=(useless,)))


@pytest.mark.requirement("C06")
def test_three_records_are_three_questions(lab: Lab, map_resolver: Itr) -> None:
    """Receiving side: each is answered, by whom it concerns."""
    outside = lab["client"].address
    questions = (outside, site(lab, "dc2")[200], site(lab, "dc1")[1])
    nonce = fresh_nonce()
    with Watch(lab, [uplink(lab, "mr")]) as watch:
        map_resolver = Itr(lab, "mr", watch)
        request = map_resolver.request(*questions, nonce=nonce)
        map_resolver.send(map_resolver.encapsulated(questions[0], request))

        def answered() -> bool:
            found = [one.message for one in map_resolver.replies() if one.message.nonce == nonce]
            prefixes = {record.prefix for message in found for record in message.records}
            return all(any(eid in prefix for prefix in prefixes) for eid in questions)

        watch.until(answered, "three answers")


@pytest.mark.requirement("C02", "C04", "C06", "C29")
def test_an_itr_asks_with_one_record(lab: Lab) -> None:
    """Sending side: the Map-Request of an ITR, and what it is encapsulated in."""
    with Watch(lab, [uplink(lab, "xtr2")], exact=True) as watch:
        assert lab.run("h4", ["ping", "-c", "1", "-W", "10", str(lab["b1"].address)]).returncode == 0
        watch.drain()
        (seen,) = [one for one in watch.control(wire.ECM) if one.outer.source == rloc(lab, "xtr2")]
    inner = seen.message.inner
    assert inner is not None
    assert seen.message.word == wire.ECM << 28
    assert (seen.outer.destination, seen.outer.destination_port) == (rloc(lab, "mr"), wire.CONTROL)
    with clause("C02"):
        assert seen.outer.checksum_is_right
    with clause("C29"):
        assert seen.outer.source_port not in (wire.CONTROL, packets.DATA)
        assert inner.checksum_is_right
        assert inner.destination == lab["b1"].address
        assert (inner.destination_port, inner.source_port) == (wire.CONTROL, seen.outer.source_port)
    request = inner_request(seen)
    with clause("C04"):
        assert (request.word & ~0xFF, request.records[0].reserved) == (wire.MAP_REQUEST << 28, 0)
    with clause("C06"):
        assert [one.prefix for one in request.records] == [ip_network(lab["b1"].address)]
    assert request.itr_rlocs == (rloc(lab, "xtr2"),)
    assert request.source_eid == lab["h4"].address


@pytest.mark.requirement("C07")
def test_nonces_are_random(lab: Lab) -> None:
    """64 bits, no two alike, neither counted nor from a small range."""
    values = []
    for host in ("h1", "h2", "h3", "h4", "h5", "h6"):
        values.append(inner_request(resolved(lab, "xtr3", lab[host].address).question).nonce)
    assert len(values) == len(set(values)) == 6
    assert len({value >> 32 for value in values}) == 6
    assert len({value & 0xFFFFFFFF for value in values}) == 6


@pytest.mark.requirement("C30")
@pytest.mark.parametrize("node", ["mr", "ms"])
def test_probes_do_not_pass_through_the_mapping_system(lab: Lab, node: str) -> None:
    """Dropped, encapsulated or not."""
    with Watch(lab, [uplink(lab, node)]) as watch:
        asker = Itr(lab, node, watch)
        probe = asker.request(lab["h1"].address, nonce=fresh_nonce(), flags=wire.PROBE)
        with expect_drop(lab, node, "probe", 2):
            asker.send(asker.encapsulated(lab["h1"].address, probe))
            asker.send(probe)
        assert asker.replies() == []


@pytest.mark.requirement("C13", "C14")
def test_a_probe_is_answered_by_the_etr(lab: Lab, etr: Itr) -> None:
    """P in the message, A in the record, p on the one locator that was probed."""
    nonce = fresh_nonce()
    etr.send(etr.request(lab["h1"].address, nonce=nonce, flags=wire.PROBE))
    message = etr.reply(nonce).message
    assert message.word == wire.MAP_REPLY << 28 | 1 << 27 | 1
    with clause("C13"):
        assert message.records[0].authoritative
    with clause("C14"):
        assert [(one.rloc, one.bits) for one in message.records[0].locators] == [(etr.target, 0b111)]


@pytest.mark.requirement("C29")
@pytest.mark.parametrize("checksum", [0, 0x1234])
def test_an_inner_checksum_is_there_and_right(lab: Lab, map_resolver: Itr, checksum: int) -> None:
    """Zero is none."""
    eid, nonce = lab["h4"].address, fresh_nonce()
    good = map_resolver.encapsulated(eid, map_resolver.request(eid, nonce=nonce))
    bad = good[:30] + checksum.to_bytes(2, "big") + good[32:]
    with expect_drop(lab, "mr", "malformed"):
        map_resolver.send(bad)
    map_resolver.send(good)
    assert map_resolver.reply(nonce)


@pytest.mark.requirement("M10")
def test_map_server_is_no_itr(lab: Lab) -> None:
    """Map-Replies to a Map-Server that asks nothing are dropped."""
    with Watch(lab, [uplink(lab, "ms")]) as watch, expect_drop(lab, "ms", "no-role-for-map-reply"):
        record = wire.mapping(site(lab, "dc1"), 1440, [(rloc(lab, "xtr3"), 1, 100)])
        Itr(lab, "ms", watch).send(wire.map_reply(7, record), ports=(wire.CONTROL, wire.CONTROL))


@pytest.mark.requirement("M04", "M09", "S09")
def test_map_resolver_says_where_no_eids_are(lab: Lab, map_resolver: Itr) -> None:
    """Natively-forward for 15 minutes, the least-specific hole, A not set, sent by the MR."""
    aggregate = lab.topology.eid_aggregates[0].network
    for eid in (lab["client"].address, "0.0.0.1", "255.255.255.254", aggregate[1], aggregate[-2]):
        nonce = fresh_nonce()
        map_resolver.send(map_resolver.encapsulated(eid, map_resolver.request(eid, nonce=nonce)))
        seen = map_resolver.reply(nonce)
        with clause("S09"):
            assert seen.outer.source == map_resolver.target
        (record,) = seen.message.records
        with clause("M09"):
            assert record.prefix == hole(lab, eid)
        with clause("M04"):
            assert (record.action, record.ttl, record.authoritative) == (NATIVELY_FORWARD, 15, False)
            assert record.locators == ()


@pytest.mark.requirement("M07", "S09")
def test_a_request_goes_from_itr_to_mr_to_ms_to_etr_and_the_reply_straight_back(lab: Lab) -> None:
    """Each hop sees it once, its inner bytes the same; the ETR answers the ITR."""
    itr, etr = "xtr2", "xtr1"
    path = ["mr", "ms", etr]
    with Watch(lab, [*path, itr]) as watch:
        lab.restart(itr)
        assert lab.run("h4", ["ping", "-c", "1", "-W", "10", str(lab["h1"].address)]).returncode == 0
        watch.drain()
        requests = [one for one in watch.control(wire.ECM) if inner_request(one).source_eid == lab["h4"].address]
        replies = watch.control(wire.MAP_REPLY, itr)
    with clause("S09"):
        hops = dict.fromkeys((one.outer.source, one.node) for one in requests)
        assert list(hops) == list(zip((rloc(lab, one) for one in (itr, "mr", "ms")), path, strict=True))
    with clause("M07"):
        assert len(requests) == len(path)
        inner = [one.message.inner for one in requests]
        assert len({one.packet for one in inner if one}) == 1
    reply = next(one for one in replies if one.message.nonce == inner_request(requests[0]).nonce)
    with clause("M07"):
        assert reply.outer.source == rloc(lab, etr)
        assert reply.message.records[0].authoritative
        assert [one.prefix for one in reply.message.records] == [site(lab, "dc1")]


@pytest.mark.requirement("C11", "M08")
def test_map_server_answers_for_a_site_that_wants_it(lab: Lab) -> None:
    """The ETR of a site with proxy-reply is not asked; neither A nor L is set."""
    itr, etr = "xtr1", "xtr2"
    with Watch(lab, ["ms", etr, itr]) as watch:
        lab.restart(itr)
        assert lab.run("h1", ["ping", "-c", "1", "-W", "10", str(lab["h4"].address)]).returncode == 0
        watch.drain()
        mine = [one for one in watch.control(wire.ECM) if inner_request(one).source_eid == lab["h1"].address]
        with clause("M08"):
            assert [one.node for one in mine] == ["ms"]
        nonce = inner_request(mine[0]).nonce
        (reply,) = [one for one in watch.control(wire.MAP_REPLY, itr) if one.message.nonce == nonce]
    proxied = reply.outer.source == rloc(lab, "ms")
    with clause("M08"):
        assert proxied
    (record,) = reply.message.records
    assert record.prefix == site(lab, "dc2")
    with clause("C11"):
        assert (record.authoritative and proxied) is False
    assert [(one.rloc, one.bits | 0b100 * (not proxied)) for one in record.locators] == [
        (rloc(lab, etr), 0b001 | 0b100 * (not proxied))
    ]


@pytest.mark.requirement("M09", "M22")
def test_lig_shows_what_the_mapping_system_says(lab: Lab) -> None:
    """Another site's EID, an own one, one that nobody has; replier and round-trip time."""
    other = lab.lig("xtr1", str(lab["b1"].address))
    own = lab.lig("xtr1", str(lab["h1"].address))
    with Watch(lab, ["xtr1"]) as watch:
        nobody = lab.lig("xtr1", str(outside := lab["client"].address))
        watch.drain()
        replies = watch.control(wire.MAP_REPLY)
        repliers = {one.outer.source for one in replies if any(outside in told.prefix for told in one.message.records)}
    with clause("M22"):
        assert other["records"][0]["eid"] == str(site(lab, "branch"))
        assert [one["rloc"] for one in other["records"][0]["locators"]] == [str(rloc(lab, "xtr3"))]
        assert other["rtt_ms"] > 0
        assert [one["replier"] for one in (other, own)] == [str(rloc(lab, one)) for one in ("xtr3", "xtr1")]
        assert {nobody["replier"]} == set(map(str, repliers))  # who that is to be says S09
    with clause("M09"):
        assert nobody["records"][0]["eid"] == str(hole(lab, lab["client"].address))
    with clause("M22"):
        assert nobody["records"][0]["action"] == NATIVELY_FORWARD


@pytest.mark.parametrize("dead", ["ms1", "ms2"])
def test_one_of_two_map_servers_may_be_dead(boot: Callable[[str], Lab], dead: str) -> None:
    """Of two questions one meets the dead Map-Server first, and its retransmission the other one."""
    lab = boot("two-map-servers")
    config = lab["xtr2"].lisp
    assert config is not None
    with frozen(lab, dead), Watch(lab, [uplink(lab, "mr")]) as watch:
        for eid in (lab["h2"].address, config.database[0].prefix.network[99]):
            assert lab.lig("xtr1", str(eid))["replier"] == str(rloc(lab, "xtr2"))
        watch.drain()
        asked = [one.outer.destination for one in watch.control(wire.ECM) if one.outer.source == rloc(lab, "mr")]
    alive = {"ms1": "ms2", "ms2": "ms1"}[dead]
    assert sorted(map(str, set(asked))) == sorted(str(rloc(lab, one)) for one in (alive, dead))
