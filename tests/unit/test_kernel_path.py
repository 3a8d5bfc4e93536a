"""What the fast path writes into the kernel's maps, and what it does when they refuse."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest

from nodes.dataplane.bpf.layout import (
    COUNTER,
    LONG,
    NUMBER,
    SETTINGS,
    Action,
    AggregateFlag,
    LocalFlag,
    NativeRoute,
    RoleFlag,
    Statistic,
)
from nodes.dataplane.decision import Tables
from nodes.dataplane.devices import Devices
from nodes.dataplane.kernel import encoding, prefixes
from nodes.dataplane.kernel_path import FIRST_RETRY, KernelPath
from nodes.lisp.config import Locator
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from tests.unit.data_path import OWN, by_family, locator, tables
from tests.unit.kernel_maps import FakeMap, fake_maps

FAR, OTHER = ip_address("10.0.2.1"), ip_address("10.0.3.1")
SITE2 = EidPrefix.of("192.168.2.0/24")
NOW_NS = 5_000_000_000


class Kernel:
    """A fast path over maps of dictionaries, and the tables of the engine beside it."""

    def __init__(self, made: Tables | None = None, **most: int) -> None:
        self.tables = made or tables()
        self.maps = fake_maps(**most)
        self.now = 0.0
        self.routes: dict[IPAddress, IPAddress | None] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        devices = Devices(sites={11: 0}, core=(12,), tuns={0: 13})
        self.path = KernelPath(
            self.maps,
            self.maps["statistics"],
            self.maps["flows"],
            self.tables,
            devices,
            lambda rloc: self.routes.get(rloc, by_family(rloc)),
            report=lambda event, fields: self.events.append((event, fields)),
            clock=lambda: self.now,
            monotonic_ns=lambda: NOW_NS,
        )
        self.path.start()

    def install(self, prefix: str | EidPrefix, *locators: Locator, forwarding: Forwarding | None = None) -> None:
        """As the data path does it: Python's table, then the kernel."""
        eid = prefix if isinstance(prefix, EidPrefix) else EidPrefix.of(prefix)
        entry = ForwardingEntry(eid, forwarding or Forwarding.ENCAPSULATE, locators)
        self.tables.map_cache.set(eid, entry)
        self.path.install(entry)

    def remove(self, prefix: EidPrefix) -> None:
        self.path.remove(prefix)
        self.tables.map_cache.pop(prefix)

    def mapping(self, prefix: EidPrefix = SITE2) -> encoding.Mapping:
        return encoding.Mapping.read(self.maps["map_cache"].entries[encoding.eid_key(prefix)])

    def locator(self, place: int) -> encoding.Locator:
        return encoding.Locator.read(self.maps["locators"].entries[NUMBER.pack(place)])

    def open(self, prefix: EidPrefix = SITE2, packets: int = 7) -> None:
        """As a program does it with the first packet."""
        key = encoding.eid_key(prefix)
        value = bytearray(self.maps["map_cache"].entries[key])
        value[2] = 1
        value[16:40] = COUNTER.pack(packets, 100 * packets, NOW_NS)
        self.maps["map_cache"].entries[key] = bytes(value)

    @property
    def enabled(self) -> bool:
        enabled, roles, _ = SETTINGS.unpack(self.maps["settings"].entries[NUMBER.pack(0)])
        return (enabled, roles) == (1, RoleFlag.ITR | RoleFlag.ETR)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def test_a_start_writes_everything_and_then_enables(kernel: Kernel) -> None:
    assert kernel.enabled
    assert kernel.path.differences() == []
    ports = kernel.maps["ports"].entries
    assert {NUMBER.unpack(key)[0] for key in ports} == {11, 12, 13}
    assert kernel.maps["own"].entries.keys() == {encoding.rloc_key(one) for one in OWN.values()}
    assert kernel.mapping(EidPrefix.of("0.0.0.0/0")).action == Action.STACK


def test_an_entry_has_its_candidates_by_priority_then_address(kernel: Kernel) -> None:
    kernel.install(SITE2, locator("10.0.2.1", 2, 30), locator("10.0.3.1", 1, 40), locator("10.0.4.1", 1, 50))
    entry = kernel.mapping()
    assert entry.action == Action.ENCAPSULATE
    shown = [(str(kernel.locator(one.place).address), one.priority, one.weight) for one in entry.candidates]
    assert shown == [("10.0.3.1", 1, 40), ("10.0.4.1", 1, 50), ("10.0.2.1", 2, 30)]


def test_a_locator_is_written_before_the_mapping_that_uses_it(kernel: Kernel) -> None:
    order: list[str] = []
    for name in ("locators", "map_cache"):
        original = kernel.maps[name].update

        def update(key: bytes, value: bytes, name: str = name, original: Any = original) -> None:
            order.append(name)
            original(key, value)

        kernel.maps[name].update = update  # type: ignore[method-assign]
    kernel.install(SITE2, locator("10.0.2.1"))
    assert order == ["locators", "map_cache"]


def test_a_new_entry_is_closed_and_one_that_replaces_an_open_one_is_not(kernel: Kernel) -> None:
    """Nothing may overtake held packets; flows that are fast already have none."""
    kernel.install(SITE2, locator("10.0.2.1"))
    assert not kernel.mapping().is_open
    kernel.install(SITE2, locator("10.0.3.1"))
    assert not kernel.mapping().is_open
    kernel.open()
    kernel.install(SITE2, locator("10.0.2.1"))
    assert kernel.mapping().is_open
    assert COUNTER.unpack(kernel.mapping().counter)[0] == 7  # handed on


def test_an_entry_that_was_the_daemons_meanwhile_is_closed_again(kernel: Kernel) -> None:
    kernel.install(SITE2, locator("10.0.2.1"))
    kernel.open()
    kernel.install(SITE2, forwarding=Forwarding.SEND_MAP_REQUEST)
    assert kernel.mapping().action == Action.STACK
    kernel.install(SITE2, locator("10.0.2.1"))
    assert not kernel.mapping().is_open


def test_removing_what_was_the_daemons_closes_the_wider_entry(kernel: Kernel) -> None:
    """Packets of the removed entry may wait in the daemon still when the wider one takes the next of them."""
    kernel.install("192.168.0.0/16", locator("10.0.2.1"))
    wider = EidPrefix.of("192.168.0.0/16")
    kernel.install(SITE2, forwarding=Forwarding.SEND_MAP_REQUEST)
    kernel.open(wider)
    kernel.remove(SITE2)
    assert not kernel.mapping(wider).is_open
    assert COUNTER.unpack(kernel.mapping(wider).counter)[0] == 7


@pytest.mark.parametrize(
    ("made", "locators", "forwarding"),
    [
        (tables(), (locator(str(OWN[4])),), Forwarding.ENCAPSULATE),
        (tables(), tuple(locator(f"10.0.2.{n}") for n in range(1, 18)), Forwarding.ENCAPSULATE),
        (tables(), (), Forwarding.DROP),
        (tables(), (), Forwarding.NATIVE),
    ],
    ids=["leads here", "more locators than the kernel takes", "drop", "natively without PETRs"],
)
def test_what_is_not_plain_encapsulation_is_the_daemons(
    made: Tables, locators: tuple[Locator, ...], forwarding: Forwarding
) -> None:
    kernel = Kernel(made)
    kernel.install(SITE2, *locators, forwarding=forwarding)
    assert kernel.mapping().action == Action.STACK
    assert kernel.path.differences() == []


def test_natively_goes_to_the_petrs_of_an_itr() -> None:
    kernel = Kernel(tables(petrs=("10.0.9.1", "10.0.8.1")))
    kernel.install("200.0.0.0/5", forwarding=Forwarding.NATIVE)
    entry = kernel.mapping(EidPrefix.of("200.0.0.0/5"))
    assert entry.action == Action.PETR
    assert [str(kernel.locator(one.place).address) for one in entry.candidates] == ["10.0.9.1", "10.0.8.1"]


def test_places_are_given_back_and_counted_once(kernel: Kernel) -> None:
    kernel.install(SITE2, locator("10.0.2.1"))
    kernel.install("192.168.3.0/24", locator("10.0.2.1"))
    kernel.maps["locator_counters"].entries[NUMBER.pack(0)] = COUNTER.pack(3, 300, NOW_NS)
    kernel.remove(SITE2)
    assert kernel.locator(0).address == FAR  # the other mapping has it still
    kernel.remove(EidPrefix.of("192.168.3.0/24"))
    assert kernel.locator(0).address is None
    assert kernel.path.locator_counts()[FAR].packets == 3
    kernel.install(SITE2, locator("10.0.2.1"))
    assert kernel.locator(0).address is None  # first in, first out: a freed place rests
    assert kernel.path.locator_counts()[FAR].packets == 3


def test_a_mapping_without_room_for_its_locators_is_the_daemons(kernel: Kernel) -> None:
    for number in range(1024):
        kernel.install(f"20.0.{number >> 8}.{number & 255}/32", locator(f"10.1.{number >> 8}.{number & 255}"))
    kernel.install(SITE2, locator("10.0.2.1"))
    assert kernel.mapping().action == Action.STACK
    assert kernel.path.differences() == []


def test_a_change_of_a_locator_is_one_write(kernel: Kernel) -> None:
    kernel.install(SITE2, locator("10.0.2.1"))
    writes = {name: len(one.writes) for name, one in kernel.maps.items()}
    kernel.tables.down.add(FAR)
    kernel.path.locator_changed(FAR)
    assert not kernel.locator(0).usable
    kernel.tables.path_mtu[FAR] = 1400
    kernel.path.locator_changed(FAR)
    assert kernel.locator(0).mtu == 1364
    changed = {name: len(one.writes) - writes[name] for name, one in kernel.maps.items()}
    assert {name: count for name, count in changed.items() if count} == {"locators": 2, "settings": 4}


def test_a_change_of_routes_rewrites_the_sources(kernel: Kernel) -> None:
    """S05: the interface of the route decides the source; without a route it is not usable."""
    kernel.install(SITE2, locator("10.0.2.1"), locator("10.0.3.1"))
    kernel.routes = {FAR: ip_address("10.0.1.2"), OTHER: None}
    kernel.path.routes_changed()
    assert (kernel.locator(0).source, kernel.locator(0).usable) == (ip_address("10.0.1.2"), True)
    assert not kernel.locator(1).usable


def test_flags_are_those_of_all_covering_prefixes() -> None:
    made = tables()
    inside, host = EidPrefix.of("192.168.1.128/25"), host_prefix("192.168.1.200")
    made.dynamic.set(inside, True)
    kernel = Kernel(made)
    made.local.set(host, True)
    kernel.path.add_host(host)
    flags = {encoding.eid_prefix(key): value[0] for key, value in kernel.maps["local"].entries.items()}
    assert flags[EidPrefix.of("192.168.1.0/24")] == LocalFlag.EID
    assert flags[inside] == LocalFlag.EID | LocalFlag.DYNAMIC
    assert flags[host] == LocalFlag.EID | LocalFlag.DYNAMIC | LocalFlag.HOST
    assert kernel.maps["native"].entries[encoding.eid_key(host)] == NUMBER.pack(NativeRoute.STACK)
    kernel.path.remove_host(host)
    assert encoding.eid_key(host) not in kernel.maps["local"].entries
    assert encoding.eid_key(host) not in kernel.maps["native"].entries


def test_native_routes_are_the_stacks_and_null0_is_not() -> None:
    """S01, S02: but inside the RLOC space nothing is a candidate."""
    made = tables()
    made.native.set(EidPrefix.of("203.0.113.0/24"), True)
    made.native.set(EidPrefix.of("192.168.7.0/24"), False)
    made.native.set(EidPrefix.of("10.0.7.0/24"), False)
    found = prefixes.native_routes(made, {0, 7})
    assert found[EidPrefix.of("203.0.113.0/24")] == NativeRoute.STACK
    assert found[EidPrefix.of("192.168.7.0/24")] == NativeRoute.NULL0
    assert found[EidPrefix.of("10.0.7.0/24")] == NativeRoute.STACK
    assert found[EidPrefix.of("10.0.0.0/16", 7)] == NativeRoute.STACK


def test_aggregates_say_what_all_covering_prefixes_say() -> None:
    made = tables()
    made.aggregates.set(EidPrefix.of("10.0.5.0/24"), True)
    found = prefixes.aggregates(made)
    assert found[EidPrefix.of("192.168.0.0/16")] == AggregateFlag.EID
    assert found[EidPrefix.of("10.0.0.0/16")] == AggregateFlag.RLOC
    assert found[EidPrefix.of("10.0.5.0/24")] == AggregateFlag.EID | AggregateFlag.RLOC


def test_native_changes_write_only_what_differs(kernel: Kernel) -> None:
    before = len(kernel.maps["native"].writes)
    kernel.tables.native.set(EidPrefix.of("203.0.113.0/24"), True)
    kernel.path.native_changed()
    assert len(kernel.maps["native"].writes) == before + 1
    kernel.tables.native.pop(EidPrefix.of("203.0.113.0/24"))
    kernel.path.native_changed()
    assert encoding.eid_key(EidPrefix.of("203.0.113.0/24")) not in kernel.maps["native"].entries


def test_a_refused_write_stops_the_fast_path_until_all_of_it_is_written_again(kernel: Kernel) -> None:
    kernel.maps["map_cache"].refuse = 1
    kernel.install(SITE2, locator("10.0.2.1"))
    assert not kernel.enabled
    event, fields = kernel.events[-1]
    assert event == "dataplane-write-failed"
    assert (fields["table"], fields["prefix"]) == ("map_cache", "192.168.2.0/24")
    assert "no memory" in fields["error"]
    kernel.install("192.168.3.0/24", locator("10.0.3.1"))  # the engine goes on
    kernel.remove(EidPrefix.of("0.0.0.0/0"))
    assert kernel.path.deadline() == FIRST_RETRY
    kernel.path.expire()
    assert not kernel.enabled  # not yet
    kernel.now = FIRST_RETRY
    kernel.path.expire()
    assert kernel.enabled
    assert kernel.events[-1][0] == "dataplane-in-step"
    assert kernel.path.deadline() is None
    assert kernel.path.differences() == []


def test_retries_come_later_and_later_while_the_kernel_refuses(kernel: Kernel) -> None:
    kernel.maps["map_cache"].refuse = 10_000
    kernel.install(SITE2, locator("10.0.2.1"))
    waits = []
    for _ in range(10):
        deadline = kernel.path.deadline()
        assert deadline is not None
        waits.append(deadline - kernel.now)
        kernel.now = deadline
        kernel.path.expire()
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == 32.0
    kernel.maps["map_cache"].refuse = 0
    kernel.now += 32
    kernel.path.expire()
    assert kernel.enabled
    kernel.maps["map_cache"].refuse = 1
    kernel.install("192.168.4.0/24", locator("10.0.2.1"))
    assert kernel.events[-1][1]["retry_s"] == FIRST_RETRY


def test_a_full_map_is_a_refused_write() -> None:
    kernel = Kernel(map_cache=3)
    kernel.install(SITE2, locator("10.0.2.1"))
    assert kernel.enabled
    kernel.install("192.168.3.0/24", locator("10.0.2.1"))
    assert not kernel.enabled
    kernel.remove(SITE2)  # the engine forgets one: now there is room
    kernel.now = FIRST_RETRY
    kernel.path.expire()
    assert kernel.enabled
    assert kernel.path.differences() == []


@pytest.mark.parametrize("table", ["locators", "local", "native"])
def test_each_table_can_refuse(kernel: Kernel, table: str) -> None:
    kernel.install(SITE2, locator("10.0.2.1"))
    kernel.maps[table].refuse = 1
    host = host_prefix("192.168.1.9")
    kernel.tables.local.set(host, True)
    kernel.tables.native.set(host, True)
    kernel.path.add_host(host)
    kernel.path.routes_changed()
    assert not kernel.enabled
    kernel.now = FIRST_RETRY
    kernel.path.expire()
    assert kernel.enabled
    assert kernel.path.differences() == []


def test_a_stopped_path_stays_stopped(kernel: Kernel) -> None:
    kernel.path.stop()
    kernel.install(SITE2, locator("10.0.2.1"))
    assert not kernel.enabled
    assert kernel.path.deadline() is None


def test_differences_are_found_in_every_table(kernel: Kernel) -> None:
    kernel.install(SITE2, locator("10.0.2.1"))
    del kernel.maps["map_cache"].entries[encoding.eid_key(SITE2)]
    kernel.maps["local"].entries[encoding.eid_key(EidPrefix.of("192.168.1.0/24"))] = encoding.local(0, False, 0)
    kernel.maps["native"].entries[encoding.eid_key(EidPrefix.of("7.0.0.0/8"))] = NUMBER.pack(1)
    kernel.maps["locators"].entries[NUMBER.pack(0)] = encoding.EMPTY_LOCATOR
    del kernel.maps["own"].entries[encoding.rloc_key(OWN[4])]
    kernel.maps["settings"].entries[NUMBER.pack(0)] = encoding.settings(False, 3, 0)
    found = {(one.table, one.key): one for one in kernel.path.differences()}
    gone = found["map_cache", "192.168.2.0/24"]
    assert (gone.kernel, gone.engine) == ("-", "encapsulate, 10.0.2.1 1/100")
    assert ("local", "192.168.1.0/24") in found
    assert found["native", "7.0.0.0/8"].engine == "-"
    assert {table for table, _ in found} == {"map_cache", "local", "native", "locators", "own", "settings"}


def test_a_storm_leaves_no_difference(kernel: Kernel) -> None:
    """Installs, replacements, expiries, changes of locators and refusals in any order."""
    chance = random.Random(4)
    eids = [EidPrefix.of(f"192.168.{n}.0/{length}") for n in range(0, 64, 8) for length in (21, 22, 24)]
    rlocs = [f"10.0.{n}.1" for n in range(2, 9)]
    for step in range(3000):
        eid = chance.choice(eids)
        match chance.randrange(7):
            case 0 if eid in kernel.tables.map_cache:
                kernel.remove(eid)
            case 1:
                kernel.install(eid, forwarding=chance.choice([Forwarding.NATIVE, Forwarding.DROP]))
            case 2:
                kernel.tables.down ^= {ip_address(chance.choice(rlocs))}
                for rloc in rlocs:
                    kernel.path.locator_changed(ip_address(rloc))
            case 3 if step % 5 == 0:
                chance.choice(list(kernel.maps.values())).refuse = 1
            case _:
                chosen = sorted(chance.sample(rlocs, chance.randint(1, 4)))
                kernel.install(eid, *(locator(one, chance.randint(1, 2)) for one in chosen))
        kernel.now += 0.1
        kernel.path.expire()
    for fake in kernel.maps.values():
        fake.refuse = 0
    kernel.now += 1000
    kernel.path.expire()
    assert kernel.enabled
    assert kernel.path.differences() == []
    assert any(event == "dataplane-in-step" for event, _ in kernel.events)


def test_statistics_are_summed_over_cpus(kernel: Kernel) -> None:
    class TwoCpus(FakeMap):
        def split(self, value: bytes) -> list[bytes]:
            return [value, value]

    statistics = TwoCpus("statistics")
    statistics.entries[NUMBER.pack(Statistic.ENCAPSULATED)] = LONG.pack(5)
    statistics.entries[NUMBER.pack(Statistic.DROP_MALFORMED)] = LONG.pack(2)
    kernel.path._statistics = statistics
    found = kernel.path.statistics()
    assert found.encapsulated == 10
    assert found.drops == {"malformed": 4}


def test_keys_and_values_survive_a_round_trip() -> None:
    for text, instance_id in (("192.168.2.0/24", 0), ("2001:db8::/32", 0xFFFFFF), ("0.0.0.0/0", 7), ("::/0", 1)):
        prefix = EidPrefix.of(text, instance_id)
        assert encoding.eid_prefix(encoding.eid_key(prefix)) == prefix
    value = encoding.locator(FAR, OWN[4], True, 1464)
    assert encoding.Locator.read(value) == encoding.Locator(FAR, OWN[4], True, 1464)
