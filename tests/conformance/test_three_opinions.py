"""Every LISP packet that the routers of a lab send, read by the Scapy layers and by tshark: whole, and alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from testbed.act.ping import ping
from testbed.lab import Lab
from testbed.observe import scapy_lisp as lisp
from testbed.observe.capture import Capture
from testbed.observe.scapy_lisp.records import IDENTITY_SIZE
from tests.scapy_lisp.tshark import ask, disagreements

_ETHERNET_HEADER = 14


def _lisp_frames(capture: Capture) -> list[Packet]:
    """The frames with a LISP layer, each once however many hops it was seen at."""
    read = [
        Ether(octets)
        for octets in {frame.data[_ETHERNET_HEADER - 2 :]: frame.data for frame in capture.frames}.values()
    ]
    ports = {lisp.LISP_DATA_PORT, lisp.LISP_CONTROL_PORT}
    return [one for one in read if one.haslayer(UDP) and ports & {one[UDP].sport, one[UDP].dport}]


def _kind(frame: Packet) -> str:
    message = frame.getlayer(lisp.LISP, _subclass=True)
    return "data" if message is None else str(message.name)


@pytest.mark.requirement("C04")
@pytest.mark.parametrize("world", ["two-dc-static", "ipv6-islands", "ipv4-islands", "tenants"])
def test_three_opinions_agree(boot: Callable[..., Lab], world: str, tmp_path: Path) -> None:
    """C04: registrations, resolutions and data packets of a whole world; IPv4, IPv6, instance-IDs."""
    lab = boot(world)
    nodes = [node.name for node in lab.topology.lisp_routers]
    etr = next(node.name for node in lab.topology.lisp_routers if node.lisp and node.lisp.database)
    with Capture(lab, [*nodes, *(one.name for one in lab.topology.core)]) as capture:
        lab.restart(etr)
        ping(lab, lab.run_dir)
        capture.drain()
        frames = _lisp_frames(capture)
    seen = Counter(map(_kind, frames))
    wanted = ("Map-Reply", "Map-Register", "Map-Notify", "Encapsulated Control Message")
    assert set(seen) >= {"data", *(f"LISP {kind}" for kind in wanted)}, seen
    packets = [bytes(frame)[_ETHERNET_HEADER:] for frame in frames]
    for frame, octets, opinion in zip(frames, packets, ask(packets, tmp_path / "lisp.pcap"), strict=True):
        what = frame.summary()
        assert lisp.defects(frame) == [], what
        assert lisp.reserved_bits(frame) == [], what
        # RFC 9301 section 5.7: an xTR-ID ends a Map-Notify unannounced, and tshark leaves it out.
        identified = frame.haslayer(lisp.MapNotify) and frame.haslayer(lisp.Identity)
        skipped = ("lisp.xtrid", "lisp.siteid") if identified else ()
        assert [one for one in disagreements(octets, opinion) if not one.startswith(skipped)] == [], what
        assert opinion.complaints == [], what
        if _kind(frame) != "data":
            assert frame[UDP].chksum != 0, what
            assert opinion.undissected == (IDENTITY_SIZE if identified else None), what
