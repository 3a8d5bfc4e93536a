"""The fast path in real network namespaces: the kernel's programs forward, the daemon keeps their maps in step."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from nodes.dataplane.bpf import compiler
from nodes.dataplane.devices import Devices
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel_path import FIRST_RETRY, KernelPath
from nodes.linux import classifier, libbpf, links, namespaces, routes, tcx
from nodes.linux.classifier import Hook
from nodes.lisp.config import DataPlane, DynamicEid, Locator, NodeConfig
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix
from testbed.commands import verify
from testbed.lab import Lab, LabError
from tests.conformance.tester.waiting import eventually
from tests.e2e.daemon_world import World, ms_config, xtr_config
from tests.unit.data_path import by_family, ip_packet, locator, tables

PORT = 9999
SITE2 = EidPrefix.of("192.168.2.0/24")


@cache
def compiled() -> str:
    """The compiled programs, or "" where they cannot be made or loaded."""
    try:
        path = compiler.provide()
        libbpf.Object(path).close()
    except (compiler.CompileError, OSError):
        return ""
    return str(path)


pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not compiled(), reason="needs root, clang and eBPF")


def fast(config: NodeConfig) -> NodeConfig:
    return replace(config, dataplane=DataPlane.EBPF, bpf_object=compiled())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        made.boot(fast(ms_config()), fast(xtr_config("xtr1")), fast(xtr_config("xtr2")))
        yield made
    finally:
        made.close()


class Stream:
    """Numbered datagrams from h1 to h2."""

    def __init__(self, world: World) -> None:
        self._sender, self._receiver = (world.socket(host, socket.SOCK_DGRAM) for host in ("h1", "h2"))
        self._receiver.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)
        self._receiver.bind(("192.168.2.1", PORT))
        self._next = 0

    def send(self, count: int, per_second: float = 5000) -> list[int]:
        """Send so many, at a rate; gives their numbers."""
        numbers = list(range(self._next, self._next + count))
        self._next += count
        begun = time.monotonic()
        for place, number in enumerate(numbers):
            while time.monotonic() < begun + place / per_second:
                pass
            self._sender.sendto(struct.pack("!I", number), ("192.168.2.1", PORT))
        return numbers

    def receive(self, count: int, seconds: float = 5.0) -> list[int]:
        """What arrives: so many at most, and what is there after so many seconds at the latest."""
        found: list[int] = []
        self._receiver.settimeout(seconds)
        try:
            while len(found) < count:
                found.append(struct.unpack("!I", self._receiver.recv(100))[0])
        except TimeoutError:
            pass
        return found


def counted(world: World, name: str = "xtr1") -> tuple[int, int]:
    """Encapsulated packets of the kernel and of Python."""
    data = world.show(name, "statistics")["data"]
    return data["encapsulated_fast_packets"], data["encapsulated_packets"] - data["encapsulated_fast_packets"]


def differences(world: World, name: str = "xtr1") -> list[dict[str, Any]]:
    answer = world.ask(name, {"op": "verify"})
    assert answer["data"]["runs"] == "ebpf", answer
    return list(answer["data"]["rows"])


def warm(world: World, stream: Stream) -> None:
    """The mapping is known, and its flow takes the fast path."""

    def is_fast() -> bool:
        before = counted(world)[0]
        stream.send(20)
        stream.receive(20, 0.2)
        return counted(world)[0] > before

    stream.send(1)
    eventually(is_fast, "packets take the fast path")
    stream.receive(10_000, 0.2)


def test_the_kernel_forwards_and_python_has_nothing_to_do(world: World) -> None:
    assert world.show("xtr1", "statistics")["dataplane"]["runs"] == "ebpf"
    stream = Stream(world)
    warm(world, stream)
    quick, slow = counted(world)
    sent = stream.send(500)
    assert stream.receive(500) == sent
    assert counted(world) == (quick + 500, slow)
    row = next(row for row in world.show("xtr1", "map-cache") if row["eid"] == "192.168.2.0/24")
    assert row["fast_packets"] >= 500
    assert row["bytes"] == 32 * row["packets"]
    assert row["idle_s"] < 5
    arrived = world.show("xtr2", "statistics")["data"]
    assert arrived["decapsulated_fast_packets"] >= 500
    assert {row["rloc"]: row for row in world.show("xtr1", "locators")}["10.0.2.1"]["fast_packets"] >= 500
    contacts = {(one["eid"], one["rloc"]) for one in world.show("xtr1", "contacts")}
    assert ("192.168.1.1", "10.0.2.1") in contacts


@pytest.mark.order
@pytest.mark.requirement("S04")
def test_a_cold_start_loses_and_reorders_nothing(world: World) -> None:
    """What waited for the mapping leaves before the kernel takes over; nothing overtakes it."""
    stream = Stream(world)
    sent = stream.send(3000, per_second=2000)  # longer than a gate can stay closed
    assert stream.receive(3000) == sent
    quick, slow = counted(world)
    assert quick > 0, "the gate opened while the packets came"
    assert quick + slow == 3000
    assert differences(world) == []


def test_a_killed_daemon_forwards_nothing_and_its_next_run_begins_empty(world: World) -> None:
    stream = Stream(world)
    warm(world, stream)
    os.kill(world.pids["xtr1"], signal.SIGKILL)
    assert world.event("exited", "xtr1")["status"] == -signal.SIGKILL
    stream.send(50)
    assert stream.receive(1, 0.3) == []
    report = world.start(fast(xtr_config("xtr1")))
    world.wait_for(report, "registered", "xtr1")
    os.close(report)
    assert [row["eid"] for row in world.show("xtr1", "map-cache")] == ["0.0.0.0/0"]
    assert differences(world) == []
    assert counted(world) == (0, 0)
    warm(world, stream)


def test_a_clean_stop_takes_the_programs_away(world: World) -> None:
    def attached() -> list[str]:
        found = []
        for interface in ("h1", "core"):
            index = links.index_of(world.kernel["xtr1"], interface)
            found += [one.name for one in classifier.list_attached(world.kernel["xtr1"], index, Hook.INGRESS)]
            with namespaces.inside(world.namespace["xtr1"]):
                found += [one.name for one in tcx.list_attached(index, Hook.INGRESS)] if tcx.has_tcx() else []
        return found

    assert attached() == ["lisp_site", "lisp_core"]
    world.ask("xtr1", {"op": "stop"})
    world.event("exited", "xtr1")
    assert attached() == []


@pytest.mark.requirement("S02")
def test_a_native_route_wins_at_once_and_lets_go_again(world: World) -> None:
    """While a flow is fast."""
    stream = Stream(world)
    warm(world, stream)
    route = routes.Route(ip_network("192.168.2.0/24"), ip_address("10.0.1.254"))

    def encapsulates() -> bool:
        before = sum(counted(world))
        stream.send(20)
        stream.receive(20, 0.2)
        return sum(counted(world)) > before

    routes.add_route(world.kernel["xtr1"], route)
    eventually(lambda: not encapsulates(), "the native route wins")
    assert differences(world) == []
    routes.delete_route(world.kernel["xtr1"], route)
    eventually(encapsulates, "packets are encapsulated again")
    assert differences(world) == []


def test_many_mappings_by_hand_leave_no_difference(world: World) -> None:
    def mappings(rlocs: tuple[str, ...], step: int) -> list[dict[str, Any]]:
        return [
            {"eid": f"20.{n >> 8}.{n & 255}.0/24", "locators": [{"rloc": one} for one in rlocs]}
            for n in range(0, 600, step)
        ]

    for rlocs, step in ((("10.0.2.1",), 1), (("10.0.2.1", "10.0.3.1"), 3), (("10.0.1.1",), 7), ((), 11)):
        answer = world.ask("xtr1", {"op": "add-mappings", "mappings": mappings(rlocs, step)})
        assert answer["ok"], answer
    assert differences(world) == []
    row = next(row for row in world.show("xtr1", "map-cache") if row["eid"] == "20.0.1.0/24")
    assert (row["source"], row["expires_s"]) == ("static", None)
    refused = world.ask("xtr1", {"op": "remove-mappings", "mappings": [*mappings((), 1), {"eid": "20.9.0.0/24"}]})
    assert refused == {"ok": False, "error": "20.9.0.0/24 is in the map-cache by no add-mappings"}
    answer = world.ask("xtr1", {"op": "remove-mappings", "mappings": mappings((), 1)})
    assert answer == {"ok": True, "data": {"mappings": 600}}
    assert not [row for row in world.show("xtr1", "map-cache") if row["source"] == "static"]
    assert differences(world) == []


def test_a_map_that_somebody_poked_is_found(world: World) -> None:
    stream = Stream(world)
    warm(world, stream)
    delete_behind_its_back(world.pids["xtr1"], encoding.eid_key(SITE2))
    (found,) = differences(world)
    assert found == {
        "table": "map_cache",
        "key": "192.168.2.0/24",
        "kernel": "-",
        "engine": "encapsulate, 10.0.2.1 1/100",
    }


def delete_behind_its_back(pid: int, key: bytes) -> None:
    """Delete an entry of the map-cache of a daemon, found by the map's number."""
    library = libbpf.library()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        text = info.read_text()
        number = re.search(r"^map_id:\s+(\d+)", text, re.MULTILINE)
        if number and re.search(r"^value_size:\s+104$", text, re.MULTILINE):
            descriptor = ctypes.CDLL(libbpf.SONAME).bpf_map_get_fd_by_id(int(number[1]))
            assert library.bpf_map_delete_elem(descriptor, key) == 0
            os.close(descriptor)
            return
    raise AssertionError("the daemon has no such map")


@pytest.mark.parametrize("dataplane", [DataPlane.PYTHON, DataPlane.EBPF])
def test_who_sends_to_a_host_that_is_not_here_is_told(tmp_path: Path, dataplane: DataPlane) -> None:
    """On both paths, and once a second."""
    prefix = EidPrefix.of("192.168.2.0/24")
    config = replace(
        fast(xtr_config("xtr2")),
        dataplane=dataplane,
        database=(),
        dynamic_eids=(DynamicEid(prefix, (Locator(ip_address("10.0.2.1")),)),),
    )
    world = World(tmp_path)
    try:
        world.boot(ms_config(), config)
        sender = world.socket("net", socket.SOCK_DGRAM)
        inner = ip_packet("192.168.1.1", "192.168.2.77")
        for _ in range(5):
            sender.sendto(b"\x08" + bytes(7) + inner, ("10.0.2.1", 4341))

        def told() -> list[dict[str, Any]]:
            return [one["fields"] for one in world.log("xtr2") if one["event"] == "host-not-here"]

        eventually(lambda: bool(told()), "the daemon is told")
        assert told() == [{"eid": "192.168.2.77/32", "rloc": "203.0.113.9"}]
        assert world.show("xtr2", "statistics")["control"]["host-not-here"] == 1
    finally:
        world.close()


def test_ebpf_that_cannot_run_is_refused_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.o"
    broken.write_bytes(b"no object")
    world = World(tmp_path)
    try:
        for path in ("", str(broken)):
            os.close(world.start(replace(xtr_config("xtr1"), dataplane=DataPlane.EBPF, bpf_object=path)))
            assert world.event("exited", "xtr1")["status"] == 1
            last = world.log("xtr1")[-1]
            assert last["event"] == "refused"
            assert "\n" not in last["fields"]["error"]
        assert str(broken) in last["fields"]["error"]
        report = world.start(replace(xtr_config("xtr1"), bpf_object=str(broken)))
        world.wait_for(report, "listening", "xtr1")
        os.close(report)
        (event,) = [one for one in world.log("xtr1") if one["event"] == "dataplane"]
        assert event["fields"]["runs"] == "python"
        assert str(broken) in event["fields"]["why"]
        assert world.ask("xtr1", {"op": "verify"})["data"]["rows"] == []
    finally:
        world.close()


def test_a_map_that_is_full_stops_the_fast_path_until_there_is_room() -> None:
    """The kernel itself refuses."""
    made, now, events = tables(), 0.0, []
    made.map_cache.pop(EidPrefix.of("::/0"))
    with libbpf.Object(Path(compiled()), sizes={"map_cache": 3}) as loaded:
        path = KernelPath(
            loaded.maps,
            loaded.maps["statistics"],
            loaded.maps["flows"],
            made,
            Devices({}, (), {0: 1}),
            by_family,
            report=lambda event, fields: events.append((event, fields)),
            clock=lambda: now,
        )
        path.start()
        for third in (2, 3, 4):
            prefix = EidPrefix.of(f"192.168.{third}.0/24")
            made.map_cache.set(prefix, ForwardingEntry(prefix, Forwarding.ENCAPSULATE, (locator("10.0.2.1"),)))
            path.install(made.map_cache.get(prefix))  # type: ignore[arg-type]
        assert [event for event, _ in events] == ["dataplane-write-failed"]
        assert events[0][1]["prefix"] == "192.168.4.0/24"
        assert any(one.table == "settings" for one in path.differences())
        path.remove(SITE2)
        made.map_cache.pop(SITE2)
        now = FIRST_RETRY
        path.expire()
        assert events[-1][0] == "dataplane-in-step"
        assert path.differences() == []


def daemon_of(lab: Lab, router: str) -> int:
    """The process ID of a router's daemon, as this process sees it: who has its log open."""
    log = lab.log_path(router).resolve()

    def opened(descriptor: Path) -> bool:
        try:
            return descriptor.readlink() == log
        except OSError:  # closed since it was listed: a daemon opens and closes all the time
            return False

    for process in Path("/proc").glob("[0-9]*"):
        try:
            named = (process / "comm").read_text() == f"lisp:{router}\n"
            if named and any(map(opened, (process / "fd").iterdir())):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(f"{router} has no daemon")


def test_show_verify_says_so_by_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Lab("two-dc-static", name="test-verify", run_dir=tmp_path / "verify", dataplane="ebpf") as lab:
        assert lab.run("h1", ["ping", "-c", "1", "-W", "10", str(lab["h4"].address)]).returncode == 0
        assert verify(lab.name, "xtr1", "map-cache") == 0
        assert "say what the engine says" in capsys.readouterr().out
        delete_behind_its_back(daemon_of(lab, "xtr1"), encoding.eid_key(SITE2))
        assert verify(lab.name, "xtr1", "map-cache") == 1
        shown = capsys.readouterr().out
        assert "192.168.2.0/24" in shown
        assert "map_cache" in shown
        assert verify(lab.name, "xtr1", "map-cache", as_json=True) == 1
        assert [row["key"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["192.168.2.0/24"]
        with pytest.raises(LabError, match="not for roles"):
            verify(lab.name, "xtr1", "roles")


def test_show_verify_of_a_python_node_says_that_there_is_nothing_to_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Lab("two-dc-static", name="test-verify-python", run_dir=tmp_path / "python", dataplane="python") as lab:
        assert verify(lab.name, "xtr1", "map-cache") == 0
        assert "the data plane is python" in capsys.readouterr().out
