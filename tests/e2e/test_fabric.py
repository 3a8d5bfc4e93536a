"""A fabric is a switch: it carries frames, whatever is in them."""

from __future__ import annotations

import os
import socket
import time

import pytest

from nodes.kinds.fabric import Fabric
from nodes.kinds.host import Host
from nodes.kinds.link import VethLink
from nodes.linux import namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

ETH_P_ALL = 0x0003
WITHIN_S = 20.0


def tap(host: Host) -> socket.socket:
    """A packet socket at a host's only interface."""
    (interface,) = host.intfList()
    with namespaces.inside(host.namespace):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.bind((interface.name, 0))
    return made


@pytest.mark.parametrize(
    ("ethertype", "content"),
    [("0800", "4500ffff" + "00" * 42), ("86dd", "60000000ffff" + "00" * 40)],
    ids=["ipv4", "ipv6"],
)
def test_a_packet_that_says_a_wrong_length_is_carried_like_any_other(ethertype: str, content: str) -> None:
    """Where a kernel's bridges show frames to the IP firewall, that would drop it, and cost each frame time."""
    fabric, one, other = machines = Fabric("sw"), Host("a"), Host("b")
    try:
        for host in (one, other):
            VethLink(host, fabric)
        fabric.start()
        frame = bytes.fromhex("02000000000f" + "02000000000e" + ethertype + content)
        with tap(one) as here, tap(other) as there:
            there.settimeout(0.2)
            until = time.monotonic() + WITHIN_S
            found = b""
            while found != frame:
                assert time.monotonic() < until, f"it did not arrive within {WITHIN_S:g} s"
                here.send(frame)
                try:
                    found = there.recv(2048)
                except TimeoutError:
                    continue
    finally:
        for machine in machines:
            machine.terminate()
