"""The data path in Python, with a pipe for a TUN device and a list for a network."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from nodes.dataplane import context
from nodes.dataplane.context import PathContext
from nodes.dataplane.decision import Tables
from nodes.dataplane.outbound import Outbound
from nodes.dataplane.ports import Sender
from nodes.dataplane.strangers import Stranger
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from tests.unit.data_path import by_family, install, ip_packet, locator, tables

RECORD_ROUTE = b"\x07\x27\x04" + bytes(37)
"""The longest IPv4 options there are, as ``ping -R`` sends them."""


class Network(Sender):
    """What left the node, instead of sockets."""

    def __init__(self) -> None:
        super().__init__(frozenset())
        self.sent: list[bytes] = []

    def to(self, _locator: IPAddress) -> Callable[[bytes], int]:
        def send(packet: bytes) -> int:
            self.sent.append(packet)
            return len(packet)

        return send


class Bench:
    """A data path whose every side a test can reach."""

    def __init__(self, made: Tables) -> None:
        self.read_end, self.tun = os.pipe()
        os.set_blocking(self.read_end, False)
        self.tables, self.network = made, Network()
        self.asked: list[IPAddress] = []
        self.context = PathContext(made, self._route, lambda: 0.0, self.network, lambda packet, _: self.send(packet))
        self.statistics = self.context.statistics
        self.outbound = Outbound(self.context, 0, self.tun)
        self.send = self.outbound.handle

    def _route(self, locator: IPAddress) -> IPAddress | None:
        self.asked.append(locator)
        return by_family(locator)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """An xTR whose map-cache has 192.168.2.0/24 behind 10.0.2.1."""
    made = tables()
    install(made, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"))
    one = Bench(made)
    yield one
    os.close(one.read_end)
    os.close(one.tun)


@pytest.mark.parametrize("options", [b"\x44\x0c\x05\0" + bytes(8), RECORD_ROUTE[:40], b"\x01\x01\x01\0"])
def test_ipv4_options_change_nothing(bench: Bench, options: bytes) -> None:
    """D11, D12, D02: outer TTL and DSCP are the inner ones, and the flow is the same with and without options."""
    plain = ip_packet("192.168.1.11", "192.168.2.22", tos=0xB8, ttl=33)
    optioned = ip_packet("192.168.1.11", "192.168.2.22", tos=0xB8, ttl=33, options=options)
    for packet in (plain, optioned):
        bench.send(packet)
    first, second = bench.network.sent
    assert second[36:] == optioned
    assert (second[1], second[8]) == (0xB8, 33)
    assert first[20:22] == second[20:22]
    assert bench.statistics.drops == {}


@pytest.mark.parametrize("options", [b"", RECORD_ROUTE[:8]])
def test_flows_with_and_without_options_are_told_apart_by_their_ports(bench: Bench, options: bytes) -> None:
    """D02, D22: the ports stand behind the options."""
    for port in range(1000, 1050):
        body = struct.pack("!HHHH", port, 2222, 8, 0)
        bench.send(ip_packet("192.168.1.11", "192.168.2.22", body=body, options=options))
    assert len({packet[20:22] for packet in bench.network.sent}) > 20


def test_options_on_icmp_on_fragments_and_on_packets_that_end_behind_them(bench: Bench) -> None:
    """D02, D17: nothing is read that is not there."""
    for protocol, body, fragment in ((1, b"\x08\0\0\0", 0), (17, b"xy", 0x00B9), (17, b"", 0), (6, b"\x01", 0)):
        packet = ip_packet("192.168.1.11", "192.168.2.22", protocol, body, fragment=fragment, options=RECORD_ROUTE[:12])
        bench.send(packet)
        assert bench.network.sent[-1][36:] == packet
    assert bench.statistics.drops == {}


def test_what_is_neither_ipv4_nor_ipv6_is_malformed(bench: Bench) -> None:
    """Also what is cut short: it is counted, and nothing else happens."""
    whole = ip_packet("192.168.1.11", "192.168.2.22", options=bytes(8))
    for data in (b"", b"\x55" + whole[1:], b"\x00" * 60, whole[:19], b"\x4f" + whole[1:], b"\x41" + whole[1:]):
        bench.send(data)
    assert bench.statistics.drops == {"malformed": 6}
    assert not bench.network.sent


def test_remembered_routes_to_locators_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """S05: whoever answers Map-Requests names locators without end; what is remembered of them has one."""
    monkeypatch.setattr(context, "MOST_LOCATORS", 10)
    for number in range(1, 101):
        install(bench.tables, f"192.168.3.{number}/32", Forwarding.ENCAPSULATE, locator(f"10.9.0.{number}"))
        bench.send(ip_packet("192.168.1.11", f"192.168.3.{number}"))
        assert len(bench.context._sources) <= 10
    assert len(bench.asked) == len(bench.network.sent) == 100
    bench.send(ip_packet("192.168.1.12", "192.168.3.100"))
    assert len(bench.asked) == 100


def test_packets_of_a_stranger_wait_until_it_is_found(bench: Bench) -> None:
    """X01: an unknown source inside a dynamic prefix is asked for once; only what the host sent leaves the site."""
    bench.tables.dynamic.set(EidPrefix.of("192.168.1.0/24"), True)
    bench.tables.local.pop(EidPrefix.of("192.168.1.0/24"))
    for source in ("192.168.1.11", "192.168.1.12", "192.168.1.11"):
        bench.send(ip_packet(source, "192.168.2.22"))
    found = [Stranger(host_prefix(one)) for one in ("192.168.1.11", "192.168.1.12")]
    assert bench.context.strangers.take() == found
    assert not bench.network.sent
    bench.tables.local.set(host_prefix("192.168.1.11"), True)
    waiting = bench.context.unfound.release(host_prefix("192.168.1.11"))
    assert waiting is not None
    waiting.handle_again()
    bench.send(ip_packet("192.168.1.11", "192.168.2.22"))
    assert [ip_address(packet[48:52]) for packet in bench.network.sent] == [ip_address("192.168.1.11")] * 3


def test_the_routers_own_address_is_no_stranger(bench: Bench) -> None:
    """X01: it is inside the dynamic prefix too, and nobody on the site would answer for it."""
    bench.tables.dynamic.set(EidPrefix.of("192.168.1.0/24"), True)
    bench.tables.native.set(host_prefix("192.168.1.1"), True)
    bench.send(ip_packet("192.168.1.1", "192.168.2.22"))
    assert len(bench.network.sent) == 1
    assert not bench.context.strangers.take()


def test_strangers_are_bounded(bench: Bench) -> None:
    """X01: whoever writes sources at random fills no memory."""
    bench.tables.dynamic.set(EidPrefix.of("192.168.0.0/16"), True)
    for number in range(1000):
        bench.send(ip_packet(f"192.168.{100 + number // 250}.{1 + number % 250}", "192.168.2.22"))
    assert len(bench.context.strangers.take()) == len(bench.context.unfound) == context.MOST_STRANGERS
    assert bench.statistics.drops == {"holding queue full": 1000 - context.MOST_STRANGERS}


def test_what_was_remembered_of_large_packets_goes_by_their_size(bench: Bench) -> None:
    """D19: with a narrow path, packets of one flow that fit it and that do not are told apart."""
    bench.tables.path_mtu[ip_address("10.0.2.1")] = 1400
    bench.outbound.forget()
    fits = ip_packet("192.168.1.11", "192.168.2.22", body=bytes(1344), fragment=0x4000)
    too_big = ip_packet("192.168.1.11", "192.168.2.22", body=bytes(1345), fragment=0x4000)
    for _ in range(3):
        bench.send(fits)
        bench.send(too_big)
    assert [len(one) for one in bench.network.sent] == [1400] * 3
    assert bench.statistics.drops["too big"] == 3


def test_without_df_packets_are_cut_to_the_path(bench: Bench) -> None:
    """D17, D19: before encapsulation, each piece in a header of its own that fits the path."""
    bench.tables.path_mtu[ip_address("10.0.2.1")] = 1400
    bench.outbound.forget()
    bench.send(ip_packet("192.168.1.11", "192.168.2.22", body=bytes(1400)))
    sizes = [len(one) for one in bench.network.sent]
    assert len(sizes) == 2
    assert max(sizes) <= 1400
    bench.network.sent.clear()
    bench.tables.path_mtu.clear()
    bench.outbound.forget()
    bench.send(ip_packet("192.168.1.11", "192.168.2.22", body=bytes(1400)))
    assert [len(one) for one in bench.network.sent] == [1420 + 36]
