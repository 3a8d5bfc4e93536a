"""A round of the bench of mobility: in a LISP world, every correspondent is right within it and no session is lost."""

from __future__ import annotations

import pytest

from ci.benches.mobility.figures import figures
from ci.benches.mobility.moving import Pace, moves
from ci.benches.mobility.worlds import CORRESPONDENTS, lisp_world


@pytest.mark.alone
def test_a_move_is_measured_for_every_correspondent() -> None:
    pace = Pace(apart=0.0, settles=2.0, interval_ns=5_000_000)
    found = moves(lisp_world(pubsub=True), 1, pace)
    (one,) = found["rounds"]
    whom = {f"{name} IPv{version}" for name in CORRESPONDENTS for version in (4, 6)}
    assert set(one["convergence_ms"]) == whom
    assert one["not_right"] == []
    ways = {f"{name} {way} IPv{version}" for name in CORRESPONDENTS for way in ("to", "from") for version in (4, 6)}
    assert set(one["blackout_ms"]) == set(one["lost"]) == ways
    # A silence is never shorter than the pace, and one that lasts to the end would be as long as the round.
    assert all(5 <= value < 1900 for value in one["blackout_ms"].values())
    assert (found["tcp_sessions"], found["tcp_lost"], found["bytes_wrong"]) == (8, 0, 0)
    assert found["tcp_bytes"] > 0
    keys = {figure.key for figure in figures({"pubsub": found})}
    assert keys == {"convergence_pubsub_ms", "blackout_ms", "tcp_lost", "bytes_wrong"}
