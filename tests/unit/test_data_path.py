"""Both paths behind one door: what is done in which order, and what is shown of both together."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import Any, cast

import pytest

from nodes.dataplane.absences import Absence
from nodes.dataplane.bpf.layout import CONTACT_KEY, EVENT, EventKind
from nodes.dataplane.counts import Count, Counts
from nodes.dataplane.decision import Tables
from nodes.dataplane.gates import Gate
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel.counters import FastCounts
from nodes.dataplane.kernel.events import Events
from nodes.dataplane.kernel_path import KernelPath
from nodes.dataplane.path import DataPath, Running
from nodes.dataplane.python_path import PythonPath
from nodes.dataplane.statistics import Statistics, merged
from nodes.dataplane.status_bits import HeardBits
from nodes.dataplane.strangers import Stranger
from nodes.dataplane.throttle import Throttle
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.inputs import StatusBits
from tests.unit.data_path import locator, tables

SITE2 = EidPrefix.of("192.168.2.0/24")
HOST, RLOC = host_prefix("192.168.1.9"), ip_address("10.0.2.1")
CALLS = {
    "install": (ForwardingEntry(SITE2, Forwarding.ENCAPSULATE, (locator("10.0.2.1"),)),),
    "remove": (SITE2,),
    "add_host": (HOST,),
    "remove_host": (HOST,),
    "set_locator": (RLOC, False),
    "set_path_mtu": (RLOC, 1400),
    "routes_changed": (),
}


class Recorder:
    """Writes down what is asked of it."""

    def __init__(self, name: str, order: list[str]) -> None:
        self._name, self._order = name, order

    def __getattr__(self, call: str) -> Any:
        return lambda *_: self._order.append(f"{self._name} {call}")


def both(order: list[str]) -> DataPath:
    python, kernel = cast(PythonPath, Recorder("python", order)), cast(KernelPath, Recorder("kernel", order))
    return DataPath(python, kernel, None, Running("ebpf", "auto"), lambda: 0.0)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        # What waited leaves before the kernel takes over.
        ("install", ["python install", "kernel install"]),
        ("add_host", ["python add_host", "kernel add_host"]),
        # What says less goes to the kernel first.
        ("remove", ["kernel remove", "python remove"]),
        ("remove_host", ["kernel remove_host", "python remove_host"]),
        ("set_locator", ["python set_locator", "kernel locator_changed"]),
        ("set_path_mtu", ["python set_path_mtu", "kernel locator_changed"]),
        # A native route wins before a locator's new source counts.
        ("routes_changed", ["kernel native_changed", "python routes_changed", "kernel routes_changed"]),
    ],
)
def test_the_order_in_which_the_two_are_told(call: str, expected: list[str]) -> None:
    order: list[str] = []
    getattr(both(order), call)(*CALLS[call])
    assert order == expected


@pytest.mark.parametrize("forwarding", [Forwarding.DROP, Forwarding.NATIVE, Forwarding.SEND_MAP_REQUEST])
def test_an_entry_that_says_less_goes_to_the_kernel_first(forwarding: Forwarding) -> None:
    order: list[str] = []
    both(order).install(ForwardingEntry(SITE2, forwarding))
    assert order == ["kernel install", "python install"]


class SharedCells:
    """The numbers of one gate."""

    def __init__(self) -> None:
        self.count, self.handled = 0, -1

    def punted(self) -> int:
        return self.count

    def set_handled(self, count: int) -> None:
        self.handled = count


@pytest.fixture
def device() -> Any:
    """A pipe for a TUN device."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_gate_tells_what_was_there_when_the_reading_began(device: tuple[int, int]) -> None:
    """Not what has come meanwhile: that may wait in the device still."""
    cells = SharedCells()
    gate = Gate(cells, device[0], 100)
    cells.count = 3
    gate.begin()
    cells.count = 5
    gate.drained()
    assert cells.handled == 3
    gate.begin()
    gate.drained()
    assert cells.handled == 5


def test_a_gate_goes_on_while_packets_come_faster_than_they_are_read(device: tuple[int, int]) -> None:
    """After as many reads as the device holds, all is handled that was there at the beginning."""
    cells = SharedCells()
    gate = Gate(cells, device[0], 100)
    cells.count = 50
    gate.begin()
    gate.read(64)
    assert gate.pending
    cells.count = 500
    gate.begin()  # the next batch of the same round
    gate.read(64)
    assert (cells.handled, gate.pending) == (50, False)


def test_a_gate_settles_when_the_last_batch_was_the_end(device: tuple[int, int]) -> None:
    cells = SharedCells()
    gate = Gate(cells, device[0], 1000)
    cells.count = 64
    os.write(device[1], b"a packet")
    gate.begin()
    gate.read(64)
    gate.settle()
    assert cells.handled == -1  # there is one left
    os.read(device[0], 100)
    gate.settle()
    assert cells.handled == 64


class Ring:
    """A ring buffer that holds what a test puts in."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def fileno(self) -> int:
        return -1

    def read(self) -> list[bytes]:
        taken, self.records = self.records, []
        return taken

    def close(self) -> None:
        """Nothing is held."""


def event(kind: int, eid: str, rloc: str = "") -> bytes:
    address, far = ip_address(eid), ip_address(rloc) if rloc else None
    about = CONTACT_KEY.pack(
        encoding.scope(0, address.version),
        far.version if far else 0,
        encoding.padded(address),
        encoding.padded(far) if far else bytes(16),
    )
    return EVENT.pack(kind, about, 7, bytes(6), 0b10)


def dynamic() -> Tables:
    made = tables()
    made.dynamic.set(EidPrefix.of("11.11.11.0/24"), True)
    return made


def test_events_become_strangers_and_absences() -> None:
    """X01, X06: but nobody is a stranger who is known, is the router itself or is outside the dynamic prefixes."""
    made, ring = dynamic(), Ring()
    strangers, absences = Throttle[Stranger](10), Throttle[Absence](10)
    made.local.set(host_prefix("11.11.11.2"), True)
    made.native.set(host_prefix("11.11.11.254"), True)
    heard = HeardBits()
    events = Events(ring, made, strangers, absences, heard)
    for last in (1, 1, 2, 254):
        ring.records.append(event(EventKind.SOURCE, f"11.11.11.{last}"))
    ring.records += [event(EventKind.SOURCE, "192.168.1.1"), event(EventKind.ABSENT, "11.11.11.9", "10.0.2.1")]
    ring.records += [event(EventKind.STATUS, "192.168.2.9", "10.0.2.1")] * 2
    ring.records += [b"short", event(99, "11.11.11.7")]
    events.read(0.0)
    [stranger] = strangers.take()
    assert (stranger.eid, stranger.interface) == (host_prefix("11.11.11.1"), 7)
    assert strangers.take() == []
    assert absences.take() == [Absence(host_prefix("11.11.11.9"), RLOC)]
    assert heard.take() == [StatusBits(host_prefix("192.168.2.9"), RLOC, 0b10)]


def test_what_is_noted_is_told_once_a_second_and_there_is_a_bound() -> None:
    """X01, X06."""
    absences = Throttle[Absence](10)
    one = Absence(HOST, RLOC)
    for now in (0.0, 0.5, 1.1):
        absences.note(one, now)
    assert absences.take() == [one, one]
    assert absences.take() == []
    absences.forget(one)
    absences.note(one, 1.2)
    assert absences.take() == [one]
    for number in range(100):
        absences.note(Absence(host_prefix(f"192.168.1.{number}"), RLOC), 1.2)
    assert len(absences.take()) == 9
    absences.note(Absence(HOST, ip_address("10.0.9.9")), 9.0)  # those of long ago made room
    assert len(absences.take()) == 1


def test_counts_of_a_mapping_go_with_it_and_those_of_its_locator_stay() -> None:
    counts = Counts()
    counts.of(SITE2, RLOC).add(Count(3, 300, 7.0))
    counts.of(EidPrefix.of("192.168.3.0/24"), RLOC).add(Count(2, 200, 9.0))
    counts.forget(SITE2)
    assert counts.mapping(SITE2).packets == 0
    total = counts.locators()[RLOC]
    assert (total.packets, total.bytes, total.last) == (5, 500, 9.0)


def test_statistics_are_the_sums_of_both_paths() -> None:
    slow = Statistics(encapsulated=2, encapsulated_bytes=200, decapsulated=1)
    slow.drops["malformed"] = 1
    fast = FastCounts(encapsulated=5, encapsulated_bytes=500, decapsulated=4, drops={"malformed": 2, "encrypted": 1})
    data, drops = merged(slow, fast)
    assert (data["encapsulated_packets"], data["encapsulated_fast_packets"]) == (7, 5)
    assert data["encapsulated_bytes"] == 700
    assert (data["decapsulated_packets"], data["decapsulated_fast_packets"]) == (5, 4)
    assert drops == {"encrypted": 1, "malformed": 3}
    assert "encapsulated_fast_packets" not in merged(slow, None)[0]
