"""Routers that are not ours: our own daemon, started and asked as if somebody else had written it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.lab import Lab

FOREIGN = {"xtr1": "lisp-testbed-daemon", "ms": "lisp-testbed-daemon"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    place = tmp_path_factory.mktemp("runs") / "test-foreign"
    with Lab("two-dc-static", name="test-foreign", run_dir=place, implementations=FOREIGN) as running:
        yield running


def test_a_foreign_router_carries_traffic_and_is_asked_by_its_driver(lab: Lab) -> None:
    done = lab.run("h1", ["ping", "-c", "1", "-w", "10", str(lab["h4"].address)])
    assert done.returncode == 0, done.stdout
    known = {row["eid"]: row["action"] for row in lab.show("xtr1", "map-cache")}
    assert known["192.168.2.0/24"] == "encapsulate"
    assert {row["state"] for row in lab.show("ms", "registrations")} == {"registered"}
    assert lab.lig("xtr1", str(lab["h5"].address))["records"][0]["eid"] == "192.168.2.0/24"


def test_a_foreign_router_is_restarted(lab: Lab) -> None:
    def of_xtr1() -> dict[str, object]:
        row = next(one for one in lab.status()["nodes"] if one["name"] == "xtr1")
        return dict(row["daemons"][0])

    before = of_xtr1()
    lab.restart("xtr1")
    after = of_xtr1()
    assert before["daemon"] == after["daemon"] == "foreign"
    assert after["state"] == "ready"
    assert after["pid"] != before["pid"]
    assert {row["state"] for row in lab.show("ms", "registrations")} == {"registered"}
