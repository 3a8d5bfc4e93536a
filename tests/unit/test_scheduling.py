"""A router goes first while it has little to do, and in turn while it has much."""

from __future__ import annotations

import os

import pytest

from nodes.linux import scheduling
from nodes.linux.scheduling import Precedence


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the kernel was asked for."""
    asked: list[int] = []

    def ask(_pid: int, policy: int, _param: os.sched_param) -> None:
        asked.append(policy & ~os.SCHED_RESET_ON_FORK)

    monkeypatch.setattr(scheduling.os, "sched_setscheduler", ask)
    return asked


def test_who_has_rested_goes_first_until_it_works_for_long(policies: list[int]) -> None:
    precedence = Precedence(longest=0.02, rest=0.001)
    precedence.waited(0.0, 0.0005)  # no rest yet
    assert policies == []
    precedence.waited(0.001, 0.5)
    precedence.waited(0.51, 0.5101)  # worked for 10 ms
    assert policies == [os.SCHED_RR]
    precedence.waited(0.5205, 0.5206)  # and on: that is more than 20 ms without a rest
    precedence.waited(0.6, 0.6005)
    assert policies == [os.SCHED_RR, os.SCHED_OTHER]
    precedence.waited(0.7, 0.702)
    assert policies == [os.SCHED_RR, os.SCHED_OTHER, os.SCHED_RR]


def test_short_bursts_with_rests_between_them_stay_first(policies: list[int]) -> None:
    precedence = Precedence(longest=0.02, rest=0.001)
    for turn in range(100):
        precedence.waited(turn + 0.0, turn + 0.99)
    assert policies == [os.SCHED_RR]


def test_where_it_is_not_allowed_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(scheduling.os, "sched_setscheduler", refuse)
    Precedence().waited(0.0, 1.0)
    before = os.sched_getscheduler(0)
    scheduling.go_first()
    scheduling.go_in_turn()
    assert os.sched_getscheduler(0) == before
