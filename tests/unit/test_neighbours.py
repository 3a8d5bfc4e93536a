"""What a router overhears of ARP and neighbour discovery, and what it answers."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address

import pytest

from nodes.dataplane.neighbours import Heard, answer, overhear, question
from nodes.dataplane.packet import ICMPV6
from nodes.lisp.checksum import checksum
from nodes.lisp.eid import IPAddress

HOST, ROUTER = bytes.fromhex("020000000011"), bytes.fromhex("0200000000fe")
NOBODY = ip_address("0.0.0.0"), ip_address("::")
PC1, PC2 = ip_address("11.11.11.11"), ip_address("11.11.11.12")
SIX1, SIX2 = ip_address("2001:db8::11"), ip_address("2001:db8::12")


def arp(operation: int, sender: IPAddress, asked: IPAddress, mac: bytes = HOST) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + sender.packed + bytes(6) + asked.packed
    return b"\xff" * 6 + mac + b"\x08\x06" + body + bytes(18)


def nd(kind: int, source: IPAddress, target: IPAddress, hop_limit: int = 255) -> bytes:
    message = struct.pack("!BBHI", kind, 0, 0, 0) + target.packed
    header = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, hop_limit) + source.packed + target.packed
    return b"\x33\x33\xff\0\0\x12" + HOST + b"\x86\xdd" + header + message


@pytest.mark.parametrize(
    ("frame", "heard"),
    [
        (arp(1, PC1, PC2), Heard(PC1, HOST, PC2)),
        (arp(1, PC1, PC1), Heard(PC1, HOST)),  # gratuitous: an announcement
        (arp(2, PC1, PC1), Heard(PC1, HOST)),  # the same as a reply
        (arp(2, PC1, PC2), Heard(PC1, HOST)),
        (arp(1, NOBODY[0], PC1), None),  # a probe
        (nd(135, SIX1, SIX2), Heard(SIX1, HOST, SIX2)),
        (nd(135, NOBODY[1], SIX1), None),  # duplicate address detection
        (nd(136, SIX1, SIX1), Heard(SIX1, HOST)),
        (nd(135, SIX1, SIX2, hop_limit=254), None),  # forwarded by a router
        (nd(133, SIX1, SIX2), None),
        (b"\xff" * 6 + HOST + b"\x08\0" + bytes(40), None),
        (arp(1, PC1, PC2)[:30], None),
        (b"", None),
    ],
)
def test_what_a_frame_says(frame: bytes, heard: Heard | None) -> None:
    """X01: hosts show themselves; probes and duplicate address detection show nobody."""
    assert overhear(frame) == heard


def test_an_arp_answer_names_the_routers_mac() -> None:
    """S06: who has .12? The router's MAC address, unicast to who asks."""
    heard = overhear(arp(1, PC1, PC2))
    assert heard is not None
    frame = answer(heard, PC2, ROUTER)
    assert frame[:14] == HOST + ROUTER + b"\x08\x06"
    assert overhear(frame) == Heard(PC2, ROUTER)
    assert frame[32:42] == HOST + PC1.packed


def test_a_neighbour_advertisement_names_the_routers_mac() -> None:
    """S06 over IPv6: solicited, without override, from this link, with a right checksum."""
    heard = overhear(nd(135, SIX1, SIX2))
    assert heard is not None
    frame = answer(heard, SIX2, ROUTER)
    assert overhear(frame) == Heard(SIX2, ROUTER)
    header, message = frame[14:54], frame[54:]
    assert header[7] == 255
    assert message[4] == 0x40
    assert message[-8:] == b"\x02\x01" + ROUTER
    assert checksum(header[8:40] + struct.pack("!II", len(message), ICMPV6) + message) == 0


@pytest.mark.parametrize(("own", "asked", "to"), [(PC1, PC2, b"\xff" * 6), (SIX1, SIX2, b"\x33\x33\xff\0\0\x12")])
def test_a_question_is_for_everybody_who_may_have_the_address(own: IPAddress, asked: IPAddress, to: bytes) -> None:
    """X01: by ARP, and by neighbour discovery with the MAC address that the answer is to go to."""
    frame = question(asked, own, ROUTER)
    assert frame[:12] == to + ROUTER
    assert overhear(frame) == Heard(own, ROUTER, asked)
    if own.version == 6:
        header, message = frame[14:54], frame[54:]
        assert (header[7], header[24:40]) == (255, ip_address("ff02::1:ff00:12").packed)
        assert message[-8:] == b"\x01\x01" + ROUTER
        assert checksum(header[8:40] + struct.pack("!II", len(message), ICMPV6) + message) == 0


def test_any_frame_is_survived() -> None:
    chance = random.Random(826)
    for frame in (arp(1, PC1, PC2), nd(135, SIX1, SIX2)):
        for _ in range(2000):
            bent = bytearray(frame[: chance.randrange(len(frame) + 1)])
            for _ in range(3):
                if bent:
                    bent[chance.randrange(len(bent))] = chance.randrange(256)
            overhear(bytes(bent))
