"""Another implementation's packets, read by the Scapy layers: whole, and with the values that are known of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.packet import Packet
from scapy.utils import rdpcap

from testbed.observe import scapy_lisp as lisp
from tests.vectors.captures import CAPTURES, SECRET, Captured, control_messages, data_packets

_MESSAGES = control_messages()


def _inner(message: Packet) -> Packet:
    """The Map-Request in an Encapsulated Control Message; any other message is itself."""
    return message.request() if isinstance(message, lisp.LISP) else message


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_every_packet_is_read_whole(path: Path) -> None:
    """Nothing is left raw, and every count and length is right; the layers are found by their ports."""
    found: Counter[type[Packet]] = Counter()
    for frame in rdpcap(str(path)):
        assert lisp.defects(frame) == []
        for kind in (lisp.LISP, lisp.LISPData):
            if layer := frame.getlayer(kind, _subclass=True):
                found[type(layer)] += 1
        if frame.haslayer(lisp.LISPData):
            assert frame.haslayer(ICMP)
    expected = (
        lisp.MapRequest, lisp.MapReply, lisp.MapRegister, lisp.MapNotify, lisp.EncapsulatedControlMessage, lisp.LISPData
    )  # fmt: skip
    assert set(found) == set(expected)


@pytest.mark.parametrize("captured", _MESSAGES, ids=lambda one: f"{one.capture}-{one.number}")
def test_messages(captured: Captured) -> None:
    """Each as tests/vectors/README.md tells: Key ID 0, Algorithm ID 1, no xTR-ID, the instance of its capture."""
    message = lisp.LISP(captured.payload)
    assert lisp.defects(message) == []
    assert bytes(message) == captured.payload
    if isinstance(message, lisp.MapRegister | lisp.MapNotify):
        assert (message.key_id, message.algorithm_id, message.authentication_data_length) == (0, 1, 20)
        assert not message.haslayer(lisp.Identity)
        assert lisp.verify(captured.payload, SECRET.encode())
        assert not lisp.verify(captured.payload, b"another")
        assert lisp.signed(message, SECRET.encode()).authentication_data == message.authentication_data
    read = _inner(message)
    instances = {getattr(record.eid_prefix, "instance_id", 0) for record in read.records}
    assert instances == {100 if captured.capture.endswith("instance-id") else 0}


def test_fields_of_a_map_register() -> None:
    register = lisp.LISP(next(one.payload for one in _MESSAGES if one.payload[0] >> 4 == 3))
    assert (register.nonce, register.want_map_notify, register.proxy_map_reply) == (0xDDB89F7B3A9FB0D5, 1, 0)
    (record,) = register.records
    assert (record.eid_prefix.address, record.eid_mask_len, record.record_ttl) == ("192.168.1.0", 24, 10)
    assert record.authoritative
    (locator,) = record.locators
    assert locator.locator.address == "10.1.0.2"
    assert (locator.priority, locator.weight, locator.m_priority, locator.m_weight) == (1, 100, 255, 0)
    assert (locator.local, locator.probed, locator.reachable) == (1, 0, 1)


def test_replies_answer_their_requests() -> None:
    """C07: every Map-Reply answers one of the requests in its capture, and no other."""
    read = [lisp.LISP(one.payload) for one in _MESSAGES]
    requests = [one for one in read if isinstance(_inner(one), lisp.MapRequest)]
    replies = [one for one in read if isinstance(one, lisp.MapReply)]
    assert replies
    for reply in replies:
        assert {_inner(one).nonce for one in requests if reply.answers(one)} == {reply.nonce}


def test_data_packets() -> None:
    """D20: the instance-ID, and no other bit."""
    for captured in data_packets():
        header = lisp.LISPData(captured.payload)
        instance = 100 if captured.capture.endswith("instance-id") else None
        assert getattr(header, "instance_id", None) == instance
        assert header.instance_id_present == (instance is not None)
        flags = ("nonce_present", "lsb_enabled", "echo_nonce_request", "map_version_present", "reserved", "key_id")
        assert not any(header.getfieldval(flag) for flag in flags)
        assert header.haslayer(IP)
