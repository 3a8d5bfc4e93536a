"""Every world that comes with the testbed boots, and does what its file implies, as the core sees it.

two-dc and two-dc-static are pinged by the tests of the commands, stretched-subnet by those of dynamic EIDs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes.lisp.eid import EidPrefix
from testbed.act.ping import first_reply, ping
from testbed.lab import Lab
from testbed.load import SHIPPED, loads, shipped
from testbed.model import Side

ELSEWHERE = {"two-dc", "two-dc-static", "stretched-subnet", "hundred-sites"}


@pytest.mark.requirement("S12")
@pytest.mark.parametrize("world", [name for name in shipped() if name not in ELSEWHERE])
def test_every_pair_goes_as_the_file_implies(world: str, tmp_path: Path) -> None:
    """Islands of either IP version over the other; tenants with the same prefixes."""
    with Lab(world, name=f"world-{world}", run_dir=tmp_path / world) as lab:
        result = ping(lab, lab.run_dir)
    assert result.pairs
    assert [pair.to_json() for pair in result.failures] == []


def test_what_the_shipped_worlds_leave_out(tmp_path: Path) -> None:
    file = Path(__file__).with_name("everything.yaml")
    with Lab(file, name="world-everything", run_dir=tmp_path / "everything") as lab:
        result = ping(lab, lab.run_dir)
    assert {pair.version for pair in result.pairs} == {4, 6}
    assert [pair.to_json() for pair in result.failures] == []


@pytest.mark.requirement("D20", "D28")
def test_two_rtrs_one_after_the_other_carry_a_tenant(tmp_path: Path) -> None:
    """The instance-ID goes from header to header, whatever the number of RTRs."""
    text = (SHIPPED / "mixed-families.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("  rtr: {roles: rtr, links: core2}", "  rtr: {roles: rtr, links: core2}\n  rtr0: {roles: rtr, links: core1}"),
        ("    key: west-secret", "    key: west-secret\n    instance-id: 7"),
        ("    key: east-secret\n    via: rtr", "    key: east-secret\n    instance-id: 7\n    via: [rtr0, rtr]"),
    ):
        assert old in text
        text = text.replace(old, new)
    with Lab(loads(text, name="chain"), name="world-chain", run_dir=tmp_path / "chain") as lab:
        result = ping(lab, lab.run_dir)
    assert len(result.pairs) == 4
    assert [pair.to_json() for pair in result.failures] == []
    assert all(pair.evidence.endswith("instance-ID 7") for pair in result.pairs)
    assert [pair.evidence.count("encapsulated from") for pair in result.pairs] == [3, 3, 2, 2]


@pytest.mark.parametrize("rloc_space", ["10.0.0.0/16", "2001:db8:10c::/48"])
def test_the_second_link_carries_when_the_first_is_down(rloc_space: str, tmp_path: Path) -> None:
    """The default route follows the links that are up, in the order of the file."""
    text = (SHIPPED / "multihomed.yaml").read_text(encoding="utf-8").replace("10.0.0.0/16", rloc_space)
    with Lab(loads(text, name="multihomed"), name="world-links", run_dir=tmp_path / "links") as lab:
        target = str(lab["msmr"].address)

        def output() -> str:
            (route,) = json.loads(lab.run("xtr1", ["ip", "-j", "route", "get", target]).stdout)
            return str(route["dev"])

        first, second = (one.name for one in lab["xtr1"].interfaces if one.side is Side.CORE)
        assert output() == first
        lab.run("xtr1", ["ip", "link", "set", first, "down"])
        assert output() == second


def test_a_hundred_sites(tmp_path: Path) -> None:
    """All of them register with one Map-Server, and the first reaches the last."""
    with Lab("hundred-sites", name="world-hundred", run_dir=tmp_path / "hundred") as lab:
        rows = lab.show("ms", "registrations")
        assert {row["state"] for row in rows} == {"registered"}
        assert {EidPrefix.of(row["eid"]) for row in rows} == {
            prefix for site in lab.topology.sites.values() for prefix in site.eid_prefixes
        }
        assert len(rows) == 100
        hosts = lab.topology.hosts
        for source, destination in ((hosts[0], hosts[-1]), (hosts[-1], hosts[49])):
            first_reply(lab, source.name, destination.name, within=20)
