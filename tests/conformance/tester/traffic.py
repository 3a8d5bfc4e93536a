"""Packets into a node, as they are, and datagrams out of it."""

from __future__ import annotations

import socket

from testbed.lab import Lab
from tests.conformance.tester import packets

SINK = 9999
_SO_RCVBUFFORCE = 33


def inject(lab: Lab, node: str, *sent: bytes) -> None:
    """Send IP packets from a node as they are (the kernel sets IPv4's identification and header checksum)."""
    for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        mine = [one for one in map(packets.Ip, sent) if one.version == version]
        if mine:
            with lab.socket(node, family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                for one in mine:
                    raw.sendto(one.packet, (str(one.destination), 0))


def sink(lab: Lab, node: str, port: int = SINK) -> socket.socket:
    """A UDP socket at a host, with room for thousands of datagrams."""
    opened = lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
    opened.bind(("0.0.0.0", port))
    return opened


def received(opened: socket.socket, count: int, within: float) -> list[bytes]:
    """Datagrams from a socket: ``count`` of them, or what came until nothing did for ``within`` seconds."""
    opened.settimeout(within)
    found: list[bytes] = []
    try:
        while len(found) < count:
            found.append(opened.recv(65536))
    except TimeoutError:
        pass
    return found
