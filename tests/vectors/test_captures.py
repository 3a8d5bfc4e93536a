"""Another implementation's packets, read and written again: the same bytes."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

import pytest

from nodes.lisp.eid import EidPrefix
from nodes.lisp.wire import (
    DataHeader,
    EncapsulatedControlMessage,
    InstanceId,
    MapNotify,
    MapRegister,
    MapReply,
    MapRequest,
    NoAddress,
    decode,
    sign,
    verify,
)
from tests.vectors.captures import CAPTURES, SECRET, Captured, control_messages, data_packets


def _name(captured: Captured) -> str:
    return f"{captured.capture}-{captured.number}"


def test_both_captures_hold_every_kind_of_message() -> None:
    kinds = Counter((one.capture, type(decode(one.payload))) for one in control_messages())
    for path in CAPTURES:
        for kind in (MapRequest, MapReply, MapRegister, MapNotify, EncapsulatedControlMessage):
            assert kinds[path.stem, kind], (path.stem, kind)
    assert len(CAPTURES) == 2
    assert len(data_packets()) == 247


@pytest.mark.parametrize("captured", control_messages(), ids=_name)
def test_control_message_round_trip(captured: Captured) -> None:
    """C04: nothing is lost or invented between bytes and values."""
    message = decode(captured.payload)
    assert message.encode() == captured.payload
    assert decode(message.encode()) == message


@pytest.mark.parametrize("captured", [one for one in control_messages() if one.payload[0] >> 4 == 8], ids=_name)
def test_encapsulated_map_request(captured: Captured) -> None:
    """C29: the inner lengths and checksums hold; wrapped again, only the IPv4 ID and DF differ."""
    outer = decode(captured.payload)
    assert isinstance(outer, EncapsulatedControlMessage)
    inner = outer.unwrap()
    request = decode(inner.message)
    assert isinstance(request, MapRequest)
    assert request.encode() == inner.message
    assert request.records[0].prefix.address == inner.destination
    assert inner.destination_port == 4342

    ttl = outer.inner[8]
    again = EncapsulatedControlMessage.wrap(
        inner.message, inner.source, inner.source_port, inner.destination, inner.destination_port, ttl
    ).inner
    identification_and_flags, header_checksum = slice(4, 8), slice(10, 12)
    theirs, ours = bytearray(outer.inner), bytearray(again)
    for field in (identification_and_flags, header_checksum):
        theirs[field] = ours[field] = bytes(field.stop - field.start)
    assert ours == theirs  # the UDP checksum included


@pytest.mark.parametrize("captured", [one for one in control_messages() if one.payload[0] >> 4 in (3, 4)], ids=_name)
def test_authentication(captured: Captured) -> None:
    """C20, C21: the MACs of another implementation verify with its key, with no other, and with no bit changed."""
    message = decode(captured.payload)
    assert isinstance(message, MapRegister | MapNotify)
    assert (message.key_id, message.algorithm_id) == (0, 1)
    assert verify(captured.payload, message, SECRET)
    assert not verify(captured.payload, message, SECRET + "x")
    assert sign(message, SECRET) == message
    changed = bytearray(captured.payload)
    changed[-1] ^= 1
    assert not verify(bytes(changed), message, SECRET)


@pytest.mark.parametrize("captured", data_packets(), ids=_name)
def test_data_header_round_trip(captured: Captured) -> None:
    """D20: the instance-ID of each capture is in its data headers, and nothing else is."""
    header = DataHeader.decode(captured.payload)
    assert header == DataHeader(instance_id=100 if captured.capture.endswith("instance-id") else None)
    assert header.encode() == captured.payload[: DataHeader.SIZE]


def test_map_register_fields() -> None:
    """The first Map-Register of the plain capture, field by field."""
    captured = next(one for one in control_messages() if one.payload[0] >> 4 == 3)
    register = decode(captured.payload)
    assert isinstance(register, MapRegister)
    assert register.nonce == 0xDDB89F7B3A9FB0D5
    assert register.want_notify
    assert not register.proxy_reply
    assert register.xtr_id is None
    (record,) = register.records
    assert record.prefix == EidPrefix.of("192.168.1.0/24")
    assert record.ttl_minutes == 10
    assert record.authoritative
    (locator,) = record.locators
    assert locator.address == IPv4Address("10.1.0.2")
    assert (locator.priority, locator.weight) == (1, 100)
    assert (locator.multicast_priority, locator.multicast_weight) == (255, 0)
    assert (locator.local, locator.probed, locator.reachable) == (True, False, True)


def test_instance_id_fields() -> None:
    """D20: a Map-Request inside instance 100."""
    captured = next(
        one for one in control_messages() if one.capture.endswith("instance-id") and one.payload[0] >> 4 == 8
    )
    outer = decode(captured.payload)
    assert isinstance(outer, EncapsulatedControlMessage)
    request = decode(outer.unwrap().message)
    assert isinstance(request, MapRequest)
    assert request.source_eid == InstanceId(100, IPv4Address("192.168.1.10"), mask_len=32)
    assert request.records[0].prefix == EidPrefix.of("192.168.2.10", 100)


def test_rloc_probe_and_its_reply() -> None:
    """C13, C14: the probe reply carries P, A and the probed locator."""
    messages = [decode(one.payload) for one in control_messages()]
    probes = {m.nonce: m for m in messages if isinstance(m, MapRequest) and m.probe}
    replies = [m for m in messages if isinstance(m, MapReply) and m.probe]
    assert replies
    for reply in replies:
        assert probes[reply.nonce].source_eid == NoAddress()
        assert all(record.authoritative for record in reply.records)
        assert [locator.probed for record in reply.records for locator in record.locators] == [True]
