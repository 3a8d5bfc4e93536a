"""LISP canonical addresses (RFC 8060) of every type, through a Map-Server and a Map-Resolver and back, byte by byte."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet

from testbed.lab import Lab
from testbed.observe import scapy_lisp as lisp
from tests.conformance.tester import wire
from tests.conformance.tester.players import Etr, Itr, fresh_nonce
from tests.conformance.tester.watch import Watch
from tests.scapy_lisp.chance import LCAFS
from tests.scapy_lisp.test_tshark import NOT_DISSECTED, UNDISSECTED_LCAFS, disagreements, is_beyond_tshark
from tests.scapy_lisp.tshark import Opinion, ask

MAC = "02:00:5e:10:00:01"
TYPES = range(17)


def locators(chance: Random, number: int) -> list[Any]:
    """One locator of that type, one of it inside an instance, and one of that in a list beside a MAC address."""
    one = LCAFS[number](chance)
    while number not in UNDISSECTED_LCAFS and is_beyond_tshark(one):
        one = LCAFS[number](chance)
    nested = lisp.InstanceID(instance_id=7, address=one)
    return [one, nested, lisp.AFIList(addresses=[nested, lisp.MACAddress(address=MAC)])]


def eid_of(number: int) -> str:
    return f"172.16.48.{number}"


@pytest.fixture(scope="module")
def exchanged(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Packet, bytes, Opinion]]:
    """By the LCAF type: what was registered, the Map-Reply that the Map-Server gave, and what tshark makes of that."""
    registered: dict[int, Packet] = {}
    replies: dict[int, bytes] = {}
    with Watch(lab, ["core2"]) as watch:
        itr, etr = Itr(lab, "ms", watch), Etr(lab, "ms", watch, secret="open-secret")
        for number in TYPES:
            rlocs = [
                lisp.RLOCRecord(locator=one, priority=1, weight=1, reachable=1)
                for one in locators(Random(number), number)
            ]
            registered[number] = lisp.EIDRecord(
                eid_prefix=eid_of(number), eid_mask_len=32, record_ttl=60, locators=rlocs
            )
            etr.registered(bytes(registered[number]), flags=wire.PROXY_REPLY)
            replies[number] = itr.reply(itr.look_up(eid_of(number))).outer.packet
    opinions = ask(list(replies.values()), tmp_path_factory.mktemp("lcaf") / "replies.pcap")
    return {number: (registered[number], replies[number], one) for number, one in zip(TYPES, opinions, strict=True)}


@pytest.mark.requirement("M20")
@pytest.mark.parametrize("number", TYPES)
def test_every_type_is_kept_as_it_was_registered(
    exchanged: dict[int, tuple[Packet, bytes, Opinion]], number: int
) -> None:
    """A Map-Server gives out the octets that it got, where they are read by the Scapy layers and by tshark."""
    registered, octets, opinion = exchanged[number]
    found = IP(octets)[UDP].payload.records[0]
    assert lisp.defects(IP(octets)) == []
    assert found.eid_prefix.sprintf("%address%") == eid_of(number)
    wanted = sorted(bytes(one.locator) for one in registered.locators)
    assert sorted(bytes(one.locator) for one in found.locators) == wanted
    if number in UNDISSECTED_LCAFS:
        assert set(opinion.complaints) == {NOT_DISSECTED}
    else:
        assert opinion.complaints == []
        assert list(disagreements(octets, opinion)) == []


@pytest.mark.requirement("M20")
def test_who_asks_may_be_a_mac_address_of_an_instance(lab: Lab) -> None:
    """A Map-Request from such a Source-EID is read whole, and answered."""
    source = lisp.InstanceID(instance_id=16777215, address=lisp.MACAddress(address=MAC))
    question = lisp.RequestRecord(eid_prefix="192.168.1.77", eid_mask_len=32)
    with Watch(lab, ["core1"]) as watch:
        itr = Itr(lab, "xtr1", watch)
        request = lisp.MapRequest(
            nonce=(nonce := fresh_nonce()), source_eid=source, itr_rlocs=[str(itr.address)], records=[question]
        )
        itr.send(bytes(request))
        assert itr.reply(nonce).message.records


@pytest.mark.requirement("M20")
@pytest.mark.parametrize("server", ["mr", "ms"])
@pytest.mark.parametrize("instance", [None, 7])
def test_a_mac_address_that_is_asked_for_is_in_no_mapping(
    lab: Lab, server: str, instance: int | None, tmp_path: Path
) -> None:
    """A negative Map-Reply about MAC addresses of that instance; the router goes on answering."""
    mac = lisp.MACAddress(address=MAC)
    eid = mac if instance is None else lisp.InstanceID(instance_id=instance, address=mac)
    with Watch(lab, ["core2"]) as watch:
        itr = Itr(lab, server, watch)
        question = lisp.RequestRecord(eid_prefix=eid, eid_mask_len=48)
        request = lisp.MapRequest(nonce=fresh_nonce(), itr_rlocs=[str(itr.address)], records=[question])
        itr.send(itr.encapsulated(itr.target, bytes(request)))
        (reply,) = watch.until(lambda: replies_to(watch, request.nonce), "a Map-Reply")
    assert lisp.defects(reply) == []
    (opinion,) = ask([reply.original], tmp_path / "reply.pcap")
    assert (opinion.complaints, list(disagreements(reply.original, opinion))) == ([], [])
    (record,) = reply[UDP].payload.records
    assert (record.act, record.record_ttl, record.locators, record.authoritative) == (1, 15, [], 0)
    inside = record.eid_prefix if instance is None else record.eid_prefix.address
    assert isinstance(inside, lisp.MACAddress)
    assert instance is None or record.eid_prefix.instance_id == instance


def replies_to(watch: Watch, nonce: int) -> list[Packet]:
    """The Map-Replies with that nonce, as the Scapy layers read them."""
    seen = [IP(one.packet) for _, one in watch.datagrams(wire.CONTROL, "core2")]
    found = [one for one in seen if isinstance(one[UDP].payload, lisp.MapReply)]
    return [one for one in found if one[UDP].payload.nonce == nonce]
