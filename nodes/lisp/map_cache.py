"""The map-cache of an ITR or PITR: what mappings say, for how long, and what the data path is to do about it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from nodes.lisp.config import Locator
from nodes.lisp.effects import Forwarding, ForwardingEntry, Install, Remove
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.locators import last_hop, next_hop, usable
from nodes.lisp.timers import Timers
from nodes.lisp.wire import Action, EidRecord, LocatorRecord

MAX_ENTRIES = 131_072
TTL_AS_RECEIVER_LIKES = 0xFFFFFFFF
LOCAL_TTL_MINUTES = 1440

# RFC 9301 section 5.4 and 12.3: what an empty locator-set tells the ITR. Values 6 and 7 are not assigned.
ACTIONS: Mapping[int, tuple[Forwarding, str]] = {
    Action.NO_ACTION: (Forwarding.DROP, "no-action"),
    Action.NATIVELY_FORWARD: (Forwarding.NATIVE, ""),
    Action.SEND_MAP_REQUEST: (Forwarding.SEND_MAP_REQUEST, ""),
    Action.DROP_NO_REASON: (Forwarding.DROP, "no-reason"),
    Action.DROP_POLICY_DENIED: (Forwarding.DROP, "policy-denied"),
    Action.DROP_AUTH_FAILURE: (Forwarding.DROP, "auth-failure"),
}


@dataclass(frozen=True, slots=True)
class MapCacheEntry:
    """One mapping in the map-cache.

    Attributes:
        forwarding: The entry as the data path sees it.
        locators: The locator-set as it was received, usable or not.
        installed_at: When it was learned, in seconds of the engine's clock.
        expires_at: When it ends, or None for a default or static entry.
        static: Whether it was put in by hand: then no Map-Reply changes it, and it never ends.
    """

    forwarding: ForwardingEntry
    locators: tuple[LocatorRecord, ...]
    installed_at: float
    expires_at: float | None
    static: bool = False


class MapCache:
    """Mappings by EID-prefix, above default entries that never end (requirement S04)."""

    def __init__(
        self,
        defaults: Iterable[EidPrefix],
        rlocs: Collection[IPAddress],
        now: float = 0.0,
        max_entries: int = MAX_ENTRIES,
        dynamic: Collection[EidPrefix] = (),
    ) -> None:
        """Make a cache that holds its defaults only.

        Args:
            defaults: Prefixes whose default entry says send-map-request.
            rlocs: The node's own RLOCs; they decide which locators are usable.
            now: Seconds of the engine's clock.
            max_entries: The bound; when it is reached, the mapping that would end first makes room.
            dynamic: Prefixes whose hosts are found one by one, here or elsewhere: what is not there now may be soon.
        """
        self._rlocs = rlocs
        self._max_entries = max_entries
        self._dynamic = dynamic
        self._learned: EidTable[MapCacheEntry] = EidTable()
        self._expiry: Timers[EidPrefix] = Timers()
        # The learned mappings that packets are sent to an RLOC by: whose turn is next comes first.
        self._by_rloc: dict[IPAddress, OrderedDict[EidPrefix, None]] = {}
        self._defaults: EidTable[MapCacheEntry] = EidTable()
        for prefix in defaults:
            entry = ForwardingEntry(prefix, Forwarding.SEND_MAP_REQUEST)
            self._defaults.set(prefix, MapCacheEntry(entry, (), now, None))

    def move(self, rlocs: Collection[IPAddress]) -> Iterator[Install]:
        """The node has other RLOCs: the data path hears of mappings whose usable locators are others by that."""
        self._rlocs = rlocs
        for prefix, entry in list(self._learned.items()):
            forwarding = _towards(prefix, usable(entry.locators, rlocs)) if entry.locators else entry.forwarding
            if forwarding != entry.forwarding:
                self._take_in(prefix, replace(entry, forwarding=forwarding))
                yield Install(forwarding)

    def install_defaults(self) -> Iterator[Install]:
        """Write the default entries into the data path."""
        yield from (Install(entry.forwarding) for _, entry in self._defaults.items())

    def lookup(self, eid: EidPrefix) -> MapCacheEntry | None:
        """The entry that decides for ``eid``."""
        found = [hit for table in (self._learned, self._defaults) if (hit := table.lookup(eid))]
        return max(found, key=lambda hit: hit[0].mask_len)[1] if found else None

    def outdated(self, eid: EidPrefix) -> list[EidPrefix]:
        """What to ask for when the mapping of ``eid`` is said to be old: nothing, if nothing of it is cached.

        Returns:
            The cached prefixes inside ``eid``; and ``eid`` itself if a less-specific prefix is cached.
        """
        inside = [prefix for prefix, _ in self._learned.covered(eid)]
        return inside if eid in inside or self._learned.lookup(eid) is None else [eid, *inside]

    def cached_prefix(self, eid: EidPrefix) -> EidPrefix:
        """The prefix of the mapping that is cached for ``eid``; ``eid`` itself if there is none."""
        found = self._learned.lookup(eid)
        return found[0] if found else eid

    def inside(self, prefix: EidPrefix) -> list[MapCacheEntry]:
        """The cached mappings inside ``prefix``, itself included, but for those that were put in by hand."""
        return [entry for _, entry in self._learned.covered(prefix) if not entry.static]

    def covering(self, eid: EidPrefix) -> Iterator[MapCacheEntry]:
        """The cached mappings that cover ``eid``, the most specific one first."""
        yield from (entry for _, entry in self._learned.covering(eid))

    def uses(self, rloc: IPAddress) -> bool:
        """Whether packets are sent to an RLOC by a cached mapping."""
        return rloc in self._by_rloc

    def leads_to(self, prefix: EidPrefix, rloc: IPAddress) -> bool:
        """Whether packets are sent to an RLOC by the mapping of just this prefix."""
        return prefix in self._by_rloc.get(rloc, ())

    def locators_beside(self, rloc: IPAddress, most: int) -> Iterator[IPAddress]:
        """The locators of the first ``most`` mappings that have ``rloc`` among theirs, itself included."""
        for prefix in islice(self._by_rloc.get(rloc, ()), most):
            entry = self._learned.get(prefix)
            yield from (one.address for one in entry.forwarding.locators) if entry else ()

    def next_mapping(self, rloc: IPAddress) -> EidPrefix | None:
        """A mapping that packets are sent to ``rloc`` by, each in its turn; None if there is none."""
        mappings = self._by_rloc.get(rloc)
        if not mappings:
            return None
        prefix = next(iter(mappings))
        mappings.move_to_end(prefix)
        return prefix

    def confirm(self, record: EidRecord, now: float) -> Iterator[Install | Remove]:
        """Take in what an ETR says of a mapping that is cached; the data path hears of it only if it is news.

        Args:
            record: The record of a mapping, as its ETR gives it.
            now: Seconds of the engine's clock.
        """
        entry = self._learned.get(record.prefix)
        if entry is None or entry.static:
            return
        if record.ttl_minutes == 0 or entry.forwarding != self._forwarding(record):
            yield from self.store(record, now)
            return
        expires_at = self._expires_at(record, now)
        self._learned.set(record.prefix, replace(entry, locators=record.locators, expires_at=expires_at))
        self._expiry.set(record.prefix, expires_at)

    def replace(self, eid: EidPrefix, new: Collection[EidPrefix]) -> Iterator[Install | Remove]:
        """Take out what was cached for ``eid`` between it and the prefixes that an answer has for it now."""
        while (found := self._learned.lookup(eid)) and found[0] not in new:
            if found[1].static or not any(prefix.covers(found[0]) for prefix in new):
                return
            yield self._take_out(found[0])

    def store(self, record: EidRecord, now: float) -> Iterator[Install | Remove]:
        """Take in one record of an accepted Map-Reply.

        Args:
            record: The record.
            now: Seconds of the engine's clock.
        """
        prefix = record.prefix
        if (there := self._learned.get(prefix)) is not None and there.static:
            return
        # RFC 9301 section 5.4: a Record TTL of 0 removes the entry at once.
        if record.ttl_minutes == 0:
            if prefix in self._learned:
                yield self._take_out(prefix)
            return
        if prefix not in self._learned and len(self._learned) >= self._max_entries:
            if self._expiry.first() is None:  # full of mappings that never end
                return
            yield from self._evict()
        entry = MapCacheEntry(self._forwarding(record), record.locators, now, self._expires_at(record, now))
        self._take_in(prefix, entry)
        if entry.expires_at is not None:
            self._expiry.set(prefix, entry.expires_at)
        # What leads where it led already is no news to the data path. Of an EID without a way, packets may be waiting.
        if there is None or there.forwarding != entry.forwarding or not entry.forwarding.locators:
            yield Install(entry.forwarding)

    def add_static(
        self, mappings: Iterable[tuple[EidPrefix, tuple[Locator, ...]]], now: float
    ) -> Iterator[Install | Remove]:
        """Put in mappings by hand; of those for which there is no room any more, nothing comes.

        Args:
            mappings: EID-prefixes with their locator-sets.
            now: Seconds of the engine's clock.
        """
        known: dict[tuple[Locator, ...], tuple[tuple[LocatorRecord, ...], tuple[Locator, ...]]] = {}
        for prefix, locators in mappings:
            if prefix not in self._learned and len(self._learned) >= self._max_entries:
                if self._expiry.first() is None:
                    return
                yield from self._evict()
            if locators not in known:
                records = tuple(LocatorRecord(one.address, one.priority, one.weight) for one in locators)
                known[locators] = records, usable(records, self._rlocs)
            records, found = known[locators]
            forwarding = _towards(prefix, found)
            self._expiry.cancel(prefix)
            self._take_in(prefix, MapCacheEntry(forwarding, records, now, None, static=True))
            yield Install(forwarding)

    def is_static(self, prefix: EidPrefix) -> bool:
        """Whether a mapping of just this prefix was put in by hand."""
        entry = self._learned.get(prefix)
        return entry is not None and entry.static

    def remove_static(self, prefixes: Iterable[EidPrefix]) -> Iterator[Install | Remove]:
        """Take out those of the mappings of these prefixes that were put in by hand."""
        yield from (self._take_out(prefix) for prefix in prefixes if self.is_static(prefix))

    def expire(self, now: float) -> Iterator[Install | Remove]:
        """Take out the mappings whose time is over."""
        for prefix in self._expiry.due(now):
            yield self._take_out(prefix)

    def deadline(self) -> float | None:
        """When the next mapping ends."""
        return self._expiry.deadline()

    def rows(self, now: float, down: Collection[IPAddress] = ()) -> list[dict[str, Any]]:
        """The cache as a table, in address order; a default entry shows while no mapping of its prefix hides it.

        Args:
            now: Seconds of the engine's clock.
            down: The RLOCs that are found to be down, whatever the mappings say: of a path, its next hop.
        """
        shown: EidTable[MapCacheEntry] = EidTable()
        for table in (self._defaults, self._learned):
            for prefix, entry in table.items():
                shown.set(prefix, entry)
        return [self._row(prefix, entry, now, down) for prefix, entry in shown.items()]

    def __len__(self) -> int:
        return len(self._learned)

    def _forwarding(self, record: EidRecord) -> ForwardingEntry:
        # A host that is nowhere now, or here by the mapping and not found, may be found at any moment: it is asked for
        # again, at the pace of Map-Requests.
        leads_here = any(last_hop(one.address) in self._rlocs for one in record.locators)
        nobody = not record.locators and record.action == Action.NATIVELY_FORWARD
        found = usable(record.locators, self._rlocs)
        if (leads_here or nobody or (record.locators and not found)) and self._is_dynamic(record.prefix):
            return ForwardingEntry(record.prefix, Forwarding.SEND_MAP_REQUEST)
        # RFC 9301 section 5.4: the action bits speak only when the locator-set is empty.
        if not record.locators:
            forwarding, reason = ACTIONS.get(record.action, ACTIONS[Action.NO_ACTION])
            return ForwardingEntry(record.prefix, forwarding, reason=reason)
        return _towards(record.prefix, found)

    def _is_dynamic(self, prefix: EidPrefix) -> bool:
        return any(one.covers(prefix) for one in self._dynamic)

    def _expires_at(self, record: EidRecord, now: float) -> float:
        # RFC 9301 section 5.4: the Record TTL is in minutes; all ones leave it to the receiver.
        as_we_like = record.ttl_minutes == TTL_AS_RECEIVER_LIKES
        expires_at = now + 60.0 * (LOCAL_TTL_MINUTES if as_we_like else record.ttl_minutes)
        # RFC 9301 section 5.5: a less-specific prefix that comes later ends with the first of its more-specifics,
        # so that it never stands alone where more-specifics exist.
        for prefix, entry in self._learned.covered(record.prefix):
            if prefix != record.prefix and entry.expires_at is not None:
                expires_at = min(expires_at, entry.expires_at)
        return expires_at

    def _evict(self) -> Iterator[Install | Remove]:
        first = self._expiry.first()
        if first is not None:
            yield self._take_out(first[1])

    def _take_in(self, prefix: EidPrefix, entry: MapCacheEntry) -> None:
        self._forget_locators(prefix)
        self._learned.set(prefix, entry)
        for locator in entry.forwarding.locators:
            self._by_rloc.setdefault(locator.address, OrderedDict())[prefix] = None

    def _forget_locators(self, prefix: EidPrefix) -> None:
        entry = self._learned.get(prefix)
        for rloc in {one.address for one in entry.forwarding.locators} if entry else ():  # one may be there twice
            mappings = self._by_rloc[rloc]
            del mappings[prefix]
            if not mappings:
                del self._by_rloc[rloc]

    def _take_out(self, prefix: EidPrefix) -> Install | Remove:
        """Forget a mapping; what to tell the data path: a default of that prefix returns."""
        self._forget_locators(prefix)
        self._learned.pop(prefix)
        self._expiry.cancel(prefix)
        default = self._defaults.get(prefix)
        return Install(default.forwarding) if default else Remove(prefix)

    def _row(self, prefix: EidPrefix, entry: MapCacheEntry, now: float, down: Collection[IPAddress]) -> dict[str, Any]:
        forwarding = entry.forwarding
        return {
            "eid": str(prefix.network),
            "instance_id": prefix.instance_id,
            "action": f"{forwarding.forwarding}/{forwarding.reason}"
            if forwarding.reason
            else str(forwarding.forwarding),
            "locators": [
                {
                    "rloc": str(one.address),
                    "priority": one.priority,
                    "weight": one.weight,
                    "state": "up" if one.reachable and next_hop(one.address, self._rlocs) not in down else "down",
                }
                for one in entry.locators
            ],
            "uptime_s": round(now - entry.installed_at, 1),
            "expires_s": None if entry.expires_at is None else round(entry.expires_at - now, 1),
            "source": "static" if entry.static else "default" if entry.expires_at is None else "map-reply",
        }


def _towards(prefix: EidPrefix, locators: tuple[Locator, ...]) -> ForwardingEntry:
    """What the data path is to do about a mapping with a locator-set, of which these can be used."""
    if locators:
        return ForwardingEntry(prefix, Forwarding.ENCAPSULATE, locators)
    return ForwardingEntry(prefix, Forwarding.DROP, reason="no-usable-locator")
