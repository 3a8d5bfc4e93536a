"""What a test says of itself: the requirements that it shows, by which data path, for which pair of IP versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.catalogue import DATA_PATHS, Cell

TESTS = Path(__file__).resolve().parents[2]
LABS = ("conformance", "e2e")
"""Directories whose tests judge routers by their packets."""
IN_MEMORY = ("engine",)
"""Directories whose tests join our own engines in memory: they show something, but judge no router."""

_FAMILY_FIXTURES = ("pair", "site")


def requirements(item: pytest.Item) -> tuple[str, ...]:
    """The IDs of its marks."""
    return tuple(sorted({str(one) for mark in item.iter_markers("requirement") for one in mark.args}))


def cell(item: pytest.Item) -> Cell:
    """Its data path and its pair of IP versions, as far as its parameters or marks say."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    mark = item.get_closest_marker("data_path")
    path = mark.args[0] if mark else parameters.get("dataplane", "")
    pairs = [parameters[name] for name in _FAMILY_FIXTURES if name in parameters]
    family = f"v{pairs[0][0]}-over-v{pairs[0][1]}" if pairs else ""
    return Cell(str(path) if path in DATA_PATHS else "", family)


def room(item: pytest.Item) -> str:
    """The directory below ``tests/`` that it is in."""
    return item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
