"""A host away from the site that registers its subnet, and home again: who is told, what is left (X10, X14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from nodes.lisp.eid import IPAddress, host_prefix
from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import wire
from tests.conformance.tester.daemons import map_cache, registrations
from tests.conformance.tester.places import uplink
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen, Watch

HOME, AWAY, BRANCH = "xtr1", "xtr2", "xtr3"


@pytest.fixture(scope="module")
def away(boot: Callable[..., Lab], dataplane: str, family: tuple[int, int]) -> Lab:
    """A home subnet, and a data centre that finds its hosts, by each data path, with RLOCs of each IP version."""
    others = {4: ", 2001:db8:c0::/48", 6: "10.0.0.0/16, "}
    return boot("home-subnet", dataplane, without=others[family[1]])


@pytest.fixture
def mobile(family: tuple[int, int], away: Lab) -> Iterator[IPAddress]:
    """The address of the host that moves, in one IP version; it is at home, and goes back there."""
    address = away["mobile"].address_of(family[0])
    answers(away, "b1", address)
    yield address
    if away.places()["mobile"] != "dc1":
        away.move("mobile", "dc1")
        answers(away, "mobile", away["b1"].address_of(address.version))
        eventually(lambda: not at(away, address), f"{address} is at home")


def at(lab: Lab, eid: IPAddress) -> str | None:
    """The ETR of a host's own registration, if it has one."""
    row = registrations(lab, "ms").get(str(host_prefix(eid)))
    return str(row["etr"]) if row and row["etr"] else None


def answers(lab: Lab, asker: str, eid: IPAddress) -> None:
    """A host gets answers from another one."""
    replied = lab.run(asker, ["ping", f"-{eid.version}", "-c", "1", "-i", "0.2", "-w", "20", str(eid)])
    assert replied.returncode == 0, replied.stdout


def cached(lab: Lab, node: str, eid: IPAddress) -> set[str] | None:
    """The RLOCs that a router has for a host alone."""
    row = map_cache(lab, node).get(str(host_prefix(eid)))
    return {one["rloc"] for one in row["locators"]} if row and row["source"] == "map-reply" else None


def rlocs(lab: Lab, node: str) -> set[str]:
    """Where a router is in the core."""
    config = lab[node].lisp
    assert config is not None
    return {str(one) for one in config.rlocs}


def about(watch: Watch, kind: int, node: str, eid: IPAddress) -> list[tuple[Seen, int]]:
    """The messages of one type that came to a node about a host, each with the Record TTL that it gives it."""
    return [
        (seen, record.ttl)
        for seen in watch.control(kind, node)
        for record in seen.message.records
        if record.prefix.network_address == eid and record.prefix.prefixlen == eid.max_prefixlen
    ]


def goes_away(lab: Lab, eid: IPAddress) -> None:
    lab.move("mobile", "dc2")
    answers(lab, "mobile", lab["b1"].address_of(eid.version))
    eventually(lambda: (at(lab, eid) or "") in rlocs(lab, AWAY), f"{eid} is registered from where it is")
    eventually(lambda: cached(lab, HOME, eid) == rlocs(lab, AWAY), f"its home knows where {eid} is")


@pytest.mark.requirement("X10", "X14")
def test_its_home_hears_of_a_host_that_is_away_and_sends_to_it(away: Lab, mobile: IPAddress) -> None:
    lab = away
    with Watch(lab, [uplink(lab, HOME), "ms"]) as watch:
        goes_away(lab, mobile)
        with clause("X10"):
            told = watch.until(lambda: about(watch, wire.MAP_NOTIFY, uplink(lab, HOME), mobile), "the home is told")
            assert {ttl for _, ttl in told} == {1440}
            # Its home registers the subnet and never the host.
            mine = about(watch, wire.MAP_REGISTER, "ms", mobile)
            assert {str(seen.outer.source) for seen, _ in mine} <= rlocs(lab, AWAY)
            # A neighbour at home and the branch reach it; what the branch still sends to its home goes on from there.
            for asker in ("near1", "b1", "near2"):
                answers(lab, asker, mobile)
        with clause("X14"):
            eventually(lambda: cached(lab, BRANCH, mobile) == rlocs(lab, AWAY), "the branch has the host's own mapping")
            subnets = {str(one) for one in lab.topology.sites["dc1"].eid_prefixes}
            assert subnets & set(map_cache(lab, BRANCH))
            answers(lab, "b1", lab["near1"].address_of(mobile.version))


@pytest.mark.requirement("X10", "X14")
def test_its_return_leaves_nothing_of_the_other_place(away: Lab, mobile: IPAddress) -> None:
    lab = away
    goes_away(lab, mobile)
    for asker in ("b1", "near1"):
        answers(lab, asker, mobile)
    with Watch(lab, ["ms"]) as watch:
        lab.move("mobile", "dc1")
        answers(lab, "mobile", lab["b1"].address_of(mobile.version))
        with clause("X10"):

            def withdrawn() -> set[str]:
                said = about(watch, wire.MAP_REGISTER, "ms", mobile)
                return {str(seen.outer.source) for seen, ttl in said if ttl == 0}

            watch.until(lambda: withdrawn() & rlocs(lab, HOME), "its home withdraws the host's own mapping")
            eventually(lambda: not at(lab, mobile), "nobody has registered the host")
            gone = str(host_prefix(mobile).network)
            eventually(
                lambda: gone not in {row["eid"] for row in lab.show(AWAY, "dynamic-eids")}, "the other site lets it go"
            )
        with clause("X14"):
            for asker in ("near1", "b1", "near2"):
                answers(lab, asker, mobile)
            for node in (HOME, AWAY, BRANCH):
                eventually(lambda node=node: cached(lab, node, mobile) is None, f"{node} has the subnet's mapping only")
