"""How often a message of one kind may go out: token buckets (RFC 9301 sections 5.4 and 6.1)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from nodes.lisp.eid import EidPrefix, IPAddress

K = TypeVar("K", bound=Hashable)

BURST = 3
INTERVAL = 3.0
MAX_BUCKETS = 4096

Target = tuple[IPAddress, EidPrefix]
"""What a message is counted by: the RLOC that it goes to and the EID-prefix that it is about."""


class RateLimit(Generic[K]):
    """A token bucket per key: a burst of 3, then one message in 3 seconds. News fill the bucket.

    The texts recommend one message per RLOC in 3 seconds. Read literally, two EIDs behind one xTR would wait for each
    other, and a mapping that changes twice would reach nobody.
    """

    def __init__(self, burst: int = BURST, interval: float = INTERVAL, max_buckets: int = MAX_BUCKETS) -> None:
        """Make one whose buckets are all full.

        Args:
            burst: How many messages a full bucket lets through.
            interval: Seconds after which one more may follow.
            max_buckets: The bound on keys; the one that was used least recently makes room.
        """
        self._slack = (burst - 1) * interval
        self._interval = interval
        self._max = max_buckets
        self._buckets: dict[K, tuple[float, Hashable]] = {}  # when it will be full again, what the message said

    def allows(self, key: K, now: float, content: Hashable = None) -> bool:
        """Take a token if there is one, and say so.

        Args:
            key: Whose bucket.
            now: Seconds of the engine's clock.
            content: What the message says; when that differs from the last time, the bucket is full.
        """
        if self.next(key, now, content) > now:
            return False
        full_at = self._full_at(key, now, content)
        self._buckets.pop(key, None)
        if len(self._buckets) >= self._max:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = full_at + self._interval, content
        return True

    def next(self, key: K, now: float, content: Hashable = None) -> float:
        """When this key has a token: now, or later."""
        return max(now, self._full_at(key, now, content) - self._slack)

    def refill(self, key: K) -> None:
        """Fill the bucket of this key."""
        self._buckets.pop(key, None)

    def _full_at(self, key: K, now: float, content: Hashable) -> float:
        full_at, before = self._buckets.get(key, (now, content))
        return max(now, full_at) if before == content else now

    def __len__(self) -> int:
        return len(self._buckets)
