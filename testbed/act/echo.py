"""ICMP echo between nodes of a lab, sent and received in this process through sockets inside their namespaces."""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType

from nodes.lisp.eid import IPAddress
from testbed.observe.capture import SocketMaker

_PAYLOAD = b"LISP testbed"
_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_UNREACHABLE = {4: 3, 6: 1}
_IPV6_HEADER = 40


@dataclass(slots=True)
class Echo:
    """One echo under way.

    Attributes:
        source: The node that sends it.
        target: The address it is sent to.
        sent: When it was sent (monotonic seconds).
        rtt: Round-trip time in seconds, None until the reply is here.
        refused_by: Who said that it cannot be delivered, or "".
    """

    source: str
    target: IPAddress
    sent: float = 0.0
    rtt: float | None = None
    refused_by: str = ""

    @property
    def done(self) -> bool:
        """Whether a reply or a refusal has come."""
        return self.rtt is not None or bool(self.refused_by)


class Pinger:
    """Echoes under way, known by ICMP identifier and sequence number: 65536 to an identifier, the first one random.

    Attributes:
        echoes: Every echo sent, in order.
    """

    def __init__(self, lab: SocketMaker) -> None:
        self._identifier = random.randrange(0x10000)
        self.echoes: list[Echo] = []
        self._lab = lab
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._by_descriptor: dict[int, tuple[socket.socket, int]] = {}
        self._poll = select.poll()

    def __enter__(self) -> Pinger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets.values():
            one.close()

    def open(self, source: str, version: int) -> socket.socket:
        """The raw ICMP socket inside ``source``; opening it ahead keeps that out of the round-trip times."""
        key = (source, version)
        if key not in self._sockets:
            if version == 4:
                made = self._lab.socket(source, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            else:
                made = self._lab.socket(source, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            made.setblocking(False)
            self._sockets[key] = made
            self._by_descriptor[made.fileno()] = (made, version)
            self._poll.register(made, select.POLLIN)
        return self._sockets[key]

    def send(self, source: str, target: IPAddress) -> Echo:
        """Send the next echo request from ``source`` to ``target``."""
        echo = Echo(source, target)
        identifier = self._identifier + (len(self.echoes) >> 16) & 0xFFFF
        request = _request(target.version, identifier, len(self.echoes) & 0xFFFF)
        self.echoes.append(echo)
        raw = self.open(source, target.version)
        echo.sent = time.monotonic()
        try:
            raw.sendto(request, (str(target), 0))
        except OSError as error:
            echo.refused_by = f"{source} itself ({error.strerror})"
        return echo

    def wait(self, echoes: Sequence[Echo], until: float) -> bool:
        """Wait until all ``echoes`` are done, or the monotonic time ``until``; say whether they are."""
        while not all(echo.done for echo in echoes):
            left = until - time.monotonic()
            if left <= 0:
                return False
            for descriptor, _event in self._poll.poll(left * 1000):
                self._receive(*self._by_descriptor[descriptor])
        return True

    def _receive(self, raw: socket.socket, version: int) -> None:
        """Take every message that waits at one socket and note the replies and refusals to our echoes."""
        while True:
            try:
                data, sender = raw.recvfrom(2048)
            except BlockingIOError:
                return
            now = time.monotonic()
            message = data[(data[0] & 0xF) * 4 :] if version == 4 else data
            if len(message) < 8:
                continue
            if message[0] == _REPLY[version]:
                echo = self._find(message)
                # The kernel prints link-local addresses with a zone.
                if echo is not None and not echo.done and ip_address(sender[0].split("%")[0]) == echo.target:
                    echo.rtt = now - echo.sent
            elif message[0] == _UNREACHABLE[version]:
                quoted = message[8:]
                start = (quoted[0] & 0xF) * 4 if version == 4 and quoted else _IPV6_HEADER
                echo = self._find(quoted[start:])
                if echo is not None and not echo.done:
                    echo.refused_by = f"{sender[0]} (ICMP unreachable, code {message[1]})"

    def _find(self, message: bytes) -> Echo | None:
        """The echo that an ICMP message belongs to, or None when it is not one of ours."""
        if len(message) < 8:
            return None
        number = self.number(*struct.unpack_from("!HH", message, 4))
        return None if number is None else self.echoes[number]

    def number(self, identifier: int, sequence: int) -> int | None:
        """The place in :attr:`echoes` of the echo with these ICMP fields, or None when it is not one of ours."""
        number = (identifier - self._identifier & 0xFFFF) << 16 | sequence
        return number if number < len(self.echoes) else None


def _request(version: int, identifier: int, sequence: int) -> bytes:
    """An echo request; the ICMP checksum is ours, the ICMPv6 one the kernel fills in."""
    header = struct.pack("!BBHHH", _REQUEST[version], 0, 0, identifier, sequence)
    if version == 6:
        return header + _PAYLOAD
    checksum = internet_checksum(header + _PAYLOAD)
    return struct.pack("!BBHHH", _REQUEST[version], 0, checksum, identifier, sequence) + _PAYLOAD


def internet_checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
