"""A host keeps its addresses and its gateway wherever it goes; its neighbours are told, its absence is noticed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester.daemons import registrations
from tests.conformance.tester.waiting import eventually

HOST = "mobile"
XTRS = {"dc1": "xtr1", "dc2": "xtr2", "dc3": "xtr3"}


@pytest.fixture(scope="module")
def guests(boot: Callable[..., Lab], dataplane: str) -> Lab:
    """Three data centres, by each data path."""
    lab = boot("guests", dataplane)
    eventually(lambda: found(lab, "dc1") and found(lab, "dc1", "near1"), "the hosts are found")
    return lab


def found(lab: Lab, site: str, host: str = HOST) -> bool:
    """Whether a site's xTR has both addresses of a host as dynamic-EIDs."""
    here = {row["eid"] for row in lab.show(XTRS[site], "dynamic-eids")}
    return all(f"{one.ip}/{one.max_prefixlen}" in here for one in lab[host].interfaces[0].addresses)


def goes(lab: Lab, site: str) -> None:
    """The host goes to a site, and its coming is noticed."""
    if lab.places()[HOST] != site:
        lab.move(HOST, site)
    eventually(lambda: found(lab, site), f"{HOST} is found in {site}")


def answers(lab: Lab, asker: str, asked: str, version: int) -> None:
    """A host, or a gateway, answers another host. The first packet may be lost: Ethernet tells nobody."""
    address = str(lab[asked].address_of(version)) if asked in lab.topology.nodes else asked
    replied = lab.run(asker, ["ping", "-n", "-c", "1", "-i", "0.2", "-w", "20", address])
    assert replied.returncode == 0, replied.stdout


def gateway(site: str, version: int) -> str:
    """The gateway's address in a site of the subnet."""
    number = {"dc1": 254, "dc2": 253}[site]
    return f"192.168.7.{number}" if version == 4 else f"2001:db8:e1d:7::{number:x}"


def neighbour(lab: Lab, host: str, of: str, version: int) -> str:
    """The MAC address that a host has for another one."""
    shown = json.loads(lab.run(host, ["ip", "-json", "neigh", "show", str(lab[of].address_of(version))]).stdout or "[]")
    return str(shown[0].get("lladdr", "")) if shown else ""


@pytest.mark.requirement("X11", "S06")
def test_the_gateway_of_the_other_data_centre_answers(guests: Lab) -> None:
    """The host uses the gateway that it had; this data centre's answers as well, and everybody finds the host."""
    lab = guests
    goes(lab, "dc1")
    for version in (4, 6):
        for one in ("near1", "near2", "near3", "b1"):
            answers(lab, one, HOST, version)
    goes(lab, "dc2")
    (router,) = [row["mac"] for row in lab.show("xtr1", "interfaces") if row["side"] == "site"]
    for version in (4, 6):
        with clause("X11"):
            # Before anybody asks: where it is, of the host's own MAC address, elsewhere of the router's.
            eventually(
                lambda v=version: neighbour(lab, "near2", HOST, v) == lab[HOST].interfaces[0].mac, "near2 is told"
            )
            eventually(lambda v=version: neighbour(lab, "near1", HOST, v) == router, "near1 is told")
            for one in ("near1", "near2", "near3", "b1"):
                answers(lab, one, HOST, version)
                answers(lab, HOST, one, version)
        with clause("S06"):
            for site in ("dc1", "dc2"):
                answers(lab, HOST, gateway(site, version), version)


@pytest.mark.requirement("X11")
def test_a_guest_in_another_subnet(guests: Lab) -> None:
    """It keeps its address and its gateway; only its own host route leads to it there."""
    lab = guests
    goes(lab, "dc3")
    for version in (4, 6):
        answers(lab, HOST, gateway("dc1", version), version)
        for one in ("near3", "near1", "near2", "b1"):
            answers(lab, HOST, one, version)
            answers(lab, one, HOST, version)
        routes = lab.run("xtr3", ["ip", f"-{version}", "route", "show", "table", "all", "dev", "sw3"]).stdout
        assert str(lab[HOST].address_of(version)) in routes
        assert not {"192.168.7.0/24", "2001:db8:e1d:7::/64"} & set(routes.split())


@pytest.mark.requirement("X01")
def test_a_silent_machine_is_found_by_its_hypervisors_rarp(guests: Lab) -> None:
    """RARP tells its MAC address, and it is asked for its addresses; where it comes to, it never was before."""
    lab = guests
    lab.move("near1", "dc3", silent=True)
    interface = lab["near1"].interfaces[0]
    mac = bytes.fromhex(interface.mac.replace(":", ""))
    rarp = b"\xff" * 6 + mac + b"\x80\x35" + b"\0\1\x08\0\6\4\0\3" + mac + bytes(4) + mac + bytes(4)
    with lab.socket("near1", socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface.name, 0))
        wire.send(rarp + bytes(18))
    eventually(lambda: found(lab, "dc3", "near1"), "both of its addresses are found in dc3")
    (event,) = events(lab, "xtr3", "machine-arrived")
    assert event["mac"] == interface.mac
    for version in (4, 6):
        answers(lab, "b1", "near1", version)
    lab.move("near1", "dc1")
    eventually(lambda: found(lab, "dc1", "near1"), "it is back")


@pytest.mark.requirement("X05")
def test_a_host_that_goes_without_a_word_is_withdrawn(guests: Lab) -> None:
    """It is asked, and does not answer: nobody has it registered any more. Its silent neighbour answers, and stays."""
    lab = guests
    goes(lab, "dc1")
    eids = {f"{one.ip}/{one.max_prefixlen}" for one in lab[HOST].interfaces[0].addresses}
    eventually(lambda: eids <= set(registered(lab)), "both addresses are registered")
    name = lab[HOST].interfaces[0].name
    assert lab.run(HOST, ["ip", "link", "set", name, "down"]).returncode == 0
    eventually(lambda: not eids & set(registered(lab)), "both addresses are withdrawn")
    assert not eids & {row["eid"] for row in lab.show("xtr1", "dynamic-eids")}
    assert found(lab, "dc1", "near1")
    assert lab.show("xtr1", "statistics")["control"]["silent-hosts-asked"] >= 4
    assert lab.run(HOST, ["ip", "link", "set", name, "up"]).returncode == 0
    answers(lab, HOST, "near1", 4)


def registered(lab: Lab) -> list[str]:
    """The EIDs that an ETR has registered."""
    return [eid for eid, row in registrations(lab, "ms").items() if row["etr"]]


def events(lab: Lab, node: str, name: str) -> list[dict[str, str]]:
    """What the events of one name say in a node's log."""
    lines = map(json.loads, lab.log_path(node).read_text().splitlines())
    return [line["fields"] for line in lines if line["event"] == name]
