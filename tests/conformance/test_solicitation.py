"""Solicit-Map-Requests that reach an ITR (RFC 9301 section 6.1), written by the test."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Any

import pytest

from testbed.lab import Lab
from tests.conformance.tester import packets, wire
from tests.conformance.tester.daemons import expect_drop, frozen, map_cache
from tests.conformance.tester.places import rloc, uplink
from tests.conformance.tester.players import Etr
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.watch import Seen, Watch, inner_request

ITR = "xtr1"


@pytest.fixture
def watch(lab: Lab) -> Iterator[Watch]:
    """Sees what the ITR sends; the mapping of the other data centre is in its map-cache."""
    assert lab.run("h1", ["ping", "-c", "1", "-W", "10", str(lab["h4"].address)]).returncode == 0
    with Watch(lab, [uplink(lab, ITR)]) as watch:
        yield watch


def prefix_of(lab: Lab, name: str) -> IPv4Network:
    """The IPv4 EID-prefix of a site."""
    found = [one.network for one in lab.topology.sites[name].eid_prefixes]
    return next(one for one in found if isinstance(one, IPv4Network))


def solicit(lab: Lab, watch: Watch, eid: Any, source_eid: Any) -> None:
    """A solicit-map-request from a core router, which is nobody's ETR."""
    Etr(lab, ITR, watch).solicit(eid, source_eid)


def asked(lab: Lab, watch: Watch) -> list[Seen]:
    """The ITR's Map-Requests inside Encapsulated Control Messages."""
    return [one for one in watch.control(wire.ECM) if one.outer.source == rloc(lab, ITR)]


def invoked(lab: Lab, watch: Watch) -> list[Seen]:
    """Those of them with the s-bit."""
    return [one for one in asked(lab, watch) if inner_request(one).word & wire.SMR_INVOKED]


@pytest.mark.requirement("C31")
def test_news_are_asked_for_through_the_mapping_system(lab: Lab, watch: Watch) -> None:
    """With the s-bit, for the prefix that is cached, at the Map-Resolver; the answer stands, not the SMR."""
    dc2 = prefix_of(lab, "dc2")
    with frozen(lab, "mr"):
        solicit(lab, watch, dc2, dc2[0])
        seen = watch.until(lambda: asked(lab, watch), "a Map-Request")[0]
        assert seen.outer.destination == rloc(lab, "mr")
        request = inner_request(seen)
        assert not request.word & (wire.SMR | wire.PROBE)
        assert [one.prefix for one in request.records] == [dc2]
        assert map_cache(lab, ITR)[str(dc2)]["action"] == "encapsulate"
        record = wire.mapping(dc2, 1440, [(rloc(lab, "xtr2"), 7, 70)])
        ports = (wire.CONTROL, seen.outer.source_port)
        reply = packets.datagram(rloc(lab, "mr"), rloc(lab, ITR), ports, wire.map_reply(request.nonce, record))
        inject(lab, uplink(lab, ITR), reply)
        assert lab.run("h1", ["ping", "-c", "1", "-W", "10", str(lab["h4"].address)]).returncode == 0
        (locator,) = map_cache(lab, ITR)[str(dc2)]["locators"]
        assert (locator["priority"], locator["weight"]) == (7, 70)
    assert request.word & wire.SMR_INVOKED
    assert not watch.control(wire.MAP_REPLY, uplink(lab, ITR))


@pytest.mark.requirement("C33")
def test_what_is_not_cached_is_not_asked_for(lab: Lab, watch: Watch) -> None:
    """Also not what only a default entry covers."""
    outside = lab.topology.eid_aggregates[0].network[-2]
    with expect_drop(lab, ITR, "solicit-map-request-not-cached"):
        solicit(lab, watch, outside, outside)
    watch.drain()
    assert not asked(lab, watch)


@pytest.mark.requirement("C31")
def test_an_smr_for_the_receivers_own_eid_is_about_its_source(lab: Lab, watch: Watch) -> None:
    """Some put the changed EID into the Source-EID, and the receiver's into the record."""
    host = lab["h4"].address
    solicit(lab, watch, prefix_of(lab, "dc1"), host)

    def about_host() -> list[Seen]:
        return [one for one in invoked(lab, watch) if inner_request(one).records[0].prefix == IPv4Network(host)]

    (seen,) = watch.until(about_host, "an SMR-invoked Map-Request for the host")
    assert len(inner_request(seen).records) == 1


@pytest.mark.requirement("C32")
def test_a_flood_of_smrs_is_no_flood_of_requests(lab: Lab, watch: Watch) -> None:
    """For one EID-prefix a burst of three at the pace of Map-Requests, then one in 3 s; the last one counts."""
    dc2 = prefix_of(lab, "dc2")
    for _ in range(50):
        solicit(lab, watch, dc2, dc2[0])
    found = watch.until(lambda: (seen := asked(lab, watch)) and len(seen) >= 2 and seen, "the second request")
    assert all(b.frame.time_ns - a.frame.time_ns >= 0.99e9 for a, b in pairwise(found))
