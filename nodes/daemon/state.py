"""What a daemon keeps across restarts: keys and values, appended to a file (requirement C38)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SLACK = 1000


class DurableState:
    """A dictionary whose every change is in the file before :meth:`keep` returns.

    The file holds one JSON object a line, the last line of a key counts. It is rewritten when it is opened and when
    most of its lines are out of date. A last line that was cut off by a crash is left out.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, or start an empty one."""
        self._path = path
        self._values: dict[str, Any] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self._read(line)
        self._descriptor = -1
        self._lines = 0
        self._compact()

    @property
    def values(self) -> Mapping[str, Any]:
        """All keys and values."""
        return self._values

    def keep(self, key: str, value: Any) -> None:
        """Store a value, or forget the key with None."""
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        os.write(self._descriptor, _line(key, value))
        self._lines += 1
        if self._lines > 4 * len(self._values) + _SLACK:
            self._compact()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
        except (ValueError, KeyError, TypeError):
            return
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value

    def _compact(self) -> None:
        fresh = self._path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(fresh, flags, 0o600)
        for key, value in self._values.items():
            os.write(descriptor, _line(key, value))
        fresh.replace(self._path)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._lines = descriptor, len(self._values)


def _line(key: str, value: Any) -> bytes:
    return json.dumps({"key": key, "value": value}).encode() + b"\n"
