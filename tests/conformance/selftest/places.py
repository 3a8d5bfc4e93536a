"""``python -m tests.conformance.selftest.places``: which test files show which requirement, as JSON.

Of the first directory of labs that has any: those that judge any router, else those about our own daemon.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import defaultdict

import pytest

from tests.conformance.instrument import marks


class _Collector:
    def __init__(self) -> None:
        self._found: dict[str, dict[str, set[str]]] = {room: defaultdict(set) for room in marks.LABS}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for one in marks.requirements(item):
                self._found[marks.room(item)][one].add(item.nodeid.partition("::")[0])

    @property
    def found(self) -> dict[str, list[str]]:
        """The files, by requirement."""
        rooms = reversed(self._found.values())
        return {one: sorted(files) for room in rooms for one, files in room.items()}


def main() -> int:
    """Collect, print."""
    collector, said = _Collector(), io.StringIO()
    with contextlib.redirect_stdout(said):
        words = ["--collect-only", "-q", "-p", "no:cacheprovider", *(str(marks.TESTS / room) for room in marks.LABS)]
        status = pytest.main(words, plugins=[collector])
    if status:
        print(said.getvalue(), file=sys.stderr)
        return int(status)
    print(json.dumps(collector.found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
