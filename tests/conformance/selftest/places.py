"""``python -m tests.conformance.selftest.places``: which test files show which requirement, as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import defaultdict

import pytest

from tests.conformance.instrument import marks
from tests.conformance.instrument.under_test import ROOM


class _Collector:
    def __init__(self) -> None:
        self.found: dict[str, set[str]] = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for one in marks.requirements(item):
                self.found[one].add(item.nodeid.partition("::")[0])


def main() -> int:
    """Collect, print."""
    collector, said = _Collector(), io.StringIO()
    with contextlib.redirect_stdout(said):
        words = ["--collect-only", "-q", "-p", "no:cacheprovider", str(marks.TESTS / ROOM)]
        status = pytest.main(words, plugins=[collector])
    if status:
        print(said.getvalue(), file=sys.stderr)
        return int(status)
    print(json.dumps({one: sorted(files) for one, files in collector.found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
