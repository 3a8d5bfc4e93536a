"""Worlds for tests that run once for each data path: what the routers forward by is the test's to say."""

from __future__ import annotations

from pathlib import Path

DATA_PATHS = ("python",)
"""What the routers of the data plane's tests forward by."""

TOPOLOGIES = Path(__file__).resolve().parents[1] / "topologies"


def world_with(file: Path | str, directory: Path, **keys: str) -> Path:
    """A copy of a world, in which some keys of the file itself are others.

    Args:
        file: Its file, or the name of a topology.
        directory: Where the copy is made, under the same name.
        keys: The keys and their values, such as ``dataplane="python"``.
    """
    source = file if isinstance(file, Path) else TOPOLOGIES / f"{file}.yaml"
    lines = [one for one in source.read_text().splitlines() if one.split(":")[0] not in keys]
    copy = directory / source.name
    copy.write_text("\n".join((*lines, *(f"{key}: {value}" for key, value in keys.items()), "")))
    return copy
