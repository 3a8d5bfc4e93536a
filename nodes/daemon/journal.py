"""The daemon's log: one JSON object a line, with time, monotonic, node, event and fields.

``time`` is for people; ``monotonic``, seconds of CLOCK_MONOTONIC, orders the lines of several nodes and packets between
them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nodes.linux.line_file import LineFile, timestamp


class Journal:
    """Appends lines to a log file. Each line is written at once; nothing is lost when the process is killed.

    A peer decides how often some events happen, so each event is bounded: after ``burst`` lines within ``seconds`` the
    rest are counted, and at the end of that time a line "suppressed" tells the event and how many there were.
    """

    def __init__(
        self,
        path: Path,
        node: str,
        burst: int = 200,
        seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or make the file. ``clock`` is one that nobody sets back.

        Raises:
            OSError: That is not possible.
        """
        self._file = LineFile(path)
        self._node = node
        self._burst, self._seconds = burst, seconds
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def write(self, event: str, fields: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None) -> None:
        """Write one line; ``fields`` that take time are made only if it is written."""
        self.expire()
        since, count = self._windows.get(event, (self._clock(), 0))
        self._windows[event] = (since, count + 1)
        if count < self._burst:
            self._append(event, dict((fields() if callable(fields) else fields) or {}))

    def deadline(self) -> float | None:
        """When :meth:`expire` has a line to write, on the clock; None if it has none."""
        return min(
            (since + self._seconds for since, count in self._windows.values() if count > self._burst), default=None
        )

    def expire(self) -> None:
        """Say how much was suppressed in times that are over."""
        oldest = self._clock() - self._seconds
        over = [event for event, (since, _) in self._windows.items() if since <= oldest]
        for event in over:
            self._tell_suppressed(event, self._windows.pop(event)[1])

    def end(self, event: str, fields: Mapping[str, Any] | None = None) -> None:
        """Write the last line, before it what was suppressed up to now, and close the file."""
        for other, (_, count) in self._windows.items():
            self._tell_suppressed(other, count)
        self._append(event, dict(fields or {}))
        self._file.close()

    def _tell_suppressed(self, event: str, count: int) -> None:
        if count > self._burst:
            self._append("suppressed", {"of": event, "lines": count - self._burst, "seconds": self._seconds})

    def _append(self, event: str, fields: dict[str, Any]) -> None:
        now = round(time.monotonic(), 6)
        line = {"time": timestamp(), "monotonic": now, "node": self._node, "event": event, "fields": fields}
        # A full disk costs lines, not the router.
        with suppress(OSError):
            self._file.append(json.dumps(line, default=str).encode() + b"\n")
