"""Tables print what they are given."""

from __future__ import annotations

import pytest

from testbed.act.ping import PairResult
from testbed.model import Path
from testbed.observe.tables import draw, facts, reachability, table


def row(eid: str) -> dict[str, object]:
    locator = {"rloc": f"{eid[:-3]}1", "priority": 1, "weight": 100}
    row = {"eid": eid, "instance_id": 0, "action": "encapsulate", "locators": [locator]}
    return {**row, "uptime_s": 61, "expires_s": None, "source": "map-reply"}


@pytest.mark.parametrize("eid", ["2001:db8:e1d:a::/64", "2001:db8:e1d:100::/64", "[red]not an EID[/red]", "x" * 90])
def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str], eid: str) -> None:
    """No emoji for ":a:", no markup, no word broken in two."""
    draw(table("map-cache", [row(eid)]), "xtr1: map-cache")
    out = capsys.readouterr().out
    assert eid in out
    assert f"{eid[:-3]}1 1/100" in out
    assert "00:01:01" in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_who_is_told_of_what(capsys: pytest.CaptureFixture[str]) -> None:
    """M17: on the Map-Server and on its subscriber the same columns."""
    told = {"eid": "192.168.7.10/32", "instance_id": 0, "from": ["10.0.5.1"], "to": ["10.0.6.1"], "xtr_id": "0a" * 16}
    draw(table("subscriptions", [{**told, "state": "subscribed", "since_s": 61.0}]), "ms: subscriptions")
    draw(table("subscriptions", [{**told, "state": "pending", "since_s": None}]), "ms: subscriptions")
    out = capsys.readouterr().out
    assert all(word in out for word in ("192.168.7.10/32", "10.0.5.1", "10.0.6.1", "0a" * 16, "00:01:01", "pending"))


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    draw(table("registrations", []), "xtr1: registrations")
    draw(facts({"control": {}, "data": {}}), "mr: statistics")
    assert capsys.readouterr().out == "xtr1: registrations: empty\nmr: statistics: empty\n"


def test_a_router_with_many_addresses_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    addresses = [f"10.0.{number}.1/30" for number in range(27)]
    node = {"name": "core1", "kind": "router", "roles": [], "site": "core", "addresses": addresses, "state": "up"}
    draw(table("status", [node]), "lab")
    out = capsys.readouterr().out
    assert "10.0.5.1/30 and 21 more" in out
    assert max(map(len, out.splitlines())) < 150


def test_the_data_plane_is_told_as_at_the_boot(capsys: pytest.CaptureFixture[str]) -> None:
    draw(facts({"dataplane": {"runs": "ebpf", "why": "auto", "in_step": True}, "data": {}}), "xtr1: statistics")
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    shown = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert ["Data plane", "runs", "ebpf (auto)"] in shown
    assert ["in step", "yes"] in shown
    assert not [line for line in shown if "why" in line]


@pytest.mark.parametrize("ok", [True, False])
def test_every_path_has_its_word_in_the_matrix(capsys: pytest.CaptureFixture[str], ok: bool) -> None:
    cells = {}
    for path in Path:
        pair = PairResult("h1", "h1", 4, path, path, path is Path.ENCAPSULATED, 2.0, ok, "")
        (matrix,) = reachability([pair]).values()
        draw(matrix, "IPv4")
        cells[path] = capsys.readouterr().out.rstrip().splitlines()[-1].split()[1:]
    assert len({cell[-2] for cell in cells.values()}) == len(Path)
    assert {cell[-1] for cell in cells.values()} == {"2.0"}
    assert {cell[0] == "FAIL" for cell in cells.values()} == {not ok}
