"""The kernel's smaller tries: what is local, what is routed natively, the aggregates of all EIDs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from nodes.dataplane.bpf.layout import LOCAL, NUMBER, AggregateFlag, LocalFlag, NativeRoute
from nodes.dataplane.decision import Tables
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel.mappings import GATE_NS
from nodes.dataplane.kernel.maps import KernelMap
from nodes.dataplane.status_bits import status_bits
from nodes.lisp.eid import EidPrefix, host_prefix


class PrefixTrie:
    """A trie of which a copy is kept, so that only what differs is written."""

    def __init__(self, kernel: KernelMap) -> None:
        """Nothing is written yet."""
        self._kernel = kernel
        self._there: dict[EidPrefix, bytes] = {}

    def set(self, prefix: EidPrefix, value: bytes) -> None:
        """Write an entry. Raises OSError."""
        self._kernel.update(encoding.eid_key(prefix), value)
        self._there[prefix] = value

    def delete(self, prefix: EidPrefix) -> None:
        """Take an entry out. Raises OSError."""
        self._kernel.delete(encoding.eid_key(prefix))
        self._there.pop(prefix, None)

    def sync(self, wanted: Mapping[EidPrefix, bytes]) -> None:
        """Bring it to what is wanted: first what is new, then what goes. Raises OSError."""
        for prefix, value in wanted.items():
            if self._there.get(prefix) != value:
                self.set(prefix, value)
        for prefix in [one for one in self._there if one not in wanted]:
            self.delete(prefix)

    def resync(self, wanted: Mapping[EidPrefix, bytes]) -> None:
        """The same, whatever the kernel has. Raises OSError."""
        self._there.clear()
        keys = {encoding.eid_key(prefix) for prefix in wanted}
        for key in [key for key, _ in self._kernel.items() if key not in keys]:
            self._kernel.delete(key)
        self.sync(wanted)

    def items(self) -> Iterable[tuple[EidPrefix, bytes]]:
        """What the kernel has. Raises OSError."""
        return ((encoding.eid_prefix(key), value) for key, value in self._kernel.items())


def native_routes(tables: Tables, instances: Iterable[int]) -> dict[EidPrefix, NativeRoute]:
    """What the kernel has to know of native routes (requirement S02) and of what hosts are denied (S01).

    Args:
        tables: What decisions depend on.
        instances: The instance-IDs of the site.
    """
    found: dict[EidPrefix, NativeRoute] = {}
    for prefix, leads_somewhere in tables.native.items():
        found[prefix] = NativeRoute.STACK if leads_somewhere or _is_denied(prefix, tables) else NativeRoute.NULL0
    for space, _ in tables.rloc_space.items():
        for instance_id in {0, *instances}:
            found[EidPrefix(space.network, instance_id)] = NativeRoute.STACK
    for rloc in tables.own:
        found[host_prefix(rloc)] = NativeRoute.STACK
    return found


def _is_denied(prefix: EidPrefix, tables: Tables) -> bool:
    return tables.rloc_space.lookup(EidPrefix(prefix.network)) is not None


def aggregates(tables: Tables) -> dict[EidPrefix, AggregateFlag]:
    """The aggregates of all EIDs (PITR, PETR, RTR), and the RLOC space: each with what all that cover it say."""
    found: dict[EidPrefix, AggregateFlag] = {}
    for table, flag in ((tables.aggregates, AggregateFlag.EID), (tables.rloc_space, AggregateFlag.RLOC)):
        found |= {prefix: found.get(prefix, AggregateFlag(0)) | flag for prefix, _ in table.items()}
    found |= {host_prefix(rloc): AggregateFlag.RLOC for rloc in tables.own}
    for prefix in found:
        if tables.aggregates.lookup(prefix):
            found[prefix] |= AggregateFlag.EID
        if tables.rloc_space.lookup(prefix):
            found[prefix] |= AggregateFlag.RLOC
    return found


def packed(entries: Mapping[EidPrefix, int]) -> dict[EidPrefix, bytes]:
    """The same as a map has it."""
    return {prefix: NUMBER.pack(value) for prefix, value in entries.items()}


def flags_of(prefix: EidPrefix, tables: Tables) -> LocalFlag:
    """What is local about a prefix: the union of what all prefixes say that cover it."""
    flags = LocalFlag(0)
    if tables.local.lookup(prefix):
        flags |= LocalFlag.EID
    if tables.dynamic.lookup(prefix):
        flags |= LocalFlag.DYNAMIC
    if prefix.mask_len == prefix.network.max_prefixlen and tables.local.get(prefix):
        flags |= LocalFlag.HOST
    return flags


class LocalTable:
    """The EIDs of this site: configured prefixes, permitted dynamic prefixes, hosts that were found."""

    def __init__(self, kernel: KernelMap, tables: Tables, monotonic_ns: Callable[[], int]) -> None:
        """Nothing is written yet; ``monotonic_ns`` is CLOCK_MONOTONIC in nanoseconds."""
        self._trie, self._tables, self._monotonic_ns = PrefixTrie(kernel), tables, monotonic_ns

    def add_host(self, eid: EidPrefix) -> None:
        """A dynamic-EID is here. Its gate is closed: its first packets may wait in the daemon. Raises OSError."""
        self._trie.set(eid, self._value(eid))

    def remove_host(self, eid: EidPrefix) -> None:
        """It is here no longer. Raises OSError."""
        self._trie.delete(eid)

    def resync(self) -> None:
        """Write all of it anew. Raises OSError."""
        self._trie.resync({prefix: self._value(prefix) for prefix in self.wanted()})

    def wanted(self) -> dict[EidPrefix, LocalFlag]:
        """What the kernel has to know."""
        tables = self._tables
        prefixes = [prefix for table in (tables.local, tables.dynamic) for prefix, _ in table.items()]
        return {prefix: flags_of(prefix, tables) for prefix in prefixes}

    def locators_changed(self) -> None:
        """Other locators of the site are up: its packets tell that (requirement D09). Raises OSError."""
        for prefix, old in list(self._trie.items()) if self._tables.registered else ():
            flags, is_open, _, _, until = LOCAL.unpack(old)
            self._trie.set(prefix, encoding.local(flags, is_open, until, self._status_bits(prefix)))

    def items(self) -> Iterable[tuple[EidPrefix, LocalFlag]]:
        """What the kernel has. Raises OSError."""
        return ((prefix, encoding.local_flags(value)) for prefix, value in self._trie.items())

    def _value(self, prefix: EidPrefix) -> bytes:
        until = self._monotonic_ns() + GATE_NS
        return encoding.local(flags_of(prefix, self._tables), False, until, self._status_bits(prefix))

    def _status_bits(self, prefix: EidPrefix) -> int | None:
        found = self._tables.registered.lookup(prefix)
        return None if found is None else status_bits(found[1], self._tables.down, prefix.instance_id)
