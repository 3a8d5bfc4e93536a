"""What our own encoders write, three read alike: the Scapy layers, tshark, and the decoder beside the encoder.

The Scapy layers share no code with ``nodes``: a mistake made on both sides of our own wire format shows here.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from nodes.lisp import wire
from nodes.lisp.wire import DataHeader, EncapsulatedControlMessage, InstanceId, MapVersions
from testbed.observe import scapy_lisp as lisp
from tests.scapy_lisp.same import same, same_data_header
from tests.scapy_lisp.tshark import ask, disagreements

ROUNDS = 25
SECRET = "a secret"


def _flag(random: Random) -> bool:
    return random.random() < 0.5


def _flags(random: Random, *names: str) -> dict[str, Any]:
    return {name: _flag(random) for name in names}


def _ip(random: Random) -> Any:
    return IPv4Address(random.getrandbits(32)) if _flag(random) else IPv6Address(random.getrandbits(128))


def _eid(random: Random) -> Any:
    return InstanceId(random.getrandbits(24), _ip(random), 32) if _flag(random) else _ip(random)


def _rloc(random: Random) -> Any:
    if _flag(random):
        return _ip(random)
    hops = (wire.ReencapHop(_ip(random), **_flags(random, "lookup", "probe", "strict")) for _ in range(2))
    return wire.ExplicitLocatorPath(tuple(hops))


def _locator(random: Random) -> wire.LocatorRecord:
    return wire.LocatorRecord(_rloc(random), *random.randbytes(4), **_flags(random, "local", "probed", "reachable"))


def _record(random: Random) -> wire.EidRecord:
    locators = tuple(_locator(random) for _ in range(random.randrange(4)))
    numbers = random.randint(0, 32), random.getrandbits(32)
    return wire.EidRecord(
        _eid(random), *numbers, locators, random.randrange(6), _flag(random), map_version=random.getrandbits(12)
    )


def _records(random: Random) -> tuple[wire.EidRecord, ...]:
    return tuple(_record(random) for _ in range(random.randrange(4)))


def _map_request(random: Random) -> wire.MapRequest:
    return wire.MapRequest(
        random.getrandbits(64),
        random.choice([wire.NoAddress(), _ip(random)]),
        tuple(_ip(random) for _ in range(random.randint(1, 32))),
        tuple(
            wire.RequestRecord(_eid(random), random.randint(0, 32), _flag(random)) for _ in range(random.randint(1, 3))
        ),
        reply_record=random.choice([None, _record(random)]),
        **_identity(random),
        **_flags(random, "authoritative", "probe", "smr", "pitr", "smr_invoked", "local_xtr", "dont_reply"),
    )


def _map_reply(random: Random) -> wire.MapReply:
    return wire.MapReply(random.getrandbits(64), _records(random), _flag(random), _flag(random))


def _identity(random: Random) -> dict[str, Any]:
    return {"xtr_id": random.randbytes(16), "site_id": random.getrandbits(64)} if _flag(random) else {}


def _map_register(random: Random) -> wire.MapRegister:
    flags = _flags(random, "proxy_reply", "security_capable", "eid_notify", "use_ttl", "merge", "want_notify")
    numbers = random.getrandbits(64), random.randrange(256), random.randint(1, 3)
    return wire.sign(wire.MapRegister(*numbers, _records(random), **flags, **_identity(random)), SECRET)


def _map_notify(random: Random) -> wire.MapNotify:
    numbers = random.getrandbits(64), random.randrange(256), random.randint(1, 3)
    return wire.sign(wire.MapNotify(*numbers, _records(random), **_identity(random)), SECRET)


def _map_notify_ack(random: Random) -> wire.MapNotifyAck:
    numbers = random.getrandbits(64), random.randrange(256), random.randint(1, 3)
    return wire.sign(wire.MapNotifyAck(*numbers, _records(random), **_identity(random)), SECRET)


def _ecm(random: Random) -> EncapsulatedControlMessage:
    kind, bits = random.choice([(IPv4Address, 32), (IPv6Address, 128)])
    source, destination = kind(random.getrandbits(bits)), kind(random.getrandbits(bits))
    port = random.randint(1024, 65535)
    return EncapsulatedControlMessage.wrap(_map_request(random).encode(), source, port, destination, 4342, 64)


MAKERS: list[Callable[[Random], Any]] = [_map_request, _map_reply, _map_register, _map_notify, _map_notify_ack, _ecm]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.strip("_"))
def test_the_layers_read_what_we_write(make: Callable[[Random], Any]) -> None:
    """C04, C05, C20, C22: every value at its place, reserved bits 0, nothing left over."""
    random = Random(21)
    for _ in range(ROUNDS):
        message = make(random)
        octets = message.encode()
        read = lisp.LISP(octets)
        same(message, read)
        if isinstance(message, wire.MapRegister | wire.MapNotify | wire.MapNotifyAck):
            assert lisp.verify(octets, SECRET.encode())
            assert lisp.signed(read, SECRET.encode()).authentication_data == message.auth_data
        assert wire.decode(octets) == message


def test_we_read_what_the_layers_write() -> None:
    """The other way round: our decoder and the layers' builder."""
    random = Random(22)
    for make in MAKERS:
        octets = make(random).encode()
        built = lisp.LISP(octets)
        built.raw_packet_cache = None
        assert wire.decode(bytes(built)) == wire.decode(octets)


def _data_header(random: Random) -> DataHeader:
    first: dict[str, Any] = random.choice(
        [
            {},
            {"nonce": random.getrandbits(24), "echo": _flag(random)},
            {"versions": MapVersions(random.getrandbits(12), random.getrandbits(12))},
        ]
    )
    instance_id = random.choice([None, random.getrandbits(24)])
    bits = random.choice([None, random.getrandbits(32 if instance_id is None else 8)])
    return DataHeader(instance_id=instance_id, locator_status_bits=bits, **first)


def test_data_headers() -> None:
    """D06 to D09, D20: each bit and number of the data header."""
    random = Random(23)
    for _ in range(200):
        ours = _data_header(random)
        read = lisp.LISPData(ours.encode())
        same_data_header(ours, read)


def test_tshark_agrees_on_what_we_write(tmp_path: Any) -> None:
    """No malformed or unexpected field in any message of ours, and the same values (type 5 aside, which it skips)."""
    random = Random(24)
    messages = [make(random) for make in MAKERS if make is not _map_notify_ack for _ in range(ROUNDS)]
    packets = [
        bytes(IP(src="198.51.100.1", dst="198.51.100.2") / UDP(sport=5000, dport=4342) / Raw(message.encode()))
        for message in messages
    ]
    for message, octets, opinion in zip(messages, packets, ask(packets, tmp_path / "ours.pcap"), strict=True):
        # RFC 9301 section 5.7: nothing says that an xTR-ID ends a Map-Notify; and tshark does not know RFC 9437, whose
        # Map-Requests have one as well. It leaves both out (test_tshark.py).
        request = (
            wire.decode(message.unwrap().message) if isinstance(message, wire.EncapsulatedControlMessage) else message
        )
        identified = isinstance(request, wire.MapNotify | wire.MapRequest) and request.xtr_id is not None
        known = [
            one
            for one in disagreements(octets, opinion)
            if not identified or ("xtrid" not in one and "siteid" not in one)
        ]
        assert known == []
        assert opinion.complaints == []
        assert opinion.undissected == (24 if identified else None)
