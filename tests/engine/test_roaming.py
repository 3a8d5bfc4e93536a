"""Random schedules of moves and restarts in a network that loses, doubles and delays: in the end everybody is right."""

from __future__ import annotations

import pytest

from tests.engine.roaming import BRANCH, PLACES, PROXY, Roaming

PROMISED = 60.0 + 30.0 + 3.0
"""Seconds: a registration is repeated, an ITR that got no answer is silent (RFC 9301 section 5.3), an SMR comes."""


def schedule(seed: int) -> Roaming:
    """Up to six moves and restarts, some of them before the one before has settled; the network as bad as it gets."""
    roaming = Roaming(seed)
    chance = roaming.chance
    roaming.impair(
        lost=chance.choice((0.0, 0.1, 0.3, 0.5)),
        doubled=chance.choice((0.0, 0.3)),
        late=chance.choice((0.02, 0.3, 1.0, 3.0)),
    )
    for _ in range(chance.randrange(1, 7)):
        if chance.random() < 0.75:
            roaming.move(chance.choice(list(PLACES)))
        else:
            roaming.world.restart(chance.choice(("ms", "mr", BRANCH, PROXY, *PLACES)))
        roaming.traffic(chance.choice((0.01, 0.3, 2.0, 10.0)))
    roaming.heal()
    return roaming


@pytest.mark.requirement("X03", "X05", "X06", "X07", "X17", "X18")
@pytest.mark.parametrize("seed", range(240))
def test_whatever_happens_to_the_messages_everybody_finds_the_host(seed: int) -> None:
    """Branch, PITR, neighbours in each data centre, the Map-Server: each knows the one place, by the shortest way."""
    schedule(seed).settles(within=PROMISED)


@pytest.mark.requirement("X07")
def test_in_a_good_network_everybody_is_right_within_a_second() -> None:
    roaming = Roaming(1)
    for place in ("xtr2", "xtr4", "xtr1"):
        roaming.move(place)
        roaming.traffic(1.0, every=0.05)
        assert roaming.wrong() == []
