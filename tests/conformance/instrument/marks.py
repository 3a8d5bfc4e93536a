"""What a test says of itself: the requirements that it shows, by which data path, for which pair of IP versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.catalogue import DATA_PATHS, FAMILIES, Cell

TESTS = Path(__file__).resolve().parents[2]
LABS = ("conformance", "e2e")
"""Directories whose tests judge routers by their packets."""
IN_MEMORY = ("engine",)
"""Directories whose tests join our own engines in memory: they show something, but judge no router."""

_PAIRS = ("pair", "site", "family")
_EIDS = ("inner", "inner_version")
_RLOCS = "outer"
"""Parameters that name IP versions: both in one, or each by itself."""


def requirements(item: pytest.Item) -> tuple[str, ...]:
    """The IDs of its marks."""
    return tuple(sorted({str(one) for mark in item.iter_markers("requirement") for one in mark.args}))


def cell(item: pytest.Item) -> Cell:
    """Its data path and its pair of IP versions, as far as its parameters or marks say."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    mark = item.get_closest_marker("data_path")
    path = mark.args[0] if mark else parameters.get("dataplane", "")
    # Parameters of such a name may mean something else in another test.
    pairs = [found for name in _PAIRS if isinstance(found := parameters.get(name), tuple) and len(found) == 2]
    pairs += [(parameters[name], parameters.get(_RLOCS)) for name in _EIDS if name in parameters]
    families = [f"v{inner}-over-v{outer}" for inner, outer in pairs]
    return Cell(str(path) if path in DATA_PATHS else "", next((one for one in families if one in FAMILIES), ""))


def timing(item: pytest.Item) -> str:
    """Whether it is judged in real time, or on clocks that run faster: then it is "scaled"."""
    in_real_time = item.config.getoption("--conformance-long", default=False)
    return "real" if in_real_time or item.get_closest_marker("scaled") is None else "scaled"


def room(item: pytest.Item) -> str:
    """The directory below ``tests/`` that it is in."""
    return item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
