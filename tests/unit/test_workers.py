"""How the suite is shared among workers: modules whole, groups together, what judges times at the end."""

from __future__ import annotations

import json
import random
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conformance.tester.waiting import eventually
from tests.workers import BUSY, EXCLUSIVE, LAST, QUIET, Scheduling, Turns

GROUPED = {
    f"tests/conformance/data_plane/test_{name}.py::test_one[{path}-v4-over-v6]": f"families {path}"
    for name in ("sizes", "rules")
    for path in ("python", "ebpf")
}
SUITE = [
    *GROUPED,
    *(f"tests/e2e/test_links.py::test_{number}" for number in range(6)),
    *(f"tests/e2e/test_lab.py::test_shell[{number}::1]" for number in range(5)),
    *(f"tests/unit/test_{name}.py::test_one" for name in "abcdefgh"),
]


class Worker:
    """As xdist's: runs a test when it knows the one that follows, or that none does."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.queue: deque[int] = deque()
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down, "work for a worker that has been sent home"
        self.queue.extend(indices)

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def can_run(self) -> bool:
        return len(self.queue) > 1 or (self.shutting_down and bool(self.queue))


def run(told: Path, exclusive: set[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Run a suite on workers that take turns by chance: each test and its worker."""
    suite = sorted(SUITE, key=lambda test: test in exclusive)
    modules = {test: test.partition("::")[0] for test in suite}
    told.write_text(json.dumps(modules | GROUPED | dict.fromkeys(exclusive, EXCLUSIVE)))
    config: Any = SimpleNamespace(option=SimpleNamespace(loadscopereorder=True), getvalue=lambda _: ["popen"] * count)
    log: Any = SimpleNamespace()
    log.loadscopesched = lambda *_: None
    plan, chance = Scheduling(config, log, told), random.Random(seed)
    workers: list[Any] = [Worker(f"gw{number}") for number in range(count)]
    for one in workers:
        plan.add_node(one)
    for one in workers:
        plan.add_node_collection(one, suite)
    plan.schedule()
    seen = []
    while workers:
        ready = [one for one in workers if one.can_run or one.shutting_down]
        assert ready, "everybody waits"
        one = chance.choice(ready)
        if one.can_run:
            done = one.queue.popleft()
            seen.append((suite[done], one.gateway.id))
            plan.mark_test_complete(one, done)
        else:
            workers.remove(one)
            if one in plan.nodes:
                assert plan.remove_node(one) is None
        if plan.tests_finished:
            for left in plan.nodes:
                left.shutdown()
    return seen


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(
    "exclusive", [[], SUITE[-3:], SUITE[:1], [SUITE[0], SUITE[5], SUITE[6], SUITE[-1]], SUITE], ids=len
)
def test_each_test_runs_once_and_what_shares_a_lab_on_one_worker(
    tmp_path: Path, count: int, exclusive: list[str]
) -> None:
    for seed in range(50):
        ran = run(tmp_path / "told", set(exclusive), count, seed)
        assert sorted(test for test, _ in ran) == sorted(SUITE), seed
        where = {test: worker for test, worker in ran if test not in exclusive}
        for shared in ("test_links.py", "test_lab.py", "[python-", "[ebpf-"):
            assert len({worker for test, worker in where.items() if shared in test}) <= 1, (shared, seed)
        assert len({worker for test, worker in ran if test in exclusive}) <= 1, seed
        assert count == 1 or exclusive or len(set(where.values())) > 1


def test_a_stage_begins_when_no_worker_is_in_the_one_before(tmp_path: Path) -> None:
    """Two go on while the third is in the first stage, and then together; one has the last stage for itself."""
    slow, other, third = (Turns(tmp_path) for _ in range(3))
    reached: list[str] = []

    def begin(name: str, turns: Turns, wanted: int) -> threading.Thread:
        thread = threading.Thread(target=lambda: (turns.reach(wanted), reached.append(name)))
        thread.start()
        return thread

    def soon(*names: str) -> Callable[[], bool]:
        return lambda: sorted(reached) == sorted(names)

    slow.reach(BUSY)
    going = [begin("other", other, QUIET), begin("third", third, LAST)]
    going[0].join(0.05)
    assert reached == []
    slow.reach(QUIET)
    eventually(soon("other"), "the second stage begins")
    going[1].join(0.05)
    assert reached == ["other"]
    other.pytest_unconfigure()
    going[1].join(0.05)
    assert reached == ["other"]
    slow.pytest_unconfigure()
    eventually(soon("other", "third"), "the last stage begins")
    for one in going:
        one.join()
    third.reach(BUSY)  # what a crashed worker left undone
    third.pytest_unconfigure()
