"""Whether a seeded defect was seen, and whether by the right row alone: verdicts with it and without it, compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.catalogue import Catalogue, Verdict
from tests.conformance.instrument.verdicts import Evidence, judge
from tests.conformance.selftest.defect import Defect


@dataclass(frozen=True, slots=True)
class Found:
    """What the tests made of a router with a defect.

    Attributes:
        defect: What was seeded.
        caught: Whether its requirement fails with it, and does not without.
        wrongly_failed: The other requirements of which that is true, and why they failed.
        reasons: Why its own requirement failed, a line for each test; or why that cannot be said.
        tests: How many tests were run.
        seconds: How long they took.
    """

    defect: Defect
    caught: bool
    wrongly_failed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reasons: Sequence[str] = ()
    tests: int = 0
    seconds: float = 0.0


def compared(
    defect: Defect,
    catalogue: Catalogue,
    without: Iterable[Evidence],
    *attempts: Sequence[Evidence],
    seconds: float = 0.0,
) -> Found:
    """Compare the verdicts of the same tests.

    Args:
        defect: What was seeded.
        catalogue: All requirements.
        without: The outcomes of the router as it is; of these tests, and perhaps of others.
        attempts: The outcomes with the defect. Where there are several, another row fails wrongly only if it does in
            each: tests that judge milliseconds fail on a busy machine as well.
        seconds: How long they took.
    """
    tests = attempts[0]
    names = {one.name for one in tests}
    before = [one for one in without if one.name in names]
    rows = {one: _failing(catalogue, attempt) for one, attempt in enumerate(attempts)}
    sound = _failing(catalogue, before)
    shown = {one for test in before for one in test.requirements}
    mine = defect.requirement
    others = [
        one for one in rows[0] if one != mine and one not in sound and all(one in found for found in rows.values())
    ]
    caught = mine in rows[0] and mine in shown and mine not in sound
    if caught:
        reasons = rows[0][mine]
    elif mine in sound:
        reasons = [f"fails without the defect too: {one}" for one in sound[mine]]
    else:
        reasons = ["no test sees it" if mine in shown else "no test was run for it"]
    return Found(defect, caught, {one: rows[0][one] for one in others}, reasons, len(tests), seconds)


def _failing(catalogue: Catalogue, tests: Iterable[Evidence]) -> dict[str, Sequence[str]]:
    """The requirements that fail, and why."""
    tests = list(tests)
    concerned = {one for test in tests for one in test.requirements}
    rows = [judge(row, tests) for name, row in catalogue.items() if name in concerned]
    return {row.requirement.id: row.reasons for row in rows if row.verdict is Verdict.FAIL}


def report(found: Sequence[Found], seconds: float, interrupted: bool) -> dict[str, Any]:
    """The JSON document."""
    return {
        "seeded": len(found),
        "caught": sum(one.caught for one in found),
        "wrongly_failed": sum(len(one.wrongly_failed) for one in found),
        "duration_s": round(seconds, 3),
        "interrupted": interrupted,
        "defects": [
            {
                "requirement": one.defect.requirement,
                "broken": one.defect.broken,
                "where": one.defect.where,
                "data_path": one.defect.data_path or "all",
                "caught": one.caught,
                "wrongly_failed": {name: list(reasons) for name, reasons in one.wrongly_failed.items()},
                "reasons": list(one.reasons),
                "tests": one.tests,
                "duration_s": round(one.seconds, 3),
            }
            for one in found
        ],
    }
