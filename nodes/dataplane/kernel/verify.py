"""Compares what the kernel's maps say with what the engine and its tables say, entry by entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nodes.dataplane.bpf.layout import NUMBER, Action, LocalFlag
from nodes.dataplane.decision import Tables
from nodes.dataplane.kernel import encoding, prefixes
from nodes.dataplane.kernel.encoding import Locator
from nodes.dataplane.kernel.locators import Choice, Locators
from nodes.dataplane.kernel.mappings import choice_of
from nodes.dataplane.kernel.maps import KernelMaps
from nodes.lisp.eid import EidPrefix

ABSENT = "-"


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry on which the two do not agree.

    Attributes:
        table: The map.
        key: Which entry.
        kernel: What the kernel says, or "-".
        engine: What it should say, or "-".
    """

    table: str
    key: str
    kernel: str
    engine: str


def differences(
    maps: KernelMaps,
    tables: Tables,
    locators: Locators,
    fixed: Mapping[str, Mapping[bytes, bytes]],
    wanted_native: Mapping[EidPrefix, int],
) -> Iterator[Difference]:
    """Every difference.

    Args:
        maps: The kernel's maps.
        tables: What decisions depend on.
        locators: Numbers the locators.
        fixed: The tables that never change while the daemon runs, as bytes.
        wanted_native: The native routes.
    """
    yield from _compared("map_cache", _kernel_mappings(maps), _engine_mappings(tables, locators))
    there = {NUMBER.unpack(key)[0]: value for key, value in maps["locators"].items()}
    places = {place: str(Locator.read(locators.value(address))) for address, place in locators.numbered()}
    used = {place: str(Locator.read(value)) for place, value in there.items() if Locator.read(value).address}
    yield from _compared("locators", _keyed(used), _keyed(places))
    wanted = {prefix: str(flags) for prefix, flags in _local(tables).items()}
    found = {encoding.eid_prefix(key): str(encoding.local_flags(value)) for key, value in maps["local"].items()}
    yield from _compared("local", _keyed(found), _keyed(wanted))
    numbers: tuple[tuple[str, Mapping[EidPrefix, int]], ...] = (
        ("native", wanted_native),
        ("aggregates", prefixes.aggregates(tables)),
    )
    for name, expected in numbers:
        kernel = {encoding.eid_prefix(key): str(NUMBER.unpack(value)[0]) for key, value in maps[name].items()}
        yield from _compared(name, _keyed(kernel), {str(key): str(int(value)) for key, value in expected.items()})
    for name, contents in fixed.items():
        yield from _compared(name, _hexadecimal(maps[name].items()), _hexadecimal(contents.items()))


def _compared(table: str, kernel: Mapping[str, str], engine: Mapping[str, str]) -> Iterator[Difference]:
    for key in sorted({*kernel, *engine}):
        one, other = kernel.get(key, ABSENT), engine.get(key, ABSENT)
        if one != other:
            yield Difference(table, key, one, other)


def _keyed(entries: Mapping[EidPrefix, str] | Mapping[int, str]) -> dict[str, str]:
    return {str(key): value for key, value in entries.items()}


def _hexadecimal(entries: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {key.hex(): value.hex() for key, value in entries}


def _local(tables: Tables) -> dict[EidPrefix, LocalFlag]:
    found = [prefix for table in (tables.local, tables.dynamic) for prefix, _ in table.items()]
    return {prefix: prefixes.flags_of(prefix, tables) for prefix in found}


def _kernel_mappings(maps: KernelMaps) -> dict[str, str]:
    addresses = {NUMBER.unpack(key)[0]: Locator.read(value).address for key, value in maps["locators"].items()}
    found = {}
    for key, value in maps["map_cache"].items():
        entry = encoding.Mapping.read(value)
        candidates = (f"{addresses[one.place]} {one.priority}/{one.weight}" for one in entry.candidates)
        found[str(encoding.eid_prefix(key))] = _words(entry.action, candidates)
    return found


def _engine_mappings(tables: Tables, locators: Locators) -> dict[str, str]:
    return {str(prefix): _choice(choice_of(entry, tables), locators) for prefix, entry in tables.map_cache.items()}


def _choice(choice: Choice, locators: Locators) -> str:
    if not locators.holds(choice):
        return _words(Action.STACK, iter(()))
    return _words(choice[0], (f"{one.address} {one.priority}/{one.weight}" for one in choice[1]))


def _words(action: int, candidates: Iterator[str]) -> str:
    return ", ".join((Action(action).name.lower(), *candidates))
