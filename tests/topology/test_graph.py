"""Drawings of topologies: whole, true, and the same every time."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from testbed.graph import graph
from testbed.graph.cards import with_cards
from testbed.graph.figure import figure_of
from testbed.graph.layout import Frame, place
from testbed.load import load, loads, shipped

REPOSITORY = Path(__file__).resolve().parents[2]

SVG = "{http://www.w3.org/2000/svg}"

LINKS = """
title: Links with every property, tenants, and more nodes at one router than stand above and below it
address-space: {rloc: 10.0.0.0/16, eid: 192.168.0.0/16}
core:
  routers: [core1, core2, core3]
  links:
    - {between: [core1, core2], bandwidth: 100, delay: 20, loss: 0.5, mtu: 1400}
    - {between: [core2, core3], delay: 5}
    - [core3, core1]
mapping-system:
  ms: {roles: map-server, links: core1}
  mr: {roles: map-resolver, links: core1}
proxies:
  pitr: {roles: pitr, links: core1}
  petr: {roles: petr, links: core1}
sites:
  one: {eid-prefixes: 192.168.1.0/24, key: one, routers: {xtr1: {links: [core1, core2]}}, hosts: h1}
  two: {eid-prefixes: 192.168.2.0/24, key: two, routers: {xtr2: {links: core3}}, fabric: sw2, hosts: [h2, h3]}
"""


def texts(svg: str) -> list[str]:
    """What is to be read in a drawing, without what only a pointer shows."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def words(lines: list[str]) -> set[str]:
    return {word for line in lines for word in line.split()}


@pytest.mark.parametrize("name", shipped())
def test_every_name_and_address_is_in_the_drawing(name: str) -> None:
    topology = load(name)
    svg = graph(topology)
    seen = words(texts(svg))
    assert set(topology.nodes) <= seen
    assert set(topology.sites) <= seen
    assert {str(rloc) for node in topology.lisp_routers if node.lisp for rloc in node.lisp.rlocs} <= seen
    assert {
        str(one.network) for site in topology.sites.values() for one in site.eid_prefixes + site.dynamic_eids
    } <= seen
    assert {str(subnet) for site in topology.sites.values() if not site.is_lisp for subnet in site.subnets} <= seen
    hosts = {str(address.ip) for host in topology.hosts for one in host.interfaces for address in one.addresses}
    assert hosts <= seen
    pointed = {title.text or "" for title in ElementTree.fromstring(svg).iter(f"{SVG}title")}
    everywhere = {str(a) for node in topology.nodes.values() for one in node.interfaces for a in one.addresses}
    assert everywhere <= words(list(pointed))


@pytest.mark.parametrize("name", shipped())
def test_nothing_covers_anything(name: str) -> None:
    figure = with_cards(figure_of(load(name)))
    placed = place(figure)
    inside = {member: area for area in figure.areas for member in area.members}
    for one, two in combinations(placed.boxes, 2):
        assert not overlap(placed.boxes[one], placed.boxes[two]), f"{one} and {two}"
    for one, two in combinations(placed.areas, 2):
        assert not overlap(placed.areas[one], placed.areas[two]), f"{one} and {two}"
    for box, frame in placed.boxes.items():
        for area, around in placed.areas.items():
            mine = box in inside and inside[box].name == area
            assert holds(around, frame) if mine else not overlap(around, frame), f"{box} and {area}"


def overlap(a: Frame, b: Frame) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def holds(outer: Frame, inner: Frame) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.x + inner.width <= outer.x + outer.width
        and inner.y + inner.height <= outer.y + outer.height
    )


def test_links_say_what_limits_them() -> None:
    lines = texts(graph(loads(LINKS)))
    assert "100 Mbit/s · 20 ms" in lines
    assert "0.5 % loss · MTU 1400" in lines
    assert "5 ms" in lines


def test_roles_aggregates_and_weights_are_told() -> None:
    lines = texts(graph(load("two-dc")))
    assert {"ITR · ETR", "PITR · PETR", "Map-Server", "Map-Resolver"} <= set(lines)
    assert any(line.startswith("announces 192.168.0.0/16") for line in lines)
    lines = texts(graph(load("multihomed")))
    assert "priority 1 · weight 75" in lines
    assert "priority 1 · weight 25" in lines


def test_rtrs_and_the_sites_behind_them_are_told() -> None:
    lines = texts(graph(load("mixed-families")))
    assert "RTR" in lines
    assert lines.count("reached via rtr") == 3


def test_tenants_show_their_instances() -> None:
    lines = texts(graph(load("tenants")))
    assert "EID-prefix 192.168.1.0/24 in instances 101-110" in lines
    assert {f"instance {number}" for number in range(101, 111)} <= set(lines)


def test_the_drawing_is_the_same_in_every_process() -> None:
    """Sets of names are walked in another order in each process; the drawing is not to tell."""
    script = f"from testbed.load import loads; from testbed.graph import graph; print(graph(loads({LINKS!r})))"
    drawings = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(drawings) == 1


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(REPOSITORY / "tasks.py"), "graph", *words]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_file_stands_where_the_caller_is(tmp_path: Path) -> None:
    assert run("minimal", cwd=tmp_path).returncode == 0
    assert (tmp_path / "minimal.svg").read_text(encoding="utf-8") == graph(load("minimal"))


def test_standard_output_and_another_file(tmp_path: Path) -> None:
    assert run("minimal", "--output", "-", cwd=tmp_path).stdout == graph(load("minimal"))
    assert list(tmp_path.iterdir()) == []
    assert run("minimal", "--output", "other.svg", cwd=tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["other.svg"]


def test_mistakes_are_lines_and_statuses(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("title: nothing\ncores: 1\n", encoding="utf-8")
    done = run("bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "bad.yaml:2: " in done.stderr
    done = run("minimal", "--output", "nowhere/x.svg", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "nowhere/x.svg cannot be written" in done.stderr
