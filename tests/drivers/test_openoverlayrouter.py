"""The configurations that the driver of OpenOverlayRouter writes say what those said that worked with it.

Its binary is in no package: this is what can be tested without.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nodes.lisp.config import Locator
from testbed.drivers import Unusable, driver
from testbed.load import loads
from testbed.model import Topology
from testbed.order import RunFiles
from tests.drivers.oor import meaning

WORKING = Path(__file__).parents[1] / "vectors" / "openoverlayrouter"

WORLD = """\
probing: {probing}
address-space:
  rloc: [10.0.0.0/8{rloc6}]
  eid: [192.168.0.0/16, "fd00:1::/32"]
core: {{routers: core}}
mapping-system:
  ms:
    links: {{core: {{address: [10.3.0.2/30{ms6}]}}}}
{petr}
sites:
  one:
    eid-prefixes: [{eids1}]
    instance-id: {iid}
    key: {{secret: testkey, id: 0, algorithm: hmac-sha-1-96}}
    ttl-minutes: 10
    routers: {{x1: {{links: {{core: {{address: [10.1.0.2/30{x16}]}}}}}}}}
    hosts: h1
  two:
    eid-prefixes: [{eids2}]
    instance-id: {iid}
    key: {{secret: testkey, id: 0, algorithm: hmac-sha-1-96}}
    ttl-minutes: 10
    routers: {{x2: {{links: {{core: {{address: [10.2.0.2/30{x26}]}}}}}}}}
    hosts: h2
"""
PETR = "proxies:\n  petr: {roles: petr, links: {core: {address: [10.4.0.2/30]}}}"
PLAIN = dict.fromkeys(("rloc6", "ms6", "x16", "x26", "petr"), "")
"""IPv4 RLOCs, IPv4 EIDs."""


def configured(topology: Topology, node: str) -> str:
    """What the driver writes for a node of a world."""
    plan = driver("openoverlayrouter").plan(topology, topology[node], RunFiles(Path("/run-dir")).node(node))
    ((name, config),) = plan.files
    assert plan.start == ("oor", "-f", name)
    assert plan.forwarding
    return config


def equal(topology: Topology, node: str, working: str, interface: str) -> None:
    """What the driver writes means what a file means that worked, in which the RLOC's interface had another name."""
    expected = (WORKING / f"{working}.conf").read_text()
    assert meaning(configured(topology, node), {}) == meaning(expected, {interface: "core"})


@pytest.mark.parametrize("site", [1, 2])
def test_an_xtr_with_a_petr(site: int) -> None:
    text = WORLD.format(**PLAIN | {"petr": PETR}, probing=10, iid=0, eids1="192.168.1.0/24", eids2="192.168.2.0/24")
    equal(loads(text), f"x{site}", f"x{site}", f"x{site}-core")


def test_an_xtr_of_an_instance() -> None:
    text = WORLD.format(**PLAIN, probing=10, iid=100, eids1="192.168.1.0/24", eids2="192.168.2.0/24")
    equal(loads(text), "x1", "x1-iid", "x1-core")


@pytest.mark.parametrize("site", [1, 2])
def test_an_xtr_with_rlocs_and_eids_of_both_ip_versions(site: int) -> None:
    """IPv4 EIDs prefer its IPv6 RLOC, IPv6 EIDs have its IPv4 RLOC alone."""
    both = {"rloc6": ', "2001:db8::/32"', "ms6": ', "2001:db8:3::2/64"', "petr": ""}
    both |= {"x16": ', "2001:db8:1::2/64"', "x26": ', "2001:db8:2::2/64"'}
    eids = {f"eids{one}": f'192.168.{one}.0/24, "fd00:1:{one}::/64"' for one in (1, 2)}
    topology = loads(WORLD.format(**both, **eids, probing=5, iid=0))
    node = topology[f"x{site}"]
    assert node.lisp is not None
    rlocs = {own.version: own for own in node.lisp.rlocs}
    four, six = node.lisp.database
    four = replace(four, locators=(Locator(rlocs[6], 1, 100), Locator(rlocs[4], 2, 100)))
    six = replace(six, locators=(Locator(rlocs[4], 1, 100),))
    # That our own RLOCs of both versions have one priority is a matter of the topology language, not of the driver's.
    servers = tuple(one for one in node.lisp.map_servers if one.address.version == 4)
    lisp = replace(node.lisp, database=(four, six), map_servers=servers, map_resolvers=(servers[0].address,))
    changed = replace(topology, nodes=topology.nodes | {node.name: replace(node, lisp=lisp)})
    equal(changed, node.name, f"x{site}-mix", f"x{site}-core")


@pytest.mark.parametrize(("iid", "working"), [(0, "ms"), (100, "ms-iid")])
def test_a_map_server(iid: int, working: str) -> None:
    """Its working configuration lets one site register anything in a prefix of each IP version."""
    text = WORLD.format(**PLAIN, probing=10, iid=iid, eids1='192.168.0.0/16, "fd00:1::/32"', eids2="192.168.2.0/24")
    one, two, _ = text.partition("  two:\n")
    assert two
    equal(loads(f"{one}    accept-more-specifics: true\n"), "ms", working, "ms-eth0")


@pytest.mark.parametrize("what", ["dynamic-eids: 192.168.1.0/24", "another router"])
def test_what_it_cannot_be_is_told(what: str) -> None:
    text = WORLD.format(**PLAIN, probing=10, iid=0, eids1="192.168.1.0/24", eids2="192.168.2.0/24")
    if what == "another router":
        text = text.replace("hosts: h1", "fabric: sw1\n    hosts: h1").replace("{x1: {", "{other: {links: core}, x1: {")
    else:
        text = text.replace("eid-prefixes: [192.168.1.0/24]", what)
    with pytest.raises(Unusable, match=r"^x1: openoverlayrouter (finds no hosts|registers its own RLOCs only)"):
        configured(loads(text), "x1")


def test_it_is_an_xtr_or_an_msmr_and_nothing_else() -> None:
    found = driver("openoverlayrouter")
    assert [found.plays(frozenset(one)) for one in (("itr", "etr"), ("map-server", "map-resolver"))] == [True, True]
    wrong = (("itr",), ("map-server",), ("itr", "etr", "map-server", "map-resolver"), ("pitr", "petr"), ())
    assert [found.plays(frozenset(one)) for one in wrong] == [False] * 5
