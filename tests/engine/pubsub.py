"""Worlds in which xTRs and PITRs subscribe (RFC 9437), and what is said in them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from nodes.lisp.config import (
    Algorithm,
    DatabaseMapping,
    Key,
    Locator,
    NodeConfig,
    Subscriber,
)
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.wire import (
    EncapsulatedControlMessage,
    MapNotify,
    MapNotifyAck,
    MapRegister,
    MapRequest,
    NoAddress,
    RequestRecord,
    sign,
)
from tests.engine.stretched import HOST, SUBNET, XTR3, appears, dynamic
from tests.engine.world import (
    DC1,
    DC2,
    MR,
    MS,
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

BRANCH = EidPrefix.of("192.168.3.0/24")
SECRET = Key(1, Algorithm.HMAC_SHA_256_128_HKDF_SHA256, "open barley")
OTHER_SECRET = Key(2, Algorithm.HMAC_SHA_256_128, "open rye")


def subscribing(config: NodeConfig, *keys: Key) -> NodeConfig:
    xtr_id = config.xtr_id or f"{int(config.rlocs[0]):032x}"
    return replace(config, subscription_keys=keys or (SECRET,), xtr_id=xtr_id)


def subscriber(config: NodeConfig, with_keys: bool = True) -> Subscriber:
    networks = tuple(ip_network(one) for one in config.rlocs)
    return Subscriber(config.xtr_id, config.site_id, networks, config.subscription_keys if with_keys else ())


def world_of(*xtrs: NodeConfig) -> World:
    """The subnet in two data centres, a branch and a PITR; who has a key subscribes."""
    known = [one for one in xtrs if one.subscription_keys]
    dc = site("dc", SUBNET, more=True)
    server = replace(
        map_server(dc, site("branch", BRANCH), site("dc1", DC1), site("dc2", DC2)),
        subscribers=tuple(subscriber(one) for one in known),
        subscription_resolvers=(MR,),
    )
    resolver = replace(
        map_resolver(SUBNET, BRANCH, DC1, DC2), subscribers=tuple(subscriber(one, with_keys=False) for one in known)
    )
    world = World().add(server, resolver, *xtrs)
    world.run()
    return world


def stretched(home: bool = False) -> World:
    """A host in the first data centre; the branch and the PITR have resolved it."""
    first = dynamic("xtr1", XTR1)
    if home:  # the first data centre has the subnet, the other one hosts that are away
        first = replace(first, database=(DatabaseMapping(SUBNET, (Locator(XTR1),)),), dynamic_eids=())
    world = world_of(
        first,
        dynamic("xtr2", XTR2),
        subscribing(xtr("xtr3", XTR3, BRANCH, proxy_reply=True)),
        subscribing(pxtr()),
    )
    if not home:
        appears(world, "xtr1")
    world.run(1)
    for name in ("xtr3", "pxtr"):
        assert world.resolve(name, HOST).locators[0].address == XTR1
    return world


def used(world: World, name: str, eid: EidPrefix = HOST) -> IPAddress | Forwarding:
    """Where a node sends what is for an EID, without being asked."""
    entry = world[name].forwarding(eid)
    return entry.locators[0].address if entry.locators else entry.forwarding


def notifies(world: World, to: IPAddress) -> list[tuple[Packet, MapNotify]]:
    sent = [packet for packet in world.sent(MapNotify, MS) if packet.destination == to]
    registers = {one.nonce for packet in world.sent(MapRegister, to) if isinstance(one := packet.message, MapRegister)}
    return [(p, m) for p in sent if isinstance(m := p.message, MapNotify) and m.nonce not in registers]


def asked(world: World, by: IPAddress) -> list[MapRequest]:
    return [packet.request for packet in world.sent(EncapsulatedControlMessage, by)]


def said(message: MapNotify) -> list[tuple[EidPrefix, int, list[IPAddress]]]:
    return [(one.prefix, one.ttl_minutes, [x.address for x in one.locators]) for one in message.records]  # type: ignore[misc]


def subscriptions(world: World, name: str = "ms") -> dict[tuple[str, str], str]:
    rows = world[name].engine.show("subscriptions", world.now)
    assert isinstance(rows, list)
    return {(row["eid"], row["xtr_id"]): row["state"] for row in rows}


def request_of(config: NodeConfig, eid: EidPrefix = HOST, **changes: object) -> MapRequest:
    request = MapRequest(
        99 << 56,
        NoAddress(),
        config.rlocs,
        (RequestRecord.of(eid, notify=True),),
        xtr_id=bytes.fromhex(config.xtr_id),
        site_id=config.site_id,
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def ecm(request: MapRequest, source: IPAddress, eid: EidPrefix = HOST) -> bytes:
    return EncapsulatedControlMessage.wrap(request.encode(), source, 50_000, eid.address).encode()


def acknowledges(world: World, notify: MapNotify, source: IPAddress = XTR3) -> None:
    """The xTR that somebody plays has heard something."""
    ack = MapNotifyAck(notify.nonce, SECRET.key_id, SECRET.algorithm, notify.records)
    world.inject("ms", sign(ack, SECRET.secret).encode(), source)


def played() -> tuple[World, NodeConfig]:
    """Somebody plays the branch's xTR, and has subscribed as RFC 9437 section 5 says it: by the last nonce and one."""
    world = stretched()
    config = world.stop("xtr3").config
    ((_, confirmation),) = notifies(world, XTR3)
    world.inject("ms", ecm(request_of(config, nonce=confirmation.nonce + 1), XTR3), XTR3)
    acknowledges(world, notifies(world, XTR3)[-1][1])
    return world, config
