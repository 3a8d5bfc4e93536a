"""Packets for people: the line and the fields of each, whatever its octets are."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from testbed.observe import scapy_lisp as lisp
from testbed.observe.scapy_lisp.telling import layers, told
from tests.scapy_lisp import chance

MAKERS = (
    chance.map_request, chance.map_reply, chance.map_register, chance.map_notify, chance.ecm, chance.map_referral,
    chance.info_request, chance.info_reply, chance.data_header,
)  # fmt: skip
RECORD = lisp.EIDRecord(
    eid_prefix="192.0.2.0", eid_mask_len=24, locators=[lisp.RLOCRecord(locator="198.51.100.1", priority=1)]
)
ASKED = [lisp.RequestRecord(eid_prefix=lisp.InstanceID(instance_id=7, address="192.0.2.9"), eid_mask_len=32)]
INNER = IP(src="192.0.2.1", dst="192.0.2.2")


def control(message: Packet) -> Packet:
    return Ether(bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=4342, dport=4342) / message))


def data(inner: Packet, **bits: Any) -> Packet:
    header = lisp.LISPData(**bits) / inner
    return Ether(bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=50000, dport=4341) / header))


@pytest.mark.parametrize(
    ("packet", "kind", "words"),
    [
        (control(lisp.MapRequest(records=ASKED)), "Map-Request", "for [7] 192.0.2.9/32"),
        (control(lisp.MapRequest(smr=1, records=ASKED)), "SMR", "for [7] 192.0.2.9/32"),
        (control(lisp.MapRequest(probe=1, records=[])), "RLOC-probe", "for no record"),
        (control(lisp.MapReply(records=[RECORD])), "Map-Reply", "192.0.2.0/24 → 198.51.100.1"),
        (control(lisp.MapReply(records=[RECORD] * 5)), "Map-Reply", "; ".join(3 * ["192.0.2.0/24 → 198.51.100.1"])
         + " and 2 more"),
        (control(lisp.MapReply(records=[lisp.EIDRecord(eid_prefix="192.0.2.0", eid_mask_len=24, act=1)])),
         "Map-Reply", "192.0.2.0/24 → natively forward"),
        (control(lisp.MapNotify(records=[RECORD])), "Map-Notify", "192.0.2.0/24 → 198.51.100.1"),
        (data(INNER / UDP(sport=1, dport=2)), "data", "192.0.2.1 → 192.0.2.2, UDP 1 → 2"),
        (data(INNER / ICMP(), instance_id_present=1, instance_id=9), "data",
         "[9] 192.0.2.1 → 192.0.2.2, ICMP echo-request"),
        (Ether() / INNER / TCP(sport=1, dport=2), "TCP", "192.0.2.1 → 192.0.2.2, TCP 1 → 2"),
        (Ether() / ARP(psrc="192.0.2.1", pdst="192.0.2.2"), "ARP", "192.0.2.1 asks for 192.0.2.2"),
    ],
)  # fmt: skip
def test_a_line(packet: Packet, kind: str, words: str) -> None:
    assert told(packet) == (kind, words)


def test_an_encapsulated_request_is_told_as_the_request() -> None:
    request = INNER / UDP(sport=4342, dport=4342) / lisp.MapRequest(records=ASKED)
    packet = control(lisp.EncapsulatedControlMessage() / request)
    assert told(packet) == ("Map-Request", "encapsulated, for [7] 192.0.2.9/32")


def fields(inside: list[Any]) -> Iterator[tuple[str, str]]:
    for name, value, *deeper in inside:
        yield name, value
        yield from fields(deeper[0] if deeper else [])


def test_fields_at_their_places() -> None:
    packet = control(lisp.MapReply(nonce=0xABC, records=[RECORD]))
    found = list(layers(packet))
    assert [one["name"] for one in found] == ["Ethernet", "IP", "UDP", "LISP Map-Reply"]
    assert [(one["at"], one["size"]) for one in found] == [(0, 14), (14, 20), (34, 8), (42, len(packet) - 42)]
    said = list(fields(found[-1]["fields"]))
    assert {("nonce", "0xabc"), ("eid_mask_len", "24"), ("address", "198.51.100.1"), ("priority", "1")} <= set(said)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_whatever_comes_is_told(make: Any) -> None:
    """Packets with changed octets, and cut short: a line and layers of each, as long as it is."""
    random = Random(31)
    port = 4341 if make is chance.data_header else 4342
    for _ in range(40):
        octets = bytearray(bytes(Ether() / IP() / UDP(sport=5000, dport=port) / make(random)))
        for _ in range(random.randrange(6)):
            octets[random.randrange(12, len(octets))] = random.randrange(256)
        packet = Ether(bytes(octets[: random.randrange(14, len(octets) + 1)]))
        kind, words = told(packet)
        assert kind
        assert isinstance(words, str)
        assert sum(one["size"] for one in layers(packet)) == len(packet.original)


def test_long_values_are_cut() -> None:
    found = list(layers(Ether(bytes(Ether() / INNER / Raw(bytes(1000))))))
    assert max(len(value) for one in found for _, value in fields(one["fields"])) < 250
