"""Which of a site's xTRs is its hosts' gateway (requirement X09). The clock is passed in, nothing is sent here.

The able one of the lowest rank is, deterministically. It is no affair of another protocol (VRRP, RFC 9568): who
registers the hosts has to be the one that they send by, and only the xTR itself knows whether it reaches the core.
"""

from __future__ import annotations

from dataclasses import dataclass

HELLO = 0.2
"""Seconds between two words of an xTR to its peers."""
DEAD = 0.7
"""Seconds of silence after which a peer is taken for dead: three words were lost, or never said."""

Rank = tuple[int, int]


@dataclass(slots=True)
class Peer:
    """Another xTR of the site.

    Attributes:
        rank: Its rank; the lowest wins.
        able: Whether it reaches the core.
        active: Whether it says that it is the gateway.
        heard_at: When it said so.
    """

    rank: Rank
    able: bool
    active: bool
    heard_at: float


class Election:
    """One xTR's view of who is the gateway.

    A better one that comes up takes over when it has listened for a while, and has learned of the hosts; until it says
    that it is the gateway, the other one stays. Of two that say so, as after a cut of the LAN, the worse one steps
    down.

    Attributes:
        active: Whether this xTR is the gateway.
        able: Whether it reaches the core.
    """

    def __init__(self, rank: Rank, now: float) -> None:
        """Make one that listens first.

        Args:
            rank: This xTR's rank.
            now: Seconds of the engine's clock.
        """
        self.active, self.able = False, True
        self._rank = rank
        self._listens_until: float | None = now + DEAD
        self._peers: dict[bytes, Peer] = {}

    def heard(self, xtr_id: bytes, peer: Peer, now: float) -> bool:
        """A peer has spoken; whether it is a new one, or was taken for dead."""
        new = xtr_id not in self._peers
        self._peers[xtr_id] = peer
        self.tick(now)
        return new

    def set_able(self, able: bool, now: float) -> None:
        """Whether this xTR reaches the core has changed."""
        self.able = able
        self.tick(now)

    def tick(self, now: float) -> list[bytes]:
        """Time has passed; the peers that are taken for dead since."""
        if self._listens_until is not None and now >= self._listens_until:
            self._listens_until = None
        dead = [xtr_id for xtr_id, peer in self._peers.items() if now >= peer.heard_at + DEAD]
        for xtr_id in dead:
            del self._peers[xtr_id]
        better = [one for one in self._peers.values() if one.able and one.rank < self._rank]
        if not self.able or any(one.active for one in better):
            self.active = False
        elif not better and self._listens_until is None:
            self.active = True
        return dead

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        ends = [one.heard_at + DEAD for one in self._peers.values()]
        return min([*ends, *([self._listens_until] if self._listens_until is not None else [])], default=None)

    @property
    def has_gateway(self) -> bool:
        """Whether this xTR or a peer of it is the gateway."""
        return self.active or any(one.active for one in self._peers.values())

    @property
    def is_settled(self) -> bool:
        """Whether somebody is the gateway, or nobody can be."""
        return self.has_gateway or not (self.able or any(one.able for one in self._peers.values()))
