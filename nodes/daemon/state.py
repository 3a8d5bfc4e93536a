"""What a daemon keeps across restarts: keys and values, appended to a file (requirement C38)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nodes.linux.line_file import LineFile

_SLACK = 1000
_MODE = 0o600


class DurableState:
    """A dictionary whose every change is in the file when :meth:`keep` returns.

    The file holds one JSON object a line, the last line of a key counts. It is rewritten when it is opened and when
    most of its lines are out of date. A last line that was cut off by a crash is left out.

    On a full disk the dictionary goes on, its changes are known to be missing from the file, and each further
    :meth:`keep` tries to write them as well.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, or start an empty one.

        Raises:
            OSError: It can be neither opened nor made.
        """
        self._path = path
        self._values: dict[str, Any] = {}
        self._unwritten: set[str] = set()
        if path.exists():
            for line in path.read_text().splitlines():
                self._read(line)
        self._file = LineFile(path, _MODE)
        self._lines = self._most_lines = 0
        self._compact()

    @property
    def values(self) -> Mapping[str, Any]:
        """All keys and values."""
        return self._values

    @property
    def complete(self) -> bool:
        """Whether everything is in the file."""
        return not self._unwritten

    def keep(self, key: str, value: Any) -> None:
        """Store a value, or forget the key with None.

        Raises:
            OSError: It does not fit into the file, or something before it did not. It is stored for this run only.
        """
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        self._unwritten.add(key)
        self._file.append(b"".join(_line(one, self._values.get(one)) for one in self._unwritten))
        self._lines += len(self._unwritten)
        self._unwritten.clear()
        if self._lines > self._most_lines:
            self._compact()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

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
        """Write the file anew. Where there is no room for that, the old one holds the same, with more lines."""
        fresh = self._path.with_suffix(".new")
        try:
            fresh.unlink(missing_ok=True)
            file = LineFile(fresh, _MODE)
            try:
                file.append(b"".join(_line(key, value) for key, value in self._values.items()))
                fresh.replace(self._path)
            except OSError:
                file.close()
                raise
        except OSError:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
        else:
            self._file.close()
            self._file, self._lines = file, len(self._values)
        self._most_lines = self._lines + 3 * len(self._values) + _SLACK


def _line(key: str, value: Any) -> bytes:
    return json.dumps({"key": key, "value": value}).encode() + b"\n"
