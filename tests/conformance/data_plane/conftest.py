"""One lab of the world ``families`` for each data path, and its four pairs of IP versions."""

from __future__ import annotations

from collections.abc import Iterator
from os import getpid

import pytest

from testbed.lab import Lab
from tests.conformance.conftest import WORLDS
from tests.conformance.data_plane.pair import Pair

PAIRS = [(4, 4), (6, 4), (4, 6), (6, 6)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests are shared out, one process runs all those of a lab."""
    for item in items:
        if "families" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("families"))


@pytest.fixture(scope="package")
def families(dataplane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab, in which every pair of hosts has exchanged packets."""
    name = f"families-{dataplane}-{getpid()}"
    run_dir = tmp_path_factory.mktemp("families") / name
    with Lab(WORLDS / "families.yaml", name=name, run_dir=run_dir, dataplane=dataplane) as lab:
        for router in lab.topology.lisp_routers:
            shown = (
                lab.show(router.name, "statistics").get("dataplane") if lab.tells(router.name, "statistics") else None
            )
            assert shown is None or shown["runs"] == dataplane, f"{router.name}: {shown}"
        for outer in (4, 6):
            Pair(lab, dataplane, 4, outer).warm()
        yield lab


@pytest.fixture(params=PAIRS, ids=lambda pair: f"v{pair[0]}-over-v{pair[1]}")
def pair(request: pytest.FixtureRequest, families: Lab, dataplane: str) -> Pair:
    """Requirement D15: all four."""
    return Pair(families, dataplane, *request.param)
