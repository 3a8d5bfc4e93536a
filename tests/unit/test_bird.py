"""What BIRD is told, as text: BIRD itself accepts it, both ends of a session agree, a PITR's kernel stays as it is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from testbed.bird import configuration
from testbed.load import load
from testbed.model import Topology

WORLD = Path(__file__).parents[1] / "e2e" / "routed.yaml"


@pytest.fixture(scope="module")
def world() -> Topology:
    return load(WORLD)


@pytest.fixture(scope="module")
def texts(world: Topology) -> dict[str, str]:
    return {node.name: configuration(world, node) for node in world.nodes.values() if node.routing}


def test_bird_accepts_every_configuration(texts: dict[str, str], tmp_path: Path) -> None:
    for name, text in texts.items():
        file = tmp_path / f"{name}.conf"
        file.write_text(text)
        done = subprocess.run(["bird", "-p", "-c", str(file)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), name


def test_both_ends_of_a_session_say_the_same(texts: dict[str, str]) -> None:
    ends = [
        end for text in texts.values() for end in re.findall(r"local (\S+) as (\d+);\s+neighbor (\S+) as (\d+);", text)
    ]
    assert ends
    assert {(there, their_as, here, our_as) for here, our_as, there, their_as in ends} == set(ends)


def test_a_lisp_routers_kernel_gets_no_route(world: Topology, texts: dict[str, str]) -> None:
    """S02: one would beat its default route."""
    for name, text in texts.items():
        learns = world[name].lisp is None
        assert ("protocol kernel" in text) == learns, name
        assert ("import none; export where net" in text) != learns, name


def test_only_the_core_passes_on_what_others_announce(world: Topology, texts: dict[str, str]) -> None:
    """M15: a PITR announces its aggregates and nothing else, a non-LISP site its subnets."""
    for name, text in texts.items():
        routing = world[name].routing
        assert routing is not None
        assert ("export where source = RTS_BGP" in text) == bool(routing.ospf), name
        announced = re.findall(r"^  route (\S+) unreachable;", text, re.M)
        assert announced == [str(one) for one in sorted(routing.announced, key=lambda one: one.version)], name


def test_a_node_without_a_routing_daemon_has_no_configuration(world: Topology) -> None:
    with pytest.raises(ValueError, match="xtr1 runs no routing daemon"):
        configuration(world, world["xtr1"])
