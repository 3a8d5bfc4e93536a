"""Driver files: every mistake in one line with its place, all at once; what templates know; what routers print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.client.channel import LabError
from testbed.drivers import NotTold, Unusable, driver, shipped
from testbed.drivers.answers import read_answer
from testbed.drivers.choice import chosen
from testbed.drivers.keys import agreed
from testbed.drivers.values import VALUES, values
from testbed.language.problems import TopologyError
from testbed.load import load, loads
from testbed.order import RunFiles

GOOD = """\
name: my-router
roles: [xtr, map-server]
start: [my-router, --config, router.conf]
ready: {udp: 4342}
"""

ALL_WRONG = """\
name: 42 km
roles: [xtr, map-sever]
algoritms: [hmac-sha-1-96]
together: maybe
key-ids: 256
needs: [my-router]
files:
  - path: ../router.conf
    text: x
  - path: router.conf
    text: |
      first line
      rloc {{ rloc[0].address }}
      {% for one in database %}
  - path: router.conf
    txt: x
start: []
ready: {log: "(", seconds: 0}
stop: {signal: NOW, seconds: 31}
queries:
  map-cash: [show]
  lig: [ask, "{{ eid }}", "{{ weight }}"]
  registrations: {command: [show], lines: "(?P<eid"}
"""

PROBLEMS = [
    "1: name: '42 km' is not a name, allowed are at most 40 letters, digits, '.', - and _, a letter or digit first",
    "2: roles: unknown role 'map-sever', allowed are itr, etr, pitr, petr, rtr, map-server, map-resolver, xtr, pxtr, "
    "msmr (did you mean 'map-server'?)",
    "3: unknown key 'algoritms' in the file, allowed are name, title, roles, together, algorithms, key-ids, "
    "dataplanes, time-scale, needs, forwarding, files, start, log, ready, stop, queries (did you mean 'algorithms'?)",
    "4: together: is 'maybe', allowed is true or false",
    "5: key-ids: 256 is out of range, allowed are whole numbers from 0 to 255",
    "8: path of file: '../router.conf' is no path below the node's directory, allowed is a path such as router.conf or "
    "etc/router.conf",
    "14: text of router.conf: Unexpected end of template. Jinja was looking for the following tags: 'endfor' or "
    "'else'. The innermost block that needs to be closed is 'for'., allowed is a Jinja2 template",
    "15: file 'router.conf' is given twice, allowed is each path once (line 10)",
    "16: unknown key 'txt' in file, allowed are path, text (did you mean 'text'?)",
    "17: start: has 0 values, allowed is one or more",
    "18: log of ready: '(' is no regular expression (missing ), unterminated subpattern at position 0), allowed is a "
    "regular expression of Python's",
    "18: seconds of ready: 0 is out of range, allowed are numbers from 0.1 to 600",
    "19: signal of stop: unknown signal 'NOW', allowed are TERM, INT, QUIT, HUP, KILL, USR1, USR2",
    "19: seconds of stop: 31 is out of range, allowed are numbers from 0.1 to 30",
    "21: unknown key 'map-cash' in queries, allowed are map-cache, locators, contacts, database, registrations, "
    "dynamic-eids, roles, statistics, interfaces, lig, set-locator (did you mean 'map-cache'?)",
    "22: command of lig: there is no value 'weight', ",
    "23: lines of registrations of queries: '(?P<eid' is no regular expression (missing >, unterminated name at "
    "position 4), allowed is a regular expression of Python's",
]


def mistakes(tmp_path: Path, text: str) -> list[str]:
    """What is said of a driver file, without the file's name."""
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(TopologyError) as caught:
        driver(file)
    return [one.removeprefix(f"{file}:") for one in caught.value.problems]


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    found = mistakes(tmp_path, ALL_WRONG)
    assert [one[: len(expected)] for one, expected in zip(found, PROBLEMS, strict=True)] == PROBLEMS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: the file is empty, allowed is a driver with at least name, roles, start and ready"),
        (GOOD.replace("{udp: 4342}", "{seconds: 3}"), "4: ready has no condition, needed: one or more of log, file, "),
        (GOOD.replace("my-router\n", "lisp-testbed\n", 1), "1: name 'lisp-testbed' is that of our own, "),
        (GOOD.replace("--config,", '"{{ nmae }}",'), "3: start: there is no value 'nmae', "),
    ],
)
def test_a_mistake(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(problem)


def test_an_implementation_that_is_not_there_is_one_line() -> None:
    with pytest.raises(TopologyError, match=r"^openoverlayroute: no such file, allowed are .*did you mean 'openover"):
        driver("openoverlayroute")


def test_a_value_that_is_not_there_is_told_with_its_line_when_a_node_is_configured(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(GOOD + "files:\n  - path: router.conf\n    text: |\n      one\n      {{ rlocs[0].adress }}\n")
    topology = load("two-dc-static")
    with pytest.raises(TopologyError) as caught:
        driver(file).plan(topology, topology["xtr1"], tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{file}:9: text of router.conf of xtr1: 'dict object' has no attribute 'adress', ")


@pytest.mark.parametrize("world", ["two-dc", "stretched-subnet", "mixed-families", "tenants"])
def test_every_node_has_every_value(world: str) -> None:
    topology = load(world)
    for node in topology.lisp_routers:
        found = values(topology, node, Path("/run-dir/node"), Path("/here"))
        assert found.keys() == VALUES.keys()


def test_the_values_of_a_multihomed_xtr_are_those_of_the_topology() -> None:
    topology = load("multihomed")
    found = values(topology, topology["xtr1"], Path("/run-dir/xtr1"), Path("/here"))
    assert [(one["address"], one["interface"], one["gateway"]) for one in found["rlocs"]] == [
        ("10.0.2.2", "core1", "10.0.2.1"),
        ("10.0.3.2", "core2", "10.0.3.1"),
    ]
    (mapping,) = found["database"]
    assert [(one["address"], one["interface"], one["priority"], one["weight"]) for one in mapping["locators"]] == [
        ("10.0.2.2", "core1", 1, 75),
        ("10.0.3.2", "core2", 1, 25),
    ]
    assert found["map_servers"][0]["algorithm"] == 3


@pytest.mark.parametrize("name", shipped())
def test_what_comes_with_the_testbed_is_in_order(name: str) -> None:
    assert driver(name).name == name


def test_without_its_programs_an_implementation_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unusable, match=r"^openoverlayrouter cannot run here: oor is not on the PATH$"):
        chosen(load("two-dc-static"), {"xtr1": "openoverlayrouter"}, {})


def test_nobody_else_than_a_lisp_router_runs_an_implementation() -> None:
    with pytest.raises(LabError, match=r"^implementation of xtr9: there is no such LISP node, allowed are "):
        chosen(load("two-dc-static"), {"xtr9": "lisp-testbed-daemon"}, {})


# What a topology file says


def foreign_world(which: str) -> str:
    return f"""\
address-space: {{rloc: 10.0.0.0/16, eid: 192.168.0.0/16}}
core: {{routers: core}}
mapping-system: {{msmr: {{links: core}}}}
sites:
  one:
    key: {{secret: s}}
    routers: {{xtr1: {{implementation: {which}, links: core}}}}
    hosts: h1
"""


def test_a_topology_says_what_runs_on_a_node(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(GOOD)
    topology = loads(foreign_world("./my.yaml"), directory=tmp_path)
    assert topology["xtr1"].implementation == str(tmp_path / "my.yaml")
    assert loads(topology.source)["xtr1"].implementation == str(tmp_path / "my.yaml")
    assert chosen(topology, {}, {})["xtr1"].name == "my-router"
    assert chosen(topology, {"xtr1": "lisp-testbed"}, {}) == {}


@pytest.mark.parametrize(
    ("which", "problem"),
    [
        ("nobody", "topology.yaml:7: implementation of router xtr1: no nobody, allowed are lisp-testbed, "),
        ("./ms.yaml", "topology.yaml:7: router xtr1 is etr, itr, which ms cannot be, allowed are nodes that are map-s"),
    ],
)
def test_a_topology_that_names_a_wrong_implementation_is_told(tmp_path: Path, which: str, problem: str) -> None:
    (tmp_path / "ms.yaml").write_text(GOOD.replace("my-router\n", "ms\n", 1).replace("xtr, ", ""))
    with pytest.raises(TopologyError) as caught:
        loads(foreign_world(which), directory=tmp_path)
    assert [one[: len(problem)] for one in caught.value.problems] == [problem]


def test_keys_are_what_everybody_knows_who_uses_them(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(GOOD + "algorithms: [hmac-sha-1-96, hmac-sha-256-128]\nkey-ids: 7\n")
    topology = load("two-dc-static")
    changed, told = agreed(topology, chosen(topology, {"xtr1": tmp_path / "my.yaml"}, {}))
    assert told == ["key of dc1: hmac-sha-256-128, Key ID 7, which all know that use it"]
    for one in (changed, loads(changed.source)):
        xtr1, xtr2, ms = (one[name].lisp for name in ("xtr1", "xtr2", "ms"))
        assert xtr1 is not None
        assert xtr2 is not None
        assert ms is not None
        assert (xtr1.map_servers[0].key.algorithm, xtr1.map_servers[0].key.key_id) == (2, 7)
        assert xtr1.map_servers[0].key in ms.sites[0].keys
        assert (xtr2.map_servers[0].key.algorithm, xtr2.map_servers[0].key.key_id) == (3, 1)


# What routers print

LINES = """\
garbage \x00\x1b[31m
192.168.2.0/24 via 10.0.4.2 1/75 up
192.168.2.0/24 via 10.0.5.2 1/25 down
192.168.3.0/24 via 10.0.6.2 2/100 up
"""
PATTERN = r"^(?P<eid>\S+) via (?P<rloc>\S+) (?P<priority>\d+)/(?P<weight>\d+) (?P<state>\w+)$"


def test_lines_become_rows_with_their_locators() -> None:
    rows: list[dict[str, Any]] = read_answer(LINES, PATTERN, "map-cache of mine")
    assert [(row["eid"], row["instance_id"], [one["rloc"] for one in row["locators"]]) for row in rows] == [
        ("192.168.2.0/24", 0, ["10.0.4.2", "10.0.5.2"]),
        ("192.168.3.0/24", 0, ["10.0.6.2"]),
    ]
    assert rows[0]["locators"][1] == {"rloc": "10.0.5.2", "priority": 1, "weight": 25, "state": "down"}


@pytest.mark.parametrize(("output", "pattern"), [(LINES, PATTERN), ('[{"eid": "192.168.2.0/24"}]', "")])
def test_what_is_not_in_a_row_is_not_told(output: str, pattern: str) -> None:
    row = read_answer(output, pattern, "map-cache of mine")[0]
    assert row["eid"] == "192.168.2.0/24"
    assert row.get("uptime_s") is None
    with pytest.raises(NotTold, match=r"^map-cache of mine does not tell uptime_s$"):
        row["uptime_s"]


def test_what_is_no_json_is_one_line() -> None:
    with pytest.raises(LabError, match=r"^map-cache of mine is no JSON \(.*\): it begins with 'ERROR: no such"):
        read_answer("ERROR:\n no such command", "", "map-cache of mine")


def test_what_a_driver_does_not_ask_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(GOOD)
    topology, files = load("two-dc-static"), RunFiles(tmp_path)
    with pytest.raises(NotTold, match=r"^my-router does not tell its map-cache$"):
        driver(tmp_path / "my.yaml").query(topology, topology["xtr1"], files.node("xtr1"), "map-cache", {})
