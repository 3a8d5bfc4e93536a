"""What the bench of mobility makes of its rounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci import benches
from ci.benches.mobility import KEYS, worlds
from ci.benches.mobility.figures import Figure, figures, p95
from testbed.act.mobility.watch import right_from
from testbed.lab import LabError


def moves(convergence: list[float], blackout: tuple[float, float] = (4.0, 6.0), **more: Any) -> dict[str, Any]:
    rounds = [
        {
            "convergence_ms": {"b1 IPv4": -0.5, "b1 IPv6": value},
            "blackout_ms": {"b1 to IPv4": blackout[0], "b1 from IPv4": 1.0, "b1 from IPv6": blackout[1]},
        }
        for value in convergence
    ]
    return {"rounds": rounds, "tcp_lost": 0, "bytes_wrong": 0, **more}


def parts(**changed: Any) -> dict[str, Any]:
    return {
        "pubsub": moves([3.0, 4.0, 20.0]),
        "smr": moves([9.0, 16.0, 17.0], tcp_lost=1, bytes_wrong=7),
        "baseline": moves([]) | {"rounds": [{"blackout_ms": {"b1 to IPv4": 2.0, "b1 to IPv6": 3.0}}]},
        "pubsub_delayed": moves([60.0], rtt_ms=40.0),
        "smr_delayed": moves([100.0], rtt_ms=40.0),
        "mass": {"rounds": [{"all_right_ms": 900.0}, {"all_right_ms": 2500.0}, {"all_right_ms": 1000.0}]},
        **changed,
    }


def test_every_figure_has_its_key_and_its_worst_correspondent() -> None:
    found = {one.key: one for one in figures(parts())}
    assert set(found) == set(KEYS)
    assert found["convergence_pubsub_ms"].values == (3.0, 4.0, 20.0)
    assert found["convergence_smr_ms"].values == (9.0, 16.0, 17.0)
    assert found["blackout_ms"].values == (6.0, 6.0, 6.0)
    assert found["blackout_ms"].parts == {"ipv4": (4.0, 4.0, 4.0), "ipv6": (6.0, 6.0, 6.0)}
    assert found["baseline_ms"].values == (3.0,)
    assert (found["pubsub_rtts"].values, found["smr_rtts"].values) == ((1.5,), (2.5,))
    assert found["mass_move_ms"].values == (900.0, 2500.0, 1000.0)
    assert (found["tcp_lost"].values, found["bytes_wrong"].values) == ((1,), (7,))
    met = {key: one.met for key, one in found.items() if one.met is not None}
    assert met == {
        "convergence_pubsub_ms": True,
        "convergence_smr_ms": False,
        "blackout_ms": True,
        "blackout_smr_ms": True,
        "tcp_lost": False,
        "bytes_wrong": False,
        "mass_move_ms": True,
    }


def test_who_was_right_before_the_host_showed_itself_waited_for_nothing() -> None:
    one = moves([0.0])
    one["rounds"][0]["convergence_ms"] = {"near1 IPv4": -2.0}
    (found, *_) = figures({"pubsub": one})
    assert found.values == (0.0,)


def test_both_goals_count() -> None:
    values = tuple(range(1, 101))
    assert p95(values) == 95
    assert Figure("blackout_ms", "", "ms", values, 50.5, 95).met
    assert not Figure("blackout_ms", "", "ms", values, 50, 95).met
    assert not Figure("blackout_ms", "", "ms", values, 50.5, 94).met


@pytest.mark.parametrize(
    ("seen", "since"),
    [
        ([], None),
        ([(1, False)], None),
        ([(1, False), (2, True), (3, True)], 2),
        ([(1, True), (2, False), (3, True)], 3),
        ([(1, True), (2, False)], None),
        ([(1, True)], 1),
    ],
)
def test_right_is_the_first_that_no_wrong_one_follows(seen: list[tuple[int, bool]], since: int | None) -> None:
    assert right_from(seen) == since


@pytest.mark.parametrize("pubsub", [True, False])
def test_the_worlds_differ_in_what_they_say(pubsub: bool) -> None:
    slow = worlds.lisp_world(pubsub=pubsub, delayed=True)
    assert {node.name for node in slow.lisp_routers if node.lisp and node.lisp.subscription_keys} == (
        {"xtr1", "xtr2", "xtr3", "pxtr"} if pubsub else set()
    )
    core = {node.name for node in slow.core}
    assert {one.delay for one in slow.links if len({one.a[0], one.b[0]} & core) == 1} == {10.0}
    assert {one.delay for one in slow.links if len({one.a[0], one.b[0]} & core) != 1} == {0.0}
    crowd = worlds.lisp_world(pubsub=pubsub, crowd=True)
    assert {crowd[name].site for name in worlds.CROWD} == {"dc1"}
    assert len({crowd[name].address_of(4) for name in worlds.CROWD}) == 200


def test_an_earlier_run_is_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mobility.json"
    file.write_text(json.dumps({"bench": "mobility", "parts": parts()}))
    benches.run("mobility", "", earlier=str(file), markdown=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(KEYS)
    assert any("`blackout_ms`" in line and "median 10, p95 30 | 6.0 | 6.0 | 6.0" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("mobility", {"plot": "x.svg"}, "mobility has no --plot; dataplane has"),
        ("boot", {"rounds": "3"}, "boot has no --rounds; dataplane and mobility have"),
        ("mobility", {"only": "speed"}, "there is no figure speed; figures are convergence_pubsub_ms, "),
        (
            "mobility",
            {"earlier": "/nowhere"},
            "--earlier /nowhere: No such file or directory, allowed is the JSON file of ",
        ),
    ],
)
def test_what_makes_no_sense_is_said(name: str, options: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(LabError) as refused:
        benches.run(name, str(tmp_path / "out.json"), **options)
    assert str(refused.value).startswith(says)
