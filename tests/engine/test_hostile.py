"""What the network may send to anybody: nothing of it raises, and nothing of it makes state grow."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from nodes.lisp.config import NodeConfig, Role
from nodes.lisp.effects import Install, Remove, Unresolved
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.requests import MapRequester
from nodes.lisp.engine.subscriptions import Subscriptions
from nodes.lisp.inputs import ChangeLocator, Datagram, Miss
from nodes.lisp.map_cache import MapCache
from nodes.lisp.wire import (
    DistinguishedName,
    EidRecord,
    EncapsulatedControlMessage,
    MapRegister,
    MapReply,
    MapRequest,
    NoAddress,
    OpaqueLcaf,
    RequestRecord,
)
from tests.engine.world import (
    DC2,
    H1,
    H2,
    KEY,
    MS,
    STRANGER,
    XTR1,
    XTR2,
    World,
    map_server,
    two_sites,
)


@pytest.fixture(scope="module")
def recorded() -> tuple[World, list[bytes]]:
    """A world in which everything has been said once, and what was said."""
    world = two_sites()
    world.resolve("xtr1", H2)
    world.resolve("xtr1", host_prefix("172.20.9.9"))
    world.put("xtr2", ChangeLocator(DC2, XTR2, 2, None, (XTR1,), token=1))
    world.run(2)
    assert any(isinstance(p.message, MapRequest) and p.message.smr for p in world.packets)
    return world, [packet.payload for packet in world.packets]


@pytest.mark.requirement("C03", "C04", "C29")
def test_mutated_and_random_datagrams_never_raise(recorded: tuple[World, list[bytes]]) -> None:
    """Every node, every message type, bytes flipped, cut and added."""
    world, payloads = recorded
    rng = random.Random(11)
    for round_number in range(3000):
        payload = bytearray(rng.choice(payloads) if round_number % 4 else rng.randbytes(rng.randrange(80)))
        for _ in range(rng.randrange(1, 4)):
            match rng.randrange(3):
                case 0 if payload:
                    payload[rng.randrange(len(payload))] = rng.getrandbits(8)
                case 1 if payload:
                    del payload[rng.randrange(len(payload)) :]
                case _:
                    payload += rng.randbytes(rng.randrange(9))
        for node in world.nodes.values():
            node.engine.step(Datagram(bytes(payload), STRANGER, 4342, node.config.rlocs[0]), world.now)
    assert sum(node.drops.get("malformed", 0) for node in world.nodes.values()) > 1000
    assert [row["etr"] for row in world["ms"].engine.show("registrations", world.now)] == [str(XTR1), str(XTR2)]


@pytest.mark.requirement("C03")
def test_unknown_address_family_is_dropped_and_logged() -> None:
    """AFI 0x7777 in a record."""
    world = two_sites()
    payload = (
        MapRequest(1, NoAddress(), (XTR1,), (RequestRecord.of(H2),))
        .encode()
        .replace(b"\x00\x01" + H2.address.packed, b"\x77\x77" + H2.address.packed)
    )
    world.inject("xtr2", payload)
    assert world["xtr2"].drops == {"malformed": 1}
    assert "AFI" in world["xtr2"].reports[-1].fields["error"]


@pytest.mark.requirement("C03")
@pytest.mark.parametrize("address", [DistinguishedName(b"eid"), OpaqueLcaf(5, b"\x00" * 4), NoAddress()])
def test_legal_addresses_that_are_no_ip_prefix(address: DistinguishedName | OpaqueLcaf | NoAddress) -> None:
    """EIDs of kinds that nobody here reads are refused without harm, in requests and registrations."""
    world = two_sites()
    request = MapRequest(1, NoAddress(), (XTR1,), (RequestRecord(address, 0),)).encode()
    wrapped = EncapsulatedControlMessage.wrap(request, XTR1, 5555, H2.address).encode()
    registration = MapRegister(1, KEY.key_id, KEY.algorithm, (EidRecord(address, 0, 60),), auth_data=bytes(16)).encode()
    for payload in (request, wrapped, registration):
        for name in ("xtr2", "ms", "mr"):
            world.inject(name, payload)
    assert world["ms"].drops["malformed"] == 2


@pytest.mark.requirement("M09")
def test_question_wider_than_what_is_known_is_dropped() -> None:
    """Neither one mapping nor one hole answers for a /8 that holds both."""
    world = two_sites()
    request = MapRequest(1, NoAddress(), (XTR1,), (RequestRecord.of(EidPrefix.of("192.0.0.0/8")),)).encode()
    for name in ("mr", "ms", "xtr2"):
        world.inject(name, EncapsulatedControlMessage.wrap(request, XTR1, 5555, H2.address).encode())
        assert world[name].drops == {"map-request-foreign-eid": 1}


@pytest.mark.requirement("C06", "C40")
def test_255_questions_get_one_reply_that_fits() -> None:
    """One datagram costs the Map-Resolver no more than a datagram."""
    world = two_sites()
    questions = tuple(RequestRecord.of(host_prefix(IPv4Address(172 << 24 | n))) for n in range(255))
    request = MapRequest(1, NoAddress(), (XTR1,), questions).encode()
    world.inject("mr", EncapsulatedControlMessage.wrap(request, XTR1, 5555, H2.address).encode())
    (reply,) = world.sent(MapReply)
    assert 500 < len(reply.payload) <= 576 - 28


@pytest.mark.requirement("C29")
def test_only_map_requests_travel_encapsulated() -> None:
    """A Map-Register inside an ECM, and an inner port that is not 4342."""
    world = two_sites()
    captured = world.sent(MapRegister)[0].payload
    world.inject("ms", EncapsulatedControlMessage.wrap(captured, XTR1, 5555, MS).encode())
    request = MapRequest(1, NoAddress(), (XTR1,), (RequestRecord.of(H2),)).encode()
    world.inject("ms", EncapsulatedControlMessage.wrap(request, XTR1, 5555, H2.address, 4343).encode())
    assert world["ms"].drops == {"ecm-inner-type": 1, "ecm-inner-port": 1}


@pytest.mark.requirement("C29")
def test_zero_or_wrong_inner_checksum_is_dropped() -> None:
    """The inner UDP checksum is there and right."""
    world = two_sites()
    request = MapRequest(1, NoAddress(), (XTR1,), (RequestRecord.of(H2),)).encode()
    good = EncapsulatedControlMessage.wrap(request, XTR1, 5555, H2.address).encode()
    for checksum in (b"\0\0", bytes([good[30] ^ 1, good[31]])):
        world.inject("ms", good[:30] + checksum + good[32:])
    assert world["ms"].drops == {"malformed": 2}


@pytest.mark.requirement("C31")
def test_solicit_map_request_is_for_itrs_and_comes_bare() -> None:
    """One inside an Encapsulated Control Message, or at a node that caches nothing, is dropped."""
    world = two_sites()
    world.inject("mr", MapRequest(1, H1.address, (XTR1,), (RequestRecord.of(H2),), smr=True).encode())
    inside = EncapsulatedControlMessage.wrap(
        MapRequest(1, H1.address, (XTR1,), (RequestRecord.of(H2),), smr=True).encode(), XTR1, 5555, H2.address
    )
    world.inject("xtr2", inside.encode())
    assert world["mr"].drops == world["xtr2"].drops == {"solicit-map-request": 1}


@pytest.mark.requirement("C19")
def test_a_flood_fills_no_log() -> None:
    """One report a second for each reason; the counter knows the rest, and the next report says how many."""
    world = two_sites()
    for _ in range(50):
        for _ in range(100):
            world.inject("ms", b"\xff")
        world.run(0.1)
    reports = [r for r in world["ms"].reports if r.event == "dropped"]
    assert 5 <= len(reports) <= 6
    assert world["ms"].drops == {"malformed": 5000}
    assert 900 <= reports[1].fields["count"] <= 1100


@pytest.mark.requirement("C08")
def test_resolutions_are_bounded() -> None:
    """A scan of the address space ends in drops, not in memory; afterwards there is room again."""
    config = NodeConfig("itr", frozenset({Role.ITR}), (XTR1,), map_resolvers=(MS,))
    context = Context(config, random.Random(1).getrandbits)
    requester = MapRequester(context, 50_000, Subscriptions(context, 0), max_resolutions=100)
    effects = [e for n in range(150) for e in requester.ask(host_prefix(IPv4Address(n)), 0.0)]
    assert sum(isinstance(e, Unresolved) for e in effects) == 50
    assert context.counters["dropped-too-many-resolutions"] == 50
    for second in range(60):
        list(requester.tick(float(second)))
    assert requester.deadline() is None
    assert list(requester.ask(host_prefix("10.0.0.1"), 60.0))


@pytest.mark.requirement("C10")
def test_map_cache_is_bounded() -> None:
    """The mapping that would end first makes room, and the data path hears of it."""
    cache = MapCache([], {XTR1}, max_entries=3)
    effects = []
    for ttl in (9, 2, 5, 7):
        effects += list(cache.store(EidRecord.of(host_prefix(IPv4Address(ttl)), ttl, action=1), 0.0))
    assert [type(e) for e in effects] == [Install, Install, Install, Remove, Install]
    assert [row["eid"] for row in cache.rows(0.0)] == ["0.0.0.5/32", "0.0.0.7/32", "0.0.0.9/32"]
    assert cache.deadline() == 300.0


@pytest.mark.requirement("C30")
def test_node_without_role_ignores_what_is_not_for_it() -> None:
    """A PETR alone has no part in the control plane."""
    world = two_sites()
    petr = NodeConfig("petr", frozenset({Role.PETR}), (ip_address("10.0.8.1"),))
    world.add(petr)
    for packet in world.packets[:]:
        world.inject("petr", packet.payload)
    world.put("petr", Miss(H2))
    assert world["petr"].unresolved == [H2]
    assert world["petr"].engine.deadline() is None
    assert world["petr"].engine.registered
    assert set(world["petr"].drops) == {"no-role-for-map-register", "no-role-for-map-notify"}


@pytest.mark.requirement("C39")
def test_reports_never_hold_a_key() -> None:
    """Neither the log nor the storage has the secret."""
    world = two_sites()
    world.add(replace(map_server(), name="again", rlocs=(STRANGER,)))
    said = str([(node.reports, node.durable, node.engine.show("roles", world.now)) for node in world.nodes.values()])
    assert KEY.secret not in said
