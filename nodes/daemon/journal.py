"""The daemon's log: one JSON object a line, with time, node, event and fields."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Journal:
    """Appends lines to a log file. Each line is written at once; nothing is lost when the process is killed.

    A peer decides how often some events happen, so each event is bounded: after ``burst`` lines within ``seconds`` the
    rest are counted, and the next line of that event carries their number as "suppressed".
    """

    def __init__(self, path: Path, node: str, burst: int = 200, seconds: float = 10.0) -> None:
        """Open or make the file."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._node = node
        self._burst, self._seconds = burst, seconds
        self._windows: dict[str, tuple[float, int]] = {}

    def write(self, event: str, fields: Mapping[str, Any] | None = None) -> None:
        """Write one line."""
        now = datetime.now(UTC)
        stamp = now.timestamp()
        since, count = self._windows.get(event, (stamp, 0))
        suppressed = 0
        if stamp - since >= self._seconds:
            suppressed = max(0, count - self._burst)
            since, count = stamp, 0
        self._windows[event] = (since, count + 1)
        if count >= self._burst:
            return
        line = {
            "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "node": self._node,
            "event": event,
            "fields": dict(fields or {}) | ({"suppressed": suppressed} if suppressed else {}),
        }
        # A full disk costs lines, not the router.
        with suppress(OSError):
            os.write(self._descriptor, json.dumps(line, default=str).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
