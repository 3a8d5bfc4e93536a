"""A host that is its own xTR goes from one access network to another, and its sessions live on (requirement S15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from testbed.act.mobility.probes import Probes
from testbed.act.ping import first_reply
from testbed.lab import Lab, LabError
from tests.conformance.tester import packets, wire
from tests.conformance.tester.daemons import registrations
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Watch

PAIRS = [(4, 4), (6, 6)]
CORRESPONDENTS = {"b1": "xtr1", "client": "pxtr"}
"""Hosts that the mobile node talks to, and who encapsulates what they say."""


@pytest.fixture(scope="module")
def roaming(boot: Callable[..., Lab], dataplane: str) -> Lab:
    """Two mobile nodes, by each data path."""
    return boot("roaming", dataplane)


@pytest.fixture(params=PAIRS, ids=lambda pair: f"v{pair[0]}-over-v{pair[1]}")
def pair(request: pytest.FixtureRequest) -> tuple[int, int]:
    """IP versions of EIDs and of RLOCs."""
    found: tuple[int, int] = request.param
    return found


def rloc_in(lab: Lab, node: str, network: str) -> IPAddress:
    """A mobile node's RLOC in a network."""
    name = lab[node].networks[network]
    (address,) = [one for interface in lab[node].interfaces if interface.name == name for one in interface.addresses]
    return address.ip


def senders(watch: Watch, lab: Lab, rloc: IPAddress) -> set[str]:
    """Who sent LISP data packets to an RLOC, of those who encapsulate for the correspondents."""
    of = {own: name for name in CORRESPONDENTS.values() for own in lab[name].lisp.rlocs}  # type: ignore[union-attr]
    found = [one for _, one in watch.datagrams(packets.DATA) if one.destination == rloc]
    return {of[one.source] for one in found if one.source in of}


def registered(lab: Lab, node: str) -> dict[str, list[Any]]:
    """The locator-set that the Map-Server has for each of a mobile node's EIDs."""
    wanted = {f"{eid}/{eid.max_prefixlen}" for eid in lab[node].eids}
    rows = registrations(lab, "ms")
    return {eid: [one["rloc"] for one in rows[eid]["locators"]] for eid in wanted}


def moved_to(lab: Lab, node: str, network: str) -> None:
    """A mobile node is moved while it talks to everybody; by and by everybody sends to its new RLOC."""
    rloc, core = rloc_in(lab, node, network), lab[node].networks[network]
    with Watch(lab, [core]) as watch:
        assert lab.move(node, network).site == network
        watch.until(
            lambda: senders(watch, lab, rloc) == {*CORRESPONDENTS.values()},
            f"who talks to {node} sends to its RLOC in {network}",
        )
        registers = [one for one in watch.control(wire.MAP_REGISTER, core) if one.outer.source == rloc]
        assert registers, f"{node} registers from {rloc}"
        solicits = [one for one in watch.control(wire.MAP_REQUEST, core) if one.outer.source == rloc]
        assert solicits, f"{node} solicits from {rloc}"
    assert set(map(tuple, registered(lab, node).values())) == {(str(rloc),)}


@pytest.mark.requirement("S15")
def test_sessions_live_on_while_the_rloc_changes(roaming: Lab, pair: tuple[int, int]) -> None:
    """Three changes under TCP, to a branch behind an xTR and to a host that knows nothing of LISP, both ways."""
    lab, (inner, outer) = roaming, pair
    node = f"m{outer}"
    with Probes(lab, node, list(CORRESPONDENTS), versions=(inner,)) as probes:
        for network in ("lte", "home", "wifi"):
            moved_to(lab, node, network)
            for one in CORRESPONDENTS:  # a reply: what waited has found the new way too
                first_reply(lab, one, node, within=20, version=inner)
        seen = probes.stop()
    assert len(seen.streams) == 4
    for stream in seen.streams:
        told = f"TCP {stream.direction} {stream.correspondent}: {stream.received} of {stream.sent} bytes"
        assert not stream.lost, f"{told}: {stream.lost}"
        assert (stream.received, stream.wrong) == (stream.sent, 0), told
        assert stream.sent > 10_000, told


def test_a_router_that_is_started_again_elsewhere_goes_on_from_there(roaming: Lab) -> None:
    """It goes by what its interfaces have, not by where the topology lets it begin."""
    lab = roaming
    lab.move("m4", "home")
    lab.restart("m4")
    rloc = rloc_in(lab, "m4", "home")
    eventually(
        lambda: {tuple(one) for one in registered(lab, "m4").values()} == {(str(rloc),)}, f"{rloc} is registered"
    )
    assert lab.show("m4", "roles")["rlocs"] == [str(rloc)]
    for host in CORRESPONDENTS:
        first_reply(lab, host, "m4", within=20, version=4)
    assert lab.move("m4", "wifi").origin == "home"


@pytest.mark.parametrize("version", [4, 6])
def test_its_eids_and_the_rlocs_do_not_meet(roaming: Lab, version: int) -> None:
    """S01, of a machine that has both: from an EID there is no way to an RLOC, from its own RLOC there is."""
    lab, node = roaming, f"m{version}"
    router = next(own for own in lab["xtr1"].lisp.rlocs if own.version == version)  # type: ignore[union-attr]
    ping = ["ping", "-c", "1", "-W", "10"]
    assert lab.run(node, [*ping, str(router)]).returncode == 0
    refused = lab.run(node, [*ping, "-I", str(lab[node].address_of(version)), str(router)])
    assert refused.returncode != 0
    assert "0 received" in refused.stdout or "denied" in refused.stderr, refused


def test_whoever_gives_it_another_address_gives_it_an_rloc(roaming: Lab) -> None:
    """The locator-set is what the kernel has: a second address, then the first one alone, then a link that was down."""
    lab = roaming
    port, rloc = lab["m4"].networks["wifi"], rloc_in(lab, "m4", "wifi")

    def told(*rlocs: object) -> bool:
        return {tuple(one) for one in registered(lab, "m4").values()} == {tuple(map(str, rlocs))}

    assert lab.run("m4", ["ip", "address", "add", "10.0.200.1/32", "dev", port]).returncode == 0
    eventually(lambda: told(rloc, "10.0.200.1"), "both are registered")
    assert lab.run("m4", ["ip", "address", "del", "10.0.200.1/32", "dev", port]).returncode == 0
    eventually(lambda: told(rloc), "the first one alone is registered")
    for state in ("down", "up"):
        assert lab.run("m4", ["ip", "link", "set", port, state]).returncode == 0
    for host in CORRESPONDENTS:
        first_reply(lab, host, "m4", within=20, version=4)


def test_the_maps_of_the_kernel_say_what_the_engine_says(roaming: Lab, dataplane: str) -> None:
    """Own RLOCs and the sources of locators, after moves."""
    lab = roaming
    for node in ("m4", "m6"):
        first_reply(lab, node, "b1", within=20)
        lab.move(node, "lte")
        assert lab.verify(node)["runs"] == dataplane
        eventually(lambda node=node: lab.verify(node)["rows"] == [], f"{node} is in step")  # type: ignore[misc]
        lab.move(node, "wifi")


def test_whatever_a_mobile_node_cannot_do_is_one_clear_line(roaming: Lab) -> None:
    lab = roaming
    for node, network, words in (
        ("m4", "moon", "m4 has no access network moon; its networks are wifi, lte, home"),
        ("m4", "branch", "m4 has no access network branch; its networks are wifi, lte, home"),
        ("m4", "wifi", "m4 is in wifi already"),
        ("xtr1", "wifi", "xtr1 cannot move; m4"),
    ):
        with pytest.raises(LabError, match=words):
            lab.move(node, network)
    assert lab.places()["m4"] == "wifi"
