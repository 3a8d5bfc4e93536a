"""What is found wrong with packets that routers sent, and whose packets those are."""

from __future__ import annotations

import json
import shutil
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from testbed.observe import pcapng
from testbed.observe.capture import Frame
from tests.conformance.catalogue import Cell
from tests.conformance.instrument.evidence.directory import INDEX
from tests.conformance.instrument.evidence.opinions import Sent, judge, sent
from tests.conformance.instrument.evidence.outcome import look_at_packets
from tests.conformance.instrument.run import Run
from tests.conformance.instrument.verdicts import Evidence
from tests.conformance.tester import packets, wire

XTR, MR, MS = map(ip_address, ("10.0.1.2", "10.0.2.2", "10.0.3.2"))
EID = ip_address("192.168.1.1")
ENTRY: dict[str, Any] = {
    "handled": [],
    "foreign": [],
    "labs": [
        {
            "nodes": {
                "xtr": {"addresses": [str(XTR)]},
                "mr": {"addresses": [str(MR)]},
                "core": {"addresses": ["10.0.1.1", "10.0.2.1"]},
            },
            "links": [["xtr", "core", "core"], ["core", "xtr", "xtr"], ["mr", "core", "core"], ["core", "mr", "mr"]],
            "core": [["xtr", "core"], ["mr", "core"]],
        }
    ],
}
REQUEST = wire.map_request(5, ["192.168.2.0/24"], [str(XTR)])


def control(message: bytes, source: Any = XTR, target: Any = MR) -> bytes:
    return packets.datagram(source, target, (4342, 4342), message)


def data(first: int = 0, second: int = 0, text: bytes = b"text", version: int = 4) -> bytes:
    inner = packets.datagram(EID, EID, (7, 7), text)
    return packets.lisp(XTR, MR, bytes([version << 4 | 5]) + inner[1:], first=first, second=second)


def frame(node: str, interface: str, packet: bytes) -> Frame:
    octets = bytes(12) + b"\x08\x00" + packet
    return Frame(1, node, interface, octets, len(octets))


def found_in(*frames: Frame, **changed: Any) -> list[str]:
    return [one.router for one in sent({**ENTRY, **changed}, frames)]


def test_what_leaves_a_router_is_its_own() -> None:
    assert found_in(frame("core", "xtr", control(REQUEST)), frame("core", "xtr", data())) == ["xtr", "xtr"]


@pytest.mark.parametrize("changed", [{"handled": ["xtr"]}, {"foreign": ["xtr"]}], ids=["handled", "foreign"])
def test_what_may_be_the_tests_is_not(changed: dict[str, Any]) -> None:
    assert found_in(frame("core", "xtr", control(REQUEST)), **changed) == []


def test_what_comes_to_it_or_from_another_source_is_not() -> None:
    assert found_in(frame("xtr", "core", control(REQUEST, MR, XTR)), frame("core", "xtr", control(REQUEST, MS))) == []


def test_what_is_passed_on_is_not() -> None:
    wrapped = wire.ecm(str(EID), 5000, EID, REQUEST)
    came = frame("mr", "core", control(wrapped, XTR, MR))
    left = frame("core", "mr", control(wrapped, MR, MS))
    assert found_in(came, left) == []
    assert found_in(left) == ["mr"]


needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark")


@needs_tshark
def test_packets_in_order() -> None:
    """Messages of each kind that the tests write themselves, and data headers of every kind."""
    record = wire.mapping("192.168.1.0/24", 1440, [(XTR, 1, 100)])
    messages = [
        REQUEST, wire.map_reply(6, record), wire.map_register(7, [record], "secret"),
        wire.ecm(str(EID), 5000, EID, REQUEST),
    ]  # fmt: skip
    some = [Sent("xtr", control(one), one, False) for one in messages]
    some += [Sent("xtr", one, one[28:], True) for one in (data(), data(0x80123456), data(0x08000000, 0x123400))]
    assert judge(some) == {}


@needs_tshark
@pytest.mark.parametrize(
    ("message", "words"),
    [
        (REQUEST[:-3], "_ws.malformed"),
        (REQUEST + b"more", "octets behind it are raw"),
        (wire.map_reply(6, wire.mapping("192.168.1.0/24", 1440, [(XTR, 1, 100)])[:-2]), "decoder"),
        (bytes([0x10, 0x07]) + REQUEST[2:], "not zero"),
        (b"\xe0" + REQUEST[1:], "decoder"),
    ],
    ids=["cut", "longer", "short-record", "reserved", "unknown"],
)
def test_control_messages_that_are_wrong(message: bytes, words: str) -> None:
    one = Sent("xtr", control(message), message, False)
    assert words in "\n".join(judge([one])[one.alike])


@needs_tshark
def test_data_headers_that_are_wrong() -> None:
    """A reserved bit that is set; a datagram that says to be longer than it is."""
    for packet in (data(0x04000000), packets.put(data(), 24, 1, 0)):
        one = Sent("xtr", packet, packet[28:], True)
        assert judge([one])[one.alike]


def test_data_packets_with_other_contents_are_alike() -> None:
    texts = [Sent("xtr", packet, packet[28:], True).alike for packet in (data(text=b"a"), data(text=b"other"))]
    assert texts[0] == texts[1]
    bits = data(0x80000001)
    assert Sent("xtr", bits, bits[28:], True).alike != texts[0]


@needs_tshark
def test_a_wrong_packet_fails_its_test(tmp_path: Path) -> None:
    """The one that it belongs to, with all of its requirements, and in the JUnit file; a skipped one stays skipped."""
    good, bad = (frame("core", "xtr", control(one)) for one in (REQUEST, REQUEST + b"more"))
    captured = {"good": good, "bad": bad, "skipped": bad}
    for name, one in captured.items():
        pcapng.write(tmp_path / f"{name}.pcapng", [pcapng.Record(one)])
    lines = [json.dumps({**ENTRY, "test": name, "file": f"{name}.pcapng"}) + "\n" for name in captured]
    (tmp_path / INDEX).write_text("".join(lines))
    junit = tmp_path / "junit.xml"
    junit.write_text('<testsuites><testsuite name="pytest"/></testsuites>')
    tests = {
        name: Evidence(name, ("C19", "C20"), Cell(), "skipped" if name == "skipped" else "passed") for name in captured
    }
    found = Run(tmp_path / "log", tests=tests)
    worked = look_at_packets(found, tmp_path, junit=junit, page=False)
    assert worked.judged == 3
    assert {name: one.outcome for name, one in found.tests.items()} == {
        "good": "passed", "bad": "failed", "skipped": "skipped",
    }  # fmt: skip
    assert {one: found.tests["bad"].verdict(one) for one in ("C19", "C20")} == {"C19": "fail", "C20": "fail"}
    assert found.tests["bad"].reason.startswith("three opinions: xtr: ")
    assert [one.get("name") for one in ElementTree.parse(junit).iter("testcase")] == ["bad"]
