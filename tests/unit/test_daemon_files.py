"""The daemon's durable state and its log."""

from __future__ import annotations

import inspect
import json
import resource
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file grows beyond ``size`` bytes; the write that reaches it is a short one, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def kept(path: Path) -> Mapping[str, Any]:
    """What the next run would find. Opening the state writes it anew, so a copy is opened."""
    return DurableState(Path(shutil.copy(path, path.with_name("copy.jsonl")))).values


def test_a_full_disk_neither_ends_the_state_nor_tears_it(tmp_path: Path) -> None:
    """C38: whoever keeps hears that it is not kept; when there is room again, all of it is."""
    path = tmp_path / "state.jsonl"
    state = DurableState(path)
    state.keep("nonce/a", 1)
    whole = path.read_bytes()
    with full_disk(len(whole) + 10):
        for number in (2, 3):
            with pytest.raises(OSError, match="File too large"):
                state.keep("nonce/b", number)
            assert path.read_bytes() == whole
        assert not state.complete
        assert state.values == {"nonce/a": 1, "nonce/b": 3}  # for this run
    assert kept(path) == {"nonce/a": 1}
    state.keep("nonce/c", 4)
    assert state.complete
    assert kept(path) == {"nonce/a": 1, "nonce/b": 3, "nonce/c": 4}


def test_state_is_opened_on_a_full_disk(tmp_path: Path) -> None:
    """There is no room to write it anew, and the line that a crash cut off must not join the next."""
    path = tmp_path / "state.jsonl"
    whole = "".join(json.dumps({"key": "a", "value": number}) + "\n" for number in range(20))
    path.write_text(whole + '{"key": "a", "val')
    with full_disk(10):
        state = DurableState(path)
        assert state.values == {"a": 19}
        with pytest.raises(OSError, match="File too large"):
            state.keep("b", 1)
    assert path.read_text() == whole
    state.keep("b", 2)
    assert path.read_text() == whole + '{"key": "b", "value": 2}\n'
    assert [one.name for one in tmp_path.iterdir()] == ["state.jsonl"]


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_of_the_log(tmp_path: Path) -> None:
    Journal(tmp_path / "log.jsonl", "xtr1").write("listening", {"port": 4342})
    (line,) = lines(tmp_path / "log.jsonl")
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-11-22T17:49:05.892Z")
    assert (line["node"], line["event"], line["fields"]) == ("xtr1", "listening", {"port": 4342})


def test_a_full_disk_costs_whole_lines_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    journal = Journal(log, "xtr1")
    journal.write("before")
    with full_disk(log.stat().st_size + 10):
        journal.write("lost")
    journal.write("after")
    assert [line["event"] for line in lines(log)] == ["before", "after"]


def test_a_flood_of_one_event_is_bounded(tmp_path: Path) -> None:
    """And how much was not written is, though no further line of that event comes.

    The clock is one that nobody sets back: with the time of day, an hour back was an hour of silence.
    """
    assert inspect.signature(Journal).parameters["clock"].default is time.monotonic
    clock = Clock()
    log = tmp_path / "log.jsonl"
    journal = Journal(log, "xtr1", burst=3, seconds=10, clock=clock)
    assert journal.deadline() is None
    for number in range(10):
        journal.write("dropped", {"number": number})
    journal.write("other")
    assert [line["event"] for line in lines(log)] == ["dropped"] * 3 + ["other"]
    assert journal.deadline() == clock.now + 10
    clock.now += 10
    journal.expire()
    assert journal.deadline() is None
    assert lines(log)[-1]["event"] == "suppressed"
    assert lines(log)[-1]["fields"] == {"of": "dropped", "lines": 7, "seconds": 10}
    for _ in range(5):
        journal.write("dropped")
    journal.end("stopped")
    assert [line["event"] for line in lines(log)][5:] == ["dropped"] * 3 + ["suppressed", "stopped"]
