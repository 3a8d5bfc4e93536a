"""The map-cache in the kernel: every entry of the engine's has its like there, or a wider one would win (S04)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from nodes.dataplane.bpf.layout import MOST_CANDIDATES, NUMBER, Action
from nodes.dataplane.decision import Tables
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel.encoding import Past
from nodes.dataplane.kernel.locators import Choice, Group, Locators
from nodes.dataplane.kernel.maps import KernelMap
from nodes.lisp.config import UNUSED_PRIORITY, Role
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix

GATE_NS = 1_000_000_000
"""When a new entry opens in any case, in nanoseconds from now: by then nothing waits that came before it."""

_TO_STACK: Choice = (Action.STACK, ())


def choice_of(entry: ForwardingEntry, tables: Tables) -> Choice:
    """What the kernel is to do with packets of an entry; what is not plain encapsulation it leaves to the daemon."""
    if entry.forwarding is Forwarding.ENCAPSULATE:
        action, locators = Action.ENCAPSULATE, entry.locators
    elif entry.forwarding is Forwarding.NATIVE and tables.petrs and Role.ITR in tables.roles:
        # RFC 6832 section 6: a PETR takes what goes to non-LISP sites.
        action, locators = Action.PETR, tables.petrs
    else:
        return _TO_STACK
    if len(locators) > MOST_CANDIDATES or not locators:
        return _TO_STACK
    for one in locators:
        if one.address in tables.own or one.priority == UNUSED_PRIORITY:
            return _TO_STACK
    if len(locators) > 1:
        locators = tuple(sorted(locators, key=lambda one: one.priority))  # stable: then by address
    return action, locators


class Mappings:
    """Writes map-cache entries."""

    def __init__(self, kernel: KernelMap, locators: Locators, tables: Tables, monotonic_ns: Callable[[], int]) -> None:
        """Nothing is written yet.

        Args:
            kernel: The map ``map_cache``.
            locators: Numbers the locators.
            tables: What decisions depend on.
            monotonic_ns: CLOCK_MONOTONIC in nanoseconds.
        """
        self._kernel, self._locators, self._tables = kernel, locators, tables
        self._monotonic_ns = monotonic_ns
        self._written: dict[bytes, Group] = {}
        self._numbers = count(1)

    def install(self, entry: ForwardingEntry) -> None:
        """Write an entry, replacing one of the same prefix. Raises OSError.

        Its gate is closed: packets that came before may wait in the TUN device or the daemon. Of one that replaces an
        open one it stays open: its flows are in the kernel already.
        """
        key = encoding.eid_key(entry.prefix)
        group = self._locators.group(choice_of(entry, self._tables))
        old = self._written.get(key)
        past = self._past(key) if old is not None else Past(next(self._numbers))
        if old is not None and Action.STACK in (old.action, group.action):
            past = replace(past, is_open=False)
        self._write(key, group, past)
        self._written[key] = group
        if old is not None:
            self._locators.release(old)

    def remove(self, prefix: EidPrefix) -> None:
        """Take an entry out. Raises OSError."""
        key = encoding.eid_key(prefix)
        old = self._written.get(key)
        if old is None:
            return
        if old.action is Action.STACK:
            self._close_gate_above(prefix)
        self._kernel.delete(key)
        del self._written[key]
        self._locators.release(old)

    def resync(self) -> None:
        """Write all of the engine's entries anew, and nothing else. Raises OSError."""
        self._written.clear()
        pasts = {}
        for key, value in list(self._kernel.items()):
            pasts[key] = replace(encoding.handed_on(value), is_open=False)
            self._kernel.delete(key)
        self._locators.clear()
        for _, entry in self._tables.map_cache.items():
            key = encoding.eid_key(entry.prefix)
            group = self._written[key] = self._locators.group(choice_of(entry, self._tables))
            self._write(key, group, pasts.get(key) or Past(next(self._numbers)))

    def items(self) -> Iterator[tuple[EidPrefix, encoding.Mapping]]:
        """What the kernel has. Raises OSError."""
        yield from ((encoding.eid_prefix(key), encoding.Mapping.read(value)) for key, value in self._kernel.items())

    def _past(self, key: bytes) -> Past:
        there = self._kernel.lookup(key)
        return encoding.handed_on(there) if there is not None else Past(next(self._numbers))

    def _write(self, key: bytes, group: Group, past: Past) -> None:
        until = self._monotonic_ns() + GATE_NS
        bits = NUMBER.unpack_from(key)[0] - 32
        self._kernel.update(key, encoding.mapping(group.action, len(group.places), bits, until, past, group.packed))

    def _close_gate_above(self, prefix: EidPrefix) -> None:
        """What an entry left to the daemon may wait there still when the next wider entry takes its packets."""
        if not prefix.mask_len:
            return
        wider = EidPrefix(prefix.network.supernet(), prefix.instance_id)
        above = self._tables.map_cache.lookup(wider)
        key = encoding.eid_key(above[0]) if above else b""
        group = self._written.get(key)
        if group is not None and group.action is not Action.STACK:
            self._write(key, group, replace(self._past(key), is_open=False))
