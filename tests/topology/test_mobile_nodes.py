"""Mobile nodes: what a file need not say of them, and what follows from what it does say (requirement S15)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nodes.lisp.config import NodeConfig
from nodes.lisp.eid import EidPrefix
from testbed.bird import configuration
from testbed.drivers.choice import chosen
from testbed.lab import LabError
from testbed.load import load, loads
from testbed.model import NodeKind, Path, Topology
from tests.topology.mistakes import SPARE, spoil


def spare(*more: str) -> Topology:
    """The base, and one mobile node with two networks."""
    return loads(spoil([*SPARE, *more]))


def config(topology: Topology, node: str = "mn") -> NodeConfig:
    """What its daemon is told."""
    found = topology[node].lisp
    assert found is not None
    return found


def test_a_mobile_node_is_a_host_and_its_own_xtr() -> None:
    topology = spare()
    node, told = topology["mn"], config(topology)
    assert node.kind is NodeKind.MOBILE_NODE
    assert node in topology.hosts
    assert node in topology.lisp_routers
    assert str(node.address) == "192.168.0.1"
    assert told.mobile
    assert [str(one.prefix) for one in told.database] == ["192.168.0.1/32"]
    assert not told.site_interfaces
    assert told.core_interfaces == ("core1", "core2")
    assert node.networks == {"core1": "core1", "core2": "core2"}


def test_it_begins_with_the_rlocs_of_its_first_network_alone() -> None:
    """The others are learned where they are given; the topology has them for whoever looks at packets."""
    topology = spare()
    first, second = (interface.addresses[0].ip for interface in topology["mn"].interfaces)
    assert config(topology).rlocs == (first,)
    assert [one.address for one in config(topology).database[0].locators] == [first]
    assert first != second
    assert not topology["mn"].routes


def test_the_map_server_knows_its_eids_as_those_of_a_site() -> None:
    topology = spare("    networks:", "    eids: 192.168.77.7\n    networks:")
    sites = {site.name: [str(one.prefix) for one in site.prefixes] for site in config(topology, "ms").sites}
    assert sites["mn"] == ["192.168.77.7/32"]
    (site,) = [one for one in config(topology, "ms").sites if one.name == "mn"]
    assert [key.secret for key in site.keys] == ["mobile-secret"]
    assert EidPrefix.of("192.168.77.7/32") in [one.prefix for one in config(topology, "mr").delegations]


def test_what_is_expected_of_it_is_what_is_expected_of_a_host_behind_an_xtr() -> None:
    paths = {
        (one.source, one.destination): one.path for one in spare().expectations if "mn" in (one.source, one.destination)
    }
    assert paths["mn", "h1"] == paths["h3", "mn"] == Path.ENCAPSULATED
    assert paths["mn", "client"] == paths["client", "mn"] == Path.PROXIED


def test_an_expectation_may_name_it() -> None:
    topology = spare("mobile-nodes:", "expect:\n  - {from: mn, to: client, path: unreachable}\nmobile-nodes:")
    (found,) = [one for one in topology.expectations if (one.source, one.destination) == ("mn", "client")]
    assert found.path is Path.UNREACHABLE


def test_the_resolved_file_gives_the_same_world() -> None:
    topology = spare("    networks:", "    proxy-reply: true\n    ttl-minutes: 5\n    map-servers: ms\n    networks:")
    again = loads(topology.source, name=topology.name)
    assert again == topology
    assert config(again).map_servers[0].proxy_reply


def test_networks_may_have_names_and_lead_to_one_core_router() -> None:
    topology = spare("    networks: [core1, core2]", "    networks: {wifi: {to: core1}, lte: {to: core1, delay: 20}}")
    assert topology["mn"].networks == {"wifi": "core1", "lte": "core1-2"}
    assert {link.delay for link in topology.links if "mn" in (link.a[0], link.b[0])} == {0.0, 20.0}


def test_no_other_implementation_runs_there() -> None:
    """Nobody else's daemon knows of the lab's moves; where all nodes are to run another one, this one does not."""
    topology = spare()
    assert chosen(topology, {}, {"mn": "openoverlayrouter"}) == {}
    with pytest.raises(LabError, match="implementation of mn: a mobile node runs our own daemon"):
        chosen(topology, {"mn": "openoverlayrouter"}, {})


def test_ospf_tells_of_a_network_that_nobody_is_attached_to() -> None:
    """An access network is there whoever is in it; the link of an xTR that is cut is not."""
    text = spoil([*SPARE, "title: A base to spoil", "title: A base to spoil\nrouting: ospf-bgp"])
    topology = loads(text)
    told = configuration(topology, topology["core2"])
    assert 'interface "mn" { stub; check link no; };' in told
    silent = next(line for line in told.splitlines() if line.endswith("{ stub; };"))
    assert '"xtr2"' in silent
    assert '"mn"' not in silent


def test_a_configuration_moves_and_keeps_what_it_is_told() -> None:
    """As JSON, which is how the daemon gets it."""
    told = config(load("mobile-node"))
    assert NodeConfig.from_json(told.to_json()) == told
    moved = told.at((ip_address("10.0.8.2"),))
    assert {one.address for mapping in moved.database for one in mapping.locators} == {ip_address("10.0.8.2")}
