"""Sites that are reached through RTRs: Explicit Locator Paths from registration to the next hop (RFC 8060, 4.6)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from nodes.lisp.config import DatabaseMapping, Locator, NodeConfig, Role
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.engine.acceptance import refusal_of_probe
from nodes.lisp.inputs import ChangeLocator, Miss
from nodes.lisp.locators import explicit_path, forbidden, next_hop, rlocs_of, usable
from nodes.lisp.map_cache import MapCache
from nodes.lisp.wire import (
    Address,
    AfiList,
    EidRecord,
    ExplicitLocatorPath,
    LocatorRecord,
    MapNotify,
    MapRegister,
    MapReply,
    MapRequest,
    NoAddress,
    ReencapHop,
    RequestRecord,
)
from tests.engine.world import (
    AGGREGATE,
    DC1,
    DC2,
    H1,
    H2,
    MR,
    MS,
    STRANGER,
    XTR1,
    XTR2,
    World,
    map_resolver,
    map_server,
    pxtr,
    xtr,
)

MR6, MS6, XTR6 = (ip_address(f"2001:db8:{n}::1") for n in (4, 5, 2))
RTR4, RTR6 = ip_address("10.0.9.1"), ip_address("2001:db8:9::1")
OTHER4 = ip_address("10.0.8.1")
EID6 = EidPrefix.of("2001:db8:e1d::/48")


def rtr(*roles: Role, rlocs: tuple[IPAddress, ...] = (RTR4, RTR6)) -> NodeConfig:
    wanted = frozenset({Role.RTR, *roles})
    return NodeConfig("rtr", wanted, rlocs, map_resolvers=(MR,), eid_aggregates=(AGGREGATE, EID6))


def reached_via(config: NodeConfig, own: IPAddress, *paths: tuple[IPAddress, ...]) -> NodeConfig:
    """The same xTR with another RLOC, reached by these RTRs."""
    locators = tuple(Locator(own, 1, 100, via) for via in paths)
    prefix = config.database[0].prefix
    peers = tuple(replace(peer, address=MS6, proxy_reply=True) for peer in config.map_servers)
    return replace(
        config, rlocs=(own,), database=(DatabaseMapping(prefix, locators),), map_servers=peers, map_resolvers=(MR6,)
    )


def mixed() -> World:
    """dc1 has an IPv4 RLOC, dc2 an IPv6 RLOC; between them stands an RTR with both."""
    first = xtr("xtr1", XTR1, DC1, proxy_reply=True)
    behind = DatabaseMapping(DC1, tuple(Locator(XTR1, 1, 100, (own,)) for own in (RTR4, RTR6)))
    world = World().add(
        replace(map_server(), rlocs=(MS, MS6)),
        replace(map_resolver(), rlocs=(MR, MR6)),
        replace(first, database=(behind,)),
        reached_via(xtr("xtr2", XTR2, DC2), XTR6, (RTR4,), (RTR6,)),
        rtr(),
    )
    world.run()
    assert all(node.engine.registered for node in world.nodes.values())
    return world


def path(*hops: str, strict: bool = True) -> ExplicitLocatorPath:
    return ExplicitLocatorPath(tuple(ReencapHop(ip_address(hop), strict=strict) for hop in hops))


@pytest.mark.requirement("C16", "M08")
def test_an_etr_registers_paths_and_the_map_server_returns_them_unchanged() -> None:
    """Behind the plain RLOCs, in the ETR's order."""
    world = mixed()
    expected = (explicit_path((RTR4, XTR6)), explicit_path((RTR6, XTR6)))
    registered = [one.message for one in world.sent(MapRegister, XTR6)][-1]
    assert isinstance(registered, MapRegister)
    assert tuple(one.address for one in registered.records[0].locators) == expected
    assert all(one.local for one in registered.records[0].locators)
    notified = [one.message for one in world.sent(MapNotify) if one.destination == XTR6][-1]
    assert isinstance(notified, MapNotify)
    assert notified.records == registered.records
    world.resolve("xtr1", H2)
    reply = [one.message for one in world.sent(MapReply) if one.destination == XTR1][-1]
    assert isinstance(reply, MapReply)
    assert tuple(one.address for one in reply.records[0].locators) == expected


@pytest.mark.requirement("D15")
def test_each_node_is_told_its_next_hop() -> None:
    """An ITR that has no RLOC of the other site's family sends to the RTR, the RTR to the ETR."""
    world = mixed()
    assert world.resolve("xtr1", H2).locators == (Locator(RTR4, 1, 100),)
    assert world.resolve("rtr", H2, H1.address).locators == (Locator(XTR6, 1, 100),)
    assert world.resolve("xtr2", H1).locators == (Locator(RTR6, 1, 100),)
    assert world.resolve("rtr", H1, H2.address).locators == (Locator(XTR1, 1, 100),)
    [request] = [one.request for one in world.packets if one.source == RTR4 and one.destination == MR][:1]
    assert (request.pitr, request.itr_rlocs) == (False, (RTR4, RTR6))


def test_tables_say_the_way() -> None:
    world = mixed()
    world.resolve("xtr1", H2)

    def rows(name: str, table: str) -> list[dict[str, Any]]:
        found = world[name].engine.show(table, world.now)
        assert isinstance(found, list)
        return [row for row in found if row["eid"] == str(DC2)]

    ways = [f"{RTR4} > {XTR6}", f"{RTR6} > {XTR6}"]
    [cached] = rows("xtr1", "map-cache")
    assert [one["rloc"] for one in cached["locators"]] == ways
    [row] = rows("ms", "registrations")
    assert [one["rloc"] for one in row["locators"]] == ways
    [row] = rows("xtr2", "database")
    assert [one["rloc"] for one in row["locators"]] == ways


@pytest.mark.requirement("S04")
def test_an_rtr_knows_from_the_start_where_it_has_to_ask() -> None:
    """Inside the aggregates, and nowhere else."""
    node = World().add(rtr())["rtr"]
    assert {entry.prefix for _, entry in node.data_path.items()} == {AGGREGATE, EID6}
    assert {entry.forwarding for _, entry in node.data_path.items()} == {Forwarding.SEND_MAP_REQUEST}


def test_an_rtr_does_not_ask_outside_the_aggregates() -> None:
    world = mixed()
    elsewhere = host_prefix("203.0.113.1")
    before = len(world.packets)
    world.put("rtr", Miss(elsewhere, H1.address))
    assert world["rtr"].unresolved == [elsewhere]
    assert world["rtr"].drops == {"miss-outside-aggregates": 1}
    assert len(world.packets) == before


@pytest.mark.requirement("M13")
@pytest.mark.parametrize(("source", "pitr"), [("192.168.1.11", False), ("203.0.113.1", True)])
def test_an_rtr_that_is_a_pitr_says_for_whom_it_asks(source: str, pitr: bool) -> None:
    """The p-bit stands for sources without an EID."""
    world = World().add(map_server(), map_resolver(), rtr(Role.PITR, Role.PETR))
    world.put("rtr", Miss(H2, ip_address(source)))
    assert world.packets[-1].request.pitr is pitr


def test_a_path_that_ends_at_the_rtr_leads_nowhere() -> None:
    """A mapping that leads to the node that asks: no locator is usable, and the data path drops."""
    world = World().add(map_server(), map_resolver(), xtr("xtr1", XTR1, DC1), rtr())
    ends = DatabaseMapping(DC2, (Locator(RTR4, 1, 100, (OTHER4,)),))
    world.add(replace(xtr("xtr2", XTR2, DC2, proxy_reply=True), database=(ends,)))
    world.run()
    entry = world.resolve("rtr", H2, H1.address)
    assert (entry.forwarding, entry.reason) == (Forwarding.DROP, "no-usable-locator")


@pytest.mark.requirement("C39")
def test_without_an_xtr_id_the_register_comes_from_the_end_of_the_path() -> None:
    """Not from an RTR that the path names, and not from a stranger."""
    config = reached_via(xtr("xtr2", XTR2, DC2), XTR6, (RTR6,))
    config = replace(config, xtr_id="", site_id=0)
    world = World().add(replace(map_server(), rlocs=(MS, MS6)), config)
    world.run()
    assert world["xtr2"].engine.registered
    [first, *_] = world.sent(MapRegister)
    for source in (STRANGER, RTR6):
        world.inject("ms", first.payload, source)
    assert world["ms"].drops == {"map-register-foreign-source": 2}


@pytest.mark.requirement("C36")
def test_an_rtr_answers_probes_and_nothing_else() -> None:
    """It is the next hop to the EID that is asked for; of mappings it tells nothing."""
    world = mixed()
    question = RequestRecord.of(H2)
    world.inject("rtr", MapRequest(5, H1.address, (XTR1,), (question,), probe=True).encode(), XTR1, 60000)
    [reply] = [one for one in world.sent(MapReply, RTR4) if one.destination == XTR1]
    assert reply.message == MapReply(5, (), probe=True)
    assert reply.port == 60000
    world.inject("rtr", MapRequest(6, H1.address, (XTR1,), (question,)).encode(), XTR1, 60000)
    assert world["rtr"].drops == {"map-request-bare": 1}


@pytest.mark.requirement("C14", "C36")
def test_the_end_of_a_path_answers_the_probes_of_the_last_rtr() -> None:
    """The p-bit stands at the first of the paths that end at the RLOC that was probed."""
    world = mixed()
    world.inject("xtr2", MapRequest(5, NoAddress(), (RTR6,), (RequestRecord.of(DC2),), probe=True).encode(), RTR6)
    reply = world.sent(MapReply, XTR6)[-1].message
    assert isinstance(reply, MapReply)
    assert [one.probed for one in reply.records[0].locators] == [True, False]
    assert refusal_of_probe(reply, DC2, XTR6) == ""
    assert refusal_of_probe(reply, DC2, RTR6) == "probe-reply-other-locator"


@pytest.mark.requirement("C37")
@pytest.mark.parametrize(
    ("own", "down", "states"),
    [
        (XTR1, RTR4, ["down", "up"]),  # at an ITR the RTR is the locator
        (XTR1, XTR2, ["up", "up"]),
        (RTR4, XTR2, ["down", "down"]),  # at the RTR the ETR is
    ],
)
def test_a_path_whose_next_hop_is_down_is_shown_as_down(own: IPAddress, down: IPAddress, states: list[str]) -> None:
    paths = [LocatorRecord(path(str(first), str(XTR2)), 1, 100) for first in (RTR4, OTHER4)]
    if own == RTR4:
        paths = [LocatorRecord(path(str(RTR4), str(XTR2)), one, 100) for one in (1, 2)]
    cache = MapCache((), (own,))
    assert list(cache.store(EidRecord.of(DC2, 10, paths), 0.0))
    [row] = cache.rows(0.0, {down})
    assert [one["state"] for one in row["locators"]] == states


@pytest.mark.requirement("C31")
def test_an_rtr_asks_again_when_it_is_solicited() -> None:
    """Whom the path names is no stranger to it."""
    world = mixed()
    world.resolve("rtr", H2, H1.address)
    before = len(world.packets)
    smr = MapRequest(9, DC2.address, (XTR6,), (RequestRecord.of(DC2),), smr=True, dont_reply=True)
    world.inject("rtr", smr.encode(), XTR6)
    asked = [one.request for one in world.packets[before:] if one.source == RTR4]
    assert [(one.smr_invoked, one.pitr) for one in asked] == [(True, False)]


@pytest.mark.requirement("S11")
def test_a_change_of_policy_changes_every_path_to_the_rloc() -> None:
    """The RLOC that is named is where the path ends."""
    world = mixed()
    world.put("xtr2", ChangeLocator(DC2, XTR6, None, 30, (), 1))
    world.run()
    register = world.sent(MapRegister, XTR6)[-1].message
    assert isinstance(register, MapRegister)
    assert [(str(one.address), one.weight) for one in register.records[0].locators] == [
        (f"{RTR4} > {XTR6}", 30),
        (f"{RTR6} > {XTR6}", 30),
    ]


V4, V6, BOTH = (RTR4,), (RTR6,), (RTR4, RTR6)


@pytest.mark.parametrize(
    ("locator", "own", "hop"),
    [
        (path("10.0.1.1", "10.0.2.1"), V4, "10.0.1.1"),  # not in the path: the first hop
        (path("10.0.9.1", "10.0.2.1"), V4, "10.0.2.1"),  # in the path: the hop behind
        (path("10.0.9.1", "10.0.2.1", "10.0.3.1"), BOTH, "10.0.2.1"),
        (path("10.0.9.1", "2001:db8:9::1", "2001:db8:2::1"), BOTH, "2001:db8:2::1"),  # twice in the path: the last one
        (path("10.0.1.1", "10.0.9.1"), V4, None),  # the end of the path
        (path("2001:db8:2::1", "10.0.2.1"), V4, None),  # S-bit: required, and of a family that the node has not
        (path("2001:db8:2::1", "10.0.2.1", strict=False), V4, "10.0.2.1"),  # without it, left out
        (path("2001:db8:2::1", "2001:db8:3::1", strict=False), V4, None),
        (path("224.0.0.1", "10.0.2.1", strict=False), V4, "10.0.2.1"),
        (ExplicitLocatorPath((ReencapHop(XTR1, lookup=True), ReencapHop(XTR2))), V4, str(XTR2)),  # L-bit: no RLOC
        (ExplicitLocatorPath((ReencapHop(XTR1, lookup=True, strict=True), ReencapHop(XTR2))), V4, None),
        (ExplicitLocatorPath((ReencapHop(AfiList((XTR1,))), ReencapHop(XTR2))), V4, str(XTR2)),
        (ExplicitLocatorPath(()), V4, None),
        (XTR1, V4, str(XTR1)),
        (RTR4, V4, None),
        (AfiList((XTR1,)), V4, None),
    ],
    ids=str,
)
def test_next_hop(locator: Address, own: tuple[IPAddress, ...], hop: str | None) -> None:
    found = next_hop(locator, own)
    assert (str(found) if found else None) == hop


@pytest.mark.requirement("D21")
def test_paths_to_one_next_hop_count_once() -> None:
    """The best of their priorities and the greatest weight of those, or the shares would shift."""
    records = [
        LocatorRecord(path("10.0.9.1", "10.0.2.1"), 1, 25),
        LocatorRecord(path("2001:db8:9::1", "10.0.2.1"), 1, 25),
        LocatorRecord(path("10.0.9.1", "10.0.3.1"), 1, 75),
        LocatorRecord(path("2001:db8:9::1", "10.0.3.1"), 2, 75),
        LocatorRecord(path("10.0.9.1", "10.0.4.1"), 1, 75, reachable=False),
        LocatorRecord(path("10.0.9.1", "10.0.5.1"), 255, 75),
    ]
    wanted = (Locator(ip_address("10.0.2.1"), 1, 25), Locator(ip_address("10.0.3.1"), 1, 75))
    assert usable(records, BOTH) == usable(reversed(records), BOTH) == wanted


@pytest.mark.requirement("C15")
def test_what_a_locator_set_may_hold() -> None:
    """The rule for RLOCs is not one for hops that a node can leave out."""
    assert forbidden([LocatorRecord(path("224.0.0.1", "10.0.2.1"), 1, 1)]) == []
    assert rlocs_of(path("10.0.1.1", "10.0.2.1")) == (ip_address("10.0.1.1"), ip_address("10.0.2.1"))
    assert rlocs_of(XTR1) == (XTR1,)


def test_the_configuration_survives_json() -> None:
    for config in (rtr(), reached_via(xtr("xtr2", XTR2, DC2), XTR6, (RTR4, OTHER4), (RTR6,)), pxtr()):
        assert NodeConfig.from_json(config.to_json()) == config
