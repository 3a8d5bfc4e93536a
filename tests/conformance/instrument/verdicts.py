"""From outcomes of tests to verdicts. Nothing else makes one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.conformance.catalogue import Cell, Requirement, Verdict

NOT_APPLICABLE = "not applicable: "
"""How the reason begins with which a test is skipped because its requirement asks nothing of this router."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A test that was chosen, and what became of it.

    Attributes:
        name: Its pytest node ID.
        requirements: What it shows.
        cell: For which data path and pair of IP versions.
        outcome: passed, failed or skipped; "" if the run ended before it did.
        reason: Why it failed or was skipped, in a line.
        clauses: The requirements that a clause of the test was left early for: failed or skipped, and why.
        only_clauses: Whether it failed in clauses alone: then for none of its other requirements.
        timing: "real", or "scaled" where the routers' clocks run faster.
    """

    name: str
    requirements: tuple[str, ...]
    cell: Cell
    outcome: str = ""
    reason: str = ""
    clauses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    only_clauses: bool = False
    timing: str = "real"

    def about(self, requirement: str) -> tuple[str, str]:
        """Its outcome for one of its requirements, and the reason."""
        outcome, reason = self.clauses.get(requirement, ("", ""))
        if outcome == "failed" or self.outcome != "failed":
            return outcome or self.outcome, reason or self.reason
        if self.only_clauses:
            return outcome or "passed", reason
        return self.outcome, self.reason

    def verdict(self, requirement: str) -> Verdict:
        """What it says of its cell."""
        outcome, reason = self.about(requirement)
        if outcome == "skipped" and reason.startswith(NOT_APPLICABLE):
            return Verdict.NOT_APPLICABLE
        return {"passed": Verdict.PASS, "failed": Verdict.FAIL}.get(outcome, Verdict.NOT_TESTED)


@dataclass(frozen=True, slots=True)
class Row:
    """A requirement judged.

    Attributes:
        requirement: Which.
        verdict: Of all its cells.
        cells: The verdict of each: those that it needs, and those that tests were found for.
        reasons: Why it is no pass, a line each.
        timing: "scaled" if one of its tests was, else "real"; "" without a test.
    """

    requirement: Requirement
    verdict: Verdict
    cells: Mapping[Cell, Verdict] = field(default_factory=dict)
    reasons: Sequence[str] = ()
    timing: str = ""


def judge(
    requirement: Requirement,
    tests: Iterable[Evidence],
    *,
    data_path: str = "",
    in_memory: Mapping[str, int] | None = None,
) -> Row:
    """Derive the verdict of one requirement.

    Args:
        requirement: The row of the catalogue.
        tests: All tests that were chosen.
        data_path: The only data path that is judged, or "" for all.
        in_memory: How many tests without a lab show each requirement; they make no verdict.
    """
    if requirement.not_implemented:
        return Row(requirement, Verdict.NOT_IMPLEMENTED, {}, [requirement.not_implemented])
    mine = [one for one in tests if requirement.id in one.requirements]
    needed = [one for one in requirement.cells if data_path in ("", one.data_path or data_path)]
    cells: dict[Cell, list[Verdict]] = {one: [] for one in needed if one != Cell()}
    for test in mine:
        cells.setdefault(test.cell, []).append(test.verdict(requirement.id))
    found = {cell: combined(verdicts) for cell, verdicts in cells.items()}
    verdict = combined(found.values())
    said = [(one.name, one.about(requirement.id)[1], one.verdict(requirement.id)) for one in mine]
    reasons = [f"{name}: {reason or verdict}" for name, reason, verdict in said if verdict is not Verdict.PASS]
    if not mine:
        count = (in_memory or {}).get(requirement.id, 0)
        reasons.append("no test in a lab" + (f"; {count} of our engine in memory" if count else ""))
    elif verdict is Verdict.NOT_TESTED and (bare := [str(cell) for cell, verdicts in cells.items() if not verdicts]):
        reasons.append(f"no test for {', '.join(bare)}")
    timing = max((one.timing for one in mine), default="")  # "scaled" comes after "real"
    return Row(requirement, verdict, found, reasons, timing)


def combined(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several: fail if one is, pass only if each is that is applicable and one is."""
    found = set(verdicts)
    for one in (Verdict.FAIL, Verdict.NOT_TESTED, Verdict.PASS, Verdict.NOT_APPLICABLE):
        if one in found:
            return one
    return Verdict.NOT_TESTED


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """How many requirements have each verdict."""
    found = Counter(row.verdict for row in rows)
    return {str(verdict): found[verdict] for verdict in Verdict}
