"""Events of a move out of packets and logs: what is about the host, in its own words, on one clock."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.act.mobility.happenings import Happenings
from testbed.act.mobility.moved import Moved
from testbed.act.mobility.watch import Convergence, Watch
from testbed.lab import Lab
from testbed.load import load
from testbed.observe.capture import Frame
from tests.conformance.tester import packets, wire
from tests.moves import EID, HOST

TOPOLOGY = load("mobility")
[XTR1], [XTR2], [MS] = (
    [one for one in TOPOLOGY[name].lisp.rlocs if one.version == 4]  # type: ignore[union-attr]
    for name in ("xtr1", "xtr2", "ms")
)
MOVED = Moved(HOST, "dc1", "dc2", 100.0, 100.001)
OTHER = "192.168.7.12/32"


class Unwatched:
    """A watch that has seen what it is told."""

    def __init__(self, control: list[Frame], first: Frame | None) -> None:
        self.control = SimpleNamespace(frames=control)
        self._first = first

    def sent_by_routers(self, capture: Any) -> list[Frame]:
        return [one for one in capture.frames if one.interface != "core3"]

    def first_frame(self, _moved: Moved) -> Frame | None:
        return self._first

    def convergence(self, *_: Any) -> list[Convergence]:
        return [Convergence("b1", 4, 0.004, 2), Convergence("b1", 6, None, 9)]


def message(at: float, sender: str, source: Any, destination: Any, octets: bytes) -> Frame:
    packet = packets.datagram(source, destination, (4342, 4342), octets)
    return Frame(round(at * 1e9), "core1", sender, bytes(12) + b"\x08\x00" + packet)


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    """A lab of which only the logs are there."""
    for node in TOPOLOGY.lisp_routers:
        (tmp_path / node.name).write_text(json.dumps({"event": "ready", "monotonic": 1.0, "fields": {}}) + "\n")

    class Logs(SimpleNamespace):
        def __getitem__(self, name: str) -> Any:
            return TOPOLOGY[name]

        def log_path(self, name: str) -> Path:
            return tmp_path / name

    return Logs(topology=TOPOLOGY)


def said(lab: Any, node: str, at: float, event: str, **fields: Any) -> None:
    with lab.log_path(node).open("a") as log:
        log.write(json.dumps({"event": event, "monotonic": at, "node": node, "fields": fields}) + "\n")


def test_a_move_is_put_together_from_wires_and_logs(lab: Any) -> None:
    """Of a register with many records those of the host alone; RLOCs by their routers' names; in the order of time."""
    records = [wire.mapping(one, 1440, [(XTR2, 1, 100)]) for one in (OTHER, EID)]
    notify = wire.mapping(EID, 1440, [(XTR2, 1, 100)])
    control = [
        message(100.003, "xtr2", XTR2, MS, wire.map_register(7, records, "secret")),
        message(100.0031, "core3", XTR2, MS, wire.map_register(7, records, "secret")),  # the next hop
        message(100.0032, "xtr2", XTR2, MS, wire.map_register(8, records[:1], "secret")),  # not about the host
        message(100.0050, "xtr1", XTR1, ip_address("10.9.9.9"), wire.map_register(9, [notify], "secret")),
    ]
    arp = bytes(6) + bytes.fromhex("020000000001") + b"\x08\x06" + bytes.fromhex("0001080006040001") + bytes(20)
    happenings = Happenings(cast(Lab, lab), HOST, ["b1"])
    said(lab, "xtr1", 99.0, "dynamic-eid-moved", eid=EID, locators=[str(XTR2)])
    said(lab, "xtr2", 100.0025, "dynamic-eid-found", eid=EID, interface="sw2")
    said(lab, "xtr2", 100.0026, "dynamic-eid-found", eid=OTHER, interface="sw2")
    said(lab, "xtr3", 100.004, "map-cache-installed", eid=EID, forwarding="encapsulate", locators=[str(XTR2)])
    with lab.log_path("pxtr").open("a") as log:
        log.write('{"event": "map-cache-inst')
    watch = Unwatched(control, Frame(round(100.002 * 1e9), "xtr2", "sw2", arp))
    events = happenings.of(MOVED, cast(Watch, watch), 99.5)
    told = [(round((one.at - 0.5) * 1000, 3), one.node, one.kind, one.text, one.peer) for one in events]
    assert [one[:3] for one in told] == [
        (0.0, HOST, "link-down"),
        (1.0, HOST, "link-up"),
        (2.0, HOST, "first-frame"),
        (2.5, "xtr2", "detected"),
        (3.0, "xtr2", "map-register"),
        (4.0, "xtr3", "map-cache"),
        (5.0, "xtr1", "map-register"),
        (6.0, "b1", "first-packet"),
    ]
    assert told[2][3:] == ("ARP, 0.0.0.0 asks for 0.0.0.0", "xtr2")
    assert told[4][3:] == (f"{EID} → xtr2", "ms")
    assert told[5][3:] == (f"{EID} → xtr2", "")
    assert told[6][3:] == (f"{EID} → xtr2", "")  # nobody's address
    assert told[7][3:] == ("IPv4, to dc2", "")
    assert [
        happenings.packets[one.packet] for one in events if one.kind == "map-register" and one.packet is not None
    ] == [
        control[0],
        control[3],
    ]
    # The line that was being written is read when it is whole; what was told is told once.
    with lab.log_path("pxtr").open("a") as log:
        log.write(f'alled", "monotonic": 100.9, "node": "pxtr", "fields": {{"eid": "{EID}", "locators": []}}}}\n')
    [*cable, last] = happenings.of(MOVED, cast(Watch, Unwatched([], None)), 99.5)
    assert [one.kind for one in cable] == ["link-down", "link-up"]
    assert (last.node, last.kind, last.text) == ("pxtr", "map-cache", f"{EID} → nowhere")
    happenings.close()


def test_no_frame_comes_through_a_cable_that_is_not_plugged_in(lab: Any) -> None:
    """The kernel plugs in before we can note when; the router and the frame are of the same microsecond at best."""
    first = Frame(100_000_990_000, "xtr2", "sw2", bytes(12) + b"\x08\x06" + bytes(28))
    happenings = Happenings(lab, HOST, ["b1"])
    said(lab, "xtr2", 100.00099, "dynamic-eid-found", eid=EID)
    watch = cast(Watch, Unwatched([], first))
    moved = Watch.seen(watch, MOVED)
    events = happenings.of(moved, watch, 100.0)
    assert [one.kind for one in events] == ["link-down", "link-up", "first-frame", "detected", "first-packet"]
    assert events[1].at == events[2].at == moved.plugged - 100.0 == pytest.approx(0.00099)
    assert Watch.seen(cast(Watch, Unwatched([], None)), MOVED) is MOVED
    happenings.close()
