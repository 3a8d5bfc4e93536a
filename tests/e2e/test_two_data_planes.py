"""Routers of both data planes in one lab: what the fast path left unfinished is finished before a socket gets it.

Hosts compute no checksums and cut no streams: their network cards would. A ping does not show it, for hosts complete
the checksums of ICMP themselves.
"""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import Lab
from testbed.load import loads
from testbed.model import Side
from tests.labs import missing_for, offloads

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_BYTES, _DATAGRAMS = 2_000_000, 50
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

WORLD = """\
title: Both data planes side by side
address-space:
  rloc: [10.0.0.0/16, 2001:db8:10c::/48]
  eid: [192.168.0.0/16, 2001:db8:e1d::/48]
core: {routers: core1}
mapping-system:
  msmr: {roles: msmr, links: core1}
proxies:
  rtr: {roles: rtr, links: core1, dataplane: python}
  pxtr: {roles: pxtr, links: core1, dataplane: python}
sites:
  four: {key: a, routers: {xtr4: {links: core1, versions: ipv4, dataplane: ebpf}}, hosts: h4}
  six: {key: b, routers: {xtr6: {links: core1, versions: ipv6, dataplane: ebpf}}, hosts: h6}
  slow: {key: c, routers: {xtrp: {links: core1, dataplane: python}}, hosts: hp}
  west: {key: d, via: rtr, routers: {xtrw: {links: core1, versions: ipv4, dataplane: ebpf}}, hosts: hw}
  east: {key: e, via: rtr, routers: {xtre: {links: core1, versions: ipv6, dataplane: ebpf}}, hosts: he}
  internet:
    lisp: false
    subnets: [203.0.113.0/24, "2001:db8:c11::/64"]
    routers: {edge: {links: core1}}
    hosts: client
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if missing := missing_for("ebpf"):
        pytest.skip(missing)
    place = tmp_path_factory.mktemp("runs") / "test-both"
    with Lab(loads(WORLD), name="test-both", run_dir=place) as running:
        yield running


def stream(lab: Lab, source: str, destination: str, version: int) -> None:
    """A TCP stream, every byte compared."""
    sent = random.Random(f"{source}{destination}{version}").randbytes(_BYTES)
    arrived = bytearray()
    family = _FAMILIES[version]
    with (
        lab.socket(destination, family, socket.SOCK_STREAM) as listening,
        lab.socket(source, family, socket.SOCK_STREAM) as here,
    ):
        listening.bind((str(lab[destination].address_of(version)), 0))
        listening.listen()
        for one in (listening, here):
            one.settimeout(20)
        here.connect(listening.getsockname())
        there, _ = listening.accept()
        with there:
            there.settimeout(20)
            sender = threading.Thread(target=_send, args=(here, sent))
            sender.start()
            try:
                while data := there.recv(1 << 16):
                    arrived += data
            finally:
                there.close()
                sender.join()
    assert bytes(arrived) == sent


def _send(sender: socket.socket, data: bytes) -> None:
    try:
        sender.sendall(data)
        sender.shutdown(socket.SHUT_WR)
    except OSError:
        return  # what is missing at the other end tells


def datagrams(lab: Lab, source: str, destination: str, version: int, one_by_one: bool = False) -> None:
    """Datagrams of all sizes up to what the path carries, every byte compared, none missing."""
    sent = [random.Random(number).randbytes(8 + 26 * number) for number in range(_DATAGRAMS)]
    with lab.socket(destination, _FAMILIES[version]) as there, lab.socket(source, _FAMILIES[version]) as here:
        there.bind((str(lab[destination].address_of(version)), 0))
        there.settimeout(20)
        here.connect(there.getsockname())
        arrived = []
        for data in sent:
            here.send(data)
            arrived += [there.recv(2048)] if one_by_one else []
        arrived += [there.recv(2048) for _ in sent[len(arrived) :]]
    assert arrived == sent


@pytest.mark.parametrize("version", _FAMILIES, ids="IPv{}".format)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("h4", "hp", id="over IPv4"),
        pytest.param("h6", "hp", id="over IPv6"),
        pytest.param("hw", "he", id="through the RTR, IPv4 and IPv6"),
        pytest.param("h4", "client", id="through the PxTR, over IPv4"),
        pytest.param("h6", "client", id="through the PxTR, over IPv6"),
    ],
)
def test_tcp_and_udp_arrive_whole_both_ways(lab: Lab, one: str, other: str, version: int) -> None:
    for source, destination in ((one, other), (other, one)):
        stream(lab, source, destination, version)
        datagrams(lab, source, destination, version)


def test_only_the_links_towards_python_routers_are_slower(lab: Lab) -> None:
    """The far end of their core links computes checksums and cuts super-packets; all others leave that to the hosts."""
    slow = set()
    for node in lab.topology.lisp_routers:
        for interface in node.interfaces:
            if interface.side is not Side.CORE:
                continue
            features = offloads(lab, interface.peer, interface.peer_interface)
            finished = {not features[name] for name in ("tx-checksum-ip-generic", "tx-tcp-segmentation")}
            assert len(finished) == 1
            slow.update([node.name] if finished.pop() else [])
    assert slow == {"rtr", "pxtr", "xtrp"}


def test_a_cold_rtr_on_the_fast_path_loses_no_datagram(tmp_path: Path) -> None:
    """Until it knows where to, the daemon reads by a socket what nobody has completed."""
    if missing := missing_for("ebpf"):
        pytest.skip(missing)
    with Lab(loads(WORLD), name="test-both-cold", run_dir=tmp_path / "cold", dataplane="ebpf") as lab:
        for version in _FAMILIES:
            # All but the first by the fast path of the ITR: that one waits there, and is read from a TUN device.
            datagrams(lab, "hw", "he", version, one_by_one=True)
            datagrams(lab, "he", "hw", version, one_by_one=True)
        counts = lab.show("rtr", "statistics")["data"]
        assert counts["reencapsulated_packets"] > counts["reencapsulated_fast_packets"]
