"""Inside pytest: the labs of the tests have a defect in their routers.

A router with a defect is started as anybody's router would be, by a driver. It is ours all the same: it is asked by its
control socket and its log is read, so that no test has to leave something out.
"""

from __future__ import annotations

import pytest
import yaml

from testbed.client.running import LabClient
from testbed.drivers import Driver, driver
from testbed.drivers.driver import SHIPPED
from testbed.lab import Lab
from testbed.model import Topology
from tests.conformance.selftest.defect import Defect
from tests.conformance.selftest.defects import DEFECTS
from tests.conformance.selftest.programs import CACHE
from tests.conformance.tester import daemons

DAEMON, ROUTER = "nodes.daemon", "tests.conformance.selftest.router"


def seeded(defect: Defect) -> Driver:
    """The driver of our daemon with the defect in it."""
    written = yaml.safe_load((SHIPPED / "lisp-testbed-daemon.yaml").read_text(encoding="utf-8"))
    start: list[str] = written["start"]
    at = start.index(DAEMON)
    written |= {
        "name": f"defect-{defect.requirement}",
        "title": defect.broken,
        "start": [*start[:at], ROUTER, "--defect", defect.requirement, *start[at + 1 :]],
    }
    file = CACHE / defect.requirement / "driver.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    return driver(file)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("conformance").addoption("--selftest-defect", default="", help="the requirement whose defect it is")


def pytest_configure(config: pytest.Config) -> None:
    defect = DEFECTS[config.getoption("--selftest-defect")]
    router = seeded(defect)

    def cast(topology: Topology) -> dict[str, Driver]:
        named = {one.name: one.lisp.roles for one in topology.lisp_routers if one.lisp}
        return {name: router for name, roles in named.items() if not defect.roles or roles.intersection(defect.roles)}

    patch = pytest.MonkeyPatch()
    patch.setattr(Lab, "cast", staticmethod(cast))
    patch.setattr(LabClient, "_driver", lambda _lab, _node: None)
    patch.setattr(daemons, "foreign", lambda _lab, _node: "")
    config.add_cleanup(patch.undo)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what does not come by its router through a driver."""
    ours = [one for one in items if one.get_closest_marker("ours")]
    items[:] = [one for one in items if one not in ours]
    config.hook.pytest_deselected(items=ours)
