"""Long requests are done in slices, and a mistake in one is found before any of it is done."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from nodes.daemon import jobs
from nodes.daemon.jobs import MOST, SLICE, Job, Jobs
from nodes.daemon.static_mappings import StaticMappings
from nodes.lisp.effects import Install
from nodes.lisp.eid import EidPrefix
from tests.engine.world import two_sites


class Client:
    """What a client is told."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def succeed(self, data: Any) -> None:
        self.answers.append(data)

    def fail(self, error: str) -> None:
        self.answers.append(f"failed: {error}")


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(jobs.time, "perf_counter", lambda: self.now)


def steps(clock: Clock, count: int, done: list[int], error: str = "") -> Job:
    """A job of a millisecond a step."""
    for number in range(count):
        clock.now += 0.001
        done.append(number)
        yield
    if error:
        raise ValueError(error)
    return count


def test_a_long_job_lets_the_loop_have_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, each for no longer than a slice and one step; then the next one begins."""
    clock, work, done, first, second = Clock(monkeypatch), Jobs(), list[int](), Client(), Client()
    work.add(steps(clock, 12, done), first)  # type: ignore[arg-type]
    work.add(steps(clock, 1, done, "it is wrong"), second)  # type: ignore[arg-type]
    lengths = []
    while work.pending:
        before = clock.now
        work.work()
        lengths.append(clock.now - before)
    assert max(lengths) <= SLICE + 0.001
    assert len(lengths) == 4
    assert done == [*range(12), 0]
    assert (first.answers, second.answers) == ([12], ["failed: it is wrong"])
    assert gc.isenabled()


def test_so_many_jobs_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, work = Clock(monkeypatch), Jobs()
    for _ in range(MOST):
        work.add(steps(clock, 1, []), Client())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="16 requests that take long wait already"):
        work.add(steps(clock, 1, []), Client())  # type: ignore[arg-type]


class Bench:
    """The requests, on the engine of an ITR; what it installs and removes is counted."""

    def __init__(self, node: str = "xtr1") -> None:
        self.world = two_sites()
        self.engine = self.world[node].engine
        self.given: list[Any] = []
        self.requests = StaticMappings(self.world[node].engine._config, self.engine, self.given.extend, lambda: 0.0)

    def run(self, job: Job) -> Any:
        pauses = 0
        while True:
            try:
                next(job)
            except StopIteration as done:
                assert pauses >= len(self.given) // 100
                return done.value
            pauses += 1


def rows(count: int) -> list[dict[str, Any]]:
    locators = [{"rloc": "10.0.9.1"}]
    return [{"eid": f"20.{number >> 8}.{number & 255}.0/24", "locators": locators} for number in range(count)]


def test_mappings_are_added_and_removed_in_slices() -> None:
    bench = Bench()
    assert bench.run(bench.requests.add({"mappings": rows(300)}))["mappings"] == 300
    assert [type(one) for one in bench.given] == [Install] * 300
    assert bench.engine.has_static_mapping(EidPrefix.of("20.1.1.0/24"))
    bench.given.clear()
    assert bench.run(bench.requests.remove({"mappings": rows(300)})) == {"mappings": 300}
    assert len(bench.given) == 300
    assert not bench.engine.has_static_mapping(EidPrefix.of("20.1.1.0/24"))


@pytest.mark.parametrize("operation", ["add", "remove"])
def test_a_mistake_is_found_before_anything_is_done(operation: str, tmp_path: Path) -> None:
    bench = Bench()
    job = getattr(bench.requests, operation)
    if operation == "remove":
        bench.run(bench.requests.add({"mappings": rows(299)}))
        bench.given.clear()
    file = tmp_path / "mappings"
    file.write_text('{"eid": "20.0.0.0/24", "locators": []}\n{"eid": "x", "locators": []}\n')
    for request, error in (
        ({"mappings": [*rows(299), {"eid": 7, "locators": []}]}, "eid is 7, allowed is text"),
        ({"mappings": [*rows(299), 7]}, "a mapping is 7, allowed is"),
        ({}, "mappings is missing"),
        ({"file": str(file)}, f"{file}:2: eid is 'x'"),
        ({"file": f"{file}-"}, "cannot be read: No such file"),
    ):
        with pytest.raises(ValueError, match=error):
            bench.run(job(request))
        assert bench.given == []


def test_a_map_server_has_no_map_cache() -> None:
    bench = Bench("ms")
    for job in (bench.requests.add, bench.requests.remove):
        with pytest.raises(ValueError, match="is no ITR, PITR or RTR"):
            bench.run(job({"mappings": []}))
