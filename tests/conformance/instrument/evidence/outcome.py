"""What the packets of a test mean for its outcome: it fails when three opinions differ about one that a router sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from tests.conformance.instrument.evidence.workup import Workup, work_up
from tests.conformance.instrument.run import Run

_WORDS = "three opinions: "


def look_at_packets(found: Run, directory: Path, *, junit: Path | None, page: bool) -> Workup:
    """Judge what routers sent in a run, and put it down to its tests, in the JUnit file too; ``page`` wants stories."""
    worked = work_up(directory, page=page)
    failed = {}
    for name, wrong in worked.wrong.items():
        if found.tests[name].outcome in ("passed", "failed"):
            reason = found.tests[name].reason or _WORDS + "; ".join(wrong)
            found.tests[name] = replace(
                found.tests[name], outcome="failed", reason=reason, clauses={}, only_clauses=False
            )
            failed[name] = wrong
    if junit and failed and junit.exists():
        _add_to(junit, failed)
    return worked


def _add_to(junit: Path, wrong: dict[str, list[str]]) -> None:
    """A suite of its own: pytest's words about the tests stay as they are."""
    tree = ElementTree.parse(junit)
    numbers = {"tests": str(len(wrong)), "failures": str(len(wrong)), "errors": "0", "skipped": "0"}
    suite = ElementTree.SubElement(tree.getroot(), "testsuite", {"name": "three opinions", **numbers})
    for name, lines in wrong.items():
        case = ElementTree.SubElement(suite, "testcase", {"classname": "three opinions", "name": name})
        ElementTree.SubElement(case, "failure", {"message": lines[0]}).text = "\n".join(lines)
    tree.write(junit, encoding="utf-8", xml_declaration=True)
