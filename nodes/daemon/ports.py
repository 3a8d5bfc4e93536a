"""The control plane's UDP sockets: port 4342 and an ephemeral port for requests."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from nodes.lisp.effects import CONTROL_PORT, Datagram, Send
from nodes.lisp.eid import IPAddress

_IP_PKTINFO = 8
_BATCH = 32
_LARGEST = 65535


class ControlPorts:
    """Sockets on port 4342 and on one ephemeral port, the same for every IP version of the node's RLOCs.

    What is sent to another address of the node is dropped: a host that may not reach the RLOCs (requirement S01) would
    otherwise reach the control plane by its gateway's address.

    The kernel writes the UDP checksums, never zero (requirement C02, RFC 9301 section 5).

    Attributes:
        request_port: The ephemeral port.
    """

    def __init__(self, rlocs: Iterable[IPAddress]) -> None:
        """Open them in the caller's network namespace."""
        self._own = set(rlocs)
        versions = {rloc.version for rloc in self._own}
        self._control = {version: _open(version, CONTROL_PORT) for version in sorted(versions)}
        self._request: dict[int, socket.socket] = {}
        self.request_port = 0
        for version in sorted(versions):
            self._request[version] = _open(version, self.request_port)
            self.request_port = self._request[version].getsockname()[1]

    @property
    def readers(self) -> Mapping[int, Callable[[], Iterator[Datagram]]]:
        """For each descriptor, what gives the datagrams that have arrived on it."""
        opened = [*self._control.values(), *self._request.values()]
        return {one.fileno(): partial(_receive, one, one.getsockname()[1], self._own) for one in opened}

    def send(self, effect: Send) -> None:
        """Send a control message.

        Raises:
            OSError: It cannot be sent (no route, no RLOC of that IP version).
        """
        sockets = self._control if effect.from_control_port else self._request
        version = effect.destination.version
        if version not in sockets:
            raise OSError(97, f"send to {effect.destination}: this node has no IPv{version} RLOC")
        # In two steps: then the kernel computes the checksum itself. In one step it leaves that to the network card,
        # and on a virtual link, which has none, captures show a wrong one.
        sockets[version].sendto(effect.payload, socket.MSG_MORE, (str(effect.destination), effect.port))
        sockets[version].send(b"")

    def move(self, rlocs: Iterable[IPAddress]) -> None:
        """Take what is sent to these RLOCs from now on, and to no others."""
        self._own.clear()
        self._own.update(rlocs)

    def close(self) -> None:
        """Close the sockets."""
        for opened in (*self._control.values(), *self._request.values()):
            opened.close()


def _open(version: int, port: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if version == 4:
        opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    opened.bind(("" if version == 4 else "::", port))
    return opened


def _receive(opened: socket.socket, port: int, own: Container[IPAddress]) -> Iterator[Datagram]:
    for _ in range(_BATCH):
        try:
            payload, ancillary, _, sender = opened.recvmsg(_LARGEST, 64)
        except BlockingIOError:
            return
        destination = _destination(ancillary)
        if destination is None or destination not in own:
            continue
        source = IPv4Address(sender[0]) if opened.family == socket.AF_INET else IPv6Address(sender[0].split("%")[0])
        yield Datagram(payload, source, sender[1], destination, port)


def _destination(ancillary: list[tuple[int, int, bytes]]) -> IPAddress | None:
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return IPv4Address(struct.unpack_from("=i4s4s", value)[2])
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return IPv6Address(value[:16])
    return None
