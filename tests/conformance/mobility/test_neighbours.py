"""Hosts of one subnet in several data centres: who answers for whom, and which way their packets go."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import pytest

from testbed.act.ping import first_reply
from tests.conformance.clause import clause
from tests.conformance.mobility.roaming import MOBILE, Roaming
from tests.conformance.tester import packets
from tests.conformance.tester.daemons import settled
from tests.conformance.tester.watch import Watch

ETH_ARP, ETH_IPV6 = 0x0806, 0x86DD
SOLICITATION, ADVERTISEMENT = 135, 136


@pytest.mark.requirement("S06", "X11")
def test_neighbours_in_two_data_centres_reach_each_other(at_home: Roaming) -> None:
    """Before and after a move: through the tunnel from RLOC to RLOC, the router answering for who is elsewhere."""
    world, lab = at_home, at_home.lab
    for site, far, near in (("dc1", "near2", "near1"), ("dc2", "near1", "near2")):
        world.settle(site)
        router = gateway_mac(world, far)
        with Watch(lab, ["core2"]) as watch:
            for source, destination in ((far, MOBILE), (MOBILE, far)):
                first_reply(lab, source, destination, within=20, version=world.version)
            watch.drain()
            seen = {
                (one.outer.source, one.inner.source)
                for frame in watch.frames
                if (one := packets.tunnelled(packets.read(frame.data)))
            }
        with clause("S06"):
            mobile_xtr, far_xtr = ("xtr1", "xtr2") if site == "dc1" else ("xtr2", "xtr1")
            wanted = {
                (world.rloc(mobile_xtr), world.eid),
                (world.rloc(far_xtr), lab[far].address_of(world.version)),
            }
            assert seen >= wanted
        with clause("X11"):
            assert neighbour(world, far) == router
            first_reply(lab, near, MOBILE, within=20, version=world.version)
            assert neighbour(world, near) == lab[MOBILE].interfaces[0].mac
            assert gateway_mac(world, near) == router, "one gateway for all data centres"


def gateway_mac(world: Roaming, host: str) -> str:
    """The MAC address that a host has for its gateway, which answers it."""
    address = str(world.subnet[0xFE])
    assert world.lab.run(host, ["ping", "-n", "-c", "1", "-w", "20", address]).returncode == 0
    return neighbour(world, host, address)


def neighbour(world: Roaming, host: str, of: Any = None) -> str:
    """The MAC address that a host has for an address, that of the moving host if nothing is said."""
    shown = world.lab.run(host, ["ip", "-json", "neigh", "show", str(of or world.eid)]).stdout or "[]"
    return str((json.loads(shown) or [{}])[0].get("lladdr", ""))


@pytest.mark.requirement("X12")
def test_an_absent_host_is_answered_for_after_so_many_requests(at_home: Roaming) -> None:
    """Two in a row stay without an answer: the host itself might give one."""
    world, lab = at_home, at_home.lab
    if lab.tells("xtr3", "lig"):  # else the answer to the first may wait for the mapping, and be taken for the third's
        lab.lig("xtr3", str(world.eid))
    host = lab["near3"].interfaces[0]
    with Watch(lab, ["near3"]) as watch, lab.socket("near3", socket.AF_PACKET, socket.SOCK_RAW, 0) as cable:
        cable.bind((host.name, 0))

        def answers() -> list[bytes]:
            return [one.data for one in watch.frames if is_answer(one.data, world.eid)]

        for _ in range(2):
            cable.send(request(host.mac, lab["near3"].address_of(world.version), world.eid))
        settled(lab, "xtr3")
        cable.send(request(host.mac, lab["near3"].address_of(world.version), world.eid))
        watch.until(answers, "an answer")
        settled(lab, "xtr3")
        watch.drain()
        assert len(answers()) == 1


def request(mac: str, sender: packets.IPAddress, asked: packets.IPAddress) -> bytes:
    """An ARP request, or a neighbour solicitation (RFC 4861 section 4.3)."""
    own = bytes.fromhex(mac.replace(":", ""))
    if asked.version == 4:
        arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, own, sender.packed, bytes(6), asked.packed)
        return b"\xff" * 6 + own + struct.pack("!H", ETH_ARP) + arp
    group = b"\xff\x02" + bytes(9) + b"\x01\xff" + asked.packed[-3:]
    body = struct.pack("!BBHI16sBB6s", SOLICITATION, 0, 0, 0, asked.packed, 1, 1, own)
    body = packets.transport(sender, socket.inet_ntop(socket.AF_INET6, group), packets.ICMPV6, body, 2)
    packet = packets.ip(sender, socket.inet_ntop(socket.AF_INET6, group), body, protocol=packets.ICMPV6, ttl=255)
    return b"\x33\x33" + group[-4:] + own + struct.pack("!H", ETH_IPV6) + packet


def is_answer(frame: bytes, asked: packets.IPAddress) -> bool:
    """Whether it tells the MAC address of an address."""
    if asked.version == 4:
        return frame[12:14] == struct.pack("!H", ETH_ARP) and frame[20:22] == b"\0\2" and frame[28:32] == asked.packed
    return frame[12:14] == struct.pack("!H", ETH_IPV6) and frame[54] == ADVERTISEMENT and frame[62:78] == asked.packed
