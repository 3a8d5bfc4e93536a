"""The daemon's durable state and its log."""

from __future__ import annotations

import json
from pathlib import Path

from nodes.daemon.journal import Journal
from nodes.daemon.state import DurableState


def test_state_survives_and_a_torn_line_does_no_harm(tmp_path: Path) -> None:
    """C38."""
    path = tmp_path / "state.jsonl"
    state = DurableState(path)
    state.keep("nonce/a", 1)
    state.keep("nonce/a", 2)
    state.keep("nonce/b", [1, {"x": None}])
    state.keep("nonce/c", 3)
    state.keep("nonce/c", None)
    assert DurableState(path).values == {"nonce/a": 2, "nonce/b": [1, {"x": None}]}
    with path.open("a") as file:
        file.write('{"key": "nonce/a", "val')
    again = DurableState(path)
    assert again.values == {"nonce/a": 2, "nonce/b": [1, {"x": None}]}
    assert len(path.read_text().splitlines()) == 2
    again.close()


def test_state_is_there_before_keep_returns(tmp_path: Path) -> None:
    """C38: nothing waits in a buffer."""
    path = tmp_path / "state.jsonl"
    state = DurableState(path)
    state.keep("nonce/a", 7)
    assert json.loads(path.read_text()) == {"key": "nonce/a", "value": 7}


def test_state_does_not_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    state = DurableState(path)
    for number in range(5000):
        state.keep("nonce/a", number)
    assert len(path.read_text().splitlines()) < 1100
    assert DurableState(path).values == {"nonce/a": 4999}


def test_a_line_of_the_log(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl", "xtr1")
    journal.write("listening", {"port": 4342})
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-11-22T17:49:05.892Z")
    assert (line["node"], line["event"], line["fields"]) == ("xtr1", "listening", {"port": 4342})
    journal.close()


def test_a_flood_of_one_event_is_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl", "xtr1", burst=3, seconds=3600)
    for number in range(10):
        journal.write("dropped", {"number": number})
    journal.write("other")
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert events == ["dropped"] * 3 + ["other"]
    journal.close()
