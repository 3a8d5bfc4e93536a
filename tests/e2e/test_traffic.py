"""`traffic` in running labs: what arrives, by which path, and one line where nothing can."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed import commands
from testbed.act import iperf
from testbed.act.traffic import traffic
from testbed.lab import Lab, LabError
from testbed.model import Path as Via
from testbed.observe.capture import Capture
from tests.conformance.tester.waiting import eventually

FLOWS = 64
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab("two-dc-static", name="traffic", run_dir=tmp_path_factory.mktemp("runs") / "traffic") as running:
        yield running


def processes(lab: Lab) -> list[str]:
    """The commands that run in the lab's box; those that have ended and wait for the machine's init do not."""
    rows = lab.run("h1", ["ps", "-e", "-o", "stat=,comm="]).stdout.splitlines()
    return [row.split()[1] for row in rows if not row.startswith("Z")]


def test_tcp_from_site_to_site(lab: Lab) -> None:
    result = traffic(lab, "h1", "h4", seconds=1, flows=2)
    result.require(at_least=1, path=Via.ENCAPSULATED, between=("xtr1", "xtr2"))
    assert result.back is not None
    assert result.back.seen is Via.ENCAPSULATED
    assert result.total.retransmissions is not None
    assert len(result.report.flows) == 2
    assert {one.destination for tunnels in result.tunnels for one in tunnels} == {lab["xtr2"].address}
    assert json.loads((lab.run_dir / "traffic.json").read_text()) == json.loads(json.dumps(result.to_json()))
    assert "iperf3" not in processes(lab)


def test_udp_at_a_rate_through_the_proxy(lab: Lab) -> None:
    """The rate is that of all flows together; native before the PITR, encapsulated behind it."""
    result = traffic(lab, "client", "h4", udp=True, rate=4, seconds=1, flows=2)
    result.require(at_least=3.5, at_most=4.2, lost_percent=2, path=Via.PROXIED, between=("pxtr", "xtr2"))
    assert result.total.jitter_ms is not None
    assert result.total.out_of_order is not None
    assert result.total.retransmissions is None


def test_inside_a_site_the_core_sees_nothing(lab: Lab) -> None:
    result = traffic(lab, "h1", "h2", seconds=1, rate=5)
    result.require(at_least=4, at_most=6, path=Via.LOCAL)
    assert result.there.passages == ()


def test_a_path_that_the_topology_does_not_say_fails(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = lab.topology
    told = tuple(
        replace(one, path=Via.NATIVE) if (one.source, one.destination) == ("h1", "h4") else one
        for one in topology.expectations
    )
    monkeypatch.setattr(lab, "topology", replace(topology, expectations=told))
    result = traffic(lab, "h1", "h4", seconds=1, rate=1)
    assert not result.ok
    (complaint,) = result.complaints
    assert complaint.startswith("from h1 to h4: expected native, seen encapsulated: xtr1 (")


@pytest.mark.requirement("S12")
def test_ipv6_eids_over_an_ipv4_core(tmp_path: Path) -> None:
    with Lab("ipv6-islands", name="traffic-6", run_dir=tmp_path / "traffic-6") as lab:
        pair = next(one for one in lab.topology.expectations if one.version == 6 and one.path is Via.ENCAPSULATED)
        result = traffic(lab, pair.source, pair.destination, udp=True, rate=2, seconds=1, version=6)
        result.require(at_least=1.8, path=Via.ENCAPSULATED)
        assert {one.source.version for tunnels in result.tunnels for one in tunnels} == {4}
        with pytest.raises(LabError, match=f"{pair.source} has no IPv4 address"):
            traffic(lab, pair.source, pair.destination, version=4)


@pytest.mark.requirement("D21", "S11")
def test_flows_share_two_rlocs_by_weight(tmp_path: Path) -> None:
    """75 to 25, each flow on one of them."""
    with Lab("multihomed", name="traffic-75", run_dir=tmp_path / "traffic-75") as lab:
        result = traffic(lab, "h2", "h1", udp=True, rate=8, seconds=1, flows=FLOWS)
        first, second = (address.ip for one in lab["xtr1"].interfaces[:2] for address in one.addresses)
        assert {len(tunnels) for tunnels in result.tunnels} == {1}
        flows = [tunnels[0].destination for tunnels in result.tunnels]
        assert 0.5 < flows.count(first) / FLOWS < 0.95
        assert result.share(first) + result.share(second) == pytest.approx(1)
        assert abs(result.share(first) - flows.count(first) / FLOWS) < 0.1


def test_what_a_receiver_does_not_get_is_lost(lab: Lab) -> None:
    """Nothing but what opens the flow gets through: frames longer than a veth's MTU are dropped without a word."""
    (interface,) = lab["h4"].interfaces
    set_mtu = ["ip", "link", "set", interface.name, "mtu"]
    assert lab.run("h4", [*set_mtu, "900"]).returncode == 0
    try:
        result = traffic(lab, "h1", "h4", udp=True, rate=1, seconds=1)
    finally:
        lab.run("h4", [*set_mtu, str(interface.mtu)])
    assert (result.lost_percent, result.total.received_mbps, result.there.ok) == (100, 0, True)
    with pytest.raises(AssertionError, match=r"100\.00 % are lost, at most 1 are allowed"):
        result.require(lost_percent=1)


def test_a_server_that_cannot_listen_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port that was free is taken a moment later."""
    start = lab.start

    def late(*arguments: Any) -> Any:
        taken.bind((str(lab["h4"].address), int(arguments[1][-1])))
        taken.listen()
        return start(*arguments)

    with lab.socket("h4", socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        monkeypatch.setattr(lab, "start", late)
        monkeypatch.setattr(iperf, "_listens", lambda *_: False)
        with pytest.raises(LabError, match=r"the iperf3 server in h4 does not listen: .*[Aa]ddress already in use"):
            traffic(lab, "h1", "h4", seconds=1)


def test_a_killed_command_leaves_nothing_in_the_lab(lab: Lab) -> None:
    """Server and client end with whoever started them."""
    words = ["traffic", "--from", "h1", "--to", "h4", "--seconds", "60", "--rate", "1", "--lab", str(lab.run_dir)]
    with subprocess.Popen([sys.executable, str(REPOSITORY / "tasks.py"), *words]) as command:
        eventually(lambda: processes(lab).count("iperf3") == 2, "a server and a client")
        command.kill()
    eventually(lambda: "iperf3" not in processes(lab), "none of the two is left")


def test_one_frame_in_ten_is_sampled(lab: Lab) -> None:
    with Capture(lab, ["h2"]) as capture, lab.socket("h1") as sender:
        capture.sample(10, 60)
        for _ in range(2000):
            sender.sendto(bytes(500), (str(lab["h2"].address), 9))
    assert 100 < len(capture.frames) < 320
    assert {len(frame.data) for frame in capture.frames if len(frame.data) > 42} == {60}


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        ("h1", "h44", "there is no node h44; nodes are core1, "),
        ("h1", "h1", "traffic from h1 to itself crosses nothing"),
        ("h1", "sw2", "sw2 has no address"),
        ("", "h4", "say from where to where"),
    ],
)
def test_what_cannot_be_is_one_line(lab: Lab, source: str, destination: str, line: str) -> None:
    with pytest.raises(LabError, match=line) as caught:
        commands.traffic(str(lab.run_dir), source, destination, seconds=1)
    assert "\n" not in str(caught.value)


def test_an_address_family_that_a_node_lacks(lab: Lab) -> None:
    with pytest.raises(LabError, match="h1 has no IPv6 address"):
        traffic(lab, "h1", "h4", version=6)


def test_no_route_is_told(lab: Lab) -> None:
    """The site's own xTR says so: nobody may send to the RLOC space from inside a site."""
    with pytest.raises(LabError, match=r"h1 has no route to mr \(10\.0\..*\): "):
        traffic(lab, "h1", "mr", seconds=1)
    assert "iperf3" not in processes(lab)


def test_who_does_not_answer_in_time_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iperf, "CONNECT_SECONDS", 0.5)
    assert lab.run("h4", ["ip", "route", "del", "default"]).returncode == 0
    try:
        with pytest.raises(LabError, match=r"h4 \(192\.168\.2\.11\) does not answer h1 within 0\.5 s"):
            traffic(lab, "h1", "h4", seconds=1)
    finally:
        gateway = next(str(one.via) for one in lab["h4"].routes if one.prefix.prefixlen == 0)
        assert lab.run("h4", ["ip", "route", "add", "default", "via", gateway]).returncode == 0
    assert "iperf3" not in processes(lab)


def test_without_iperf3(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LabError, match="iperf3 is not installed; on Debian and Ubuntu: apt-get install iperf3"):
        traffic(lab, "h1", "h4", seconds=1)


def test_the_command_prints_table_or_json(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(lab.run_dir)
    assert commands.traffic(place, "h1", "h4", udp=True, rate=2, seconds=1, flows=2) == 0
    out = capsys.readouterr().out
    assert out.startswith("h1 to h4: UDP over IPv4, 1.0 s\n")
    assert "Out of order" in out
    assert f"there  encapsulated: xtr1 ({lab['xtr1'].address}) to xtr2 ({lab['xtr2'].address})\n" in out
    assert out.endswith("traffic.json\n")
    assert commands.traffic(place, "h1", "h4", seconds=1, rate=2, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["there"]["seen"], len(document["flows"])) == (True, "encapsulated", 1)


@pytest.mark.parametrize("text", ["0", "fast", "-1", "nan", "inf"])
def test_rates_are_checked(text: str) -> None:
    with pytest.raises(LabError, match="is not a rate, allowed are Mbit/s"):
        commands.megabits(text)


@pytest.mark.parametrize("text", ["0", "129", "1.5", "", "²"])
def test_numbers_are_checked(text: str) -> None:
    with pytest.raises(LabError, match="is not a number of flows, allowed are 1 to 128"):
        commands.number(text, "flows", 128)


def test_tcp_and_udp_exclude_each_other() -> None:
    assert commands.by_udp(False, True)
    assert not commands.by_udp(True, False)
    with pytest.raises(LabError, match="--tcp and --udp exclude each other"):
        commands.by_udp(True, True)
