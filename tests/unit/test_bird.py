"""What BIRD is told, as text: BIRD itself accepts it, both ends of a session agree, a PITR's kernel stays as it is."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from testbed.bird import configuration
from testbed.load import load
from testbed.model import BgpPeer, Topology

WORLD = Path(__file__).parents[1] / "e2e" / "routed.yaml"


@pytest.fixture(scope="module")
def world() -> Topology:
    return load(WORLD)


@pytest.fixture(scope="module")
def texts(world: Topology) -> dict[str, str]:
    return {node.name: configuration(world, node) for node in world.nodes.values() if node.routing}


def test_bird_accepts_every_configuration(texts: dict[str, str], tmp_path: Path) -> None:
    for text in texts.values():
        accepted(text, tmp_path)


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
        assert ("source = RTS_BGP" in text) == (world[name] in world.core), name
        announced = re.findall(r"^  route (\S+) unreachable;", text, re.M)
        assert announced == [str(one) for one in sorted(routing.announced, key=lambda one: one.version)], name


def test_a_node_without_a_routing_daemon_has_no_configuration(world: Topology) -> None:
    with pytest.raises(ValueError, match="xtr1 runs no routing daemon"):
        configuration(world, world["xtr1"])


def test_names_links_and_cores_of_any_kind(tmp_path: Path) -> None:
    """A lone core router passes on what it hears; a second link has its own session; names may begin with digits."""
    file = tmp_path / "lone.yaml"
    file.write_text(
        """
routing: ospf-bgp
address-space: {rloc: 10.0.0.0/16, eid: 192.168.0.0/16}
core: {routers: 1-core}
mapping-system: {msmr: {links: 1-core}}
proxies: {px-tr: {links: 1-core}}
sites:
  left: {eid-prefixes: 192.168.1.0/24, key: secret, routers: {xtr1: {links: 1-core}}, hosts: h1}
  internet: {lisp: false, subnets: 203.0.113.0/24, routers: {edge: {links: 1-core}}, hosts: client}
"""
    )
    world = load(file)
    core = configuration(world, world["1-core"])
    assert "protocol bgp 'px-tr_4'" in core
    assert core.count("export where source = RTS_BGP") == 2
    assert "protocol ospf" not in core
    uplink = world["edge"].interfaces[0]
    assert world["edge"].routing is not None
    second = replace(uplink, name="1-core-2", addresses=(ip_interface("10.0.77.2/30"),))
    sessions = (*world["edge"].routing.bgp, BgpPeer(ip_address("10.0.77.1"), 65000))
    edge = replace(world["edge"], interfaces=(uplink, second), routing=replace(world["edge"].routing, bgp=sessions))
    text = configuration(world, edge)
    assert re.findall(r"protocol bgp (\S+) \{\s+local (\S+) as", text) == [
        ("'1-core_4'", str(uplink.addresses[0].ip)),
        ("'1-core-2_4'", "10.0.77.2"),
    ]
    accepted(text, tmp_path)
    accepted(core, tmp_path)
    stranger = replace(edge, routing=replace(world["edge"].routing, bgp=(BgpPeer(ip_address("192.0.2.1"), 1),)))
    with pytest.raises(ValueError, match=r"edge cannot speak BGP with 192\.0\.2\.1"):
        configuration(world, stranger)


def accepted(text: str, directory: Path) -> None:
    """BIRD finds nothing wrong with a configuration."""
    file = directory / "bird.conf"
    file.write_text(text)
    done = subprocess.run(["bird", "-p", "-c", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
