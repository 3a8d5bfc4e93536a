"""The kernel calls: what is asked for is there, and a refusal says what was asked."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from nodes.linux import ethtool, links, namespaces, netlink, routes, sysctl, tun
from nodes.linux.links import VethEnd
from nodes.linux.routes import Route, RouteType, Rule

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

SITE = (ip_network("192.168.1.0/24"), ip_network("2001:db8:1::/64"))


@pytest.fixture
def pair() -> Iterator[tuple[netlink.Connection, netlink.Connection]]:
    """Two namespaces with a veth pair between them: "right" in the first, "left" in the second."""
    descriptors = [namespaces.new_network(), namespaces.new_network()]
    here, there = (netlink.Connection(one) for one in descriptors)
    links.add_veth(
        here,
        VethEnd("right", descriptors[0], "02:00:00:00:00:01", 1400),
        VethEnd("left", descriptors[1], "02:00:00:00:00:02", 1400),
    )
    yield here, there
    for connection in (here, there):
        connection.close()
    for descriptor in descriptors:
        os.close(descriptor)


Pair = tuple[netlink.Connection, netlink.Connection]


def test_a_veth_pair_between_two_namespaces(pair: Pair) -> None:
    ends = [links.get(pair[0], "right"), links.get(pair[1], "left")]
    assert [(one.name, one.mac, one.mtu, one.up, one.kind) for one in ends] == [
        ("right", "02:00:00:00:00:01", 1400, True, "veth"),
        ("left", "02:00:00:00:00:02", 1400, True, "veth"),
    ]
    bridge = links.add_bridge(pair[1], "fabric")
    links.set_master(pair[1], ends[1].index, bridge)
    assert links.get(pair[1], "left").master == bridge
    links.set_up(pair[0], ends[0].index, False)  # Linux 6.1 renames no interface that is up
    links.set_name(pair[0], ends[0].index, "core1")
    links.set_mac(pair[0], ends[0].index, "02:00:00:00:00:09")
    links.set_mtu(pair[0], ends[0].index, 1300)
    changed = links.get(pair[0], "core1")
    assert (changed.mac, changed.mtu) == ("02:00:00:00:00:09", 1300)
    links.delete(pair[0], ends[0].index)
    assert {one.name for one in links.list_links(pair[1])} == {"lo", "fabric"}


def test_addresses_routes_and_rules_read_back(pair: Pair) -> None:
    kernel, index = pair[0], links.index_of(pair[0], "right")
    for address in ("10.0.0.1/24", "2001:db8::1/64"):
        links.add_address(kernel, index, ip_interface(address))
    assert {ip_interface("10.0.0.1/24"), ip_interface("2001:db8::1/64")} <= set(links.list_addresses(kernel)[index])
    wanted = [
        Route(ip_network("0.0.0.0/0"), ip_address("10.0.0.2"), index),
        Route(ip_network("192.168.0.0/16"), type=RouteType.UNREACHABLE, metric=9),
        Route(ip_network("192.168.1.0/24"), ip_address("10.0.0.3"), index, metric=7, source=ip_address("10.0.0.1")),
        Route(ip_network("2001:db8:1::/48"), ip_address("2001:db8::2"), index, metric=5),
        Route(ip_network("198.51.100.0/24"), interface=index, table=1001),
    ]
    for route in wanted:
        routes.add_route(kernel, route)
    found = [*routes.list_routes(kernel, 4), *routes.list_routes(kernel, 6), *routes.list_routes(kernel, 4, 1001)]
    assert all(route in found for route in wanted)
    assert list(routes.list_routes(kernel, 4, 4242)) == []
    routes.delete_route(kernel, wanted[0])
    assert wanted[0] not in list(routes.list_routes(kernel, 4))
    refusal = Rule(100, 4, incoming="right", destination=ip_network("10.0.0.0/16"), refuse=RouteType.PROHIBIT)
    spoofed = [Rule(90, one.version, incoming="right", source=one, refuse=RouteType.BLACKHOLE) for one in SITE]
    rules = [refusal, *spoofed, Rule(101, 4, 1001, "right"), Rule(102, 6, 1001)]
    for rule in rules:
        routes.add_rule(kernel, rule)
    there = [*routes.list_rules(kernel, 4), *routes.list_rules(kernel, 6)]
    assert all(rule in there for rule in rules)
    routes.delete_rule(kernel, refusal)
    assert refusal not in list(routes.list_rules(kernel, 4))


def test_the_route_to_an_address(pair: Pair) -> None:
    """Interface and source of what the kernel would do."""
    kernel, index = pair[0], links.index_of(pair[0], "right")
    links.add_address(kernel, index, ip_interface("10.0.0.1/24"))
    routes.add_route(kernel, Route(ip_network("0.0.0.0/0"), ip_address("10.0.0.2")))
    found = routes.get_route(kernel, ip_address("198.51.100.1"))
    assert (found.via, found.interface, found.source) == (ip_address("10.0.0.2"), index, ip_address("10.0.0.1"))
    with pytest.raises(netlink.NetlinkError, match=r"get the route to 2001:db8::1: .*unreachable"):
        routes.get_route(kernel, ip_address("2001:db8::1"))


def test_a_multipath_route_can_be_copied(pair: Pair) -> None:
    kernel, index = pair[0], links.index_of(pair[0], "right")
    links.add_address(kernel, index, ip_interface("10.0.0.1/24"))
    with namespaces.inside(kernel.namespace or 0):
        hops = "nexthop via 10.0.0.2 weight 1 nexthop via 10.0.0.3 weight 3"
        assert os.system(f"ip route add 198.51.100.0/24 {hops}") == 0
    route = next(one for one in routes.list_routes(kernel, 4) if one.multipath)
    copy = Route(route.prefix, table=1001, multipath=route.multipath)
    routes.replace_route(kernel, copy)
    assert list(routes.list_routes(kernel, 4, 1001)) == [copy]


def test_errors_say_what_was_asked(pair: Pair) -> None:
    kernel, index = pair[0], links.index_of(pair[0], "right")
    links.add_address(kernel, index, ip_interface("10.0.0.1/24"))
    with pytest.raises(netlink.NetlinkError, match="get interface nonsense: No such device") as caught:
        links.index_of(kernel, "nonsense")
    assert caught.value.errno == errno.ENODEV
    with pytest.raises(netlink.NetlinkError, match=r"add address 10\.0\.0\.1/24 to interface"):
        links.add_address(kernel, index, ip_interface("10.0.0.1/24"))
    with pytest.raises(netlink.NetlinkError, match=r"add route 198\.51\.100\.0/24 via 192\.0\.2\.1 in table 254"):
        routes.add_route(kernel, Route(ip_network("198.51.100.0/24"), ip_address("192.0.2.1")))
    with pytest.raises(netlink.NetlinkError, match="add veth pair right - other: File exists"):
        links.add_veth(kernel, VethEnd("right"), VethEnd("other"))


def test_notifications(pair: Pair) -> None:
    kernel, index = pair[0], links.index_of(pair[0], "right")
    links.add_address(kernel, index, ip_interface("10.0.0.1/24"))
    with namespaces.inside(kernel.namespace or 0):
        monitor = netlink.Monitor(routes.RTNLGRP_IPV4_ROUTE)
    assert monitor.drain() == []
    routes.add_route(kernel, Route(ip_network("198.51.100.0/24"), ip_address("10.0.0.2")))
    [(kind, payload)] = monitor.drain()
    assert kind == routes.RTM_NEWROUTE
    assert routes.parse_route(payload).prefix == ip_network("198.51.100.0/24")
    monitor.close()


def test_inside_a_namespace_and_back(pair: Pair) -> None:
    before = Path("/proc/thread-self/ns/net").stat().st_ino
    with namespaces.inside(pair[0].namespace or 0):
        assert Path("/proc/thread-self/ns/net").stat().st_ino != before
        device = tun.open_tun("lisp0")
        assert links.get(pair[0], "lisp0").kind == "tun"
        with pytest.raises(OSError, match="make TUN device lisp0"):
            tun.open_tun("lisp0")
        os.close(device)
        sysctl.write_sysctl("net/ipv4/ip_forward", 1)
        assert sysctl.read_sysctl("net/ipv4/ip_forward") == 1
    assert Path("/proc/thread-self/ns/net").stat().st_ino == before


def test_offloads(pair: Pair) -> None:
    ethtool.offloads_off("right", pair[0].namespace)
    with pytest.raises(OSError, match="set offloads of right: feature nonsense"):
        ethtool.set_features("right", {"nonsense": False}, pair[0].namespace)
    with pytest.raises(OSError, match="set offloads of other: No such device"):
        ethtool.offloads_off("other", pair[0].namespace)
