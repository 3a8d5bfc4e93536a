"""A host leaves an xTR whose daemon stands still: its programs go on by old tables, and it hears nothing meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.engine.roaming import BRANCH, PROXY, Roaming
from tests.engine.world import XTR1, Packet, World

NOTICED = 1.75 * 10.0
"""Seconds after which a locator that answers no probe is down, at the rate that routers probe by default."""
SENDERS = (BRANCH, PROXY, "xtr2", "xtr4")
OLD, NEW = "xtr1", "xtr2"


@contextmanager
def standing(world: World, name: str, seconds: float) -> Iterator[None]:
    """Meanwhile, for so many seconds, a node does nothing; what is sent to it waits in its sockets.

    When it goes on, its timers are due before it reads.
    """
    node, goes_on = world[name], world.now + seconds

    def waits(packet: Packet) -> list[float]:
        return [max(world.delay, goes_on + 0.001 - world.now) if packet.destination in node.rlocs else world.delay]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "delays", waits)
        patch.setattr(node.engine, "deadline", lambda: None)
        yield
        world.run(goes_on - world.now)


def arrived(roaming: Roaming) -> list[str]:
    """Whose packets for the host arrive, by whatever way."""
    return [sender for sender in SENDERS if roaming.send(sender)]


@pytest.fixture
def roaming() -> Roaming:
    """Everybody sends to the host in the first data centre, and its xTR is probed."""
    roaming = Roaming(1)
    for sender in SENDERS:
        roaming.world[sender].in_use.add(XTR1)
    roaming.traffic(12)
    return roaming


@pytest.mark.requirement("X07", "C37")
def test_who_sends_to_it_finds_the_host_when_its_probes_are_not_answered(roaming: Roaming) -> None:
    """Nobody solicits him: the old xTR cannot, and the new one has not seen any data of his."""
    with standing(roaming.world, OLD, 60.0):
        roaming.move(NEW)
        roaming.traffic(1.0)
        assert arrived(roaming) == [NEW]
        roaming.traffic(NOTICED + 1.5)
        assert arrived(roaming) == list(SENDERS)
    roaming.settles(within=2.0)


@pytest.mark.requirement("X05", "X06")
@pytest.mark.parametrize("seconds", [0.5, 5.0, 100.0])
def test_when_it_goes_on_everybody_is_right_at_once(roaming: Roaming, seconds: float) -> None:
    """Also after a hundred seconds, when the first thing that it says is that the host is registered here."""
    with standing(roaming.world, OLD, seconds):
        roaming.move(NEW)
    roaming.settles(within=2.0)
