"""Moves that are harder: silence, haste, two places, a bad network, routers that start anew."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from nodes.kinds.announcement import announcement
from testbed.act.ping import first_reply
from tests.conformance.mobility.conftest import Boot
from tests.conformance.mobility.roaming import MOBILE, XTRS, Roaming
from tests.conformance.tester.clock import PATIENCE_S
from tests.conformance.tester.daemons import log_lines
from tests.conformance.tester.waiting import eventually

LOST_PER_CENT = 30
SILENT_S = 63.0
"""Seconds of the protocol until a host that says nothing, and does not answer three questions, is gone."""
PROMISED_S = 93.0
"""Seconds of the protocol: a registration is repeated, an ITR that got no answer is silent, an SMR comes."""


def test_moving_again_before_the_first_move_has_settled(at_home: Roaming) -> None:
    """Out, onward, and onward again, one right after the other."""
    with at_home.session():
        for site in ("dc2", "dc3", "dc2"):
            at_home.move(site)
        at_home.settled()


def test_there_and_back_at_once(at_home: Roaming) -> None:
    with at_home.session():
        for site in ("dc2", "dc1"):
            at_home.move(site)
        at_home.settled()


def test_a_host_that_does_not_announce_itself(at_home: Roaming) -> None:
    """Its sessions show where it is."""
    with at_home.session():
        at_home.move("dc2", silent=True)
        at_home.settled()


def test_a_host_in_both_places_stays_with_the_lower_rloc(at_home: Roaming) -> None:
    """Whoever speaks last; the other router says so."""
    world, lab = at_home, at_home.lab
    twice = world.subnet[0x42]
    first, second = sorted(("xtr1", "xtr2"), key=lambda one: int(world.rloc(one)))
    with also(world, MOBILE, twice), also(world, "near2", twice):
        for host in (MOBILE, "near2", MOBILE, "near2"):
            announce(world, host, {twice: lab[host].interfaces[0].mac})
            eventually(lambda: world.registered(twice), "it is registered")

        def said() -> list[dict[str, Any]]:
            return [one["fields"] for one in log_lines(lab, second) if one["event"] == "dynamic-eid-duplicate"]

        eventually(said, f"{second} says that there are two")
        eventually(lambda: world.registered(twice) == str(world.rloc(first)), f"{first} keeps it")
        assert world.having(twice) == [first]
        assert said() == [{"eid": str(ip_network(twice)), "kept_by": [str(world.rloc(first))]}]


@contextmanager
def also(world: Roaming, host: str, *addresses: Any) -> Iterator[None]:
    """Meanwhile a host has these addresses as well, which it sends nothing from."""
    flags = " nodad preferred_lft 0" if world.version == 6 else ""
    interface, length = world.lab[host].interfaces[0].name, world.subnet.prefixlen

    def each(verb: str, flags: str = "") -> str:
        return "; ".join(f"ip address {verb} {one}/{length} dev {interface}{flags}" for one in addresses)

    assert world.lab.run(host, ["sh", "-ec", each("add", flags)]).returncode == 0
    try:
        yield
    finally:
        world.lab.run(host, ["sh", "-c", each("del")])


def announce(world: Roaming, host: str, addresses: dict[Any, str]) -> None:
    """From a host's cable, these addresses are announced with these MAC addresses."""
    with world.lab.socket(host, socket.AF_PACKET, socket.SOCK_RAW, 0) as cable:
        cable.bind((world.lab[host].interfaces[0].name, 0))
        for address, mac in addresses.items():
            cable.send(announcement(address, bytes.fromhex(mac.replace(":", ""))))


@pytest.mark.parametrize("which", ["old", "new"])
def test_an_xtr_that_starts_anew_meanwhile(at_home: Roaming, which: str) -> None:
    """The one that the host leaves, or the one that it comes to: the session lives."""
    with at_home.session("b1"):
        at_home.move("dc2")
        at_home.lab.restart(XTRS["dc1" if which == "old" else "dc2"])
        at_home.settled(within=30)


@pytest.mark.requirement("X01")
def test_an_xtr_that_starts_anew_finds_hosts_that_say_nothing(at_home: Roaming) -> None:
    """Those that its kernel remembers at once; another one when data comes for it, of which nothing is lost."""
    world, lab = at_home, at_home.lab
    silent, branch = world.subnet[0x43], str(lab["b1"].address_of(world.version))
    with also(world, "near1", silent):
        # Its last word. The branch may have learned a minute ago that nobody has this address.
        assert lab.run("near1", ["ping", "-n", "-c", "1", "-w", "20", "-I", str(silent), branch]).returncode == 0
        eventually(lambda: world.registered(silent) == str(world.rloc("xtr1")), "it is registered")
        lab.restart("xtr1")
        eventually(lambda: world.having(silent) == ["xtr1"], "it answers the question of the new start")
        assert lab.run("xtr1", ["ip", "neigh", "flush", "dev", lab["xtr1"].link_to("sw1").name]).returncode == 0
        lab.restart("xtr1")
        assert world.having(silent) == []
        assert lab.run("b1", ["ping", "-n", "-c", "1", "-W", "20", str(silent)]).returncode == 0
        assert world.having(silent) == ["xtr1"]


@pytest.mark.requirement("X05")
def test_a_host_that_falls_silent_after_its_move_is_registered_by_nobody(hasty: Roaming) -> None:
    """Its new xTR asks for it and withdraws it; the one that it left does not take it for one of its own again."""
    eid = hasty.subnet[0x44]
    within = SILENT_S / hasty.lab.topology.time_scale + 20
    for host, router in (("near1", "xtr1"), ("near2", "xtr2")):
        with also(hasty, host, eid):
            announce(hasty, host, {eid: hasty.lab[host].interfaces[0].mac})
            eventually(lambda router=router: hasty.registered(eid) == str(hasty.rloc(router)), "it is registered")  # type: ignore[misc]
            eventually(lambda router=router: hasty.having(eid) == [router], f"{router} alone has it")  # type: ignore[misc]
    eventually(lambda: hasty.registered(eid) is None, "it is withdrawn", within)
    assert hasty.having(eid) == []


def test_a_third_of_the_control_messages_is_lost(hasty: Roaming) -> None:
    """A session lives through two moves, and in the end everybody is right."""
    host, routers = "also1", [one.name for one in hasty.lab.topology.lisp_routers]
    eid = hasty.lab[host].address_of(hasty.version)
    with hasty.session("b1", host=host):
        with ExitStack() as losses:
            for router in routers:
                losses.enter_context(losing(hasty, router))
            for site in ("dc3", "dc2"):
                hasty.lab.move(host, site)
                first_reply(hasty.lab, "b1", host, within=20, version=hasty.version)
        within = PROMISED_S / hasty.lab.topology.time_scale + PATIENCE_S
        place = str(hasty.rloc("xtr2"))
        eventually(lambda: hasty.registered(eid) == place, "the Map-Server is right", within)
        eventually(lambda: hasty.having(eid) == ["xtr2"], "the xTRs are right", within)
        eventually(lambda: hasty.goes_to("xtr4", eid) == [place], "the branch is right", within)


@contextmanager
def losing(world: Roaming, router: str) -> Iterator[None]:
    """Meanwhile a router loses a share of the control messages that reach it."""
    rule = f"udp dport 4342 numgen random mod 100 < {LOST_PER_CENT} drop"
    table = f"table inet bad {{ chain in {{ type filter hook input priority 0; {rule}; }}; }}"
    assert world.lab.run(router, ["nft", table]).returncode == 0
    try:
        yield
    finally:
        assert world.lab.run(router, ["nft", "delete table inet bad"]).returncode == 0


def test_far_away_and_with_losses(boot_mobility: Boot) -> None:
    """20 ms and 1 % loss in the core, each way: a session lives through a move."""
    links = {
        "[core1, core2]": "{between: [core1, core2], delay: 20, loss: 1}",
        "[core2, core3]": "{between: [core2, core3], delay: 20, loss: 1}",
    }
    world = boot_mobility(words=links)
    world.settle("dc1")
    with world.session():
        world.move("dc2")
        world.settled(within=30)
