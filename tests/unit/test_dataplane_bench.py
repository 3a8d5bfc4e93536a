"""The data-plane bench itself: what it makes of rounds, its chart, and that its counter of datagrams counts all."""

from __future__ import annotations

import itertools
import json
import os
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ci.benches.dataplane import chart, cold, command, slices, table, udp, worlds
from ci.benches.dataplane.figures import Figure, figures
from testbed.lab import InputError
from testbed.model import NodeKind

_SVG = "{http://www.w3.org/2000/svg}"

ROUNDS: list[dict[str, Any]] = [
    {
        "tcp": {"plain": plain, "ebpf": ebpf, "python": 1.0},
        "rtt": {"plain": 10.0, "ebpf": 13.0, "python": 100.0},
        "cache100k": {"ebpf": {"cache100k": 95.0, "ten": 100.0}},
        "cold_lost": {"ebpf": lost, "python": 0},
        "cold_first": {"ebpf": [2.0, 9.0, 1.0], "python": [3.0]},
        "install": {"ebpf": 60_000.0},
    }
    for plain, ebpf, lost in ((10.0, 9.0, 0), (20.0, 20.0, 1), (10.0, 9.6, 0))
]


@pytest.fixture
def found() -> dict[str, Figure]:
    return {one.key: one for one in figures(ROUNDS)}


def test_ratios_are_taken_within_a_round(found: dict[str, Figure]) -> None:
    """0.96, not 9.6 of one round against 10 of another or 20 of a third."""
    assert found["tcp_ratio"].values == (0.9, 1.0, 0.96)
    assert found["tcp_ratio"].value == 0.96
    assert found["tcp_ratio"].met
    assert found["python_tcp_ratio"].values == (0.1, 0.05, 0.1)
    assert found["cache100k_ratio"].value == 0.95
    told = found["tcp_ratio"].to_json()
    assert (told["min"], told["median"], told["max"], told["unit"]) == (0.9, 0.96, 1.0, "ratio")
    assert told["raw_medians"] == {"ebpf": 9.6, "plain": 10.0}
    assert told["raw_unit"] == "Gbit/s"


def test_slices_are_measured_in_turn_and_compared_in_pairs() -> None:
    """Of a machine that gets slower and slower, and for one slice far slower."""
    clock = itertools.count(1)
    found = slices.in_turn({"plain": lambda: 1000.0 / next(clock), "ebpf": lambda: 950.0 / next(clock)}, 4)
    assert found == {"plain": [1000 / at for at in (1, 4, 5, 8)], "ebpf": [950 / at for at in (2, 3, 6, 7)]}
    found["plain"][2] /= 10
    round_ = {"tcp": {"plain": 1.0, "ebpf": 7.0, "python": 0.5}, "slices": {"tcp": found}}
    got = {one.key: one.values for one in figures([{"rtt": {}}, round_])}
    of_pairs = sorted(b / a for a, b in zip(found["plain"], found["ebpf"], strict=True))
    assert got == {"tcp_ratio": (sum(of_pairs[1:3]) / 2,), "python_tcp_ratio": (0.5,)}


def test_of_losses_the_worst_round_counts_of_times_the_median_of_all(found: dict[str, Figure]) -> None:
    assert found["cold_lost"].value == 1
    assert not found["cold_lost"].met
    assert found["python_cold_lost"].met
    assert len(found["cold_first_ms"].values) == 9
    assert found["cold_first_ms"].value == 2.0
    assert (found["rtt_ratio"].value, found["rtt_ratio"].met) == (1.3, True)
    assert not found["python_rtt_ratio"].met
    assert found["install_per_s"].met
    assert "goal" not in found["python_tcp_ratio"].to_json()


@pytest.mark.parametrize("dark", [False, True])
def test_the_chart_has_a_bar_for_each_ratio_and_is_well_formed(dark: bool) -> None:
    root = ElementTree.fromstring(chart.draw(figures(ROUNDS), dark))
    bars = {one.text: one for one in root.iter(f"{_SVG}title")}
    assert {"tcp_ratio: 0.96", "python_tcp_ratio: 0.10", "rtt_ratio: 1.30", "python_rtt_ratio: 10.00"} <= set(bars)
    assert not [text for text in bars if text and "cold" in text]
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for one in root.iter(f"{_SVG}rect"):
        assert 0 <= float(one.get("x", "-1")) < float(one.get("x", "0")) + float(one.get("width", "0")) <= width
        assert 0 <= float(one.get("y", "-1")) < height


def test_the_tables_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table.markdown(figures(ROUNDS)).splitlines()
    assert rows[2] == (
        "| TCP, one stream (`tcp_ratio`) | at least 0.95 | 0.96 (0.90 to 1.00) | 0.10 (0.05 to 0.10) "
        "| plain: 10 Gbit/s |"
    )
    table.show(figures(ROUNDS))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.endswith("cold_lost")]
    assert table.CROSS in line


def test_an_earlier_run_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "run.json", tmp_path / "run.svg"
    file.write_text(json.dumps({"bench": "dataplane", "rounds": ROUNDS}))
    command.run("", plot=str(picture), earlier=str(file), markdown=True)
    assert "`install_per_s`" in capsys.readouterr().out
    assert picture.read_text() == chart.draw(figures(ROUNDS))
    for other, why in (("{}", "it is none"), ('{"bench": "boot", "rounds": []}', "it is of bench boot")):
        file.write_text(other)
        with pytest.raises(InputError, match=f"run.json: {why}, allowed is the JSON file of an earlier run"):
            command.run("", earlier=str(file))


def test_a_figure_that_there_is_not_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no figure tcp; figures are tcp_ratio, "):
        command.run(str(tmp_path / "run.json"), only="tcp")


def test_lost_reordered_and_duplicated_packets_are_told_apart() -> None:
    numbers = list(range(cold.PACKETS))
    assert cold.judge(numbers) == cold.Burst(0, 0, 0, 0.0)
    assert cold.judge([*numbers[:5], numbers[6], numbers[5], *numbers[7:-1], 3]) == cold.Burst(1, 1, 1, 0.0)


def test_the_plain_world_differs_in_nothing_but_lisp() -> None:
    """The same links, addresses and MTUs, and no LISP router."""
    lisp, plain = worlds.speed_world("python"), worlds.speed_world("plain")
    assert plain.links == lisp.links
    assert not plain.lisp_routers
    for node in lisp.nodes.values():
        there = plain[node.name]
        assert [(one.name, one.mac, one.addresses, one.mtu) for one in there.interfaces] == [
            (one.name, one.mac, one.addresses, one.mtu) for one in node.interfaces
        ]
        assert there.kind is (NodeKind.ROUTER if node.kind is NodeKind.LISP_ROUTER else node.kind)
        if node.name != "core1":
            assert there.routes == node.routes
    assert {one.mtu for host in lisp.hosts for one in host.interfaces} == {worlds.HOST_MTU}
    assert {node.lisp.dataplane for node in lisp.lisp_routers if node.lisp} == {"python"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("addresses", [1, 128])
def test_a_socket_that_nobody_reads_counts_every_datagram(addresses: int) -> None:
    """Sent over the loopback interface, within the machine."""
    with socket.socket(type=socket.SOCK_DGRAM) as here, socket.socket(type=socket.SOCK_DGRAM) as there:
        counter = udp.Counter(there, "0.0.0.0")
        sender = udp.Sender(here, 64, [(f"127.0.0.{number + 1}", counter.port) for number in range(addresses)])
        assert counter.arrived == 0
        sent = sum(sender.send() for _ in range(20)) + sender.send(3)
        assert sent == 20 * 64 + 3
        assert counter.arrived == sent
