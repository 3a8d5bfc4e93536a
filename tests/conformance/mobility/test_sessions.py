"""Sessions of a host that moves: TCP whose every byte is checked, and how long nothing arrives."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from testbed.act.mobility.moved import Moved
from testbed.act.mobility.probes import Probes, Seen
from testbed.act.ping import first_reply
from tests.conformance.clause import clause
from tests.conformance.mobility.roaming import INTERVAL_NS, MOBILE, XTRS, Roaming, is_right, lives
from tests.conformance.tester.waiting import eventually

ROUNDS = 5
DOWNTIME_S = 1.0


@pytest.mark.requirement("S14", "X13")
def test_tcp_sessions_live_through_moves_out_onward_and_back(at_home: Roaming) -> None:
    """With the branch and with a client that knows nothing of LISP; addresses and MAC are the same all the time."""
    world, lab = at_home, at_home.lab

    def identity() -> str:
        return lab.run(MOBILE, ["sh", "-c", "cat /sys/class/net/*/address; ip -o address show scope global"]).stdout

    before = identity()
    with world.session() as session:
        for site in ("dc2", "dc3", "dc2"):  # not home: there what stood still elsewhere would go on
            world.move(site)
            world.settled()
        seen = session.stop()
    assert {(one.correspondent, one.direction) for one in seen.streams} == {
        (one, way) for one in ("b1", "client") for way in ("to", "from")
    }
    with clause("X13"):
        lives(seen)
        assert identity() == before
    with clause("S14"):
        is_right(seen)


@pytest.mark.alone
@pytest.mark.requirement("X15")
def test_hosts_are_reachable_again_within_a_second_of_their_moves(at_home: Roaming) -> None:
    """Thirty moves, of six hosts at a time around three data centres, while the branch talks to all of them."""
    world, lab = at_home, at_home.lab
    hosts = [one.name for one in lab.topology.hosts if one.site in XTRS]
    following = dict(pairwise((*XTRS, *XTRS)))
    moves: list[Moved] = []

    def known() -> bool:
        """The branch sends to the right place."""
        return all(
            world.goes_to("xtr4", lab[one.node].address_of(world.version)) == [str(world.rloc(XTRS[one.site]))]
            for one in moves[-len(hosts) :]
        )

    with Probes(lab, "b1", hosts, versions=(world.version,), interval_ns=2 * INTERVAL_NS, streams=False) as probes:
        for _ in range(ROUNDS):
            moves += [lab.move(one, following[lab.places()[one]]) for one in hosts]
            eventually(known, "the branch knows of all moves")
        for one in hosts:
            first_reply(lab, "b1", one, within=20, version=world.version)
        seen, ended = probes.stop(), time.monotonic_ns()
    assert len(moves) >= 30
    downtimes = sorted(downtime(seen, one, ended) for one in moves)
    assert downtimes[-1] < DOWNTIME_S, downtimes


def downtime(seen: Seen, moved: Moved, ended: int) -> float:
    """Seconds in which nothing came from or to a host around its move, the longer one of both directions."""
    begin, end = round(1e9 * moved.unplugged), min(round(1e9 * (moved.plugged + 2 * DOWNTIME_S)), ended)
    return max(one.blackout(begin, end) for one in seen.flows if one.correspondent == moved.node) / 1e9
