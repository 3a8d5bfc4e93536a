"""Hostile bytes: whatever arrives is a value or a DecodeError. Seeded, so a failure can be repeated."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

import pytest

from nodes.lisp.eid import EidPrefix
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire import (
    Address,
    AfiList,
    DataHeader,
    DistinguishedName,
    EidRecord,
    EncapsulatedControlMessage,
    ExplicitLocatorPath,
    InnerControl,
    InstanceId,
    LocatorRecord,
    MacAddress,
    MapNotify,
    MapNotifyAck,
    MapRegister,
    MapReply,
    MapRequest,
    Message,
    NoAddress,
    OpaqueLcaf,
    ReencapHop,
    RequestRecord,
    decode,
    verify,
)
from nodes.lisp.wire.addresses import max_mask_len
from nodes.lisp.wire.auth import Authenticated
from tests.vectors.captures import SECRET, control_messages

ROUNDS = 4000


def _consume(payload: bytes) -> str:
    """Do all that a receiver does with a payload; returns how it ended."""
    try:
        message = decode(payload)
    except DecodeError:
        return "refused"
    # What was read can be written, and is then read as the same value.
    assert decode(message.encode()) == message
    if isinstance(message, Authenticated):
        verify(payload, message, SECRET)
    if isinstance(message, EncapsulatedControlMessage):
        try:
            inner = message.unwrap()
        except DecodeError:
            return "refused inside"
        assert InnerControl.decode(inner.encode()) == inner
        _consume(inner.message)
        return "read"
    for record in () if isinstance(message, MapRequest) else message.records:
        _prefix(record)
    for question in message.records if isinstance(message, MapRequest) else ():
        _prefix(question)
    return "read"


def _prefix(record: EidRecord | RequestRecord) -> EidPrefix | None:
    try:
        return record.prefix
    except DecodeError:
        return None


def test_random_bytes() -> None:
    """C03, C04: noise behind every first nibble."""
    random = Random(9301)
    for number in range(ROUNDS):
        size = random.randrange(0, 120)
        payload = bytes([number % 16 << 4 | random.randrange(16)]) + random.randbytes(size)
        _consume(payload[: random.randrange(len(payload) + 1)] if number % 4 == 0 else payload)


def test_mutated_captures() -> None:
    """Real messages with bits flipped, bytes replaced, removed, inserted or repeated."""
    random = Random(9300)
    originals = [one.payload for one in control_messages()]
    ends: Counter[str] = Counter()
    for _ in range(ROUNDS):
        ends[_consume(_mutate(random, random.choice(originals)))] += 1
    # The test is worth something only if mutants die at different places.
    assert all(ends[end] > ROUNDS // 50 for end in ("read", "refused", "refused inside")), ends


def _mutate(random: Random, payload: bytes) -> bytes:
    mutant = bytearray(payload)
    for _ in range(random.randint(1, 4)):
        position = random.randrange(len(mutant))
        match random.randrange(5):
            case 0:
                mutant[position] ^= 1 << random.randrange(8)
            case 1:
                mutant[position] = random.choice((0, 1, 2, 0x40, 0x7F, 0x80, 0xFF))
            case 2:
                del mutant[position : position + random.randint(1, 8)]
            case 3:
                mutant[position:position] = random.randbytes(random.randint(1, 8))
            case _:
                mutant += mutant[position:]
        mutant = mutant or bytearray(1)
    return bytes(mutant)


@pytest.mark.parametrize("seed", range(4))
def test_random_messages_survive_the_wire(seed: int) -> None:
    """Any message that can be built is read back as itself (M20 for the address types we know)."""
    random = Random(seed)
    for _ in range(250):
        message = _message(random)
        assert decode(message.encode()) == message


def test_random_inner_packets_and_data_headers() -> None:
    random = Random(4341)
    for number in range(ROUNDS):
        packet = bytes([(0x45, 0x60, 0x46, random.randrange(256))[number % 4]]) + random.randbytes(random.randrange(70))
        with pytest.raises(DecodeError):
            InnerControl.decode(packet)
        if len(packet) < DataHeader.SIZE:
            with pytest.raises(DecodeError):
                DataHeader.decode(packet)
        else:
            header = DataHeader.decode(packet)
            assert DataHeader.decode(header.encode()) == header


def _address(random: Random, depth: int = 0) -> Address:
    match random.randrange(9 if depth < 3 else 5):
        case 0:
            return NoAddress()
        case 1:
            return IPv4Address(random.getrandbits(32))
        case 2:
            return IPv6Address(random.getrandbits(128))
        case 3:
            return MacAddress(random.randbytes(6))
        case 4:
            return DistinguishedName(bytes(random.choices(range(1, 256), k=random.randrange(9))))
        case 5:
            return InstanceId(random.getrandbits(32), _address(random, depth + 1), random.randrange(33))
        case 6:
            return AfiList(tuple(_address(random, depth + 1) for _ in range(random.randrange(4))))
        case 7:
            hops = (_hop(random, depth + 1) for _ in range(random.randrange(4)))
            return ExplicitLocatorPath(tuple(hops))
        case _:
            lcaf_type = random.choice([0, *range(3, 10), *range(11, 256)])
            return OpaqueLcaf(lcaf_type, random.randbytes(random.randrange(20)), random.getrandbits(8), 7)


def _hop(random: Random, depth: int) -> ReencapHop:
    return ReencapHop(_address(random, depth), **_flags(random, "lookup", "probe", "strict"))


def _flag(random: Random) -> bool:
    return random.random() < 0.5


def _flags(random: Random, *names: str) -> dict[str, Any]:
    return {name: _flag(random) for name in names}


def _record(random: Random) -> EidRecord:
    address = _address(random)
    return EidRecord(
        address,
        random.randint(0, max_mask_len(address)),
        random.getrandbits(32),
        tuple(
            LocatorRecord(
                _address(random),
                priority=random.randrange(256),
                weight=random.randrange(256),
                multicast_priority=random.randrange(256),
                multicast_weight=random.randrange(256),
                **_flags(random, "local", "probed", "reachable"),
            )
            for _ in range(random.randrange(4))
        ),
        random.randrange(8),
        _flag(random),
        random.randrange(4096),
    )


def _message(random: Random) -> Message:
    nonce = random.getrandbits(64)
    records = tuple(_record(random) for _ in range(random.randrange(4)))
    xtr_id = random.choice([None, random.randbytes(16)])
    site_id = random.getrandbits(64) if xtr_id else 0
    auth = random.randbytes(random.choice([0, 12, 16, 20, 32]))
    key_id, algorithm_id = random.randbytes(2)
    match random.randrange(5):
        case 0:
            address = _address(random)
            return MapRequest(
                nonce,
                _address(random),
                tuple(_address(random) for _ in range(random.randint(1, 32))),
                (RequestRecord(address, random.randint(0, max_mask_len(address)), _flag(random)),)
                * random.randint(1, 3),
                reply_record=random.choice([None, _record(random)]),
                xtr_id=xtr_id,
                site_id=site_id,
                **_flags(random, "authoritative", "probe", "smr", "pitr", "smr_invoked", "local_xtr", "dont_reply"),
            )
        case 1:
            security = random.choice([None, b"", random.randbytes(9)])
            return MapReply(nonce, records, _flag(random), _flag(random), security)
        case 2:
            return MapRegister(
                nonce,
                key_id,
                algorithm_id,
                records,
                xtr_id=xtr_id,
                site_id=site_id,
                auth_data=auth,
                **_flags(random, "proxy_reply", "security_capable", "eid_notify", "use_ttl", "merge", "want_notify"),
            )
        case 3:
            return MapNotify(nonce, key_id, algorithm_id, records, xtr_id, site_id, auth)
        case _:
            return MapNotifyAck(nonce, key_id, algorithm_id, records, xtr_id, site_id, auth)
