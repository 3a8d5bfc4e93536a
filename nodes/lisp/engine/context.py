"""What the roles of one node share: configuration, randomness, counters, and how much fits into a message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nodes.lisp.config import NodeConfig
from nodes.lisp.effects import Report
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.locators import is_unicast
from nodes.lisp.wire import Address, InstanceId, MacAddress

REPORT_EVERY = 1.0


class Context:
    """Shared by the roles of one engine.

    Attributes:
        config: What the node was told, with the RLOCs that it has now.
        counters: Messages and drops by name; the names come from the code, never from the network.
    """

    def __init__(self, config: NodeConfig, random: Callable[[int], int]) -> None:
        self.config = self._told = config
        self.counters: Counter[str] = Counter()
        self._random = random
        self._reported: dict[str, tuple[float, int]] = {}

    def move(self, rlocs: tuple[IPAddress, ...]) -> None:
        """The node has other RLOCs from now on."""
        self.config = self._told.at(rlocs)

    def nonce(self) -> int:
        """A 64-bit random nonce (RFC 9301 section 5.2)."""
        return self._random(64)

    def jitter(self, seconds: float, share: float) -> float:
        """A time between ``seconds`` and that less its ``share`` (0 to 1), so that nodes do not act in step."""
        return seconds * (1 - share * self._random(16) / 0x10000)

    def drop(self, reason: str, now: float, **fields: Any) -> Iterator[Report]:
        """Count a message that is dropped, and report it: once a second for each reason, or strangers fill the log.

        Args:
            reason: Why, in a word.
            now: Seconds of the engine's clock.
            fields: What else the report says. Addresses and EID-prefixes are given as they are: nearly always nobody
                reads them.
        """
        name = f"dropped-{reason}"
        self.counters[name] += 1
        last, total = self._reported.get(reason, (now - REPORT_EVERY, 0))
        if now - last >= REPORT_EVERY:
            self._reported[reason] = (now, self.counters[name])
            yield Report("dropped", {"reason": reason, "count": self.counters[name] - total, **_in_words(fields)})

    def reply_address(self, itr_rlocs: Iterable[Address]) -> IPAddress | None:
        """The first ITR-RLOC that this node can send to (RFC 9301 section 5.5), or None."""
        return next(self.reply_addresses(itr_rlocs), None)

    def reply_addresses(self, itr_rlocs: Iterable[Address]) -> Iterator[IPAddress]:
        """Every ITR-RLOC that this node can send to."""
        versions = {rloc.version for rloc in self.config.rlocs}
        yield from (one for one in itr_rlocs if is_unicast(one) and one.version in versions)


def _in_words(fields: dict[str, Any]) -> dict[str, Any]:
    named = IPAddress | EidPrefix | MacAddress | InstanceId
    return {name: str(one) if isinstance(one, named) else one for name, one in fields.items()}


def payload_limit(destination: IPAddress) -> int:
    """How many bytes a control message may have: 576 or 1280 less IP and UDP headers (RFC 9301 section 5)."""
    return 576 - 20 - 8 if destination.version == 4 else 1280 - 40 - 8
