"""The tests of one seeded defect, in a process of its own: ``python -m tests.conformance.selftest.trial ORDER``.

ORDER is a JSON object: {"defect": ID or "", "places": [...], "data_path": "", "jobs": 1, "log": FILE}. The outcomes go
to standard output, a JSON object {"tests": [...], "interrupted": bool}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from testbed.client.channel import LabError
from tests.conformance.catalogue import load
from tests.conformance.instrument.run import Run, run
from tests.conformance.instrument.shares import end_with_parent
from tests.conformance.instrument.under_test import UnderTest
from tests.conformance.selftest.defects import DEFECTS
from tests.conformance.selftest.plugin import seeded


class Seeded(UnderTest):
    """Our daemon with a defect in it."""

    @property
    def words(self) -> list[str]:
        """What pytest is told of it."""
        return ["-p", "tests.conformance.selftest.plugin", "--selftest-defect", self.role]


def outcomes(found: Run) -> dict[str, Any]:
    """What is handed on of a run."""
    tests = [asdict(one) | {"cell": [one.cell.data_path, one.cell.family]} for one in found.tests.values()]
    return {"tests": tests, "interrupted": found.interrupted}


def main(words: Sequence[str]) -> int:
    """Run the tests; 1 and a line if that was not possible."""
    end_with_parent()
    order = json.loads(words[0])
    try:
        found = run(
            list(load()),
            data_path=order["data_path"],
            jobs=order["jobs"],
            judged=Seeded(seeded(DEFECTS[order["defect"]]), order["defect"]) if order["defect"] else None,
            places=order["places"],
            log=Path(order["log"]),
            progress=lambda _found: None,
        )
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    json.dump(outcomes(found), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
