"""ITR, MR, MS and ETR together: how an EID is resolved."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodes.lisp.config import DatabaseMapping, Locator, MapServerPeer, NodeConfig, Role
from nodes.lisp.effects import CONTROL_PORT, Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.inputs import Miss, Query
from nodes.lisp.wire import (
    Action,
    EidRecord,
    EncapsulatedControlMessage,
    MapReply,
    MapRequest,
    NoAddress,
    RequestRecord,
)
from tests.engine.world import (
    AGGREGATE,
    DC1,
    DC2,
    H1,
    H2,
    KEY,
    MR,
    MS,
    PXTR,
    REQUEST_PORT,
    XTR1,
    XTR2,
    World,
    map_resolver,
    map_server,
    site,
    two_sites,
    xtr,
)


@pytest.mark.requirement("C01", "C05", "C06", "C29", "M07", "S09")
def test_map_request_goes_itr_mr_ms_etr_and_the_reply_straight_back() -> None:
    """Every hop, inner bytes unchanged, one record, an ITR-RLOC, the reply's ports."""
    world = two_sites()
    entry = world.resolve("xtr1", H2, H1.address)
    assert entry == ForwardingEntry(DC2, Forwarding.ENCAPSULATE, (Locator(XTR2, 1, 100),))
    hops = world.sent(EncapsulatedControlMessage)
    assert [(p.source, p.destination, p.port) for p in hops] == [
        (XTR1, MR, CONTROL_PORT),
        (MR, MS, CONTROL_PORT),
        (MS, XTR2, CONTROL_PORT),
    ]
    assert len({p.payload[4:] for p in hops}) == 1
    assert hops[0].source_port != CONTROL_PORT
    request = hops[0].request
    assert (request.source_eid, request.itr_rlocs) == (H1.address, (XTR1,))
    assert [record.prefix for record in request.records] == [H2]
    assert not request.pitr
    assert not request.probe
    inner = hops[0].message.unwrap()
    assert (inner.source, inner.source_port) == (XTR1, REQUEST_PORT)
    assert (inner.destination, inner.destination_port) == (H2.address, CONTROL_PORT)
    (reply,) = world.sent(MapReply)
    assert (reply.source, reply.destination) == (XTR2, XTR1)
    assert (reply.source_port, reply.port) == (CONTROL_PORT, REQUEST_PORT)
    assert reply.message.nonce == request.nonce
    record = reply.message.records[0]
    assert record.authoritative
    assert record.locators[0].local


@pytest.mark.requirement("C11", "M08")
def test_map_server_answers_for_a_site_that_asked_for_proxy_replies() -> None:
    """The P-bit makes the Map-Server answer; A and L stay 0."""
    world = two_sites(proxy_reply=True)
    assert world.resolve("xtr1", H2).locators == (Locator(XTR2, 1, 100),)
    (reply,) = world.sent(MapReply)
    assert (reply.source, reply.destination) == (MS, XTR1)
    record = reply.message.records[0]
    assert not record.authoritative
    assert not record.locators[0].local


@pytest.mark.requirement("C11", "M07", "M08")
def test_with_the_a_bit_the_site_itself_answers() -> None:
    """The ITR wants the destination site to answer: no proxy reply then; a hole has no site to ask."""
    world = two_sites(proxy_reply=True)
    for eid in (H2, host_prefix("172.20.9.9")):
        request = MapRequest(5, NoAddress(), (XTR1,), (RequestRecord.of(eid),), authoritative=True)
        inside = EncapsulatedControlMessage.wrap(request.encode(), XTR1, REQUEST_PORT, eid.address)
        world.inject("mr", inside.encode(), XTR1)
        world.run()
    assert [p.destination for p in world.sent(EncapsulatedControlMessage)] == [MS, XTR2]
    assert len({p.payload[4:] for p in world.sent(EncapsulatedControlMessage)}) == 1
    site_reply, resolver_reply = world.sent(MapReply)
    assert (site_reply.source, site_reply.message.records[0].authoritative) == (XTR2, True)
    assert (resolver_reply.source, resolver_reply.message.records[0].authoritative) == (MR, False)


@pytest.mark.requirement("M04", "M09", "S09")
def test_outside_every_configured_prefix_the_resolver_answers_itself() -> None:
    """Natively-forward, 15 minutes, the least-specific prefix beside the configured ones."""
    world = two_sites()
    eid = host_prefix("172.20.9.9")
    assert world.resolve("xtr1", eid) == ForwardingEntry(EidPrefix.of("128.0.0.0/2"), Forwarding.NATIVE)
    (reply,) = world.sent(MapReply)
    assert reply.source == MR
    record = reply.message.records[0]
    assert (record.ttl_minutes, record.action, record.authoritative) == (15, Action.NATIVELY_FORWARD, False)


@pytest.mark.requirement("C10", "M05")
def test_configured_but_not_registered_is_negative_for_a_minute() -> None:
    """Natively-forward for 1 minute from the Map-Server, then the default entry decides again."""
    world = World().add(map_server(), map_resolver(), xtr("xtr1", XTR1, DC1))
    world.run()
    assert world.resolve("xtr1", H2) == ForwardingEntry(DC2, Forwarding.NATIVE)
    assert world.sent(MapReply)[0].source == MS
    world.run(57)
    assert world["xtr1"].forwarding(H2).forwarding is Forwarding.NATIVE
    world.run(3)
    assert world["xtr1"].forwarding(H2).forwarding is Forwarding.SEND_MAP_REQUEST


@pytest.mark.requirement("M03", "M09")
def test_hole_between_registered_more_specifics() -> None:
    """Inside a prefix with accept-more-specifics the negative reply avoids what is registered."""
    subnet = EidPrefix.of("11.11.11.0/24")
    hosts = [host_prefix(f"11.11.11.{n}") for n in (11, 12)]
    ms = map_server(site("dc", subnet, more=True))
    world = World().add(ms, map_resolver(subnet), xtr("xtr1", XTR1, hosts[0]), xtr("xtr2", XTR2, hosts[1]))
    world.run()
    assert world.resolve("xtr1", hosts[1]).locators == (Locator(XTR2, 1, 100),)
    hole = ForwardingEntry(EidPrefix.of("11.11.11.128/25"), Forwarding.NATIVE)
    assert world.resolve("xtr1", host_prefix("11.11.11.200")) == hole


@pytest.mark.requirement("S04")
def test_fresh_itr_has_a_default_entry() -> None:
    """Send-map-request everywhere before anything is known, so that a lookup never misses."""
    world = two_sites()
    assert world["xtr1"].forwarding(host_prefix("8.8.8.8")).forwarding is Forwarding.SEND_MAP_REQUEST
    (row,) = world["xtr1"].engine.show("map-cache", world.now)
    assert (row["eid"], row["action"], row["source"]) == ("0.0.0.0/0", "send-map-request", "default")


@pytest.mark.requirement("M13")
def test_pitr_sets_the_p_bit_and_asks_inside_its_aggregates_only() -> None:
    """A PITR's Map-Request says so; for an EID that nobody drew to it, it does not ask."""
    world = two_sites()
    assert world.resolve("pxtr", H2, ip_address("203.0.113.9")).locators == (Locator(XTR2, 1, 100),)
    assert world.sent(EncapsulatedControlMessage, PXTR)[0].request.pitr
    world.put("pxtr", Miss(host_prefix("8.8.8.8")))
    assert world["pxtr"].unresolved == [host_prefix("8.8.8.8")]
    assert len(world.sent(EncapsulatedControlMessage, PXTR)) == 1
    assert [p for p, _ in world["pxtr"].data_path.items()] == [AGGREGATE, DC2]


@pytest.mark.requirement("C16")
def test_locators_are_sent_in_ascending_order_ipv4_first() -> None:
    """On registration and in replies, whatever the order of the configuration."""
    unsorted = ("2001:db8::2", "10.0.2.9", "2001:db8::1", "10.0.2.1")
    config = xtr("xtr2", XTR2, DC2)
    mapping = DatabaseMapping(DC2, tuple(Locator(ip_address(text)) for text in unsorted))
    world = World().add(map_server(), map_resolver(), xtr("xtr1", XTR1, DC1), replace(config, database=(mapping,)))
    world.run()
    entry = world.resolve("xtr1", H2)
    (reply,) = world.sent(MapReply)
    locators = [str(one.address) for one in reply.message.records[0].locators]
    assert locators == ["10.0.2.1", "10.0.2.9", "2001:db8::1", "2001:db8::2"]
    assert [str(one.address) for one in entry.locators] == ["10.0.2.1", "10.0.2.9"]  # xtr1 has no IPv6 RLOC


@pytest.mark.requirement("C08")
def test_other_eids_of_the_same_prefix_are_settled_by_one_reply() -> None:
    """What another EID's reply has answered is not asked again."""
    world = two_sites()
    other = host_prefix("192.168.2.99")
    world.put("xtr1", Miss(H2))
    world.lost = lambda packet: packet.source == XTR1
    world.put("xtr1", Miss(other))
    world.run(5)
    assert world["xtr1"].forwarding(other).prefix == DC2
    assert len(world.sent(EncapsulatedControlMessage, XTR1)) == 2


@pytest.mark.requirement("C13", "C14", "C30")
def test_probe_is_answered_by_the_etr_and_dropped_by_the_mapping_system() -> None:
    """P copied, A=1, the p-bit on the probed locator; MR and MS drop probes, bare or encapsulated."""
    world = two_sites()
    probe = MapRequest(5, NoAddress(), (XTR1,), (RequestRecord.of(DC2),), probe=True)
    world.inject("xtr2", probe.encode(), XTR1, REQUEST_PORT)
    (reply,) = world.sent(MapReply)
    assert (reply.destination, reply.port) == (XTR1, REQUEST_PORT)
    assert reply.message.probe
    assert reply.message.nonce == 5
    assert reply.message.records[0].authoritative
    assert [one.probed for one in reply.message.records[0].locators] == [True]
    wrapped = EncapsulatedControlMessage.wrap(probe.encode(), XTR1, REQUEST_PORT, H2.address).encode()
    for name in ("mr", "ms"):
        world.inject(name, probe.encode(), XTR1)
        world.inject(name, wrapped, XTR1)
        assert world[name].drops == {"probe": 2}
    world.inject("xtr2", wrapped, MS)
    assert world["xtr2"].drops == {"probe": 1}
    assert len(world.sent(MapReply)) == 1


@pytest.mark.requirement("C06")
def test_request_with_three_records_gets_them_answered() -> None:
    """A receiver accepts several records, though a sender puts one."""
    world = two_sites(proxy_reply=True)
    questions = (H2, host_prefix("172.20.9.9"), H1)
    request = MapRequest(5, NoAddress(), (XTR1,), tuple(RequestRecord.of(eid) for eid in questions))
    world.inject("ms", EncapsulatedControlMessage.wrap(request.encode(), XTR1, 5555, H2.address).encode(), MR)
    (reply,) = world.sent(MapReply)
    assert (reply.destination, reply.port) == (XTR1, 5555)
    records = reply.message.records
    assert [str(record.prefix) for record in records] == [str(DC2), "128.0.0.0/2", str(DC1)]


@pytest.mark.requirement("C05")
def test_request_without_usable_itr_rloc_is_dropped() -> None:
    """There is nobody to reply to: no family in common, or no unicast address."""
    world = two_sites(proxy_reply=True)
    for rloc in ("2001:db8::1", "255.255.255.255", "224.0.0.5"):
        request = MapRequest(5, NoAddress(), (ip_address(rloc),), (RequestRecord.of(H2),))
        world.inject("ms", EncapsulatedControlMessage.wrap(request.encode(), XTR1, 5555, H2.address).encode(), MR)
    assert world["ms"].drops == {"map-request-no-usable-itr-rloc": 3}
    assert not world.sent(MapReply)


@pytest.mark.requirement("M10")
def test_map_server_discards_map_replies() -> None:
    """A Map-Server that is no Map-Resolver never asked."""
    world = two_sites()
    assert world.inject("ms", MapReply(1, (EidRecord.of(DC2, 1),)).encode())
    assert world["ms"].drops == {"no-role-for-map-reply": 1}


@pytest.mark.requirement("C08", "M22")
def test_lig_shows_the_reply_and_says_why_not() -> None:
    """Who replied, how fast, with what; and one line when nobody does."""
    world = two_sites()
    result = world.lig("xtr1", H2).result
    assert result is not None
    assert (result["eid"], result["replier"], result["rtt_ms"]) == ("192.168.2.22/32", str(XTR2), 40.0)
    assert result["records"][0]["locators"][0]["rloc"] == str(XTR2)
    assert world["xtr1"].forwarding(H2).prefix == DC2
    world.stop("mr")
    lost = world.lig("xtr1", host_prefix("192.168.9.9"), 12)
    assert (lost.result, lost.error) == (None, "no reply after 10 retransmissions")
    assert "pause" in world.lig("xtr1", host_prefix("192.168.9.9"), 0.1).error
    world.put("ms", Query(H2, 3))
    assert world["ms"].answers[-1].error == "ms has no Map-Resolver to ask"


@pytest.mark.requirement("M22")
def test_lig_for_an_eid_of_the_own_site() -> None:
    """The request comes back to its sender as ETR; that is no loop."""
    world = two_sites()
    result = world.lig("xtr1", H1).result
    assert result is not None
    assert result["replier"] == str(XTR1)


@pytest.mark.requirement("M08", "S07", "S09")
def test_all_roles_in_one_engine() -> None:
    """One router is ITR, ETR, PITR, PETR, MS and MR at once, and serves another xTR as well."""
    everything = NodeConfig(
        "one",
        frozenset(Role),
        (MS,),
        database=(DatabaseMapping(DC1, (Locator(MS),)),),
        map_resolvers=(MS,),
        map_servers=(MapServerPeer(MS, KEY),),
        eid_aggregates=(AGGREGATE,),
        sites=(site("dc1", DC1), site("dc2", DC2)),
        xtr_id="1" * 32,
    )
    world = World().add(everything, replace(xtr("xtr2", XTR2, DC2), map_resolvers=(MS,)))
    world.run()
    assert world["one"].engine.registered
    assert world["xtr2"].engine.registered
    assert world.resolve("xtr2", H1).locators == (Locator(MS),)
    assert world.resolve("one", H2, H1.address).locators == (Locator(XTR2, 1, 100),)
    assert not world.sent(EncapsulatedControlMessage, MS)[-1].request.pitr
    outside = host_prefix("192.168.9.9")
    assert world.resolve("one", outside, ip_address("203.0.113.9")).forwarding is Forwarding.NATIVE
    assert world.sent(EncapsulatedControlMessage, MS)[-1].request.pitr
    assert world["one"].drops == {}
    assert world["one"].engine.show("roles", world.now)["roles"] == sorted(Role)


@pytest.mark.requirement("M07")
def test_forwarding_never_goes_round() -> None:
    """A request that came from the Map-Server is not sent back to it by an ETR that is a resolver too."""
    world = two_sites()
    both = replace(map_resolver(DC2), name="xtr2", rlocs=(XTR2,))
    world.restart("xtr2", both)
    world.put("xtr1", Miss(H2))
    world.run(0.9)
    assert world["xtr2"].drops == {"map-request-loop": 1}
    assert len(world.sent(EncapsulatedControlMessage)) == 3


@pytest.mark.requirement("D20", "C05")
def test_instances_are_resolved_apart() -> None:
    """The same EID in two instances, registered by two xTRs."""
    red, blue = (EidPrefix.of("192.168.2.0/24", n) for n in (100, 200))
    source = EidPrefix.of("192.168.1.0/24", 200)
    world = World().add(map_server(site("red", red), site("blue", blue)), map_resolver(red, blue))
    asking = replace(xtr("xtr1", XTR1, source), roles=frozenset({Role.ITR}), map_servers=())
    world.add(asking, xtr("xtr2", XTR2, red), xtr("xtr3", PXTR, blue))
    world.run()
    eid = host_prefix("192.168.2.22", 200)
    assert world.resolve("xtr1", eid, H1.address).locators == (Locator(PXTR, 1, 100),)
    assert world["xtr1"].data_path.lookup(host_prefix("192.168.2.22", 100)) is None
