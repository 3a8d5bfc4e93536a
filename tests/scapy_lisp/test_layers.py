"""The Scapy layers by themselves: what they build they read, and whatever comes, they read without an exception."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

import pytest
from scapy.config import conf
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import NoPayload, Packet, Raw

from testbed.observe import scapy_lisp as lisp
from testbed.observe.scapy_lisp.addresses import read_address
from tests.scapy_lisp.chance import CONTROL, DATA, LCAFS, Maker
from tests.scapy_lisp.figures import FIGURES, LCAF_FIGURES, NONCE, RECORD, identity, record
from tests.vectors.captures import control_messages

ROUNDS = 15


def _again(packet: Packet) -> Packet:
    """The same packet from its values, field by field: nothing that dissection keeps of the octets helps."""
    clone = packet.copy()
    for layer in _layers(clone):
        layer.raw_packet_cache = None
    return clone


def _layers(packet: Packet) -> list[Packet]:
    found, layer = [], packet
    while not isinstance(layer, NoPayload):
        found.append(layer)
        for field in layer.fields_desc:
            value = layer.getfieldval(field.name) if field.holds_packets else None
            for held in value if isinstance(value, list) else [value]:
                if isinstance(held, Packet):
                    found += _layers(held)
        layer = layer.payload
    return found


@pytest.mark.parametrize(("packet", "octets"), FIGURES.values(), ids=FIGURES.keys())
def test_figures(packet: Packet, octets: str) -> None:
    """C05, C22, C39: each field where its text draws it, both ways."""
    expected = bytes.fromhex(octets)
    assert bytes(packet).hex() == expected.hex()
    read = type(packet)(expected)
    assert bytes(_again(read)).hex() == expected.hex()
    assert lisp.defects(read) == []


@pytest.mark.parametrize(("packet", "octets"), LCAF_FIGURES.values(), ids=LCAF_FIGURES.keys())
def test_lcaf_figures(packet: Packet, octets: str) -> None:
    """M20: RFC 8060 sections 4 and 5, every type from 0 to 16; RFC 9306 for 255."""
    expected = bytes.fromhex("4003 0000" + octets)
    assert bytes(packet).hex() == expected.hex()
    read = read_address(expected)
    assert type(read) is type(packet)
    assert bytes(_again(read)).hex() == expected.hex()


@pytest.mark.parametrize("make", [*CONTROL.values(), *DATA.values()], ids=[*CONTROL, *DATA])
def test_round_trip(make: Maker) -> None:
    """What is built is read as the same values, whole, and built from those values it is the same octets."""
    random = Random(1)
    for _ in range(ROUNDS):
        octets = bytes(make(random))
        read = (lisp.LISP if make in CONTROL.values() else lisp.LISPData)(octets)
        assert lisp.defects(read) == []
        assert bytes(_again(read)) == octets
        assert read.show(dump=True)
        assert read.summary()


@pytest.mark.parametrize("make", LCAFS.values(), ids=map(str, LCAFS))
def test_nested_lcafs(make: Maker) -> None:
    """M20: every type, holding any other."""
    random = Random(2)
    for _ in range(ROUNDS):
        octets = bytes(make(random))
        read = read_address(octets)
        assert type(read) is not lisp.LCAF
        assert bytes(_again(read)) == octets
        assert not [layer for layer in _layers(read) if isinstance(layer, Raw)]


def test_an_unknown_lcaf_keeps_its_body() -> None:
    """RFC 9306 section 3: of a type that is not known, the length is."""
    octets = bytes.fromhex("20000001 0000000000000000 0000000f 00 20 0000 0000 4003 0000 63 00 0003 616263")
    read = lisp.LISP(octets)
    assert (read.records[0].eid_prefix.type, read.records[0].eid_prefix.body) == (0x63, b"abc")
    assert lisp.defects(read) == []


def _under_udp(octets: bytes, port: int) -> Packet:
    ports = struct.pack("!HHHH", 5000, port, 8 + len(octets), 0)
    return IP(bytes(IP(src="192.0.2.1", dst="192.0.2.2", proto=17) / Raw(ports + octets)))


def _survives(octets: bytes, port: int) -> Packet:
    """Dissect in both ways; nothing is lost and everything can be shown."""
    top = lisp.LISP if port == lisp.LISP_CONTROL_PORT else lisp.LISPData
    read = _under_udp(octets, port)
    assert bytes(read)[28:] == octets
    assert read.show(dump=True)
    lisp.defects(read)
    alone = top(octets)
    assert bytes(alone) == octets
    assert alone.show(dump=True)
    return read


@pytest.mark.parametrize("make", [*CONTROL.values(), *DATA.values()], ids=[*CONTROL, *DATA])
def test_truncated_and_changed(make: Maker) -> None:
    """M20, C03: no exception leaves a dissector; what it cannot read is raw, and ``defects`` says so."""
    random = Random(3)
    port = lisp.LISP_CONTROL_PORT if make in CONTROL.values() else lisp.LISP_DATA_PORT
    octets = bytes(make(random))
    whole = _survives(octets, port)
    for size in {*range(1, min(len(octets), 30)), *random.choices(range(1, len(octets)), k=15)}:
        cut = _survives(octets[:size], port)
        assert bytes(cut) != bytes(whole)
    for _ in range(25):
        changed = bytearray(octets)
        for _ in range(random.randint(1, 4)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        _survives(bytes(changed), port)
    for _ in range(15):
        _survives(octets[:1] + random.randbytes(random.randrange(200)), port)


@pytest.mark.parametrize("size", range(1, 76))
def test_a_cut_message_is_not_excused(size: int) -> None:
    """Whoever judges by these layers sees that something is missing, wherever it is cut."""
    octets = bytes.fromhex(FIGURES["Map-Register, RFC 9301 section 5.6"][1]) + bytes.fromhex(RECORD)
    octets = octets[:3] + b"\x02" + octets[4:]
    read = lisp.LISP(octets)
    assert lisp.defects(read) == []
    assert len(octets) == 76
    assert lisp.defects(lisp.LISP(octets[:size])) != []


def test_deep_nesting_ends() -> None:
    """Sixty thousand octets of LCAFs inside one another exhaust nothing."""
    body = b""
    for _ in range(5000):
        body = struct.pack("!HBBBBHI", 16387, 0, 0, 2, 0, 4 + len(body), 1) + body
    read = _survives(struct.pack("!IQ", 2 << 28 | 1, 0) + struct.pack("!IBBHH", 1, 0, 0, 0, 0) + body, 4342)
    assert lisp.defects(read) != []


def test_counts_that_lie_are_named() -> None:
    message = lisp.LISP(bytes(lisp.MapReply(record_count=3, records=[record()])))
    assert lisp.defects(message) == ["LISP Map-Reply, record_count: says 3, is 1"]
    message = lisp.LISP(bytes(lisp.MapReply(record_count=0, records=[record()])))
    assert lisp.defects(message) == ["LISP Map-Reply: 28 octets behind it are raw"]
    locator = lisp.RLOCRecord(locator=lisp.InstanceID(address="10.0.0.1", length=12) / Raw(b"ab"))
    message = lisp.LISP(bytes(lisp.MapReply(records=[lisp.EIDRecord(locators=[locator])])))
    assert lisp.defects(message) == [
        "LISP Map-Reply, records 1, locators 1, locator: 2 octets behind its fields are raw"
    ]


def test_an_unknown_afi_leaves_its_record_raw() -> None:
    """C03: nobody can say where an address of an unknown family ends."""
    octets = bytes.fromhex(f"20000002 {NONCE} {RECORD} 0000000f 00 20 0000 0000 7777 01020304")
    read = lisp.LISP(octets)
    assert read.records[0].locators[0].locator.address == "198.51.100.1"
    assert isinstance(read.records[1], Raw)
    assert lisp.defects(read) == ["LISP Map-Reply, records 2: 16 octets are raw"]


@pytest.mark.parametrize("number", [0, 9, 10, 11, 12, 13, 14])
def test_unassigned_types(number: int) -> None:
    """RFC 9301 section 5.1."""
    read = lisp.LISP(bytes([number << 4, 0, 0, 0, 1, 2]))
    assert type(read) is lisp.LISP
    assert lisp.defects(read) == ["LISP Control Message: 2 octets behind it are raw"]


def test_ports() -> None:
    """C01, D01: bound to 4342 as source or destination, and to 4341 as destination; built with them."""
    reply = bytes(lisp.MapReply(nonce=1))
    assert UDP(bytes(UDP(sport=4342, dport=7) / Raw(reply))).haslayer(lisp.MapReply)
    assert UDP(bytes(UDP(sport=7, dport=4342) / Raw(reply))).haslayer(lisp.MapReply)
    assert not UDP(bytes(UDP(sport=7, dport=8) / Raw(reply))).haslayer(lisp.MapReply)
    assert UDP(bytes(UDP() / lisp.MapReply())).dport == 4342
    assert UDP(bytes(UDP() / lisp.LISPData())).dport == 4341
    assert UDP(bytes(UDP() / lisp.LISPGPE())).dport == 4341


def test_answers() -> None:
    """C07: an answer has its question's nonce, also when that was encapsulated."""
    asked = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=4342) / lisp.MapRequest(nonce=7)
    for nonce, matches in ((7, True), (8, False)):
        reply = IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=4342, dport=5000) / lisp.MapReply(nonce=nonce)
        assert bool(reply.answers(asked)) is matches
        assert (reply.hashret() == asked.hashret()) is matches
    encapsulated = lisp.EncapsulatedControlMessage() / IP(dst="192.0.2.1") / UDP(sport=5000) / lisp.MapRequest(nonce=7)
    assert lisp.MapReply(nonce=7).answers(encapsulated)
    assert lisp.MapReply(nonce=7).hashret() == encapsulated.hashret()
    assert lisp.MapReferral(nonce=7).answers(encapsulated)
    assert lisp.MapNotify(nonce=7).answers(lisp.MapRegister(nonce=7))
    assert lisp.MapNotifyAck(nonce=7).answers(lisp.MapNotify(nonce=7))
    assert lisp.InfoReply(nonce=7).answers(lisp.InfoRequest(nonce=7))
    assert not lisp.MapNotify(nonce=7).answers(lisp.MapRequest(nonce=7))
    assert not lisp.MapNotifyAck(nonce=7).answers(lisp.MapRegister(nonce=7))


@pytest.mark.parametrize("message", [lisp.MapRegister, lisp.MapNotify, lisp.MapNotifyAck])
@pytest.mark.parametrize("algorithm", [1, 2, 3])
def test_authentication(message: type[Packet], algorithm: int) -> None:
    """C20, C21: every octet counts, the xTR-ID too."""
    made = lisp.signed(message(nonce=9, algorithm_id=algorithm, records=[record()]) / identity(), b"secret")
    octets = bytes(made)
    assert lisp.verify(octets, b"secret")
    assert not lisp.verify(octets, b"Secret")
    for at in range(len(octets)):
        changed = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
        assert not lisp.verify(changed, b"secret"), at
    for size in range(len(octets)):
        assert not lisp.verify(octets[:size], b"secret"), size


def test_an_algorithm_without_a_mac_signs_nothing() -> None:
    with pytest.raises(ValueError, match="Algorithm ID 0 has no MAC, known are 1, 2, 3"):
        lisp.signed(lisp.MapRegister(algorithm_id=0), b"secret")


def test_show_speaks_the_words_of_the_texts() -> None:
    text = lisp.LISP(bytes.fromhex(FIGURES["Map-Register, RFC 9301 section 5.6"][1])).show(dump=True)
    for line in ("type      = Map-Register", "algorithm_id= HMAC-SHA-256-128-None", "act       = No-Action"):
        assert line in text
    assert "eid_prefix" in text
    assert "192.0.2.0" in text


def test_a_dissector_that_fails_can_be_debugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scapy's own switch: then what went wrong is raised."""
    monkeypatch.setattr(conf, "debug_dissector", 1)
    with pytest.raises(struct.error):
        lisp.LISP(b"\x20\x00")


@pytest.mark.parametrize("size", range(1, 5))
def test_captured_messages_cut(size: int) -> None:
    """Another implementation's packets, cut at each of their octets in turn (every fourth here)."""
    for captured in control_messages()[::20]:
        for end in range(size, len(captured.payload), 4):
            _survives(captured.payload[:end], 4342)


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: lisp.MapRequest(rsvd=1), "LISP Map-Request, rsvd: 0x1"),
        (lambda: lisp.MapReply(records=[lisp.EIDRecord(reserved=2)]), "LISP Map-Reply, records, reserved: 0x2"),
        (
            lambda: lisp.MapNotify(records=[lisp.EIDRecord(locators=[lisp.RLOCRecord(unused_flags=4)])]),
            "LISP Map-Notify, records, locators, unused_flags: 0x4",
        ),
        (
            lambda: lisp.MapReply(records=[lisp.EIDRecord(eid_prefix=lisp.InstanceID(rsvd1=8))]),
            "LISP Map-Reply, records, eid_prefix, rsvd1: 0x8",
        ),
    ],
)
def test_reserved_bits_are_named(make: Callable[[], Packet], where: str) -> None:
    """C04: a sender leaves them 0; whoever does not is told where."""
    assert lisp.reserved_bits(lisp.LISP(bytes(make()))) == [where]
    assert lisp.reserved_bits(lisp.LISP(bytes(lisp.MapReply(records=[record()])))) == []


def test_ipv6_carries_them_too() -> None:
    made = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP() / lisp.MapReply(nonce=3, records=[record()])
    read = IPv6(bytes(made))
    assert read[lisp.MapReply].nonce == 3
    assert lisp.defects(read) == []
