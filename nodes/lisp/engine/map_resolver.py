"""Map-Resolver: knows which EID-prefixes exist and which Map-Server holds each (RFC 9301 section 8.4)."""

from __future__ import annotations

from collections.abc import Iterator

from nodes.lisp.config import NodeConfig
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.engine.verdict import Forward, elsewhere
from nodes.lisp.wire import EidRecord


class MapResolver:
    """The configured delegations. Those to the node itself are the business of its own Map-Server."""

    def __init__(self, config: NodeConfig) -> None:
        self._delegations: EidTable[tuple[IPAddress, ...]] = EidTable()
        for delegation in config.delegations:
            if delegation.map_server not in config.rlocs:
                others = self._delegations.get(delegation.prefix) or ()
                self._delegations.set(delegation.prefix, (*others, delegation.map_server))

    def verdict(self, eid: EidPrefix) -> tuple[EidPrefix, Forward] | None:
        """The Map-Servers for ``eid`` and the prefix that decides it; None outside every delegation."""
        # RFC 9301 section 8.4: it does not know the mapping, so it asks the device that knows more.
        found = self._delegations.lookup(eid)
        return (found[0], Forward(found[1])) if found else None

    def inside(self, prefix: EidPrefix) -> Iterator[EidRecord]:
        """The records of all more-specifics of ``prefix`` that are delegated: each is to be asked for."""
        yield from (elsewhere(known) for known, _ in self._delegations.covered(prefix) if known != prefix)

    def configured(self) -> Iterator[EidPrefix]:
        """Every EID-prefix that another Map-Server holds."""
        yield from (prefix for prefix, _ in self._delegations.items())
