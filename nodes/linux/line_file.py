"""Files of lines that processes append to: whole lines or nothing, also on a full disk."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

_CHUNK = 4096


def timestamp() -> str:
    """The time of a line in a log: ISO 8601, UTC, milliseconds ("2026-11-22T17:49:05.892Z")."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class LineFile:
    """Appends lines. Each is in the file when :meth:`append` returns; nothing is lost when the process is killed."""

    def __init__(self, path: Path, mode: int = 0o644) -> None:
        """Open or make the file. A last line that was cut off goes, so that the next one does not join it.

        Raises:
            OSError: That is not possible.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        size = end = os.fstat(self._descriptor).st_size
        while end and (chunk := os.pread(self._descriptor, min(end, _CHUNK), end - min(end, _CHUNK))):
            end -= len(chunk) - chunk.rfind(b"\n") - 1
            if b"\n" in chunk:
                break
        if end < size:
            os.ftruncate(self._descriptor, end)

    def append(self, line: bytes) -> None:
        """Append lines, each with its end.

        Raises:
            OSError: They do not fit (ENOSPC and its like); the file is as before.
        """
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError:
            if written:
                os.ftruncate(self._descriptor, os.lseek(self._descriptor, 0, os.SEEK_END) - written)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
