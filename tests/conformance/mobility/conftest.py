"""The world ``mobility`` by each data path, of either IP version: in real time, and with clocks that run faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import getpid
from pathlib import Path

import pytest

from testbed.lab import Lab
from testbed.load import load
from tests.conformance.conftest import WORLDS
from tests.conformance.mobility.roaming import Roaming
from tests.conformance.tester.clock import at_pace

FAMILIES = [(4, 4), (6, 6)]
"""IP versions of EIDs and RLOCs."""

TWIN = {
    "10.0.0.0/16": "2001:db8:10c::/48",
    "192.168.0.0/16": "2001:db8:e1d::/48",
    "192.168.7.0/24": "2001:db8:e1d:7::/64",
    "192.168.7.254": "2001:db8:e1d:7::fe",
    "192.168.1.0/24": "2001:db8:e1d:1::/64",
    "203.0.113.0/24": "2001:db8:113::/64",
}
"""What stands in the IPv6 twin of a world in place of its IPv4 addresses."""

SCALE = 30.0
"""How many times as fast the clocks of the world ``hasty`` run."""

_LABS = {"roaming": "mobility", "hasty": "mobility, hasty"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests are shared out, one process runs all those of a lab."""
    for item in items:
        family = getattr(getattr(item, "callspec", None), "params", {}).get("family")
        for fixture in {*_LABS}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(f"{_LABS[fixture]}, {family}"))
            if fixture == "hasty":
                item.add_marker(pytest.mark.scaled)


@pytest.fixture(scope="session", params=FAMILIES, ids=lambda pair: f"v{pair[0]}-over-v{pair[1]}")
def family(request: pytest.FixtureRequest) -> tuple[int, int]:
    """IP version of EIDs and RLOCs."""
    found: tuple[int, int] = request.param
    return found


Boot = Callable[..., Roaming]


@pytest.fixture(scope="package")
def boot_mobility(
    request: pytest.FixtureRequest, dataplane: str, family: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Boot]:
    """Boots the world ``mobility``, ``scale`` times as fast, with other words in its text."""
    labs: list[Lab] = []

    def start(scale: float = 1.0, words: dict[str, str] | None = None) -> Roaming:
        directory = tmp_path_factory.mktemp("mobility")
        file = directory / "mobility.yaml"
        file.write_text(twin(WORLDS / "mobility.yaml", family[0], words or {}))
        scale = 1.0 if request.config.getoption("--conformance-long", default=False) else scale
        name = f"mobility-{dataplane}-v{family[0]}-{len(labs)}-{getpid()}"
        labs.append(Lab(at_pace(load(file), scale), name=name, run_dir=directory / name, dataplane=dataplane))
        labs[-1].boot()
        return Roaming(labs[-1], dataplane, family[0])

    yield start
    for lab in labs:
        lab.stop()


def twin(world: Path, version: int, words: dict[str, str]) -> str:
    """The text of a world, of one IP version, with some words replaced."""
    text = world.read_text()
    addresses = {one: f'"{other}"' for one, other in TWIN.items()} if version == 6 else {}
    for before, after in (words | addresses).items():
        assert before in text, before
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="package")
def roaming(boot_mobility: Boot) -> Roaming:
    """The world, in which time is what it is."""
    return boot_mobility()


@pytest.fixture(scope="package")
def hasty(boot_mobility: Boot) -> Roaming:
    """The same, where half a minute takes a second."""
    return boot_mobility(SCALE)


@pytest.fixture
def at_home(roaming: Roaming) -> Roaming:
    """The host is in the first data centre, and everybody knows."""
    roaming.settle("dc1")
    return roaming
