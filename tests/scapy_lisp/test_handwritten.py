"""The hand-written packets of the conformance tests: the same octets from the Scapy layers, where the two overlap."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet, Raw

from testbed.observe import scapy_lisp as lisp
from tests.conformance.tester import packets, wire

NONCE = 0x0102030405060708
ITR, ETR, EID, PREFIX = "198.51.100.1", "203.0.113.1", "192.0.2.9", "192.0.2.0"
SECRET = "a secret"
XTR_ID, SITE_ID = bytes(range(16)), 0xA1A2A3A4A5A6A7A8

_MAPPING = wire.mapping("192.0.2.0/24", 15, [(ETR, 1, 75), ("2001:db8::1", 2, 25)], bits=5)
_NEGATIVE = wire.mapping("0.0.0.0/1", 1, action=3)


def _locator(address: str, priority: int, weight: int) -> Packet:
    return lisp.RLOCRecord(locator=address, priority=priority, weight=weight, local=1, reachable=1)


def _mapping() -> Packet:
    locators = [_locator(ETR, 1, 75), _locator("2001:db8::1", 2, 25)]
    return lisp.EIDRecord(eid_prefix=PREFIX, eid_mask_len=24, record_ttl=15, locators=locators)


def _request(**flags: int) -> Packet:
    question = lisp.RequestRecord(eid_prefix=EID, eid_mask_len=32)
    return lisp.MapRequest(nonce=NONCE, itr_rlocs=[ITR, "2001:db8::2"], records=[question], **flags)


def _register(algorithm: int, **flags: Any) -> Packet:
    return lisp.MapRegister(
        nonce=NONCE, key_id=1, algorithm_id=algorithm, want_map_notify=1, records=[_mapping()], **flags
    )


def _signed(message: Packet) -> Packet:
    return lisp.signed(message, SECRET.encode())


def _identity() -> Packet:
    return lisp.Identity(xtr_id=XTR_ID, site_id=SITE_ID.to_bytes(8, "big"))


MESSAGES: dict[str, tuple[Packet, bytes]] = {
    "Map-Request": (_request(), wire.map_request(NONCE, [EID], [ITR, "2001:db8::2"])),
    "Map-Request with a source": (
        _request(source_eid="192.0.2.200"),
        wire.map_request(NONCE, [EID], [ITR, "2001:db8::2"], source_eid="192.0.2.200"),
    ),
    **{
        field: (_request(**{field: 1}), wire.map_request(NONCE, [EID], [ITR, "2001:db8::2"], flags=bit))
        for field, bit in {
            "probe": wire.PROBE, "smr": wire.SMR, "pitr": wire.PITR, "smr_invoked": wire.SMR_INVOKED,
            "dont_map_reply": wire.DONT_REPLY,
        }.items()
    },
    "Map-Reply": (
        lisp.MapReply(
            nonce=NONCE,
            records=[_mapping(), lisp.EIDRecord(eid_prefix="0.0.0.0", eid_mask_len=1, record_ttl=1, act=3)],
        ),
        wire.map_reply(NONCE, _MAPPING, _NEGATIVE),
    ),
    "Map-Register, algorithm 2": (
        _signed(_register(2)), wire.map_register(NONCE, [_MAPPING], SECRET, algorithm=2),
    ),
    "Map-Register, algorithm 3": (
        _signed(_register(3)), wire.map_register(NONCE, [_MAPPING], SECRET, algorithm=3),
    ),
    "Map-Register with an xTR-ID": (
        _signed(_register(3) / _identity()), wire.map_register(NONCE, [_MAPPING], SECRET, identity=(XTR_ID, SITE_ID)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("packet", "octets"), MESSAGES.values(), ids=MESSAGES.keys())
def test_the_same_octets(packet: Packet, octets: bytes) -> None:
    """C19 to C22, C39: written by hand, built by the layers."""
    assert bytes(packet).hex() == octets.hex()
    assert lisp.defects(lisp.LISP(octets)) == []


def _datagram(sport: int, message: Packet, source: str = ITR, destination: str = EID) -> Packet:
    header = IP(src=source, dst=destination, id=0, ttl=64)
    return header / UDP(sport=sport) / message


def test_an_encapsulated_control_message() -> None:
    """C29: inner header and checksums too."""
    made = lisp.EncapsulatedControlMessage() / _datagram(5000, _request())
    by_hand = wire.ecm(ITR, 5000, EID, wire.map_request(NONCE, [EID], [ITR, "2001:db8::2"]))
    assert bytes(made).hex() == by_hand.hex()


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [
        (lisp.LISPData(), 0, 0),
        (lisp.LISPData(nonce_present=1, nonce=7), 0x80000007, 0),
        (lisp.LISPData(instance_id_present=1, instance_id=100), 0x08000000, 100 << 8),
        (lisp.LISPData(lsb_enabled=1, locator_status_bits=3), 0x40000000, 3),
    ],
)
def test_data_packets(header: Packet, first: int, second: int) -> None:
    """D01 to D09: outer header, zero checksum, both words."""
    inner = packets.datagram("192.0.2.1", "192.0.2.2", (1, 2), b"payload")
    outer = IP(src=ITR, dst=ETR, id=0, ttl=64) / UDP(sport=61000, chksum=0) / header / Raw(inner)
    assert bytes(outer).hex() == packets.lisp(ITR, ETR, inner, first=first, second=second).hex()


@pytest.mark.parametrize("name", MESSAGES)
def test_the_readers_read_the_same(name: str) -> None:
    """The conformance tests' own reader, against the layers."""
    octets = MESSAGES[name][1].replace(bytes.fromhex("000220010db8") + bytes(11), b"\x00\x01\x0a\x00\x00")
    packet = lisp.LISP(octets)
    message = wire.read(octets)
    assert (packet.type, packet.nonce) == (message.type, message.nonce)
    assert len(packet.records) == len(message.records)
    for read, record in zip(packet.records, message.records, strict=True):
        assert (read.eid_prefix.address, read.eid_mask_len) == (str(record.prefix[0]), record.prefix.prefixlen)
        rlocs = [(str(one.rloc), one.priority, one.weight) for one in record.locators]
        read_rlocs = [(one.locator.address, one.priority, one.weight) for one in getattr(read, "locators", [])]
        assert read_rlocs == rlocs
