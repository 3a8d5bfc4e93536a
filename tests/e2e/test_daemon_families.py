"""The daemon with IPv4 and IPv6 EIDs over IPv4 and IPv6 RLOCs."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nodes.linux import namespaces, sysctl
from nodes.lisp.config import DatabaseMapping, Delegation, Locator, MapServerPeer, NodeConfig, RegistrationSite, Role
from nodes.lisp.config import SitePrefix as Accepted
from nodes.lisp.eid import EidPrefix, IPAddress
from tests.e2e.daemon_world import DAD, KEY, World, ms_config, xtr_config

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("tshark"), reason="needs root and tshark")

RLOC_SPACE = (ip_network("10.0.0.0/16"), ip_network("2001:db8::/48"))
PREFIXES = {n: (EidPrefix.of(f"192.168.{n}.0/24"), EidPrefix.of(f"2001:db8:e{n}::/64")) for n in (1, 2)}


def rloc(number: int, version: int) -> IPAddress:
    return ip_address(f"10.0.{number}.1" if version == 4 else f"2001:db8:0:{number}::1")


def with_ipv6(world: World) -> None:
    """Give every node of the world IPv6 beside its IPv4."""
    with namespaces.inside(world.namespace["core"]):
        sysctl.write_sysctl("net/ipv6/conf/all/forwarding", 1)
    for number, name in ((1, "xtr1"), (2, "xtr2"), (3, "ms")):
        world.address("core", name, f"2001:db8:0:{number}::fe/64")
        world.address(name, "core", f"2001:db8:0:{number}::1/64")
        world.default(name, f"2001:db8:0:{number}::fe")
    for number, host, router in ((1, "h1", "xtr1"), (2, "h2", "xtr2")):
        world.address(router, host, f"2001:db8:e{number}::fe/64")
        world.address(host, router, f"2001:db8:e{number}::1/64")
        world.default(host, f"2001:db8:e{number}::fe")


def xtr(number: int, version: int) -> NodeConfig:
    own = rloc(number, version)
    return dataclasses.replace(
        xtr_config(f"xtr{number}"),
        rlocs=(own,),
        database=tuple(DatabaseMapping(prefix, (Locator(own),)) for prefix in PREFIXES[number]),
        map_resolvers=(rloc(3, version),),
        map_servers=(MapServerPeer(rloc(3, version), KEY),),
        rloc_space=RLOC_SPACE,
    )


def map_server(version: int) -> NodeConfig:
    prefixes = (*PREFIXES[1], *PREFIXES[2])
    return dataclasses.replace(
        ms_config(),
        roles=frozenset({Role.MAP_SERVER, Role.MAP_RESOLVER}),
        rlocs=(rloc(3, version),),
        map_resolvers=(rloc(3, version),),
        eid_aggregates=(),
        sites=(RegistrationSite("all", (KEY,), tuple(Accepted(prefix) for prefix in prefixes)),),
        delegations=tuple(Delegation(prefix, rloc(3, version)) for prefix in prefixes),
    )


def test_no_address_of_the_world_waits_for_duplicate_address_detection(tmp_path: Path) -> None:
    """A first IPv6 packet to a host would wait for two seconds, as long as a ping does."""
    world = World(tmp_path)
    try:
        for name, descriptor in world.namespace.items():
            with namespaces.inside(descriptor):
                interfaces = [interface for _, interface in socket.if_nameindex() if interface != "lo"]
                assert interfaces, name
                assert {sysctl.read_sysctl(DAD.format(one)) for one in interfaces} == {0}, name
    finally:
        world.close()


@pytest.mark.requirement("D01", "D04", "D11", "D12", "D15", "D16", "D17")
@pytest.mark.parametrize("version", [4, 6])
def test_both_families_over_either(tmp_path: Path, version: int) -> None:
    """For each: what the core sees, what is too big, what is cut."""
    world = World(tmp_path)
    try:
        with_ipv6(world)
        world.boot(map_server(version), xtr(1, version), xtr(2, version))
        for destination in ("192.168.2.1", "2001:db8:e2::1"):
            with world.capture("core", "xtr1") as dissect:
                done = world.ping("h1", destination, "-c", "3", "-i", "0.05", "-t", "33", "-Q", "0xb8")
                assert " 0% packet loss" in done.stdout, done.stdout
                data = [one for one in dissect() if one["udp.dstport"].split(",")[0] == "4341"]
            assert len(data) == 6
            assert {one["udp.checksum"] for one in data} == {"0x0000"}
            assert not any(one["_ws.malformed"] for one in data)
            outer = "ipv6" if version == 6 else "ip"
            assert all(one["frame.protocols"].startswith(f"eth:ethertype:{outer}:udp:lisp-data") for one in data)
        most = 1500 - (36 if version == 4 else 56)
        # Before the hosts know the size and cut for themselves; the last piece has no more than one byte.
        for size in (most - 28, most - 27, 1472):
            done = world.ping("h1", "192.168.2.1", "-M", "dont", "-s", str(size))
            assert done.returncode == 0, f"{size}: {done.stdout}"
        told = world.ping("h1", "192.168.2.1", "-M", "do", "-s", str(most - 27)).stdout
        assert f"mtu = {most}" in told, told
        assert f"mtu={most}" in world.ping("h1", "2001:db8:e2::1", "-M", "do", "-s", str(most - 47)).stdout
        done = world.ping("h1", "192.168.2.1", "-M", "dont", "-s", str(most - 27))
        assert done.returncode == 0, done.stdout
        assert "prohibited" in world.ping("h1", "2001:db8:0:2::1").stdout
        for name in ("xtr1", "xtr2"):
            assert set(world.show(name, "statistics")["drops"]) <= {"not unicast", "too big"}
    finally:
        world.close()
