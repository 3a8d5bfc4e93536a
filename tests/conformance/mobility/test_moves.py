"""A host goes to another data centre: who is told of it, who asks, and where its packets go then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from testbed.act.ping import first_reply
from tests.conformance.clause import clause
from tests.conformance.mobility.roaming import MOBILE, Roaming
from tests.conformance.tester import packets, wire
from tests.conformance.tester.daemons import deaf, expect_drop
from tests.conformance.tester.places import uplink
from tests.conformance.tester.players import Attacker, Etr, Itr
from tests.conformance.tester.watch import Seen, Watch, inner_request


@pytest.mark.requirement("X03", "X04", "C28")
def test_the_xtr_that_a_host_left_is_told_acknowledges_and_withdraws(at_home: Roaming) -> None:
    world, lab = at_home, at_home.lab
    with Watch(lab, ["ms", uplink(lab, "xtr1"), "xtr1"]) as watch:
        world.move("dc2")
        told = watch.until(lambda: world.about(watch, wire.MAP_NOTIFY, "xtr1"), "a Map-Notify for the old xTR")[0]
        with clause("X03"):
            assert told.outer.source == world.rloc("ms")
            (record,) = told.message.records
            assert (record.ttl, [one.rloc for one in record.locators]) == (1440, [world.rloc("xtr2")])
            assert told.message.authentication == mac(told, world.key)
        acked = watch.until(lambda: world.about(watch, wire.MAP_NOTIFY_ACK, "ms"), "a Map-Notify-Ack")[0]
        with clause("C28"):
            assert acked.outer.source == world.rloc("xtr1")
            assert acked.message.word == wire.MAP_NOTIFY_ACK << 28 | 1
            assert (acked.message.nonce, acked.message.records) == (told.message.nonce, told.message.records)
            assert acked.message.authentication == mac(acked, world.key)

        def withdrawn() -> list[int]:
            sent = world.about(watch, wire.MAP_REGISTER, "ms")
            mine = [one for one in sent if one.outer.source == world.rloc("xtr1")]
            records = [record for one in mine for record in one.message.records]
            return [one.ttl for one in records if one.prefix == ip_network(world.eid)]

        with clause("X04"):
            assert watch.until(withdrawn, "the old xTR's last Map-Register") == [0]
            assert world.having() == ["xtr2"]
    assert world.registered() == str(world.rloc("xtr2"))
    # A Map-Notify that answers a Map-Register is not acknowledged.
    with clause("C28"):
        assert len(watch.control(wire.MAP_NOTIFY_ACK, "ms")) == 1


def mac(seen: Seen, secret: str) -> bytes:
    """The right Authentication Data of a message."""
    return wire.mac(seen.message.blank, seen.message.nonce, secret, seen.message.type)


@pytest.mark.requirement("X07", "C31", "C34")
def test_who_talked_with_the_host_is_told_asks_and_finds_it(at_home: Roaming) -> None:
    """An ITR and a PITR; of another address of the host that only the branch talked to, only its ITR hears."""
    world, lab = at_home, at_home.lab
    other = world.subnet[77]
    with one_more(world, other), Watch(lab, [uplink(lab, "xtr1"), "mr"]) as watch:
        speak_as(world, other)
        world.move("dc2")
        speak_as(world, other)

        def solicited(eid: Any) -> set[Any]:
            mine = [one for one in solicitations(watch, world, "xtr1") if one.message.records[0].prefix[0] == eid]
            return {one.outer.destination for one in mine}

        both = {world.rloc("xtr4"), world.rloc("pxtr")}
        watch.until(lambda: solicited(world.eid) == both, "Solicit-Map-Requests for branch and proxy")
        watch.until(lambda: solicited(other), "a Solicit-Map-Request about the other address")

        def invoked() -> dict[Any, Seen]:
            asked = [one for one in watch.control(wire.ECM, "mr") if inner_request(one).word & wire.SMR_INVOKED]
            mine = [one for one in asked if inner_request(one).records[0].prefix == ip_network(world.eid)]
            return {one.outer.source: one for one in mine}

        with clause("C31"):
            watch.until(lambda: both <= invoked().keys(), "SMR-invoked Map-Requests through the mapping system")
            for one in invoked().values():
                assert not inner_request(one).word & (wire.SMR | wire.PROBE)
        world.settled()
        with clause("X07"):
            for correspondent, node in (("b1", "xtr4"), ("client", "pxtr")):
                assert world.goes_to(node) == [str(world.rloc("xtr2"))]
                first_reply(lab, correspondent, MOBILE, within=20, version=world.version)
        watch.drain()
        with clause("C34"):
            assert solicited(other) == {world.rloc("xtr4")}


@contextmanager
def one_more(world: Roaming, address: Any) -> Iterator[None]:
    """Meanwhile the host has one more address."""
    (interface,) = [one.name for one in world.lab[MOBILE].interfaces]
    words = [f"{address}/{world.subnet.prefixlen}", "dev", interface]
    # Deprecated: nothing is sent from it but what says so.
    flags = ["nodad", "preferred_lft", "0"] if world.version == 6 else []
    assert world.lab.run(MOBILE, ["ip", "address", "add", *words, *flags]).returncode == 0
    try:
        yield
    finally:
        world.lab.run(MOBILE, ["ip", "address", "del", *words])


def speak_as(world: Roaming, address: Any) -> None:
    """The host pings the branch with one of its addresses until it is answered."""
    there = str(world.lab["b1"].address_of(world.version))
    words = ["ping", "-c", "1", "-i", "0.2", "-w", "20", "-I", str(address), there]
    assert world.lab.run(MOBILE, words).returncode == 0


def solicitations(watch: Watch, world: Roaming, source: str) -> list[Seen]:
    """The Solicit-Map-Requests of an xTR that reached the core router next to it."""
    seen = watch.control(wire.MAP_REQUEST, uplink(world.lab, source))
    return [one for one in seen if one.message.word & wire.SMR and one.outer.source == world.rloc(source)]


@pytest.mark.requirement("X06")
def test_data_for_a_host_that_left_solicits_its_sender(at_home: Roaming) -> None:
    """Somebody of whom the old xTR knows nothing, but that he still sends there."""
    world, lab = at_home, at_home.lab
    world.settle("dc2")
    with Watch(lab, [uplink(lab, "xtr1")]) as watch:
        sender = Attacker(lab, "xtr1", watch, world.version)
        inner = packets.datagram(lab["b1"].address_of(world.version), world.eid, (7777, 7777), b"to the old place")
        sender.tunnel(inner)

        def mine() -> list[Seen]:
            return [one for one in solicitations(watch, world, "xtr1") if one.outer.destination == sender.address]

        seen = watch.until(mine, "a Solicit-Map-Request for the sender")[0]
        assert [one.prefix for one in seen.message.records] == [ip_network(world.eid)]
        assert seen.message.source_eid == world.eid


@pytest.mark.requirement("C09", "C11")
def test_what_the_map_server_answers_of_a_host_that_moves(at_home: Roaming) -> None:
    """In the name of its xTR and never with the A-bit; three times at once, then no more: but news are told."""
    world, lab = at_home, at_home.lab
    world.settle("dc2")
    with Watch(lab, [uplink(lab, "ms")]) as watch:
        itr = Itr(lab, "ms", watch, world.version)
        reply = itr.reply(itr.look_up(world.eid))
        with clause("C11"):
            (record,) = reply.message.records
            assert reply.outer.source == world.rloc("ms")
            assert [one.rloc for one in record.locators] == [world.rloc("xtr2")]
            assert not record.authoritative
        with clause("C09"):
            with expect_drop(lab, "ms", "map-reply-rate", 8):
                for _ in range(10):
                    itr.look_up(world.eid)
            itr.reply(itr.look_up(lab["near3"].address_of(world.version)))
            assert len(itr.replies()) == 4
            world.settle("dc3")
            (record,) = itr.reply(itr.look_up(world.eid)).message.records
            assert [one.rloc for one in record.locators] == [world.rloc("xtr3")]


@pytest.mark.requirement("C17")
def test_the_answer_for_a_subnet_has_its_hosts_in_it(at_home: Roaming) -> None:
    """Part of the subnet is registered as a whole, and a host inside that moved by itself."""
    world, lab = at_home, at_home.lab
    part, host = sub(world, 0xC0, 4), sub(world, 0xC5, 0)
    with Watch(lab, [uplink(lab, "ms")]) as watch:
        etr = Etr(lab, "ms", watch, world.version, secret=world.key)
        locators = [(world.rloc("xtr1"), 1, 100)]
        etr.registered(wire.mapping(part, 30, locators), wire.mapping(host, 20, locators), flags=wire.PROXY_REPLY)
        itr = Itr(lab, "ms", watch, world.version)
        records = itr.reply(itr.look_up(part[1])).message.records
        assert [one.prefix for one in records] == [part, host]
        assert {one.ttl for one in records} == {20}
        assert [one.prefix for one in itr.reply(itr.look_up(host[0])).message.records] == [host]
        etr.registered(*(wire.mapping(one, 0) for one in (part, host)))


def sub(world: Roaming, number: int, bits: int) -> Any:
    """The part of the subnet of so many bits that begins at that host."""
    return ip_network((world.subnet[number], world.subnet.max_prefixlen - bits))


@pytest.mark.requirement("C33")
def test_news_of_what_is_not_cached_are_not_asked_for(at_home: Roaming) -> None:
    world, lab = at_home, at_home.lab
    core, stranger = uplink(lab, "xtr4"), world.subnet[0x99]
    with Watch(lab, [core]) as watch:
        with expect_drop(lab, "xtr4", "solicit-map-request-not-cached"):
            Etr(lab, "xtr4", watch, world.version).solicit(stranger, stranger)
        asked = [inner_request(one) for one in watch.control(wire.ECM, core) if one.outer.source == world.rloc("xtr4")]
        assert not [one for one in asked if stranger in one.records[0].prefix]


@pytest.mark.requirement("X18")
def test_a_map_server_that_restarts_meanwhile_has_it_right(at_home: Roaming) -> None:
    """What it was told of the move is lost; the session lives, everybody is right within a registration interval."""
    world, lab = at_home, at_home.lab
    with world.session("b1"):
        with deaf(lab, "ms"), Watch(lab, ["ms"]) as watch:

            def registers() -> list[Seen]:
                sent = world.about(watch, wire.MAP_REGISTER, "ms")
                return [one for one in sent if one.outer.source == world.rloc("xtr2")]

            world.move("dc2")
            watch.until(registers, "a Map-Register that is lost")
            lab.restart("ms")
        world.settled(within=60)
