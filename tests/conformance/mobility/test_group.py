"""Two xTRs in each data centre: they tell each other of hosts, and one of them is the hosts' gateway (X09)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodes.lisp.eid import IPAddress, host_prefix
from testbed.lab import Lab
from testbed.observe.capture import Capture
from tests.conformance.clause import clause
from tests.conformance.tester.daemons import map_cache, registrations
from tests.conformance.tester.waiting import eventually

DC1, DC2, BRANCH = ("a1", "a2"), ("b1", "b2"), "xtr3"
ARP, IPV6, REPLY, ADVERTISEMENT = b"\x08\x06", b"\x86\xdd", b"\x00\x02", 136


@pytest.fixture(scope="module")
def pairs(boot: Callable[..., Lab], dataplane: str, family: tuple[int, int]) -> Lab:
    """Two data centres of two xTRs each, by each data path, with RLOCs of each IP version."""
    others = {4: ", 2001:db8:c0::/48", 6: "10.0.0.0/16, "}
    return boot("two-xtrs", dataplane, without=others[family[1]])


@pytest.fixture
def mobile(family: tuple[int, int], pairs: Lab) -> IPAddress:
    """The address of the host that moves, in one IP version; it is in the first data centre."""
    if pairs.places()["mobile"] != "dc1":
        pairs.move("mobile", "dc1")
    talks(pairs, family[0])
    address = pairs["mobile"].address_of(family[0])
    known_at(pairs, DC1, address)
    return address


def talks(lab: Lab, version: int, to: str = "branch1") -> None:
    """The host gets an answer from another one."""
    asked = ["ping", f"-{version}", "-c", "1", "-i", "0.1", "-w", "20", str(lab[to].address_of(version))]
    assert lab.run("mobile", asked).returncode == 0


def knowing(lab: Lab, eid: IPAddress) -> set[str]:
    """The xTRs that have a host among theirs."""
    return {
        node
        for node in (*DC1, *DC2)
        if str(eid) in {row["eid"].split("/")[0] for row in lab.show(node, "dynamic-eids")}
    }


def known_at(lab: Lab, xtrs: tuple[str, str], eid: IPAddress) -> None:
    eventually(lambda: knowing(lab, eid) == set(xtrs), f"{eid} is known to {xtrs} alone")


def rlocs(lab: Lab, *nodes: str) -> set[str]:
    return {str(rloc) for node in nodes for rloc in lab[node].lisp.rlocs}  # type: ignore[union-attr]


def used(lab: Lab, eid: str) -> set[str]:
    """The RLOCs that the branch sends to for a host."""
    return {one["rloc"] for one in map_cache(lab, BRANCH)[eid]["locators"] if one["state"] == "up"}


def gateway(lab: Lab, *candidates: str) -> list[str]:
    """Which of some routers have the gateway's addresses, and its MAC address."""
    mac = lab["a1"].lisp.gateways[0].mac  # type: ignore[union-attr]
    found = []
    for node in candidates:
        (row,) = [one for one in lab.show(node, "interfaces") if one["side"] == "site"]
        assert (row["mac"] == mac) == any(one.startswith("192.168.7.254/") for one in row["addresses"])
        if row["mac"] == mac:
            found.append(node)
    return found


def pid(lab: Lab, node: str) -> int:
    """The process of a router's daemon, as its lab counts."""
    return next(int(one["pid"]) for one in lab.status()["nodes"] if one["name"] == node)


@pytest.mark.requirement("X09")
def test_both_know_a_host_and_it_is_registered_once_with_the_rlocs_of_both(pairs: Lab, mobile: IPAddress) -> None:
    lab = pairs
    with clause("X09"):
        for node in DC1:
            routes = lab.run(node, ["ip", f"-{mobile.version}", "route", "show", "table", "all", str(mobile)]).stdout
            assert "dev sw1" in routes
        row = registrations(lab, "ms")[str(host_prefix(mobile))]
        assert row["etr"] in rlocs(lab, "a1")
        assert {one["rloc"] for one in row["locators"]} == rlocs(lab, *DC1)
        assert gateway(lab, *DC1, *DC2) == ["a1", "b1"]


@pytest.mark.requirement("X09", "X03")
def test_both_hear_that_a_host_has_moved(pairs: Lab, mobile: IPAddress) -> None:
    lab = pairs
    lab.move("mobile", "dc2")
    talks(lab, mobile.version)
    with clause("X09"):
        known_at(lab, DC2, mobile)
        for node in (*DC1, BRANCH):

            def there(node: str = node) -> bool:
                row = map_cache(lab, node).get(str(host_prefix(mobile)))
                return bool(row) and {one["rloc"] for one in row["locators"]} == rlocs(lab, *DC2)

            if node != BRANCH:
                eventually(there, f"{node} knows where it is")
        # A neighbour that it left, and one that it has now, reach it as before.
        for neighbour in ("near1", "near2"):
            talks(lab, mobile.version, neighbour)


@pytest.mark.requirement("X09")
def test_the_standby_says_nothing_for_the_gateway_or_for_far_hosts(pairs: Lab, mobile: IPAddress) -> None:
    """Asked by ARP or neighbour discovery, the gateway alone answers; nothing else leaves with its MAC address."""
    lab = pairs
    config = lab["a1"].lisp.gateways[0]  # type: ignore[union-attr]
    mac = bytes.fromhex(config.mac.replace(":", ""))
    near = next(one.ip for one in config.addresses if one.version == mobile.version)
    asked = [near, lab["near2"].address_of(mobile.version)]
    with Capture(lab, ["sw1"]) as capture:
        for wanted in map(str, asked):
            lab.run("near1", ["ip", "neigh", "flush", "to", wanted])
            assert lab.run("near1", ["ping", "-c", "1", "-w", "20", wanted]).returncode == 0
    sent = {node: [one.data for one in capture.frames if one.interface == node] for node in DC1}
    answered = {node: {answers(one) for one in frames} for node, frames in sent.items()}
    with clause("X09"):
        assert answered["a1"] >= {one.packed for one in asked}
        assert answered["a2"].isdisjoint(one.packed for one in asked)
        assert {one[6:12] for one in sent["a1"]} == {mac}
        assert sent["a2"]
        assert mac not in {one[6:12] for one in sent["a2"]}


def answers(frame: bytes) -> bytes:
    """The address that an ARP reply or a neighbour advertisement answers for; b"" for any other frame."""
    if frame[12:14] == ARP and frame[20:22] == REPLY:
        return frame[28:32]
    return frame[62:78] if frame[12:14] == IPV6 and frame[54] == ADVERTISEMENT else b""


@pytest.mark.requirement("X09")
@pytest.mark.parametrize("how", ["link", "killed"])
def test_the_other_one_takes_over(pairs: Lab, mobile: IPAddress, how: str) -> None:
    """From one that has lost its core link, and from one that is killed; and back again."""
    lab = pairs
    assert gateway(lab, *DC1) == ["a1"]
    if how == "link":
        lab.run("a1", ["ip", "link", "set", "core1", "down"])
    else:
        lab.run("a1", ["sh", "-c", f"kill -KILL {pid(lab, 'a1')}"])
    eventually(lambda: gateway(lab, "a2") == ["a2"], "the other one is the gateway", pause=0.02)
    with clause("X09"):
        talks(lab, mobile.version)
        eid = str(host_prefix(mobile))
        eventually(lambda: registrations(lab, "ms")[eid]["etr"] in rlocs(lab, "a2"), "it registers")
        if how == "link":
            (told,) = lab.lig(BRANCH, str(mobile))["records"]
            assert {one["rloc"] for one in told["locators"] if one["state"] == "down"} == rlocs(lab, "a1")
            eventually(lambda: used(lab, eid) == rlocs(lab, "a2"), "others send to it alone")
    if how == "link":
        lab.run("a1", ["ip", "link", "set", "core1", "up"])
    else:
        lab.restart("a1")
    eventually(lambda: gateway(lab, *DC1) == ["a1"], "the better one is the gateway again")
    talks(lab, mobile.version)
