"""X05: when a host that says nothing is asked for, and when it is taken for gone."""

from __future__ import annotations

import random

import pytest

from nodes.daemon.ageing import BETWEEN_PROBES, Ageing
from nodes.lisp.config import DynamicEid
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.eid_table import EidTable

SILENCE, PROBES = 60.0, 3
ONE, OTHER, STAYS = host_prefix("192.168.7.11"), host_prefix("2001:db8:7::11"), host_prefix("192.168.8.11")


def ageing() -> Ageing:
    permitted: EidTable[DynamicEid] = EidTable()
    for text, silence in (("192.168.7.0/24", SILENCE), ("2001:db8:7::/64", SILENCE), ("192.168.8.0/24", 0.0)):
        permitted.set(EidPrefix.of(text), DynamicEid(EidPrefix.of(text), (), host_silence=silence, host_probes=PROBES))
    return Ageing(permitted)


def run(one: Ageing, until: float, answers: frozenset[EidPrefix] = frozenset()) -> list[tuple[float, str, EidPrefix]]:
    """What is done, and when; those of ``answers`` answer at once."""
    found: list[tuple[float, str, EidPrefix]] = []
    while (when := one.deadline()) is not None and when <= until:
        due = one.due(when)
        assert due.ask or due.gone  # never woken for nothing
        found += [(when, "ask", eid) for eid in due.ask] + [(when, "gone", eid) for eid in due.gone]
        for eid in answers.intersection(due.ask):
            one.heard(eid, when)
    return found


def test_a_host_that_left_without_a_word_is_asked_three_times_and_gone() -> None:
    one = ageing()
    one.heard(ONE, 0.0)
    assert run(one, 1000.0) == [
        (60.0, "ask", ONE),
        (61.0, "ask", ONE),
        (62.0, "ask", ONE),
        (63.0, "gone", ONE),
    ]
    assert one.deadline() is None


def test_a_host_that_answers_stays_and_is_asked_once_in_the_time() -> None:
    one = ageing()
    one.heard(ONE, 0.0)
    one.heard(OTHER, 5.0)
    found = run(one, 245.0, frozenset({ONE, OTHER}))
    assert [(when, eid) for when, what, eid in found if what == "ask"] == [
        (start + n * SILENCE, eid) for n in range(1, 5) for start, eid in ((0.0, ONE), (5.0, OTHER))
    ]
    assert not [eid for _, what, eid in found if what == "gone"]


def test_a_host_that_is_heard_is_not_asked() -> None:
    one = ageing()
    for second in range(0, 300, 30):
        one.heard(ONE, second)
        assert not run(one, second + 30)
    assert run(one, 330.0) == [(330.0, "ask", ONE)]


def test_a_late_answer_begins_anew() -> None:
    """Two questions unanswered, the third one answered; the next silence has three again."""
    one = ageing()
    one.heard(ONE, 0.0)
    assert [what for _, what, _ in run(one, 62.0)] == ["ask"] * 3
    one.heard(ONE, 62.5)
    assert [what for _, what, _ in run(one, 1000.0)] == ["ask"] * 3 + ["gone"]


def test_a_host_that_is_no_longer_here_is_nobodys_business() -> None:
    one = ageing()
    one.heard(ONE, 0.0)
    one.heard(STAYS, 0.0)  # in a prefix whose hosts are never asked for
    one.forget(ONE)
    assert one.deadline() is None
    assert (one.due(1000.0).ask, one.due(1000.0).gone) == ([], [])


def test_whoever_answers_is_kept_and_whoever_does_not_goes_in_time() -> None:
    """Random hosts, random words: no host that answers goes, and every other one within what the timers promise."""
    chance = random.Random(5)
    for _ in range(50):
        one = ageing()
        hosts = [host_prefix(f"192.168.7.{n}") for n in range(1, 40)]
        quiet = frozenset(chance.sample(hosts, 15))
        last: dict[EidPrefix, float] = {}
        gone: dict[EidPrefix, float] = {}
        for now in sorted(chance.uniform(0, 300) for _ in range(200)):
            for when, what, eid in run(one, now, frozenset(hosts) - quiet):
                if what == "gone":
                    gone[eid] = when
            eid = chance.choice(hosts)
            one.heard(eid, now)
            last[eid] = now
            gone.pop(eid, None)
        for when, what, eid in run(one, 1000.0, frozenset(hosts) - quiet):
            if what == "gone":
                gone[eid] = when
        assert set(gone) == quiet.intersection(last)
        assert all(when == pytest.approx(last[eid] + SILENCE + PROBES * BETWEEN_PROBES) for eid, when in gone.items())
