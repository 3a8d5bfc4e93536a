"""Locator-Status-Bits: which locators of the sender's site are up (RFC 9300 sections 5.3 and 10, requirement D09).

An option, for networks of one operator: whoever forges a packet of the site forges its bits (section 4.1). On receipt
they are not looked at: probes and ICMP errors say more, and cannot be forged off the path.
"""

from __future__ import annotations

from collections.abc import Collection

from nodes.lisp.config import NodeConfig
from nodes.lisp.eid import IPAddress
from nodes.lisp.eid_table import EidTable

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
