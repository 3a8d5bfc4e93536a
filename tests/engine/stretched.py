"""One subnet in two data centres, in memory: a host that comes and goes, and who knows where it is."""

from __future__ import annotations

from dataclasses import replace

from nodes.lisp.config import DynamicEid, Locator, NodeConfig
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.inputs import HostSeen, Miss
from nodes.lisp.wire import MapNotify, MapRegister, MapRequest
from tests.engine.world import DC1, MS, XTR1, XTR2, Packet, World, ip_address, map_resolver, map_server, site, xtr

XTR3 = ip_address("10.0.6.1")
SUBNET = EidPrefix.of("192.168.7.0/24")
HOST = host_prefix("192.168.7.10")
PORT = "hosts"


def dynamic(name: str, rloc: IPAddress) -> NodeConfig:
    """An xTR of a data centre that the subnet is stretched to."""
    return replace(
        xtr(name, rloc, SUBNET, proxy_reply=True), database=(), dynamic_eids=(DynamicEid(SUBNET, (Locator(rloc),)),)
    )


def stretched() -> World:
    """The subnet in two data centres, and a branch that talks to it."""
    world = World().add(
        map_server(site("dc", SUBNET, more=True), site("branch", DC1)),
        map_resolver(SUBNET, DC1),
        dynamic("xtr1", XTR1),
        dynamic("xtr2", XTR2),
        xtr("xtr3", XTR3, DC1),
    )
    world.run()
    return world


def appears(world: World, name: str, eid: EidPrefix = HOST) -> None:
    """A host comes to a data centre, and says something there."""
    for node in world.nodes.values():
        node.present.discard(eid)
    world[name].present.add(eid)
    world.put(name, HostSeen(eid, PORT))


def at_one_place() -> World:
    """The host is in the first data centre, and the branch sends to it."""
    world = stretched()
    appears(world, "xtr1")
    world.run()
    assert to(world, "xtr3") == XTR1
    world["xtr1"].contacts.add(XTR3)
    return world


def to(world: World, name: str, eid: EidPrefix = HOST) -> IPAddress | None:
    """Where a node encapsulates to what is for a host."""
    if world[name].forwarding(eid).forwarding is Forwarding.SEND_MAP_REQUEST:
        world.put(name, Miss(eid))
        world.run(3)
    locators = world[name].forwarding(eid).locators
    return locators[0].address if locators else None


def registered(world: World, eid: EidPrefix = HOST) -> str | None:
    rows = world["ms"].engine.show("registrations", world.now)
    assert isinstance(rows, list)
    found: str | None = next((row["etr"] for row in rows if row["eid"] == str(eid)), None)
    return found


def notifies(world: World) -> list[Packet]:
    """The Map-Notifies of which no Map-Register knows."""
    registers = {packet.message.nonce for packet in world.sent(MapRegister) if isinstance(packet.message, MapRegister)}
    sent = world.sent(MapNotify, MS)
    return [one for one in sent if isinstance(one.message, MapNotify) and one.message.nonce not in registers]


def solicitations(world: World, source: IPAddress) -> list[IPAddress]:
    """Whom a node has told to ask again."""
    requests = [(packet, packet.message) for packet in world.sent(MapRequest, source)]
    return [packet.destination for packet, one in requests if isinstance(one, MapRequest) and one.smr]
