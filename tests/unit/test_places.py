"""What is expected of hosts that have moved."""

from __future__ import annotations

from testbed.act.places import as_it_stands
from testbed.load import load
from testbed.model import Path, Topology


def paths(world: Topology) -> dict[tuple[str, str], Path]:
    return {(one.source, one.destination): one.path for one in world.expectations if one.version == 6}


def test_a_host_that_moved_has_its_path_by_where_it_is() -> None:
    world = load("mobility")
    moved = as_it_stands(world, {host.name: host.site for host in world.hosts} | {"mobile": "dc2"})
    assert moved["mobile"].site == "dc2"
    assert paths(moved) == paths(world) | {
        ("mobile", "near1"): Path.ENCAPSULATED,
        ("near1", "mobile"): Path.ENCAPSULATED,
        ("mobile", "near2"): Path.LOCAL,
        ("near2", "mobile"): Path.LOCAL,
    }


def test_of_hosts_at_home_and_of_mobile_nodes_nothing_changes() -> None:
    assert as_it_stands(world := load("mobility"), {"mobile": "dc1"}) is world
    assert as_it_stands(world := load("mobile-node"), {"mn": "lte"}) is world
