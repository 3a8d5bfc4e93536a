"""Tenants with the same addresses on the same routers: requirements S13 and D20, in namespaces and in a lab."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nodes.linux import links, routes
from nodes.lisp.config import DatabaseMapping, DataPlane, Delegation, Locator, NodeConfig, RegistrationSite, SitePrefix
from nodes.lisp.eid import EidPrefix
from testbed.dataplane import programs
from testbed.lab import Lab
from tests.e2e.daemon_world import KEY, World, ms_config, xtr_config

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("tshark"), reason="needs root and tshark")

RED, BLUE = 100, 200
"""Two tenants: h1 and h2 are red, b1 and b2 blue. Both have 192.168.1.0/24 and 192.168.2.0/24, and IPv6 likewise."""

PREFIXES = {n: (f"192.168.{n}.0/24", f"2001:db8:e{n}::/64") for n in (1, 2)}


def tenant_prefixes(site: int) -> list[EidPrefix]:
    return [EidPrefix.of(prefix, instance) for instance in (RED, BLUE) for prefix in PREFIXES[site]]


def xtr(number: int) -> NodeConfig:
    config = xtr_config(f"xtr{number}")
    locators = (Locator(config.rlocs[0]),)
    return replace(
        config,
        site_interfaces=(f"h{number}", f"b{number}"),
        site_instances=(RED, BLUE),
        database=tuple(DatabaseMapping(prefix, locators) for prefix in tenant_prefixes(number)),
    )


def by(dataplane: str, config: NodeConfig) -> NodeConfig:
    """A configuration whose node forwards by that data plane."""
    compiled = str(programs()) if dataplane == "ebpf" else ""
    return replace(config, dataplane=DataPlane(dataplane), bpf_object=compiled)


def mapping_system() -> NodeConfig:
    every = [*tenant_prefixes(1), *tenant_prefixes(2)]
    rloc = ip_address("10.0.3.1")
    return replace(
        ms_config(),
        sites=(RegistrationSite("tenants", (KEY,), tuple(SitePrefix(prefix) for prefix in every)),),
        delegations=tuple(Delegation(prefix, rloc) for prefix in every),
    )


def add_tenant(world: World, number: int) -> None:
    """Add the blue host of a site, and IPv6 to both hosts."""
    red, blue, router = f"h{number}", f"b{number}", f"xtr{number}"
    world.node(blue)
    world.link(blue, router, 20 + number)
    world.address(blue, router, f"192.168.{number}.1/24")
    world.default(blue, f"192.168.{number}.254")
    world.address(router, blue, f"192.168.{number}.254/24")
    for host in (red, blue):
        world.address(router, host, f"2001:db8:e{number}::fe/64")
        world.address(host, router, f"2001:db8:e{number}::1/64")
        world.default(host, f"2001:db8:e{number}::fe")


@pytest.fixture
def world(tmp_path: Path, dataplane: str) -> Iterator[World]:
    made = World(tmp_path)
    try:
        for number in (1, 2):
            add_tenant(made, number)
        made.boot(*(by(dataplane, one) for one in (mapping_system(), xtr(1), xtr(2))))
        yield made
    finally:
        made.close()


def received(world: World, host: str) -> int:
    """How many echo requests a host has answered."""
    text = world.run(host, "cat", "/proc/net/snmp", "/proc/net/snmp6").stdout.splitlines()
    names, values = (line.split()[1:] for line in text if line.startswith("Icmp:"))
    found = int(dict(zip(names, values, strict=True))["InEchos"])
    return found + sum(int(line.split()[1]) for line in text if line.startswith("Icmp6InEchos"))


@pytest.mark.requirement("D20", "S13")
def test_the_same_addresses_mean_each_tenants_own_hosts(world: World) -> None:
    """Each ping reaches the host of its own tenant, and the core sees its instance-ID."""
    for source, near, other, instance in (("h1", "h2", "b2", RED), ("b1", "b2", "h2", BLUE)):
        for destination in ("192.168.2.1", "2001:db8:e2::1"):
            before = received(world, near), received(world, other)
            with world.capture("core", "xtr1") as dissect:
                done = world.ping(source, destination)
                assert done.returncode == 0, done.stdout
                packets = [one for one in dissect() if "4341" in one["udp.dstport"]]
            assert (received(world, near), received(world, other)) == (before[0] + 1, before[1])
            assert {one["lisp-data.iid"] for one in packets} == {str(instance)}
    caches = {row["instance_id"] for row in world.show("xtr1", "map-cache") if row["source"] == "map-reply"}
    assert caches == {RED, BLUE}


@pytest.mark.requirement("D20")
def test_what_the_router_itself_says_stays_in_the_tenant(world: World) -> None:
    """Echo replies, ICMP errors of the kernel and of the daemon, ARP: always to the tenant that asked."""
    for host in ("h1", "b1"):
        for gateway in ("192.168.1.254", "2001:db8:e1::fe"):
            done = world.ping(host, gateway)
            assert done.returncode == 0, f"{host} {gateway}: {done.stdout}"
        assert "Time to live exceeded" in world.ping(host, "192.168.2.1", "-t", "1").stdout
        assert "Packet filtered" in world.ping(host, "10.0.2.1").stdout
        assert "mtu = 1464" in world.ping(host, "192.168.2.1", "-M", "do", "-s", "1472").stdout
        told = world.ping(host, "203.0.113.9").stdout
        assert "Destination Net Unreachable" in told, told


@pytest.mark.requirement("D20")
def test_nothing_leads_from_one_tenant_to_another(world: World) -> None:
    """Not to a gateway address, not to a subnet, not to an own address of the other tenant, not to the core."""
    world.address("xtr1", "b1", "172.20.0.254/24")
    world.address("b1", "xtr1", "172.20.0.1/24")
    world.show("xtr1", "roles")
    assert world.ping("b1", "172.20.0.254").returncode == 0
    for destination in ("172.20.0.254", "172.20.0.1"):
        assert world.ping("h1", destination, "-W", "0.5").returncode != 0
    with world.capture("xtr1", "core") as dissect:
        world.ping("h1", "172.20.0.1", "-W", "0.2")
        world.ping("b1", "198.51.100.1", "-W", "0.2")
        assert not [one for one in dissect() if one["ip.src"].startswith(("192.168", "172.20"))]
    # What is the router's own address for one tenant is a host's for the other.
    world.address("h1", "xtr1", "172.20.0.254/32")
    kernel = world.kernel["xtr1"]
    way = routes.Route(ip_network("172.20.0.254/32"), interface=links.index_of(kernel, "h1"))
    routes.add_route(kernel, way)
    world.show("xtr1", "roles")
    done = world.ping("h1", "192.168.1.254", "-I", "172.20.0.254")
    assert done.returncode == 0, done.stdout


@pytest.mark.requirement("S13")
def test_a_restarted_daemon_finds_its_tenants_again(world: World, dataplane: str) -> None:
    """Tables, rules and marks are the same after a restart."""
    before = {version: list(routes.list_rules(world.kernel["xtr1"], version)) for version in (4, 6)}
    assert world.ask("xtr1", {"op": "stop"})["ok"]
    world.event("exited", "xtr1")
    report = world.start(by(dataplane, xtr(1)))
    world.wait_for(report, "registered", "xtr1")
    os.close(report)
    assert {version: list(routes.list_rules(world.kernel["xtr1"], version)) for version in (4, 6)} == before
    for host in ("h1", "b1"):
        assert world.ping(host, "192.168.2.1").returncode == 0
        assert world.ping(host, "192.168.1.254").returncode == 0


def fast(lab: Lab) -> int:
    """How many packets the kernel of xtr2 has decapsulated."""
    return int(lab.show("xtr2", "statistics")["data"].get("decapsulated_fast_packets", 0))


@pytest.mark.order
@pytest.mark.requirement("D20", "S13")
def test_ten_tenants_with_the_same_prefixes(tmp_path: Path, dataplane: str) -> None:
    """What each host sends to one and the same address reaches the host of its own tenant, and no other."""
    name = f"test-tenants-{dataplane}"
    run_dir = tmp_path / name
    with Lab("tenants", name=name, run_dir=run_dir, dataplane=dataplane) as lab, ExitStack() as opened:
        far = {f"a{number}": f"b{number}" for number in range(1, 11)}
        assert len({lab[host].address for host in far.values()}) == 1
        ears = {host: opened.enter_context(lab.socket(host)) for host in far.values()}
        for host, ear in ears.items():
            ear.bind((str(lab[host].address), 9999))
            ear.settimeout(20)
        for host, other in far.items():
            with lab.socket(host) as sender:
                for _ in range(3):
                    sender.sendto(host.encode(), (str(lab[other].address), 9999))
        for host, other in far.items():
            assert [ears[other].recv(100) for _ in range(3)] == [host.encode()] * 3
        before = fast(lab)
        for host, other in far.items():
            with lab.socket(host) as sender:
                for number in range(10):
                    sender.sendto(b"%d" % number, (str(lab[other].address), 9999))
            assert [ears[other].recv(100) for _ in range(10)] == [b"%d" % number for number in range(10)]
        assert fast(lab) - before == (100 if dataplane == "ebpf" else 0)
        for ear in ears.values():
            ear.setblocking(False)
            with pytest.raises(BlockingIOError):
                ear.recv(100)
        devices = {row["name"] for row in lab.show("xtr1", "interfaces") if row["side"] == "lisp"}
        assert devices == {"lisp0", *(f"lisp{instance}" for instance in range(101, 111))}
        (record,) = lab.lig("xtr1", str(lab["b7"].address), instance_id=107)["records"]
        assert record["instance_id"] == 107
