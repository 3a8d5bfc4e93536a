"""Locator-Status-Bits: which locators of the sender's site are up (RFC 9300 sections 5.3 and 10, requirement D09).

An option, for networks of one operator: whoever forges a packet of the site forges its bits (section 4.1). A node that
sends them goes by those of others as well.
"""

from __future__ import annotations

from collections.abc import Collection

from nodes.lisp.config import NodeConfig
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.inputs import StatusBits

WIDTH, WIDTH_WITH_INSTANCE = 32, 8
"""Bits in the header, without and with an instance-ID beside them."""


def registered_locators(config: NodeConfig) -> EidTable[tuple[IPAddress, ...]]:
    """The locator-set of each EID-prefix of the site, in the order of a Map-Reply (RFC 9301 section 5.5).

    Empty for a node that sends no Locator-Status-Bits.
    """
    found: EidTable[tuple[IPAddress, ...]] = EidTable()
    if config.locator_status_bits:
        sets = [(one.prefix, one.locators) for one in config.database]
        sets += [(one.prefix, one.locators) for one in config.dynamic_eids]
        for prefix, locators in sets:
            rlocs = {one.address for one in locators}
            found.set(prefix, tuple(sorted(rlocs, key=lambda rloc: (rloc.version, int(rloc)))))
    return found


def status_bits(locators: Collection[IPAddress], down: Collection[IPAddress], instance_id: int) -> int:
    """The Locator-Status-Bits of a packet: bit n is 1 if the n-th locator of its source's site is up.

    Args:
        locators: The locator-set in its order; those for which there is no bit are left out.
        down: The RLOCs that are down.
        instance_id: The packet's instance-ID; 0 for none.
    """
    told = list(locators)[: WIDTH_WITH_INSTANCE if instance_id else WIDTH]
    return sum(1 << ordinal for ordinal, rloc in enumerate(told) if rloc not in down)


_MOST = 4096
_MOST_NEW = 256


class HeardBits:
    """What the Locator-Status-Bits of others say: gives each change. Bounded; what is too much is told once more."""

    def __init__(self, most: int = _MOST, most_new: int = _MOST_NEW) -> None:
        """Set the bounds: how many sources are remembered, and how many changes wait to be taken."""
        self._most, self._most_new = most, most_new
        self._last: dict[tuple[EidPrefix, IPAddress], int] = {}
        self._new: list[StatusBits] = []

    def note(self, said: StatusBits) -> None:
        """A packet brought them."""
        key = said.eid, said.rloc
        if self._last.get(key) == said.bits or len(self._new) >= self._most_new:
            return
        if len(self._last) >= self._most:
            self._last.clear()
        self._last[key] = said.bits
        self._new.append(said)

    def take(self) -> list[StatusBits]:
        """What is new since the last call."""
        taken, self._new = self._new, []
        return taken
