"""Mappings put into the map-cache by hand: they never end, no Map-Reply changes them, the bound is for them too."""

from __future__ import annotations

from nodes.lisp.config import Locator
from nodes.lisp.effects import Forwarding, Install, Remove
from nodes.lisp.eid import EidPrefix
from nodes.lisp.inputs import AddMappings, RemoveMappings
from nodes.lisp.map_cache import MapCache
from nodes.lisp.wire import EidRecord, LocatorRecord
from tests.engine.world import DC2, H2, STRANGER, XTR1, XTR2, two_sites

ANYWHERE = EidPrefix.of("0.0.0.0/0")
BY_HAND = (Locator(STRANGER, 1, 100),)


def record(prefix: EidPrefix, ttl: int = 60) -> EidRecord:
    return EidRecord.of(prefix, ttl, (LocatorRecord(XTR2, 1, 100),))


def test_a_mapping_by_hand_is_installed_and_shown() -> None:
    world = two_sites()
    (install,) = world.put("xtr1", AddMappings(((DC2, BY_HAND),)))
    assert isinstance(install, Install)
    assert (install.entry.prefix, install.entry.locators) == (DC2, BY_HAND)
    world.run(86_400 + 3600)  # longer than any Record TTL that is usual
    rows = world["xtr1"].engine.show("map-cache", 0.0)
    (row,) = [row for row in rows if isinstance(row, dict) and row["source"] == "static"]
    assert (row["eid"], row["expires_s"], row["locators"][0]["rloc"]) == (str(DC2.network), None, str(STRANGER))


def test_no_map_reply_changes_it() -> None:
    cache = MapCache([ANYWHERE], {XTR1})
    assert len(list(cache.add_static([(DC2, BY_HAND)], 0.0))) == 1
    assert list(cache.store(record(DC2), 1.0)) == []
    assert list(cache.store(record(DC2, ttl=0), 1.0)) == []
    assert list(cache.confirm(record(DC2), 1.0)) == []
    assert list(cache.replace(H2, [EidPrefix.of("192.168.0.0/16")])) == []
    found = cache.lookup(H2)
    assert found is not None
    assert found.forwarding.locators == BY_HAND


def test_it_takes_the_place_of_a_learned_one_and_outlives_its_ttl() -> None:
    cache = MapCache([ANYWHERE], {XTR1})
    list(cache.store(record(DC2, ttl=1), 0.0))
    list(cache.add_static([(DC2, BY_HAND)], 1.0))
    assert list(cache.expire(1000.0)) == []
    assert cache.deadline() is None


def test_one_without_a_usable_locator_drops() -> None:
    cache = MapCache([ANYWHERE], {XTR1})
    (install,) = cache.add_static([(DC2, (Locator(XTR1),))], 0.0)
    assert isinstance(install, Install)
    assert install.entry.forwarding is Forwarding.DROP


def test_learned_mappings_make_room_and_others_by_hand_do_not() -> None:
    cache = MapCache([], {XTR1}, max_entries=2)
    prefixes = [EidPrefix.of(f"192.168.{third}.0/24") for third in range(4)]
    list(cache.store(record(prefixes[0]), 0.0))
    effects = list(cache.add_static([(prefix, BY_HAND) for prefix in prefixes[1:]], 0.0))
    assert [type(one) for one in effects] == [Install, Remove, Install]
    assert len(cache) == 2
    assert list(cache.store(record(prefixes[0]), 1.0)) == []
    assert len(cache) == 2


def test_what_was_put_in_by_hand_is_taken_out_again_and_nothing_else() -> None:
    """What decides then is the default; the EID is asked for again."""
    world = two_sites()
    engine = world["xtr1"].engine
    other = EidPrefix.of("192.168.77.0/24")
    world.put("xtr1", AddMappings(((DC2, BY_HAND),)))
    assert (engine.has_static_mapping(DC2), engine.has_static_mapping(H2)) == (True, False)
    assert world.put("xtr1", RemoveMappings((DC2, other))) == [Remove(DC2)]
    assert world.put("xtr1", RemoveMappings((DC2,))) == []
    assert not engine.has_static_mapping(DC2)
    cache = MapCache([DC2], {XTR1})
    list(cache.store(record(DC2), 0.0))
    assert list(cache.remove_static([DC2])) == [], "a Map-Reply's"
    list(cache.add_static([(DC2, BY_HAND)], 1.0))
    (install,) = cache.remove_static([DC2])
    assert isinstance(install, Install)
    assert install.entry.forwarding is Forwarding.SEND_MAP_REQUEST
    assert not cache.uses(STRANGER)


def test_a_node_without_a_map_cache_takes_none() -> None:
    assert two_sites().put("ms", AddMappings(((DC2, BY_HAND),))) == []
    assert two_sites().put("ms", RemoveMappings((DC2,))) == []
