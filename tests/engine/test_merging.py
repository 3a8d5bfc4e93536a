"""Registrations that several xTRs want merged (RFC 9301 section 5.6, a-bit), at a Map-Server in memory."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from nodes.lisp.eid import IPAddress
from nodes.lisp.inputs import Query
from nodes.lisp.wire import EidRecord, EncapsulatedControlMessage, LocatorRecord, MapNotify, MapRegister, sign
from tests.engine.world import DC1, DC2, H1, KEY, MS, World, map_resolver, map_server, site, xtr

FIRST, SECOND, THIRD = (ip_address(f"10.0.77.{n}") for n in (1, 2, 3))
ASKER = ip_address("10.0.9.1")


def register(nonce: int, etr: IPAddress, *rlocs: IPAddress, ttl: int = 60, merge: bool = True, **fields: Any) -> bytes:
    locators = tuple(LocatorRecord(one, 1, int(etr) % 100, local=one == etr) for one in rlocs or (etr,))
    flags: dict[str, Any] = {"proxy_reply": True, "merge": merge, "xtr_id": etr.packed.rjust(16, b"\0")} | fields
    record = EidRecord.of(DC1, ttl, locators)
    return sign(MapRegister(nonce, KEY.key_id, KEY.algorithm, (record,), **flags), KEY.secret).encode()


@pytest.fixture
def world() -> World:
    """A Map-Server, its Map-Resolver, and an xTR of another site that asks."""
    world = World().add(map_server(site("dc1", DC1), site("dc2", DC2)), map_resolver(), xtr("asker", ASKER, DC2))
    world.run()
    return world


def told(world: World) -> list[str]:
    """The RLOCs that an ITR learns."""
    (record,) = world.lig("asker", H1).result["records"]  # type: ignore[index]
    return [one["rloc"] for one in record["locators"]]


def rows(world: World) -> dict[str, dict[str, Any]]:
    return {row["eid"]: row for row in world["ms"].engine.show("registrations", world.now)}


@pytest.mark.requirement("C24")
def test_locators_of_several_xtrs_are_one_set(world: World) -> None:
    """In order; each repeats its own, changes its own and withdraws its own."""
    world.inject("ms", register(1, SECOND), SECOND)
    world.inject("ms", register(1, FIRST), FIRST)
    assert told(world) == [str(FIRST), str(SECOND)]
    changes = sum(one.event == "registration-changed" for one in world["ms"].reports)
    world.inject("ms", register(2, SECOND), SECOND)
    assert sum(one.event == "registration-changed" for one in world["ms"].reports) == changes
    world.run(10)
    world.inject("ms", register(3, SECOND, THIRD), SECOND)
    assert told(world) == [str(FIRST), str(THIRD)]
    world.run(10)
    world.inject("ms", register(4, SECOND, ttl=0), SECOND)
    assert told(world) == [str(FIRST)]


@pytest.mark.requirement("C24")
def test_who_does_not_want_it_replaces_everybody(world: World) -> None:
    """And is itself replaced by the next who does."""
    for etr in (FIRST, SECOND):
        world.inject("ms", register(1, etr), etr)
    world.inject("ms", register(1, THIRD, merge=False), THIRD)
    assert told(world) == [str(THIRD)]
    world.run(10)
    world.inject("ms", register(2, FIRST), FIRST)
    assert told(world) == [str(FIRST)]


@pytest.mark.requirement("C24", "M01")
def test_each_part_ends_by_itself(world: World) -> None:
    """One xTR falls silent: its locators go, and the others stay, also over a restart of the Map-Server."""
    world.inject("ms", register(1, FIRST), FIRST)
    world.run(100)
    world.inject("ms", register(1, SECOND), SECOND)
    assert told(world) == [str(FIRST), str(SECOND)]
    world.run(90)
    assert told(world) == [str(SECOND)]
    world.inject("ms", register(2, FIRST), FIRST)
    world.restart("ms")
    world.run(10)
    assert told(world) == [str(FIRST), str(SECOND)]
    world.run(200)
    assert rows(world)[str(DC1.network)]["state"] == "not registered"
    assert f"registration/{DC1}" not in world["ms"].durable


@pytest.mark.requirement("C24", "M07")
def test_without_proxy_replies_one_of_them_is_asked(world: World) -> None:
    """Now one and then the other: who is dead stops nobody for long."""
    for etr in (FIRST, SECOND):
        world.inject("ms", register(1, etr, proxy_reply=False), etr)
    world.put("asker", Query(H1, token=7))
    world.run(3.5)
    asked = [one.destination for one in world.sent(EncapsulatedControlMessage, MS)]
    assert set(asked) == {FIRST, SECOND}


@pytest.mark.requirement("C24")
def test_of_a_locator_of_two_the_owners_word_counts(world: World) -> None:
    """The L-bit says whose it is."""
    world.inject("ms", register(1, FIRST, FIRST, SECOND), FIRST)
    world.inject("ms", register(1, SECOND, FIRST, SECOND), SECOND)
    weights = {one["rloc"]: one["weight"] for one in rows(world)[str(DC1.network)]["locators"]}
    assert weights == {str(FIRST): int(FIRST) % 100, str(SECOND): int(SECOND) % 100}


def test_more_locators_than_a_record_can_hold_are_refused(world: World) -> None:
    """What is registered stays; who is one too many gets no Map-Notify."""
    many = [ip_address(int(FIRST) + 256 * n) for n in range(1, 201)]
    more = [ip_address(int(FIRST) + 256 * n + 1) for n in range(1, 201)]
    world.inject("ms", register(1, FIRST, *many), FIRST)
    before = len(world.sent(MapNotify))
    world.inject("ms", register(1, SECOND, *more), SECOND)
    assert world["ms"].drops == {"map-register-too-many-locators": 1}
    assert len(world.sent(MapNotify)) == before
    assert rows(world)[str(DC1.network)]["etr"] == str(FIRST)
