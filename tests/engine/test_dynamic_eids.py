"""Hosts found one by one: what an ETR makes of them, what the mapping system says, what an ITR believes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodes.lisp.config import DynamicEid, Locator, MapServerPeer, NodeConfig, Role
from nodes.lisp.effects import AddHost, Forwarding, Persist, RemoveHost, Report, Send
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.engine.database import Database, Host, RefusedError
from nodes.lisp.inputs import HostGone, HostSeen, HostsSeen, Miss
from nodes.lisp.wire import Action, MapNotify, MapRegister
from tests.engine.world import KEY, World, site, xtr

# The mission lab's own addresses (requirements S06 to S08).
R1, R2 = ip_address("200.1.247.1"), ip_address("200.1.247.2")
SUBNET = EidPrefix.of("11.11.11.0/24")
PC1, PC2, PC3 = (host_prefix(f"11.11.11.{number}") for number in (11, 12, 13))
PORT = "pc"


def five_roles() -> NodeConfig:
    """The router that is xTR, Map-Server, Map-Resolver, PITR and PETR at once."""
    return NodeConfig(
        "r1",
        frozenset(Role),
        (R1,),
        dynamic_eids=(DynamicEid(SUBNET, (Locator(R1),)),),
        map_resolvers=(R1,),
        map_servers=(MapServerPeer(R1, KEY),),
        eid_aggregates=(SUBNET,),
        sites=(site("stretched", SUBNET, more=True),),
        xtr_id="1" * 32,
    )


def other_xtr(permitted: EidPrefix = SUBNET) -> NodeConfig:
    """The xTR of the other data centre."""
    return replace(
        xtr("r2", R2, SUBNET),
        database=(),
        dynamic_eids=(DynamicEid(permitted, (Locator(R2),)),),
        map_resolvers=(R1,),
        map_servers=(MapServerPeer(R1, KEY),),
    )


def stretched() -> World:
    """One subnet in both data centres, and nobody seen yet."""
    world = World().add(five_roles(), other_xtr())
    world.run()
    return world


def both_seen() -> World:
    world = stretched()
    world.put("r1", HostSeen(PC1, PORT))
    world.put("r2", HostSeen(PC2, PORT))
    world.run()
    return world


def registered(world: World) -> dict[str, str]:
    rows = world["r1"].engine.show("registrations", world.now)
    assert isinstance(rows, list)
    return {row["eid"]: row["etr"] for row in rows if row["etr"]}


@pytest.mark.requirement("X01", "X02")
def test_host_that_shows_itself_is_registered_at_once() -> None:
    """A Map-Register of the /32 with the locator-set of the permitted prefix, then at once the host route."""
    world = stretched()
    effects = world.put("r2", HostSeen(PC2, PORT))
    assert [type(one) for one in effects] == [Persist, Send, AddHost, Report]
    (sent,) = world.sent(MapRegister, R2)
    message = sent.message
    assert isinstance(message, MapRegister)
    assert [(record.prefix, record.ttl_minutes) for record in message.records] == [(PC2, 1440)]
    assert [(one.address, one.local) for one in message.records[0].locators] == [(R2, True)]
    assert not world["r2"].engine.registered
    world.run()
    assert world["r2"].engine.registered
    assert registered(world) == {str(PC2): str(R2)}
    (row,) = world["r2"].engine.show("dynamic-eids", world.now)
    assert row == {"eid": str(PC2), "instance_id": 0, "interface": PORT, "found_s": 1.0, "state": "registered"}


@pytest.mark.requirement("X01")
def test_hosts_that_show_themselves_together_go_into_one_message() -> None:
    """A machine's addresses of both IP versions, or hundreds of machines: each message would be answered."""
    world = stretched()
    effects = world.put("r2", HostsSeen((HostSeen(PC2, PORT), HostSeen(PC3, PORT))))
    assert [type(one) for one in effects] == [Persist, Send, AddHost, AddHost, Report, Report]
    (sent,) = world.sent(MapRegister, R2)
    assert isinstance(sent.message, MapRegister)
    assert [record.prefix for record in sent.message.records] == [PC2, PC3]
    world.run()
    assert registered(world) == {str(PC2): str(R2), str(PC3): str(R2)}


@pytest.mark.requirement("X01")
def test_host_that_is_seen_again_costs_nothing() -> None:
    """One Map-Register, however often; then one in a minute."""
    world = both_seen()
    assert not any(world.put("r2", HostSeen(PC2, PORT)) for _ in range(100))
    assert len(world.sent(MapRegister, R2)) == 1
    world.run(60)
    assert len(world.sent(MapRegister, R2)) == 2


def told(world: World) -> list[set[EidPrefix]]:
    """What each Map-Register of the second data centre was about."""
    messages = [packet.message for packet in world.sent(MapRegister, R2)]
    return [{one.prefix for one in message.records} for message in messages if isinstance(message, MapRegister)]


@pytest.mark.requirement("X01", "X05")
def test_a_new_host_does_not_register_the_others_once_more() -> None:
    """One of them may have gone elsewhere a moment ago, and nobody has told this xTR yet."""
    world = both_seen()
    world.lost = lambda packet: isinstance(packet.message, MapNotify) and packet.destination == R2
    world.put("r1", HostSeen(PC2, PORT))
    world.run(0.1)
    assert registered(world)[str(PC2)] == str(R1)
    world.put("r2", HostSeen(PC3, PORT))
    world.run(0.1)
    assert told(world)[-1] == {PC3}
    assert registered(world) == {str(PC1): str(R1), str(PC2): str(R1), str(PC3): str(R2)}


@pytest.mark.requirement("M01", "X05")
def test_new_hosts_do_not_put_off_the_refreshing_of_the_others() -> None:
    world = both_seen()
    begun = len(told(world))
    for number in range(20, 30):
        world.put("r2", HostSeen(host_prefix(f"11.11.11.{number}"), PORT))
        world.run(13)
    refreshed = [eids for eids in told(world)[begun:] if PC2 in eids]
    # At 60 and at 120 seconds, with all that were known by then.
    assert [len(eids) for eids in refreshed] == [6, 11]


def test_a_refreshing_that_was_lost_is_not_taken_for_done_when_news_is_acknowledged() -> None:
    world = both_seen()
    begun = len(told(world))
    world.lost = lambda packet: isinstance(packet.message, MapRegister) and packet.source == R2
    world.run(59.5)
    assert told(world)[begun:] == [{PC2}]
    world.lost = lambda _packet: False
    world.put("r2", HostSeen(PC3, PORT))
    world.run(0.5)
    assert told(world)[begun + 1 :] == [{PC3}, {PC2, PC3}]


@pytest.mark.requirement("X02")
@pytest.mark.parametrize(
    ("eid", "permitted", "reason"),
    [
        (host_prefix("11.11.12.1"), SUBNET, "host-not-permitted"),
        (host_prefix("11.11.11.12", 7), SUBNET, "host-not-permitted"),
        (host_prefix("2001:db8::1"), SUBNET, "host-not-permitted"),
        (EidPrefix.of("11.11.11.0/30"), SUBNET, "host-not-permitted"),
        (host_prefix("11.11.11.200"), EidPrefix.of("11.11.11.0/25"), "host-not-permitted"),
    ],
)
def test_only_hosts_of_a_permitted_prefix(eid: EidPrefix, permitted: EidPrefix, reason: str) -> None:
    """Another prefix, instance or family, or no host at all, is not registered."""
    world = World().add(five_roles(), other_xtr(permitted))
    world.put("r2", HostSeen(eid, PORT))
    world.run()
    assert world["r2"].drops == {reason: 1}
    assert not world.sent(MapRegister)
    assert not world["r2"].hosts


@pytest.mark.requirement("X02")
def test_the_address_of_a_router_is_no_host() -> None:
    """Neither this router's nor that of the other data centre's."""
    config = other_xtr()
    permitted = replace(config.dynamic_eids[0], routers=frozenset({PC1.address}))
    world = World().add(five_roles(), replace(config, dynamic_eids=(permitted,)))
    world.put("r2", HostSeen(PC1, PORT))
    world.run()
    assert world["r2"].drops == {"host-is-a-router": 1}
    assert not world.sent(MapRegister)


@pytest.mark.requirement("X02")
def test_host_with_a_configured_mapping_is_not_dynamic() -> None:
    """What the configuration says of a host stays."""
    config = replace(xtr("r2", R2, PC2), dynamic_eids=other_xtr().dynamic_eids)
    world = World().add(config)
    world.put("r2", HostSeen(PC2, PORT))
    assert world["r2"].drops == {"host-configured": 1}
    assert not world["r2"].hosts


def test_hosts_are_bounded() -> None:
    """Who sends from a whole subnet fills no memory; a host that goes makes room."""
    database = Database(other_xtr(), max_hosts=10)
    hosts = [Host(host_prefix(f"11.11.11.{n}"), PORT, 0.0) for n in range(1, 12)]
    for host in hosts[:10]:
        assert database.add(host).prefix == host.eid
    with pytest.raises(RefusedError, match=r"11\.11\.11\.11/32 is one host more than 10"):
        database.add(hosts[10])
    database.add(replace(hosts[0], interface="other"))
    database.remove(hosts[1].eid)
    database.add(hosts[10])
    assert len(database.hosts()) == 10


@pytest.mark.requirement("C40", "X01")
def test_hundreds_of_hosts_fit_many_messages() -> None:
    """Each Map-Register fits; a lost one is sent again; afterwards all are registered, once a minute."""
    world = stretched()
    world.lost = lambda packet: isinstance(packet.message, MapRegister) and len(world.sent(MapRegister)) % 3 == 0
    for n in range(1, 250):
        world.put("r2", HostSeen(host_prefix(f"11.11.11.{n}"), PORT))
    world.run(30)
    assert world["r2"].engine.registered
    assert len(registered(world)) == 249
    assert max(len(p.payload) for p in world.sent(MapRegister)) <= 576 - 28
    before = len(world.sent(MapRegister))
    world.lost = lambda _packet: False
    world.run(60)
    assert len(world.sent(MapRegister)) - before == 15


@pytest.mark.requirement("C25", "X01")
def test_acknowledgement_of_what_was_sent_before_a_host_was_found_does_not_count() -> None:
    """The second host is in no message that the first Map-Notify answers."""
    world = stretched()
    third = host_prefix("11.11.11.13")
    world.put("r2", HostSeen(PC2, PORT))
    world.run(0.015)
    world.lost = lambda packet: isinstance(packet.message, MapRegister)
    world.put("r2", HostSeen(third, PORT))
    world.run(0.5)
    rows = world["r2"].engine.show("dynamic-eids", world.now)
    assert {row["eid"]: row["state"] for row in rows} == {str(PC2): "registered", str(third): "pending"}
    assert not world["r2"].engine.registered
    world.lost = lambda _packet: False
    world.run()
    assert world["r2"].engine.registered
    assert registered(world) == {str(PC2): str(R2), str(third): str(R2)}


@pytest.mark.requirement("X05")
def test_host_that_is_gone_is_withdrawn_and_never_registered_again() -> None:
    """TTL 0, authenticated, sent again until it is acknowledged; no Map-Register names the host afterwards."""
    world = both_seen()
    world.lost = lambda packet: isinstance(packet.message, MapNotify) and packet.destination == R2
    assert [type(one) for one in world.put("r2", HostGone(PC2, PORT))] == [RemoveHost, Persist, Send, Report]
    world.run(3.5)
    assert [p.message.records[0].ttl_minutes for p in world.sent(MapRegister, R2)] == [1440, 0, 0, 0]
    assert registered(world) == {str(PC1): str(R1)}
    world.lost = lambda _packet: False
    world.run(10)
    count = len(world.sent(MapRegister, R2))
    world.run(200)
    assert len(world.sent(MapRegister, R2)) == count
    assert not world["r2"].hosts
    assert world["r2"].engine.show("database", world.now) == []


@pytest.mark.requirement("X05")
def test_withdrawal_by_the_old_xtr_leaves_the_new_one_alone() -> None:
    """The host is at R1 already when R2 notices that it went."""
    world = both_seen()
    world.put("r1", HostSeen(PC2, PORT))
    world.run()
    world.put("r2", HostGone(PC2, PORT))
    world.run()
    assert registered(world) == {str(PC1): str(R1), str(PC2): str(R1)}


@pytest.mark.requirement("X05")
def test_host_that_comes_back_while_it_is_withdrawn() -> None:
    """The last word counts."""
    world = both_seen()
    world.put("r2", HostGone(PC2, PORT))
    world.put("r2", HostSeen(PC2, PORT))
    world.run()
    assert registered(world)[str(PC2)] == str(R2)
    assert world["r2"].hosts == {PC2: PORT}


@pytest.mark.requirement("X08")
def test_host_on_another_interface_keeps_its_registration() -> None:
    """The host route moves; stale news of the old interface change nothing; nobody else has to know."""
    world = both_seen()
    effects = world.put("r2", HostSeen(PC2, "other"))
    assert effects[:2] == [RemoveHost(PC2, PORT), AddHost(PC2, "other")]
    assert not world.put("r2", HostGone(PC2, PORT))
    assert world["r2"].hosts == {PC2: "other"}
    assert len(world.sent(MapRegister, R2)) == 1


@pytest.mark.requirement("S06", "S07")
def test_hosts_of_both_data_centres_find_each_other() -> None:
    """PC1 and PC2 through the router with all roles."""
    world = both_seen()
    assert world.resolve("r1", PC2, PC1.address).locators == (Locator(R2),)
    assert world.resolve("r2", PC1, PC2.address).locators == (Locator(R1),)
    assert world["r1"].drops == world["r2"].drops == {}


@pytest.mark.requirement("M09", "S08")
def test_negative_reply_for_the_upper_half_of_the_subnet() -> None:
    """With only .11 and .12 registered, 11.11.11.200 is in 11.11.11.128/25: forward-native."""
    world = both_seen()
    result = world.lig("r2", host_prefix("11.11.11.200")).result
    assert result is not None
    (record,) = result["records"]
    assert (record["eid"], record["action"], record["locators"]) == ("11.11.11.128/25", Action.NATIVELY_FORWARD, [])
    assert (record["ttl_minutes"], record["authoritative"]) == (1, False)


@pytest.mark.requirement("C08", "S08")
def test_negative_inside_the_own_dynamic_prefix_is_asked_again() -> None:
    """A host that was not there is found as soon as it is: its negative mapping forwards nothing natively."""
    world = stretched()
    world.put("r1", HostSeen(PC1, PORT))
    assert world.resolve("r1", PC2, PC1.address).forwarding is Forwarding.SEND_MAP_REQUEST
    assert world["r1"].unresolved == [PC2]
    world.put("r2", HostSeen(PC2, PORT))
    world.put("r1", Miss(PC2, PC1.address))
    world.run()
    assert world["r1"].forwarding(PC2).locators == (Locator(R2),)


@pytest.mark.requirement("S08")
def test_wider_negative_mapping_does_not_decide_inside_the_own_dynamic_prefix() -> None:
    """The Map-Server's site is wider than the part whose hosts this xTR finds."""
    small = EidPrefix.of("11.11.11.0/28")
    world = World().add(five_roles(), other_xtr(small))
    world.run()
    assert world.resolve("r2", host_prefix("11.11.11.200"), PC2.address).forwarding is Forwarding.NATIVE
    assert world["r2"].forwarding(PC1).forwarding is Forwarding.SEND_MAP_REQUEST


@pytest.mark.requirement("X05")
def test_restarted_xtr_has_no_hosts_until_they_show_themselves() -> None:
    """It cannot know whether they are still there."""
    world = both_seen()
    node = world.restart("r2")
    world.run()
    assert not node.hosts
    assert len(world.sent(MapRegister, R2)) == 1
    world.put("r2", HostSeen(PC2, PORT))
    world.run()
    assert node.engine.registered
    assert registered(world)[str(PC2)] == str(R2)


@pytest.mark.requirement("X02", "S13")
def test_same_host_in_two_tenants() -> None:
    """One xTR, one address, two instances; each has its own record, in one Map-Register when all is repeated."""
    tenants = [EidPrefix.of("11.11.11.0/24", n) for n in (100, 200)]
    permitted = tuple(DynamicEid(one, (Locator(R2),)) for one in tenants)
    world = World().add(
        replace(five_roles(), dynamic_eids=(), sites=(site("tenants", *tenants, more=True),)),
        replace(other_xtr(), dynamic_eids=permitted),
    )
    for n in (100, 200):
        world.put("r2", HostSeen(host_prefix("11.11.11.12", n), f"tenant{n}"))
    world.run()
    rows = [row for row in world["r1"].engine.show("registrations", world.now) if row["etr"]]
    assert [(row["eid"], row["instance_id"]) for row in rows] == [(str(PC2), 100), (str(PC2), 200)]
    world.run(60)
    assert len(world.sent(MapRegister, R2)[-1].message.records) == 2
    world.put("r2", HostGone(host_prefix("11.11.11.12", 100), "tenant100"))
    world.run()
    assert world["r2"].hosts == {host_prefix("11.11.11.12", 200): "tenant200"}
