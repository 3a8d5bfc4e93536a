"""What hosts leave to the network: segmentation that a LISP header survives stays on, the other is off."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from nodes.kinds.host import Host
from nodes.kinds.link import VethLink
from nodes.linux import ethtool
from testbed.act.ping import first_reply
from testbed.lab import Lab

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_UDP_SEGMENT, _SO_RCVBUFFORCE = 103, 33
_SENDS, _DATAGRAMS, _BYTES = 20, 50, 200


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, dataplane: str) -> Iterator[Lab]:
    place = tmp_path_factory.mktemp("runs") / "test-offloads"
    with Lab("two-dc-static", name="test-offloads", run_dir=place, dataplane=dataplane) as running:
        yield running


def test_a_host_cuts_udp_itself_and_leaves_tcp_to_the_network() -> None:
    """Set by the machine as soon as it has the interface, and read back."""
    ends = [Host("a"), Host("b")]
    try:
        VethLink(*ends)
        for host in ends:
            (interface,) = host.intfList()
            features = ethtool.get_features(interface.name, host.namespace)
            assert not features["tx-udp-segmentation"]
            assert features["tx-tcp-segmentation"]
            assert features["tx-checksum-ip-generic"]
    finally:
        for host in ends:
            host.terminate()


@pytest.mark.order
@pytest.mark.parametrize("source", ["h1", "client"])
def test_udp_super_packets_are_delivered_whole_through_encapsulation(lab: Lab, source: str, dataplane: str) -> None:
    """From a LISP site, and from a host without LISP whose packets the PITR encapsulates; on the fast path as well."""
    first_reply(lab, source, "h4", within=20)
    encapsulator = "xtr1" if source == "h1" else "pxtr"
    kind = "encapsulated_fast_packets" if dataplane == "ebpf" else "encapsulated_packets"
    before = lab.show(encapsulator, "statistics")["data"][kind]
    with lab.socket(source) as here, lab.socket("h4") as there:
        there.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
        there.settimeout(20)
        there.bind((str(lab["h4"].address), 0))
        here.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, _BYTES)
        here.connect(there.getsockname())
        for start in range(0, _SENDS * _DATAGRAMS, _DATAGRAMS):
            here.send(b"".join(n.to_bytes(4, "big") * (_BYTES // 4) for n in range(start, start + _DATAGRAMS)))
        arrived = []
        with suppress(TimeoutError):
            while len(arrived) < _SENDS * _DATAGRAMS:
                data = there.recv(65536)
                arrived.append((len(data), int.from_bytes(data[:4], "big")))
    assert arrived == [(_BYTES, number) for number in range(_SENDS * _DATAGRAMS)]
    # The first few may go by the daemon, as long as packets before them are still on their way there.
    slow = _DATAGRAMS if dataplane == "ebpf" else 0
    assert lab.show(encapsulator, "statistics")["data"][kind] - before >= _SENDS * _DATAGRAMS - slow
