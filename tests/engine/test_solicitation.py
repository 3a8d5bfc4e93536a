"""A site changes its ingress policy while others have its mapping cached: Solicit-Map-Requests (RFC 9301, 6.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import pytest

from nodes.lisp.config import DatabaseMapping, DynamicEid, Locator, NodeConfig
from nodes.lisp.effects import Answer
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.engine.solicitor import PATIENCE, REPEAT_INTERVAL, REPEATS
from nodes.lisp.inputs import ChangeLocator, HostSeen
from nodes.lisp.wire import (
    EncapsulatedControlMessage,
    MapNotify,
    MapRegister,
    MapRequest,
    NoAddress,
    RequestRecord,
    in_instance,
)
from tests.engine.world import (
    DC1,
    DC2,
    H2,
    MR,
    PXTR,
    STRANGER,
    XTR1,
    XTR2,
    Packet,
    World,
    map_resolver,
    map_server,
    pxtr,
    site,
    xtr,
)

SECOND = ip_address("10.0.2.2")


def multihomed(proxy_reply: bool = False) -> World:
    """Two sites, the second of two RLOCs, 75/25; xtr1 and the PxTR have its mapping cached."""
    target = xtr("xtr2", XTR2, DC2, proxy_reply=proxy_reply)
    locators = (Locator(XTR2, 1, 75), Locator(SECOND, 1, 25))
    target = replace(target, rlocs=(XTR2, SECOND), database=(DatabaseMapping(DC2, locators),))
    world = World().add(map_server(), map_resolver(), target, xtr("xtr1", XTR1, DC1), pxtr())
    world.run()
    for name in ("xtr1", "pxtr"):
        assert world.resolve(name, H2).locators == locators
    world.run(2)
    return world


def change(
    world: World,
    peers: tuple[IPAddress, ...] = (XTR1,),
    rloc: IPAddress = XTR2,
    priority: int | None = None,
    weight: int | None = 10,
    prefix: EidPrefix = DC2,
    name: str = "xtr2",
) -> Answer:
    world.put(name, ChangeLocator(prefix, rloc, priority, weight, peers, token=5))
    answer = world[name].answers[-1]
    assert answer.token == 5
    return answer


def solicitations(world: World) -> list[Packet]:
    return [p for p in world.sent(MapRequest) if isinstance(p.message, MapRequest) and p.message.smr]


def invoked(world: World, source: IPAddress = XTR1) -> list[Packet]:
    """SMR-invoked Map-Requests, as they left the ITR."""
    return [p for p in world.sent(EncapsulatedControlMessage, source) if p.request.smr_invoked]


def weights(world: World, name: str = "xtr1", eid: EidPrefix = H2) -> dict[str, int]:
    return {str(one.address): one.weight for one in world[name].forwarding(eid).locators}


def smr(eid: EidPrefix, record: EidPrefix | None = None) -> bytes:
    question = RequestRecord.of(record or eid)
    source = in_instance(eid.address, eid.instance_id)
    return MapRequest(9, source, (STRANGER,), (question,), smr=True, dont_reply=True).encode()


@pytest.mark.requirement("C31", "S11")
@pytest.mark.parametrize("proxy_reply", [False, True])
def test_changed_weights_reach_who_sends(proxy_reply: bool) -> None:
    """Registered at once, solicited, asked for through the mapping system with the s-bit, installed."""
    world = multihomed(proxy_reply)
    at = world.now
    result = change(world, weight=10).result
    assert result == {
        "eid": str(DC2),
        "instance_id": 0,
        "locators": [
            {"rloc": str(XTR2), "priority": 1, "weight": 10},
            {"rloc": str(SECOND), "priority": 1, "weight": 25},
        ],
        "changed": [str(DC2)],
        "peers": [str(XTR1)],
    }
    world.run(0.2)
    assert weights(world) == {str(XTR2): 10, str(SECOND): 25}
    (request,) = invoked(world)
    assert (request.destination, request.request.smr, request.request.probe) == (MR, False, False)
    assert request.request.records == (RequestRecord.of(DC2),)  # RFC 9301 section 5.2: the mask that is cached
    assert request.request.source_eid == NoAddress()
    assert world.sent(MapRegister, XTR2)[-1].time == at


@pytest.mark.requirement("C29", "C31")
def test_what_an_smr_looks_like() -> None:
    """Bare, to the peer's port 4342; the EID as Source-EID and as record; no reply wanted."""
    world = multihomed()
    change(world)
    world.run(0.2)
    (packet,) = solicitations(world)
    message = packet.message
    assert isinstance(message, MapRequest)
    assert (packet.source, packet.destination, packet.port) == (XTR2, XTR1, 4342)
    assert (message.source_eid, message.records) == (DC2.address, (RequestRecord.of(DC2),))
    assert (message.smr, message.dont_reply, message.smr_invoked, message.probe) == (True, True, False, False)


@pytest.mark.requirement("C31", "S13")
def test_smr_in_an_instance_names_it() -> None:
    """Source-EID and record inside an Instance ID LCAF."""
    tenant = EidPrefix.of("192.168.2.0/24", 200)
    world = World().add(map_server(site("tenant", tenant)), xtr("xtr2", XTR2, tenant))
    world.run()
    change(world, prefix=tenant)
    world.run()
    (packet,) = solicitations(world)
    message = packet.message
    assert isinstance(message, MapRequest)
    assert message.records[0].prefix == tenant
    assert message.source_eid == message.records[0].address


@pytest.mark.requirement("C34")
def test_only_peers_of_the_last_minute_are_told() -> None:
    """The peers are the data path's to know; the PxTR, which is idle, keeps its mapping until its TTL ends."""
    world = multihomed()
    change(world, peers=(XTR1,))
    world.run(5)
    assert [p.destination for p in solicitations(world)] == [XTR1]
    assert weights(world, "pxtr") == {str(XTR2): 75, str(SECOND): 25}
    change(world, peers=(PXTR, XTR2, SECOND, ip_address("2001:db8::1"), ip_address("224.0.0.1"), PXTR), weight=20)
    world.run(5)
    assert [p.destination for p in solicitations(world)] == [XTR1, PXTR]
    assert weights(world, "pxtr") == {str(XTR2): 20, str(SECOND): 25}
    assert invoked(world, PXTR)[0].request.pitr


@pytest.mark.requirement("S11")
def test_smr_waits_for_the_acknowledgement() -> None:
    """A Map-Server that answers for the site would give out the old mapping if it had not heard of the new one."""
    world = multihomed(proxy_reply=True)
    world.lost = lambda packet: isinstance(packet.message, MapRegister)
    change(world)
    world.run(0.5)
    assert not solicitations(world)
    world.lost = lambda _packet: False
    world.run(1)
    assert weights(world) == {str(XTR2): 10, str(SECOND): 25}


@pytest.mark.requirement("S11")
def test_smr_does_not_wait_for_ever() -> None:
    """One of the Map-Servers may be down."""
    world = multihomed()
    world.lost = lambda packet: isinstance(packet.message, MapNotify)
    at = world.now
    change(world)
    world.run(PATIENCE + 1)
    (packet,) = solicitations(world)
    assert packet.time == at + PATIENCE
    assert weights(world) == {str(XTR2): 10, str(SECOND): 25}


@pytest.mark.requirement("D21", "S11")
def test_priority_of_255_takes_an_rloc_out_of_use() -> None:
    """Maintenance of one link."""
    world = multihomed()
    change(world, rloc=SECOND, priority=255, weight=None)
    world.run(0.2)
    assert world["xtr1"].forwarding(H2).locators == (Locator(XTR2, 1, 75),)


@pytest.mark.requirement("S11")
def test_change_that_changes_nothing_bothers_nobody() -> None:
    """The numbers are as they were."""
    world = multihomed()
    before = len(world.packets)
    result = change(world, priority=1, weight=75).result
    assert result is not None
    assert (result["changed"], result["peers"]) == ([], [])
    world.run()
    assert len(world.packets) == before


@pytest.mark.requirement("S11")
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"prefix": DC1}, "192.168.1.0/24 is not an EID-prefix of this site; 192.168.2.0/24 is"),
        ({"prefix": H2}, "192.168.2.22/32 is not an EID-prefix of this site; 192.168.2.0/24 is"),
        ({"rloc": XTR1}, "10.0.1.1 is not in the locator-set of 192.168.2.0/24: 10.0.2.1, 10.0.2.2"),
        ({"weight": 256}, "weight 256 is not one of 0 to 255"),
        ({"priority": -1}, "priority -1 is not one of 0 to 255"),
        ({"name": "pxtr"}, "pxtr is no ETR and registers no RLOC"),
    ],
)
def test_change_that_cannot_be(fields: Mapping[str, Any], error: str) -> None:
    """One line says what is wrong and what is allowed; nothing is sent."""
    world = multihomed()
    before = len(world.packets)
    assert change(world, **fields) == Answer(5, None, error)
    assert len(world.packets) == before


@pytest.mark.requirement("X02", "S11")
def test_change_for_all_hosts_of_a_permitted_prefix() -> None:
    """The hosts that are here, and those that will be."""
    host, later, elsewhere = (host_prefix(f"192.168.2.{n}") for n in (22, 23, 200))
    inner = EidPrefix.of("192.168.2.128/25")
    permitted = tuple(DynamicEid(prefix, (Locator(XTR2, 1, 100),)) for prefix in (DC2, inner))
    config: NodeConfig = replace(xtr("xtr2", XTR2, DC2), database=(), dynamic_eids=permitted)
    world = World().add(map_server(site("dc2", DC2, more=True)), config)
    for eid in (host, elsewhere):
        world.put("xtr2", HostSeen(eid, "h"))
    result = change(world).result
    assert result is not None
    assert result["changed"] == [str(host)]
    world.put("xtr2", HostSeen(later, "h"))
    world.run()
    rows = world["ms"].engine.show("registrations", world.now)
    assert isinstance(rows, list)
    shown = {row["eid"]: row["locators"][0]["weight"] for row in rows if row["locators"]}
    assert shown == {str(host): 10, str(later): 10, str(elsewhere): 100}
    assert [p.message.records[0].prefix for p in solicitations(world) if isinstance(p.message, MapRequest)] == [host]


@pytest.mark.requirement("C32")
def test_five_changes_in_a_row_all_arrive() -> None:
    """Each of them is news, and news are not held back by a rate limit."""
    world = multihomed()
    for weight in range(1, 6):
        change(world, weight=weight)
        world.run(1.2)
        assert weights(world)[str(XTR2)] == weight
    assert len(solicitations(world)) == 5
    assert "solicit-map-request-rate" not in world["xtr2"].drops


@pytest.mark.requirement("X07", "X14")
def test_moved_host_is_found_and_its_prefix_when_it_is_back() -> None:
    """The /32 goes before the /24; when it is gone, the answer with the /24 takes its place."""
    world = World().add(
        map_server(site("dc1", DC1), site("dc2", DC2, more=True)),
        map_resolver(),
        xtr("xtr1", XTR1, DC1),
        xtr("xtr2", XTR2, DC2),
    )
    away = replace(xtr("xtr3", PXTR, H2))
    world.run()
    assert world.resolve("xtr1", H2).prefix == DC2
    world.add(away)
    world.run(2)
    world.inject("xtr1", smr(H2), PXTR)
    world.run(2)
    assert world["xtr1"].forwarding(H2).prefix == H2
    assert world["xtr1"].forwarding(H2).locators == (Locator(PXTR),)
    world.stop("xtr3")
    world.run(200)
    world.inject("xtr1", smr(H2), XTR2)
    world.run(2)
    assert world["xtr1"].forwarding(H2).prefix == DC2
    assert world["xtr1"].data_path.get(H2) is None


@pytest.mark.requirement("C32", "S11")
@pytest.mark.parametrize("losses", range(1, REPEATS + 1))
def test_lost_smr_is_repeated(losses: int) -> None:
    """Every 3 s, until the peer asks; then no more."""
    world = multihomed()
    world.lost = lambda packet: packet in solicitations(world)[:losses]
    at = world.now
    change(world)
    world.run(60)
    assert weights(world) == {str(XTR2): 10, str(SECOND): 25}
    times = [p.time - at for p in solicitations(world)]
    assert len(times) == losses + 1
    assert all(b - a == pytest.approx(REPEAT_INTERVAL) for a, b in pairwise(times))
    assert len(invoked(world)) == 1


@pytest.mark.requirement("C32")
def test_smr_is_repeated_for_those_who_did_not_ask() -> None:
    """Each peer on its own."""
    world = multihomed()
    world.lost = lambda packet: packet in solicitations(world) and packet.destination == PXTR
    change(world, peers=(XTR1, PXTR))
    world.run(60)
    assert [p.destination for p in solicitations(world)] == [XTR1, PXTR] + [PXTR] * REPEATS


@pytest.mark.requirement("C32")
def test_repeats_end_though_nobody_asks_the_etr() -> None:
    """A Map-Server that answers for the site tells the ETR nothing of who asked."""
    world = multihomed(proxy_reply=True)
    change(world)
    world.run(60)
    assert len(solicitations(world)) == 1 + REPEATS
    assert weights(world) == {str(XTR2): 10, str(SECOND): 25}


@pytest.mark.requirement("C32")
def test_only_the_s_bit_of_the_peer_ends_the_repeats() -> None:
    """That somebody else asks, or the peer for a packet's sake, says nothing of the SMR."""
    world = multihomed()
    world.lost = lambda packet: packet in solicitations(world)
    change(world)
    world.lig("xtr1", H2)
    world.inject("pxtr", smr(DC2), XTR2)
    world.run(REPEAT_INTERVAL + 1)
    assert invoked(world, PXTR)
    assert len(solicitations(world)) == 2


@pytest.mark.requirement("S11")
def test_news_while_repeats_are_under_way() -> None:
    """The later change is told as well, and has its own repeats."""
    world = multihomed()
    world.lost = lambda packet: packet in solicitations(world)
    change(world, weight=1)
    world.run(2 * REPEAT_INTERVAL + 1)
    change(world, weight=2)
    world.run(60)
    assert len(solicitations(world)) == 3 + 1 + REPEATS
