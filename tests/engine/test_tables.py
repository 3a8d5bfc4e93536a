"""The tables: longest-prefix match, holes, timers; each against the plainest way to say the same."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network

import pytest

from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.eid_table import EidTable
from nodes.lisp.holes import least_specific_hole
from nodes.lisp.timers import Timers


def some_prefix(rng: random.Random, shortest: int = 0) -> EidPrefix:
    """A prefix out of a crowded corner of the address space, so that prefixes nest and collide."""
    length = rng.choice([n for n in (0, 4, 8, 15, 16, 17, 24, 25, 28, 30, 31, 32) if n >= shortest])
    address = rng.choice((10 << 24, 10 << 24 | 1 << 16, 192 << 24)) | rng.getrandbits(10)
    return EidPrefix(IPv4Network((address >> (32 - length) << (32 - length), length)), rng.choice((0, 0, 0, 7)))


def test_lookup_finds_the_longest_prefix() -> None:
    rng = random.Random(1)
    table: EidTable[int] = EidTable()
    model: dict[EidPrefix, int] = {}
    for number in range(2000):
        prefix = some_prefix(rng)
        if rng.random() < 0.3:
            assert table.pop(prefix) == model.pop(prefix, None)
        else:
            table.set(prefix, number)
            model[prefix] = number
        query = some_prefix(rng)
        best = max((p for p in model if p.covers(query)), key=lambda p: p.mask_len, default=None)
        assert table.lookup(query) == (None if best is None else (best, model[best]))
        host = host_prefix(IPv4Address(10 << 24 | rng.getrandbits(10)))
        assert table.lookup_address(0, host.address) == table.lookup(host)
        assert dict(table.covered(query)) == {p: v for p, v in model.items() if query.covers(p)}
        around = [(p, model[p]) for p in sorted(model, key=lambda one: -one.mask_len) if p.covers(query)]
        assert table.covering(query) == around
        assert (table.get(query), query in table, len(table)) == (model.get(query), query in model, len(model))
    assert dict(table.items()) == model


def test_instances_and_families_do_not_mix() -> None:
    table: EidTable[str] = EidTable()
    table.set(EidPrefix.of("0.0.0.0/0", 5), "five")
    assert table.lookup(host_prefix("10.0.0.1", 5)) == (EidPrefix.of("0.0.0.0/0", 5), "five")
    assert table.lookup(host_prefix("10.0.0.1")) is None
    assert table.lookup(host_prefix("2001:db8::1", 5)) is None


@pytest.mark.requirement("M09")
def test_hole_is_the_one_that_brute_force_finds() -> None:
    """The least-specific prefix that covers the query and overlaps no known EID-prefix."""
    rng = random.Random(9)
    holes = 0
    for _ in range(3000):
        query = some_prefix(rng, shortest=30)
        known = [some_prefix(rng, shortest=8) for _ in range(rng.randrange(6))]
        bound = EidPrefix(query.network.supernet(new_prefix=rng.choice((0, 8, 16))), query.instance_id)
        candidates = [
            EidPrefix(query.network.supernet(new_prefix=length), query.instance_id)
            for length in range(bound.mask_len, query.mask_len + 1)
        ]
        expected = next((c for c in candidates if not any(k.covers(c) or c.covers(k) for k in known)), None)
        if expected is None:
            with pytest.raises(ValueError, match="there is no hole"):
                least_specific_hole(query, known, bound)
        else:
            holes += 1
            assert least_specific_hole(query, known, bound) == expected
    assert holes > 500


@pytest.mark.requirement("M09", "S08")
def test_hole_above_two_registered_hosts() -> None:
    """With .11 and .12 registered, .200 lies in an empty upper half."""
    registered = [host_prefix("11.11.11.11"), host_prefix("11.11.11.12")]
    hole = least_specific_hole(host_prefix("11.11.11.200"), registered, EidPrefix.of("11.11.11.0/24"))
    assert hole == EidPrefix.of("11.11.11.128/25")


def test_hole_without_any_known_prefix_is_everything() -> None:
    assert least_specific_hole(host_prefix("2001:db8::1"), [EidPrefix.of("10.0.0.0/8")]) == EidPrefix.of("::/0")
    with pytest.raises(ValueError, match="not inside"):
        least_specific_hole(host_prefix("10.0.0.1"), [], EidPrefix.of("11.0.0.0/8"))


def test_timers_fire_in_order_and_stay_small() -> None:
    timers: Timers[str] = Timers()
    for nth in range(1000):
        timers.set("moved", 100.0 - nth / 100)
    timers.set("b", 95.0)
    timers.set("a", 95.0)
    timers.set("never", 1.0)
    timers.cancel("never")
    assert len(timers._heap) < 200
    assert (timers.deadline(), timers.get("moved"), timers.get("never")) == (90.01, 90.01, None)
    assert timers.due(90.0) == []
    assert timers.due(95.0) == ["moved", "b", "a"]
    assert timers.deadline() is None
    assert len(timers) == 0
