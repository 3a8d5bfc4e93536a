"""What the map-cache tells the data path, and what it need not."""

from __future__ import annotations

from ipaddress import ip_address

from nodes.lisp.effects import Forwarding, ForwardingEntry, Install
from nodes.lisp.map_cache import MapCache
from nodes.lisp.wire import Action, EidRecord, LocatorRecord
from tests.engine.world import DC1, PXTR, XTR1, XTR2


def record(rloc: str, weight: int = 100) -> EidRecord:
    return EidRecord.of(DC1, 10, (LocatorRecord(ip_address(rloc), 1, weight, reachable=True),))


def test_the_data_path_hears_of_a_mapping_once() -> None:
    """Of a move it hears by a Map-Notify and by a publication; what it does already it is not told again."""
    cache = MapCache((), (PXTR,))
    assert len(list(cache.store(record(str(XTR1)), 0.0))) == 1
    assert list(cache.store(record(str(XTR1)), 1.0)) == []
    assert cache.rows(1.0)[0]["expires_s"] == 600.0  # it lasts longer now
    assert len(list(cache.store(record(str(XTR1), weight=50), 2.0))) == 1
    assert len(list(cache.store(record(str(XTR2)), 3.0))) == 1


def test_packets_that_wait_are_answered_each_time() -> None:
    """They are let go when an entry is installed, though it says once more that there is no way."""
    cache = MapCache((), (PXTR,))
    nowhere = EidRecord.of(DC1, 1, (), action=Action.NATIVELY_FORWARD)
    expected = [Install(ForwardingEntry(DC1, Forwarding.NATIVE))]
    assert list(cache.store(nowhere, 0.0)) == list(cache.store(nowhere, 1.0)) == expected
