"""Three opinions about every LISP packet that our routers sent while tests ran: the Scapy layers', tshark's and ours.

A router sent what arrived on its core link at the other end from one of its own addresses. What a test may have put
there itself is left out, and so is an Encapsulated Control Message that a router only passed on. Of data packets, the
header is judged, not what a host has sent inside; those that differ in nothing else are judged once.
"""

from __future__ import annotations

import tempfile
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from nodes.lisp import wire
from nodes.lisp.errors import DecodeError
from testbed.observe import scapy_lisp as lisp
from testbed.observe.capture import Frame
from testbed.observe.scapy_lisp.records import IDENTITY_SIZE
from tests.scapy_lisp.same import same, same_data_header
from tests.scapy_lisp.tshark import NOT_DISSECTED, Opinion, ask, disagreements

_ETHERNET_HEADER, _UDP_HEADER, _LISP_HEADER, _UDP = 14, 8, 8, 17
_MAP_NOTIFY_ACK, _ECM = 5, 8
_IDENTITY = ("lisp.xtrid", "lisp.siteid")
_LCAF = "lisp.lcaf"
_COMPLAINTS_EACH = 3


@dataclass(frozen=True, slots=True)
class Sent:
    """A LISP packet that a router has sent.

    Attributes:
        router: Which.
        packet: From its IP header on.
        payload: Of its UDP datagram.
        data: Whether it is a data packet; else a control message.
    """

    router: str
    packet: bytes
    payload: bytes
    data: bool

    @property
    def alike(self) -> bytes:
        """What it is judged by: of a data packet all that does not come from the packet inside, but its IP version."""
        if not self.data:
            return self.packet
        head = self.packet[: -len(self.payload) or None]
        udp = head[-_UDP_HEADER:]
        fits = int.from_bytes(udp[4:6], "big") == _UDP_HEADER + len(self.payload)
        outer = head[:2] + head[6:8] + head[12:20] if head[0] >> 4 == 4 else head[:4] + head[8:40]
        return outer + udp[:4] + udp[6:] + bytes([fits]) + self.payload[: _LISP_HEADER + 1]


def sent(entry: Mapping[str, Any], frames: Iterable[Frame]) -> Iterator[Sent]:
    """The packets of a test that routers have sent themselves."""
    others = {*entry["handled"], *entry.get("foreign", ())}
    nodes = {name: one for lab in entry["labs"] for name, one in lab["nodes"].items()}
    core = {(node, name) for lab in entry["labs"] for node, name in lab["core"]}
    ends = {(node, name): (node, peer) for lab in entry["labs"] for node, name, peer in lab["links"]}
    came: dict[str, set[bytes]] = defaultdict(set)
    towards = {(peer, node) for (node, name), (_, peer) in ends.items() if (node, name) in core}
    for frame in frames:
        node, peer = ends.get((frame.node, frame.interface), ("", ""))
        read = _udp(frame)
        if read is None or frame.length > len(frame.data):
            continue
        source, packet, ports, payload = read
        if (frame.node, frame.interface) in core:
            came[frame.node].add(payload)
        passed_on = payload[:1] and payload[0] >> 4 == _ECM and payload in came[peer]
        own = (node, peer) in towards and source in nodes[peer]["addresses"] and peer not in others
        if own and not passed_on and {lisp.LISP_DATA_PORT, lisp.LISP_CONTROL_PORT}.intersection(ports):
            yield Sent(peer, packet, payload, ports[1] == lisp.LISP_DATA_PORT)


def _udp(frame: Frame) -> tuple[str, bytes, tuple[int, int], bytes] | None:
    """Source address, IP packet, ports and payload of a whole UDP datagram."""
    packet = frame.data[_ETHERNET_HEADER:]
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame.data[12:14])
    if version == 4 and len(packet) >= 28 and packet[9] == _UDP and not int.from_bytes(packet[6:8], "big") & 0x3FFF:
        packet, head, source = packet[: int.from_bytes(packet[2:4], "big")], 4 * (packet[0] & 15), packet[12:16]
    elif version == 6 and len(packet) >= 48 and packet[6] == _UDP:
        packet, head, source = packet[: 40 + int.from_bytes(packet[4:6], "big")], 40, packet[8:24]
    else:
        return None
    ports = int.from_bytes(packet[head : head + 2], "big"), int.from_bytes(packet[head + 2 : head + 4], "big")
    return str(ip_address(source)), packet, ports, packet[head + _UDP_HEADER :]


def judge(packets: Iterable[Sent]) -> dict[bytes, list[str]]:
    """What is wrong with packets, by what they are judged by (:attr:`Sent.alike`); nothing of those that are in order.

    tshark is started twice, however many packets there are.
    """
    distinct = {one.alike: one for one in packets}
    found: dict[bytes, list[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for data in (False, True):
            chosen = [one for one in distinct.values() if one.data is data]
            if not chosen:
                continue
            said = ask([one.packet for one in chosen], Path(scratch) / "sent.pcap", inner=not data)
            for one, opinion in zip(chosen, said, strict=True):
                if wrong := list((_about_data if data else _about_control)(one, opinion)):
                    found[one.alike] = wrong[:_COMPLAINTS_EACH]
    return found


def _about_control(one: Sent, opinion: Opinion) -> Iterator[str]:
    read = _read(one.packet)
    message = read.getlayer(lisp.LISP, _subclass=True)
    if message is None:
        yield "the Scapy layers find no control message"
        return
    yield from lisp.defects(read)
    yield from (f"not zero: {words}" for words in lisp.reserved_bits(read))
    if read.haslayer(UDP) and read[UDP].chksum == 0:
        yield "a control message without a UDP checksum"
    yield from _differences(lambda: same(wire.decode(one.payload), message))
    if message.type == _MAP_NOTIFY_ACK:  # tshark does not know it
        return
    request = read.getlayer(lisp.MapRequest)
    # RFC 9437 section 5: who subscribes no more gives no ITR-RLOC; tshark refuses that, and reads no further.
    if request is not None and [one.afi for one in request.itr_rlocs] == [0]:
        return
    yield from (f"tshark: {words}" for words in opinion.complaints if words != NOT_DISSECTED)
    # RFC 9301 section 5.7: an xTR-ID ends a Map-Notify unannounced; RFC 9437 section 4: and a Map-Request after a bit
    # that tshark does not know. It leaves both out.
    identified = (read.haslayer(lisp.MapNotify) or request is not None) and read.haslayer(lisp.Identity)
    # Of an LCAF that it does not dissect, tshark does not see what is inside either.
    unseen: tuple[str, ...] = _IDENTITY if identified else ()
    unseen += (_LCAF,) if NOT_DISSECTED in opinion.complaints else ()
    yield from (words for words in disagreements(one.packet, opinion) if not words.startswith(unseen))
    if opinion.undissected != (IDENTITY_SIZE if identified else None):
        yield f"tshark leaves {opinion.undissected} octets undissected"


def _about_data(one: Sent, opinion: Opinion) -> Iterator[str]:
    if len(one.payload) <= _LISP_HEADER:
        yield f"a data packet of {len(one.payload)} octets"
        return
    # The header alone: what is inside, a host has sent.
    header = lisp.LISPData(one.payload[:_LISP_HEADER])
    yield from lisp.defects(header)
    yield from (f"not zero: {words}" for words in lisp.reserved_bits(header))
    yield from (f"tshark: {words}" for words in opinion.complaints)
    yield from _differences(lambda: same_data_header(wire.DataHeader.decode(one.payload), header))
    yield from disagreements(one.packet[: len(one.packet) - len(one.payload) + _LISP_HEADER], opinion)


def _read(packet: bytes) -> Packet:
    return IP(packet) if packet[0] >> 4 == 4 else IPv6(packet)


def _differences(compare: Callable[[], None]) -> Iterator[str]:
    """What our decoder says otherwise than the Scapy layers; it ends with the first difference."""
    try:
        compare()
    except DecodeError as error:
        yield f"our decoder: {error}"
    except AssertionError as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        yield f"our decoder and the Scapy layers differ: {line}"
    except Exception as error:
        # Of one packet; the verdicts of all tests wait for this.
        yield f"our decoder and the Scapy layers cannot be compared: {error!r}"
