"""What the page and the terminal say of a run in which a host moved, of a run that is made up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.graph import graph
from testbed.load import load
from testbed.observe.narration import Narrator
from testbed.observe.report.mobility import page
from testbed.observe.report.mobility.findings import Findings
from testbed.observe.report.mobility.view import MOST_ROWS, MoveView
from testbed.observe.report.mobility.words import sentence
from testbed.observe.report.mobility.world import pictures, relocated
from testbed.observe.timeline import KINDS, Event, Probe, Sample, Timeline
from tests.moves import BLACKOUT, CORRESPONDENTS, HOST, frames, run


def test_a_run_in_which_all_is_well() -> None:
    findings = Findings(run())
    assert findings.ok
    assert list(findings.sentences()) == [
        "4 TCP sessions lived.",
        "8 000 bytes arrived as they were sent.",
        "4 correspondents found the host again each time.",
        "Longest blackout of UDP: 6.0 ms (near1).",
    ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lost": 1}, "4 of 4 TCP sessions were lost."),
        ({"wrong": 3}, "24 of 8 000 bytes were wrong."),
        ({"deaf": "b1"}, "Not found again: b1, to it by IPv4; b1, to it by IPv6."),
    ],
)
def test_a_run_in_which_something_is_wrong(wrong: Mapping[str, int | str], says: str) -> None:
    """Each of these alone."""
    findings = Findings(run(**wrong))  # type: ignore[arg-type]
    assert not findings.ok
    assert says in list(findings.sentences())


def deafened(probe: Probe, seconds: float) -> Probe:
    """A probe of which nothing arrives for a time after the first move begins."""
    return replace(
        probe, samples=tuple(replace(one, delay=None) if 0 < one.at < seconds else one for one in probe.samples)
    )


def test_the_terminal_has_the_blackouts_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Each where it belongs: no two of them are alike."""
    timeline = run()
    probes = tuple(deafened(one, 0.01 + number / 1000) for number, one in enumerate(timeline.probes))
    timeline = replace(timeline, probes=probes)
    findings = Findings(timeline)
    Narrator().blackouts(findings)
    shown = capsys.readouterr().out
    document = page(timeline, load("mobility"), frames(), "kept")
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)", row) for row in re.findall(r"<tr>.*?</tr>", document, re.DOTALL)]
    columns = list(dict.fromkeys((one.direction, one.version) for one in findings.datagrams))
    for number, table in enumerate(shown.split("the move to ")[1:]):
        assert table.startswith(f"{timeline.moves[number].site}: longest time without a datagram\n")
        for name in CORRESPONDENTS:
            told = re.findall(r"[\d.]+ ms", next(line for line in table.splitlines() if line.startswith(f" {name} ")))
            for (direction, version), words in zip(columns, told, strict=True):
                way = f"{'from' if direction == 'to' else 'to'} {HOST}"
                [row] = [one for one in rows if one[:3] == [name, way, f"IPv{version}"] and len(one) > 7]
                assert words == row[-2 + number]


def test_each_move_has_its_own_events_and_gaps() -> None:
    """Times are those since its own begin; the gap is the one of this move."""
    topology = load("mobility")
    there, back = (MoveView(Findings(run()), topology, number) for number in range(2))
    for view, old, new in ((there, "xtr1", "xtr2"), (back, "xtr2", "xtr1")):
        assert [round(one.at - view.begin, 6) for one in view.events][:4] == [0.0, 0.001, 0.0015, 0.002]
        assert list(view.told()) == [
            (old, "Map-Notify: its host has left, from ms", "3.0 ms", ""),
            ("xtr3", "PubSub: Map-Notify, from ms", "3.1 ms", "3.5 ms"),
            ("pxtr", f"SMR, from {old}", "4.0 ms", "5.0 ms"),
        ]
        drawn = view.to_json(frames(), "kept")
        json.dumps(drawn)
        assert [one["name"] for one in drawn["panels"]] == list(CORRESPONDENTS)
        for panel, strip in ((one, strip) for one in drawn["panels"] for strip in one["strips"]):
            length = (strip["gap"]["to"] - strip["gap"]["from"]) / 1e6
            assert BLACKOUT <= length <= BLACKOUT + 0.001
            assert panel["window"]["from"] < strip["gap"]["from"] < strip["gap"]["to"] < panel["window"]["to"]
            assert strip["title"].endswith(f"{round(BLACKOUT * 1000) - 1} lost")
        [register] = [one for one in drawn["evidence"]["packets"] if one["kind"] == "Map-Register"]
        assert (register["from"], register["to"]) == (new, "ms")
        assert "LISP Map-Register" in [one["name"] for one in register["layers"]]
        lanes = [one["name"] for one in drawn["evidence"]["nodes"]]
        assert lanes.index(HOST) < lanes.index(old) < lanes.index("ms") < lanes.index(new) < lanes.index("xtr3")


def test_a_flood_of_events_is_cut() -> None:
    timeline = run()
    many = tuple(Event(0.01 + number / 1e6, "xtr1", "map-request", str(number), "mr") for number in range(1000))
    flood = type(timeline)(many, timeline.probes, timeline.moves[:1], "", "", "")
    drawn = MoveView(Findings(flood), load("mobility"), 0).to_json([], "")
    assert len(drawn["evidence"]["packets"]) == MOST_ROWS
    assert drawn["evidence"]["left_out"] == 1000 - MOST_ROWS
    assert len(drawn["steps"]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_event_is_a_sentence(kind: str) -> None:
    words = sentence(Event(0.0, "xtr2", kind, "what it says", "ms"))
    assert words.startswith("xtr2")
    assert "what it says" in words


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    """To the microsecond, and a sample takes a few octets: a run has a hundred thousand."""
    samples = (Sample(-0.5000004, 0.000038), Sample(0.0, None), Sample(0.0010009, 1.5))
    samples += tuple(Sample(number / 1000 + 0.0000071, 0.0000421) for number in range(2, 3000))
    run_ = replace(run(), probes=(Probe("b1", "to", 4, "udp", sent=3, samples=samples), Probe("b1", "from", 6, "tcp")))
    run_.write(tmp_path / "run.json")
    again = Timeline.read(tmp_path / "run.json")
    assert replace(again, probes=()) == replace(run_, probes=())
    assert [replace(one, samples=()) for one in again.probes] == [replace(one, samples=()) for one in run_.probes]
    found = again.probes[0].samples
    assert [one.at for one in found] == pytest.approx([one.at for one in samples], abs=0.6e-6)
    assert [one.delay for one in found[:3]] == [0.000038, None, 1.5]
    assert (tmp_path / "run.json").stat().st_size < 12 * len(samples)


def test_the_host_stands_in_its_place() -> None:
    """Two pictures of there and back: of the host's two places, each highlighted; all others where they were."""
    topology = load("mobility")
    before, after = pictures(topology, run().moves)
    assert (before.title, after.title) == ("Before", "After")
    assert before.source != after.source
    away = relocated(topology, HOST, "dc2")
    assert relocated(away, HOST, "dc1").links == topology.links
    assert [one.name for one in away.hosts if one.site == "dc2"] == [HOST, "near2"]
    assert graph(topology, marked=(HOST,)).count(' marked"') == 1
    assert "marked" not in graph(topology)
