"""How the suite is shared among workers: modules whole, groups together, those marked alone at the end."""

from __future__ import annotations

import json
import random
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.workers import ALONE, Scheduling

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


def run(
    told: Path, alone: set[str], count: int, seed: int, suite: list[str] = SUITE
) -> list[tuple[str, str, set[str]]]:
    """Run a suite on workers that take turns by chance: each test, its worker, and what the others were running."""
    told.write_text(json.dumps(GROUPED | dict.fromkeys(alone, ALONE)))
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
    at_work: dict[str, int] = {}
    seen = []
    while workers:
        ready = [one for one in workers if one.can_run or one.shutting_down or one.gateway.id in at_work]
        assert ready, "everybody waits"
        one = chance.choice(ready)
        if (done := at_work.pop(one.gateway.id, None)) is not None:
            one.queue.popleft()
            plan.mark_test_complete(one, done)
        elif one.can_run:
            others = {suite[test] for test in at_work.values()}
            at_work[one.gateway.id] = one.queue[0]
            seen.append((suite[one.queue[0]], one.gateway.id, others))
        else:
            workers.remove(one)
            if one in plan.nodes:
                assert plan.remove_node(one) is None
        if plan.tests_finished:
            for left in plan.nodes:
                left.shutdown()
    return seen


@pytest.mark.parametrize("count", [1, 2, 4])
def test_each_test_runs_once_and_what_shares_a_lab_on_one_worker(tmp_path: Path, count: int) -> None:
    for seed in range(50):
        ran = run(tmp_path / "told", set(), count, seed)
        assert sorted(test for test, _, _ in ran) == sorted(SUITE), seed
        where = {test: worker for test, worker, _ in ran}
        for shared in ("test_links.py", "test_lab.py", "[python-", "[ebpf-"):
            assert len({worker for test, worker in where.items() if shared in test}) == 1, (shared, seed)
    assert count == 1 or len({worker for _, worker, _ in ran}) > 1


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("alone", [SUITE[-3:], SUITE[:1], [SUITE[0], SUITE[5], SUITE[6], SUITE[-1]], SUITE], ids=len)
def test_what_is_alone_runs_when_all_others_have_ended(tmp_path: Path, count: int, alone: list[str]) -> None:
    for seed in range(50):
        ran = run(tmp_path / "told", set(alone), count, seed)
        assert sorted(test for test, _, _ in ran) == sorted(SUITE), seed
        assert {test for test, _, _ in ran[-len(alone) :]} == set(alone), seed
        assert not [others for test, _, others in ran if test in alone and others], seed


def test_one_module_and_one_that_is_alone_do_not_meet(tmp_path: Path) -> None:
    """Neither waits for the other for ever."""
    suite = SUITE[4:12]
    for seed in range(50):
        ran = run(tmp_path / "told", set(suite[-2:]), 2, seed, suite)
        assert [test for test, _, _ in ran] == suite
