"""Hosts of the site's own EID-prefixes that are at other sites (requirement X10).

The home site registers the subnet, not its hosts. Of one that another site has found it hears by a Map-Notify: from
then on it is away. The word is kept across restarts, for it was acknowledged and does not come again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from nodes.lisp.config import NodeConfig
from nodes.lisp.effects import Effect, HostAway, HostHome, Persist, Report
from nodes.lisp.eid import EidPrefix
from nodes.lisp.engine.database import Database
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire import EidRecord, MapReply

AWAY = "away/"


class Home:
    """Which hosts of the site are away."""

    def __init__(self, config: NodeConfig, database: Database, durable: Mapping[str, Any]) -> None:
        """Make one that remembers who was away in an earlier run.

        Args:
            config: What the node is told.
            database: The site's own mappings.
            durable: What an earlier run kept.
        """
        self._roaming = config.roaming
        self._database = database
        kept = {key: _record(value) for key, value in durable.items() if key.startswith(AWAY)}
        self._away = {one.prefix: one for one in kept.values() if one is not None and self.covers(one.prefix)}
        self._returning: set[EidPrefix] = set()
        self._lost = [key for key, one in kept.items() if one is None or one.prefix not in self._away]

    def start(self) -> Iterator[Persist]:
        """Forget what the configuration no longer allows."""
        yield from (Persist(key, None) for key in self._lost)

    def away(self) -> list[EidRecord]:
        """Where the hosts are that are away."""
        return list(self._away.values())

    def covers(self, eid: EidPrefix) -> bool:
        """Whether a host is of a prefix of this site in which other sites find hosts."""
        return any(prefix.covers(eid) for prefix in self._roaming)

    def is_away(self, eid: EidPrefix) -> bool:
        """Whether a host is known to be at another site."""
        return eid in self._away

    def leaves(self, record: EidRecord) -> Iterator[Effect]:
        """A host has this mapping at another site."""
        eid = record.prefix
        self._away[eid] = record
        self._returning.discard(eid)
        yield Persist(_key(eid), MapReply(0, (record,)).encode().hex())  # any message that carries the record whole
        yield HostAway(eid)
        yield Report("host-away", {"eid": str(eid), "locators": [str(one.address) for one in record.locators]})

    def returns(self, eid: EidPrefix) -> Iterator[Effect]:
        """A host that was away is one of its subnet's again; until :meth:`settle`, a restart may still forget that."""
        del self._away[eid]
        self._returning.add(eid)
        yield HostHome(eid)
        yield Report("host-home", {"eid": str(eid)})

    def settle(self, is_known: Callable[[EidPrefix], bool]) -> Iterator[Persist]:
        """Forget where hosts were whose return every Map-Server has acknowledged."""
        for eid in [eid for eid in self._returning if is_known(eid)]:
            self._returning.remove(eid)
            yield Persist(_key(eid), None)

    def withdrawal(self, eid: EidPrefix) -> EidRecord:
        """What ends the mapping that another site has registered: TTL 0, with the locators of the subnet."""
        around = self._database.find(eid)
        return EidRecord.of(eid, 0, around.locators if around else ())


def _key(eid: EidPrefix) -> str:
    return f"{AWAY}{eid}"


def _record(kept: object) -> EidRecord | None:
    """What :meth:`Home.leaves` kept; None for anything else."""
    with suppress(ValueError, DecodeError):
        return MapReply.decode(bytes.fromhex(str(kept))).records[0]
    return None
