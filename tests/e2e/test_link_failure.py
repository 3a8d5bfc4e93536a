"""A link that is taken down and up again carries as before, without a restart of anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.act.ping import first_reply
from testbed.lab import Lab
from testbed.load import SHIPPED, loads
from testbed.model import Side

_DOWN_S = 0.5
"""How long nothing must get through a link that is down."""
_CUT_S = 8.0
"""How soon the other link carries: sooner than any probe of a locator would tell."""
_UP_S = 20.0
"""How long is waited until something gets through again."""


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    topology = loads(WORLDS[request.param], name=request.param)
    run_dir = tmp_path_factory.mktemp("runs") / "down"
    with Lab(topology, name=f"test-down-{request.param}", run_dir=run_dir) as running:
        yield running


def _set(lab: Lab, node: str, link: str, state: str) -> None:
    lab.run(node, ["ip", "link", "set", link, state])


def _routes(lab: Lab, node: str, version: int = 4) -> list[tuple[str, str]]:
    rows = json.loads(lab.run(node, ["ip", f"-{version}", "-j", "route", "show", "table", "main"]).stdout)
    return sorted((row["dst"], row.get("gateway", row.get("dev", ""))) for row in rows)


def _addresses(lab: Lab, node: str) -> set[tuple[str, str]]:
    rows = json.loads(lab.run(node, ["ip", "-j", "address"]).stdout)
    return {(row["ifname"], one["local"]) for row in rows for one in row["addr_info"] if one["scope"] == "global"}


def _restored(lab: Lab) -> list[tuple[str, int]]:
    return [(one["node"], one["routes"]) for one in lab.events if one["event"] == "routes-restored"]


WORLDS = {name: (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8") for name in ("two-dc-static", "ipv4-islands")}
WORLDS["delayed"] = WORLDS["ipv4-islands"].replace("- [core1, core2]", "- {between: [core1, core2], delay: 2}")
WORLDS["delayed"] = WORLDS["delayed"].replace("xtr2: {links: core2}", "xtr2: {links: {core2: {delay: 2}}}")

CASES = [
    ("two-dc-static", "xtr1", "core1", "h1", "h4"),  # an xTR's core link
    ("two-dc-static", "core1", "xtr1", "h1", "h4"),  # the same from its other end
    ("two-dc-static", "core1", "core2", "h1", "b1"),  # between core routers
    ("two-dc-static", "h1", "sw1", "h1", "h4"),  # a host's link
    ("two-dc-static", "xtr1", "sw1", "h1", "h4"),  # an xTR's site link
    ("two-dc-static", "pxtr", "core4", "client", "h1"),
    ("ipv4-islands", "xtr1", "core1", "h1", "h3"),  # the only RLOC is an IPv6 address
    ("ipv4-islands", "core1", "core2", "h1", "h3"),
    ("ipv4-islands", "h3", "xtr2", "h1", "h3"),
    ("delayed", "core1", "core2", "h1", "h3"),  # where the kernel has no netem, two pairs and a relay between them
    ("delayed", "xtr2", "core2", "h1", "h3"),
]


@pytest.mark.parametrize(("lab", "node", "link", "source", "destination"), CASES, indirect=["lab"])
def test_a_link_heals(lab: Lab, node: str, link: str, source: str, destination: str) -> None:
    before = _addresses(lab, node), _routes(lab, node, 4), _routes(lab, node, 6)
    first_reply(lab, source, destination, within=20)
    _set(lab, node, link, "down")
    with pytest.raises(TimeoutError):
        first_reply(lab, source, destination, within=_DOWN_S)
    _set(lab, node, link, "up")
    first_reply(lab, source, destination, within=_UP_S)
    assert (_addresses(lab, node), _routes(lab, node, 4), _routes(lab, node, 6)) == before


def test_only_what_the_link_took_comes_back(tmp_path: Path) -> None:
    """What somebody deletes stays deleted, what somebody puts in a route's place stays there."""
    with Lab("two-dc-static", name="test-down-only", run_dir=tmp_path / "only") as lab:
        of_xtr1, of_xtr2 = _routes(lab, "xtr1"), _routes(lab, "xtr2")
        lab.run("xtr2", ["ip", "route", "del", "default"])
        _set(lab, "xtr2", "core3", "down")
        _set(lab, "xtr2", "core3", "up")
        _set(lab, "h2", "sw1", "down")
        lab.run("h2", ["ip", "route", "add", "unreachable", "default"])
        _set(lab, "h2", "sw1", "up")
        _set(lab, "xtr1", "core1", "down")
        assert _routes(lab, "xtr1") != of_xtr1
        _set(lab, "xtr1", "core1", "up")
        lab.wait_for("routes-restored", "xtr1", timeout=_UP_S)
        assert _routes(lab, "xtr1") == of_xtr1
        assert _routes(lab, "xtr2") == [route for route in of_xtr2 if route[0] != "default"]
        assert "unreachable default" in lab.run("h2", ["ip", "route"]).stdout
        assert _restored(lab) == [("xtr1", 1)]


def test_the_first_link_carries_again(tmp_path: Path) -> None:
    """The second link takes over when the first is down, and hands back when it is up."""
    with Lab("multihomed", name="test-down-two", run_dir=tmp_path / "two") as lab:
        first, second = (one.name for one in lab["xtr1"].interfaces if one.side is Side.CORE)
        before = _routes(lab, "xtr1")
        _set(lab, "xtr1", first, "down")
        (default,) = json.loads(lab.run("xtr1", ["ip", "-j", "route", "show", "default"]).stdout)
        assert default["dev"] == second
        _set(lab, "xtr1", first, "up")
        lab.wait_for("routes-restored", "xtr1", timeout=_UP_S)
        assert _routes(lab, "xtr1") == before


@pytest.mark.parametrize("dataplane", ["auto", "python"])
def test_a_cable_that_is_cut_at_the_other_end(tmp_path: Path, dataplane: str) -> None:
    """The router's own end stays up, without a carrier: its routes stay as well, and are not to be used."""
    with Lab("multihomed", name="test-down-cut", run_dir=tmp_path / "cut", dataplane=dataplane) as lab:
        first = next(one.name for one in lab["xtr1"].interfaces if one.side is Side.CORE)
        first_reply(lab, "h1", "h2", within=20)
        _set(lab, first, "xtr1", "down")
        first_reply(lab, "h1", "h2", within=_CUT_S)
        _set(lab, first, "xtr1", "up")
        first_reply(lab, "h1", "h2", within=_UP_S)


def test_bird_puts_its_routes_back(tmp_path: Path) -> None:
    """A link that was down for less than OSPF takes to notice has taken its routes all the same."""
    with Lab("two-dc", name="test-down-bird", run_dir=tmp_path / "bird") as lab:
        before = _addresses(lab, "core1")
        first_reply(lab, "h1", "b1", within=20)
        _set(lab, "core1", "core2", "down")
        _set(lab, "core1", "core2", "up")
        first_reply(lab, "h1", "b1", within=_UP_S)
        assert _addresses(lab, "core1") == before
