"""The fast path of one router: what the kernel's programs go by, kept in step with the engine's tables.

A write that fails takes the fast path out of use at once, so that the kernel never forwards by what is left of a
change. All of it is written anew, by and by, until that works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from nodes.dataplane.bpf.layout import NUMBER, EventKind, NativeRoute, RoleFlag
from nodes.dataplane.contacts import Use
from nodes.dataplane.counts import Count
from nodes.dataplane.decision import SourceOf, Tables
from nodes.dataplane.devices import Devices
from nodes.dataplane.kernel import cells, encoding, prefixes
from nodes.dataplane.kernel.contacts import KernelContacts
from nodes.dataplane.kernel.counters import FastCounts, LocatorCounters, PerCpu, count_of, read_pending, read_statistics
from nodes.dataplane.kernel.locators import Locators
from nodes.dataplane.kernel.mappings import Mappings
from nodes.dataplane.kernel.maps import KernelMap, KernelMaps
from nodes.dataplane.kernel.prefixes import LocalTable, PrefixTrie
from nodes.dataplane.kernel.verify import Difference, differences
from nodes.lisp.effects import ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress

FIRST_RETRY, LONGEST_RETRY = 0.25, 32.0
"""Seconds between two attempts to bring the kernel's maps in step; the time doubles."""

Report = Callable[[str, dict[str, Any]], None]

_NOTHING = Count()


class KernelPath:
    """Writes the maps of the kernel's programs, and reads what they have counted.

    Attributes:
        in_step: Whether the maps say what the engine says; while they do not, the programs leave everything alone.
    """

    def __init__(
        self,
        maps: KernelMaps,
        statistics: PerCpu,
        flows: PerCpu,
        tables: Tables,
        devices: Devices,
        source_of: SourceOf,
        *,
        report: Report,
        clock: Callable[[], float],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Take charge of fresh maps. Nothing is written before :meth:`start`.

        Args:
            maps: The kernel's maps by name.
            statistics: The map ``statistics``.
            flows: The map ``flows``.
            tables: What decisions depend on.
            devices: The router's interfaces.
            source_of: The own RLOC from which a locator is reached.
            report: Writes an event and its fields into the log.
            clock: The time in seconds by which failed writes are tried again.
            monotonic_ns: CLOCK_MONOTONIC in nanoseconds: the clock of the programs.
        """
        self._maps, self._statistics, self._tables, self._devices = maps, statistics, tables, devices
        self._report, self._clock, self._monotonic_ns = report, clock, monotonic_ns
        self._locator_counters = LocatorCounters(maps["locator_counters"])
        self._locators = Locators(maps["locators"], tables, source_of, self._locator_counters.freed)
        self._mappings = Mappings(maps["map_cache"], self._locators, tables, monotonic_ns)
        self._local = LocalTable(maps["local"], tables, monotonic_ns)
        self._native, self._aggregates = PrefixTrie(maps["native"]), PrefixTrie(maps["aggregates"])
        self._flows = flows
        self._contacts = KernelContacts(maps["contacts"], lambda: monotonic_ns() / 1e9)
        self._generation = encoding.generation(maps["settings"].lookup(NUMBER.pack(0)))
        self.in_step = False
        self._retry_at: float | None = None
        self._retry_after = FIRST_RETRY

    def start(self) -> None:
        """Write everything, and let the programs forward."""
        self._resync()

    # What changes

    def install(self, entry: ForwardingEntry) -> None:
        """Write a map-cache entry, replacing one of the same prefix."""
        self._try("map_cache", entry.prefix, lambda: self._mappings.install(entry))

    def remove(self, prefix: EidPrefix) -> None:
        """Take a map-cache entry out."""
        self._try("map_cache", prefix, lambda: self._mappings.remove(prefix))

    def add_host(self, eid: EidPrefix) -> None:
        """A dynamic-EID is here: its host route wins first, then its packets may take the fast path."""
        self._try("native", eid, lambda: self._native.set(eid, NUMBER.pack(NativeRoute.STACK)))
        self._try("local", eid, lambda: self._local.add_host(eid))

    def remove_host(self, eid: EidPrefix) -> None:
        """A dynamic-EID is here no longer."""
        self._try("local", eid, lambda: self._local.remove_host(eid))
        self._try("told", eid, lambda: self._forget_told(eid))
        self._try("native", eid, lambda: self._native.delete(eid))

    def _forget_told(self, eid: EidPrefix) -> None:
        """Its next frame is news: it may be back before the second is over (requirement X01)."""
        self._maps["told"].delete(encoding.told_key(EventKind.SOURCE, eid))

    def host_away(self, eid: EidPrefix) -> None:
        """A host of the own subnet is elsewhere (X10): what it sends is a stranger's, then its route ends."""
        self._try("local", eid, lambda: self._local.add_host(eid))
        self._try("told", eid, lambda: self._forget_told(eid))
        self._try("native", eid, lambda: self._native.set(eid, NUMBER.pack(NativeRoute.NULL0)))

    def native_changed(self) -> None:
        """The native routes are others (requirement S02)."""
        self._try("native", None, lambda: self._native.sync(prefixes.packed(self._wanted_native())))

    def moved(self) -> None:
        """The node has other RLOCs, and so have the locators other sources (requirement S15)."""
        self._try("own", None, lambda: _bring_to(self._maps["own"], self._fixed()["own"]))
        self._try("aggregates", None, lambda: self._aggregates.sync(prefixes.packed(prefixes.aggregates(self._tables))))
        self.native_changed()
        self._try("locators", None, self._locators.rewrite_all)

    def routes_changed(self) -> None:
        """The routes to locators are others (requirement S05)."""
        self._try("locators", None, self._locators.rewrite_all)

    def locator_changed(self, rloc: IPAddress) -> None:
        """A locator went down or came up, or the MTU of its path is another."""
        self._try("locators", rloc, lambda: self._locators.rewrite(rloc))
        self._try("local", rloc, self._local.locators_changed)

    # When a write fails

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do, on the clock."""
        return self._retry_at

    def expire(self) -> None:
        """Try again to bring the maps in step, if it is time."""
        if self._retry_at is not None and self._retry_at <= self._clock():
            self._resync()

    def stop(self) -> None:
        """Let the programs leave everything to the stack. Raises OSError."""
        self.in_step, self._retry_at = False, None
        self._enable(False)

    def _try(self, table: str, what: EidPrefix | IPAddress | None, write: Callable[[], None]) -> None:
        if self.in_step:
            try:
                write()
                # What the programs know of flows was decided by the tables as they were before.
                self._enable(True)
            except OSError as error:
                self._failed(table, "" if what is None else str(what), error)

    def _failed(self, table: str, what: str, error: OSError) -> None:
        self.in_step = False
        after = {}
        try:
            self._enable(False)
        except OSError as second:
            after = {"not_stopped": str(second)}
        self._retry_at = self._clock() + self._retry_after
        fields = {"table": table, "prefix": what, "error": str(error), "retry_s": self._retry_after, **after}
        self._report("dataplane-write-failed", fields)
        self._retry_after = min(2 * self._retry_after, LONGEST_RETRY)

    def _resync(self) -> None:
        again = self._retry_at is not None
        self._retry_at = None
        for table, write in self._all_tables():
            try:
                write()
            except OSError as error:
                self._failed(table, "", error)
                return
        self.in_step, self._retry_after = True, FIRST_RETRY
        if again:
            self._report("dataplane-in-step", {"mappings": len(self._tables.map_cache)})

    def _all_tables(self) -> Iterator[tuple[str, Callable[[], None]]]:
        yield "settings", lambda: self._enable(False)
        yield "native", lambda: self._native.resync(prefixes.packed(self._wanted_native()))
        yield "aggregates", lambda: self._aggregates.resync(prefixes.packed(prefixes.aggregates(self._tables)))
        for name, contents in self._fixed().items():
            yield name, partial(_bring_to, self._maps[name], contents)
        yield "local", self._local.resync
        yield "map_cache", self._mappings.resync
        yield "settings", lambda: self._enable(True)

    # What stands in the maps

    def _enable(self, enabled: bool) -> None:
        self._generation += 1
        self._maps["settings"].update(NUMBER.pack(0), self._settings(enabled))

    def _settings(self, enabled: bool) -> bytes:
        return encoding.settings(enabled, self._roles(), self._generation)

    def _roles(self) -> int:
        known = RoleFlag.__members__
        flags = sum(known[name] for role in self._tables.roles if (name := role.name) in known)
        return flags | (RoleFlag.STATUS_BITS if self._tables.registered else 0)

    def _wanted_native(self) -> dict[EidPrefix, NativeRoute]:
        return prefixes.native_routes(self._tables, self._devices.tuns)

    def _fixed(self) -> Mapping[str, Mapping[bytes, bytes]]:
        """The tables that are the same for as long as the daemon runs, or, the own RLOCs, until a mobile node moves."""
        devices, gates = self._devices, cells.places(self._devices.tuns)
        transits = cells.places(devices.transits, len(gates))
        instances = {
            **devices.sites,
            **dict.fromkeys(devices.core, 0),
            **{device: instance_id for instance_id, device in devices.tuns.items()},
        }
        ports = {index: (one, devices.tuns[one], gates[one]) for index, one in instances.items()}
        ports |= {device: (one, device, transits[one]) for one, device in devices.transits.items()}
        return {
            "own": {encoding.rloc_key(rloc): NUMBER.pack(1) for rloc in self._tables.own},
            "devices": {NUMBER.pack(one): NUMBER.pack(device) for one, device in devices.tuns.items()},
            "ports": {NUMBER.pack(index): encoding.port(*port) for index, port in ports.items()},
            "transits": {
                NUMBER.pack(one): encoding.transit(device, transits[one], gates.get(one))
                for one, device in devices.transits.items()
            },
        }

    def differences(self) -> list[Difference]:
        """Where the maps differ from what they should say. Raises OSError."""
        fixed = {**self._fixed(), "settings": {NUMBER.pack(0): self._settings(True)}}
        return list(differences(self._maps, self._tables, self._locators, fixed, self._wanted_native()))

    # What the programs have counted; raises OSError

    def statistics(self) -> FastCounts:
        """Packets since the daemon started."""
        return read_statistics(self._statistics)

    def mapping_counts(self) -> dict[EidPrefix, Count]:
        """What went by each mapping; ``last`` is CLOCK_MONOTONIC in seconds."""
        pending = read_pending(self._flows)
        found = {}
        for prefix, one in self._mappings.items():
            found[prefix] = count_of(one.counter)
            found[prefix].add(pending.get(one.number, _NOTHING))
        return found

    def locator_counts(self) -> dict[IPAddress, Count]:
        """What went to each locator; ``last`` is CLOCK_MONOTONIC in seconds."""
        places = dict(self._locators.numbered())
        known = {*places, *self._locator_counters.past()}
        return {one: self._locator_counters.of(one, places.get(one)) for one in known}

    def contacts(self) -> Iterator[tuple[int, IPAddress, IPAddress, float]]:
        """Instance-ID, EID of this site, RLOC, and when data last went between them: seconds of CLOCK_MONOTONIC."""
        return self._contacts.all()

    def contacts_of(self, prefix: EidPrefix) -> Iterator[Use]:
        """The RLOCs that data of the EIDs inside ``prefix`` went to or came from; CLOCK_MONOTONIC as well."""
        return self._contacts.of(prefix)


def _bring_to(kernel: KernelMap, contents: Mapping[bytes, bytes]) -> None:
    for key in [key for key, _ in kernel.items() if key not in contents]:
        kernel.delete(key)
    for key, value in contents.items():
        kernel.update(key, value)
