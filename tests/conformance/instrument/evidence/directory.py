"""The directory of a run's packets: a pcapng file for each test, and an index of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.client.box import give, owner
from testbed.lab import RUNS
from testbed.words import echoed
from tests.conformance.catalogue import CatalogueError

INDEX = "index.jsonl"


_HOME = RUNS / "conformance"
_SETTLED = _HOME / "captures"


def prepared(given: str) -> Path:
    """The directory, there, and without the packets of an earlier run. Unless one is given it is this process's alone.

    Raises:
        CatalogueError: It cannot be one.
    """
    path = Path(given).resolve() if given else _HOME / f"captures-{os.getpid()}"
    try:
        for made in (path,) if given else (RUNS, _HOME, path):
            if not made.exists():
                made.mkdir()
                give(made, owner())
        if strange := next((one.name for one in path.iterdir() if one.suffix != ".pcapng" and one.name != INDEX), ""):
            why = f"{echoed(strange)} is no capture; name an empty directory or a new one"
            raise CatalogueError(f"--captures {echoed(path)}: {why}")
        for one in path.iterdir():
            one.unlink()
    except OSError as error:
        raise CatalogueError(f"--captures {echoed(path)}: {error.strerror}") from None
    return path


def settled(directory: Path) -> Path:
    """Where the packets are when all is done: unless a directory was given, in the place of an earlier run's."""
    if directory.parent != _HOME or directory == _SETTLED:
        return directory
    # What a run that was killed has left goes as well.
    for one in _HOME.glob("captures*"):
        number = one.name.rpartition("-")[2]
        if one != directory and not (number.isdigit() and Path("/proc", number).exists()):
            shutil.rmtree(one)
    return directory.rename(_SETTLED)


def entries(directory: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of the index, one for each test that has ended."""
    file = directory / INDEX
    if file.exists():
        with file.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines)
