"""Hosts of a stretched subnet are found by their first frame, have a route from then on, and are sent on to after."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import packets
from tests.conformance.tester.daemons import registrations
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.places import uplink
from tests.conformance.tester.players import Itr
from tests.conformance.tester.traffic import SINK
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Watch

HOME, AWAY = "xtr1", "xtr2"
NEAR, FAR = "near1", "near2"
EVERYBODY = "ff:ff:ff:ff:ff:ff"
ECHO_REPLY = {4: (1, 0), 6: (58, 129)}
"""Protocol and type: nobody answers one that he did not ask for."""

_NATIVE_TABLE = "1000000000"


@pytest.fixture(scope="module")
def shipped(dataplane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The shipped world of a subnet in two data centres, with RLOCs of both IP versions, by each data path."""
    name = f"first-frames-{dataplane}-{os.getpid()}"
    run_dir = tmp_path_factory.mktemp(name) / name
    with Lab("mobility", name=name, run_dir=run_dir, dataplane=dataplane) as lab:
        for host in (NEAR, FAR):  # who gets an address says so to nobody
            lab.run(host, ["sh", "-c", "for f in /proc/sys/net/ipv6/conf/*/ndisc_notify; do echo 0 > $f; done"])
        yield lab


@dataclass(frozen=True)
class Subnet:
    """The stretched subnet of one IP version."""

    lab: Lab
    version: int

    def address(self, number: int) -> IPAddress:
        """An address that no host of the world has."""
        first = ip_network(f"{self.lab[NEAR].address_of(self.version)}/{self.length}", strict=False)[0]
        return first + number

    @property
    def length(self) -> int:
        return 24 if self.version == 4 else 64

    @contextmanager
    def at(self, host: str, *addresses: IPAddress) -> Iterator[None]:
        """A host has these addresses as well."""
        interface = self.interface(host)
        nodad = ["nodad"] if self.version == 6 else []
        for one in addresses:
            added = self.lab.run(host, ["ip", "address", "add", f"{one}/{self.length}", "dev", interface, *nodad])
            assert added.returncode == 0, added.stderr
        if self.version == 6:  # the kernel listens to the group by which it is asked for a moment later
            groups = {f"ff0200000000000000000001ff{one.packed[-3:].hex()}" for one in addresses}
            eventually(lambda: groups <= {*self.lab.run(host, ["cat", "/proc/net/igmp6"]).stdout.split()}, "its groups")
        yield
        for one in addresses:
            self.lab.run(host, ["ip", "address", "del", f"{one}/{self.length}", "dev", interface])

    def interface(self, node: str) -> str:
        """Where a host or a router has the subnet."""
        fabric = "sw1" if node in (NEAR, HOME) else "sw2"
        return self.lab[node].link_to(fabric).name

    def say(self, host: str, mac: str, source: IPAddress, destination: IPAddress) -> None:
        """A frame out of a host."""
        protocol, kind = ECHO_REPLY[self.version]
        packet = packets.ip(source, destination, bytes([kind, 0, 0, 0, 0, 0, 0, 0]), protocol=protocol)
        own = self.lab[host].link_to("sw1" if host == NEAR else "sw2").mac
        addresses = bytes.fromhex((mac + own).replace(":", ""))
        with self.lab.socket(host, socket.AF_PACKET, socket.SOCK_RAW, 0) as cable:
            cable.bind((self.interface(host), 0))
            cable.send(addresses + (b"\x08\x00" if self.version == 4 else b"\x86\xdd") + packet)

    def found(self, router: str = HOME) -> set[IPAddress]:
        """The hosts that a router has found."""
        return {ip_network(row["eid"])[0] for row in self.lab.show(router, "dynamic-eids")}

    def way(self, host: IPAddress) -> str:
        """The interface by which the kernel of the first router sends what another host of the subnet sends to one."""
        near = str(self.lab[NEAR].address_of(self.version))
        asked = ["ip", "-j", "route", "get", str(host), "from", near, "iif", self.interface(HOME)]
        (route,) = json.loads(self.lab.run(HOME, asked).stdout)
        return str(route["dev"])

    def routes(self) -> list[dict[str, Any]]:
        """The first router's routes into the subnet that packets of its hosts go by."""
        asked = ["ip", "-j", f"-{self.version}", "route", "show", "table", _NATIVE_TABLE]
        return json.loads(self.lab.run(HOME, asked).stdout or "[]")  # type: ignore[no-any-return]


@pytest.fixture
def subnet(shipped: Lab, family: tuple[int, int]) -> Subnet:
    return Subnet(shipped, family[0])


def gateway_mac(lab: Lab) -> str:
    return next(str(row["mac"]) for row in lab.show(HOME, "interfaces") if row["side"] == "site")


def seen_by_ms(lab: Lab) -> dict[IPAddress, str]:
    rows = registrations(lab, "ms")
    return {ip_network(eid)[0]: str(row["etr"]) for eid, row in rows.items() if "/" in eid and row["etr"]}


@pytest.mark.requirement("X01", "X02")
def test_any_first_frame_shows_a_host_and_a_forged_one_shows_none(subnet: Subnet) -> None:
    lab, version = subnet.lab, subnet.version
    mac, router = gateway_mac(lab), lab[HOME].address_of(version)
    targets = [
        (mac, ip_address("192.168.7.1" if version == 4 else "2001:db8:e1d:7::1")),  # the gateway
        (mac, lab["mobile"].address_of(version)),  # a host of the subnet, through the gateway
        (mac, router),
        (mac, lab["core1"].address_of(version)),
        (mac, lab["client"].address_of(version)),
        (EVERYBODY, ip_address("255.255.255.255" if version == 4 else "ff02::1")),
    ]
    hosts = [subnet.address(100 + number) for number in range(len(targets))]
    forged = [subnet.address(200 + number) for number in range(len(targets))]
    with subnet.at(NEAR, *hosts):
        assert not subnet.found() & {*hosts}
        for sources in (forged, hosts):
            for source, (to, destination) in zip(sources, targets, strict=True):
                subnet.say(NEAR, to, source, destination)
        with clause("X01"):
            eventually(lambda: subnet.found() >= {*hosts}, "each is found")
            eventually(lambda: seen_by_ms(lab).keys() >= {*hosts}, "each is registered")
        with clause("X02"):
            assert not subnet.found() & {*forged}
            assert not seen_by_ms(lab).keys() & {*forged}


@pytest.mark.requirement("X08")
def test_a_host_has_a_route_from_its_discovery_to_its_leaving(subnet: Subnet) -> None:
    """The subnet itself leads to the control plane: by its two halves, which are not routed."""
    lab, host = subnet.lab, subnet.address(90)
    halves = [str(one) for one in ip_network(f"{subnet.address(0)}/{subnet.length}").subnets()]
    thrown = {route["dst"] for route in subnet.routes() if route.get("type") == "throw"}
    assert thrown >= {*halves}
    assert str(host) not in {route["dst"] for route in subnet.routes()}
    assert subnet.way(host) == "lisp0"
    with subnet.at(NEAR, host):
        subnet.say(NEAR, gateway_mac(lab), host, lab[HOME].address_of(subnet.version))
        eventually(lambda: host in subnet.found(), "the host is found")
        assert subnet.way(host) == subnet.interface(HOME)
        assert str(host) in {route["dst"] for route in subnet.routes()}
        eventually(lambda: host in seen_by_ms(lab), "the host is registered")
    with subnet.at(FAR, host):
        subnet.say(FAR, EVERYBODY, host, lab[AWAY].address_of(subnet.version))
        eventually(lambda: host not in subnet.found(), "the host is let go")
        assert subnet.way(host) == "lisp0"
        assert str(host) not in {route["dst"] for route in subnet.routes()}


@pytest.mark.requirement("X06")
@pytest.mark.parametrize("family", [(4, 4), (4, 6), (6, 4), (6, 6)], ids=lambda one: f"v{one[0]}-over-v{one[1]}")
def test_what_still_arrives_at_the_old_place_goes_on_to_the_new_one(subnet: Subnet, family: tuple[int, int]) -> None:
    """With one hop less at each router, from its own RLOC; and never back to where it came from."""
    version, over = family
    lab, host = subnet.lab, subnet.address(91 + over)
    with subnet.at(NEAR, host):
        subnet.say(NEAR, EVERYBODY, host, lab[HOME].address_of(version))
        eventually(lambda: host in seen_by_ms(lab), "the host is registered")
    with subnet.at(FAR, host), Watch(lab, [FAR, AWAY, uplink(lab, HOME)]) as watch:
        subnet.say(FAR, EVERYBODY, host, lab[AWAY].address_of(version))
        eventually(lambda: host not in subnet.found(), "the host is let go at its old place")
        eventually(lambda: host in subnet.found(AWAY), "the host is found at its new place")
        sender = Itr(lab, HOME, watch, over)
        away = next(one for one in lab[AWAY].lisp.rlocs if one.version == over)  # type: ignore[union-attr]
        branch = lab["b1"].address_of(version)

        def inner(text: str) -> bytes:
            return packets.datagram(branch, host, (7777, SINK), text.encode(), ttl=40)

        sender.tunnel(inner("forwarded back"), source=away)
        sender.tunnel(inner("forwarded"))

        def arrived() -> dict[bytes, packets.Datagram]:
            return {one.payload: one for _, one in watch.datagrams(SINK, FAR)}

        watch.until(lambda: b"forwarded" in arrived(), "the packet at the host's new place")
        watch.drain()  # the core was looked at before the host
        ((outer, sent_on),) = [one for one in watch.data(AWAY) if one[1].payload == b"forwarded"]
        with clause("X06"):
            assert outer.source in lab[HOME].lisp.rlocs  # type: ignore[union-attr]
            assert sent_on.ttl == 40 - 1
            assert arrived()[b"forwarded"].ttl == outer.ttl - 1
            assert b"forwarded back" not in {one.payload for _, one in watch.data()} | arrived().keys()
