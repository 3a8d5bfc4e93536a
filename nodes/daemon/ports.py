"""The control plane's UDP sockets: port 4342 and an ephemeral port for requests."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from nodes.lisp.effects import CONTROL_PORT, Send, SendToGroup
from nodes.lisp.eid import IPAddress
from nodes.lisp.inputs import Datagram

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

    def __init__(
        self, rlocs: Iterable[IPAddress], group: IPAddress | None = None, interfaces: Iterable[str] = ()
    ) -> None:
        """Open them in the caller's network namespace.

        Args:
            rlocs: The node's RLOCs.
            group: The multicast group of the site's xTRs (requirement X09), if there are several.
            interfaces: The site interfaces by which they are reached.

        Raises:
            OSError: There is no such interface.
        """
        self._own = set(rlocs)
        self._group = group
        self._group_interfaces = {socket.if_nametoindex(name): name for name in interfaces} if group else {}
        versions = {rloc.version for rloc in self._own} | ({group.version} if group else set())
        self._control = {version: _open(version, CONTROL_PORT) for version in sorted(versions)}
        self._request: dict[int, socket.socket] = {}
        self.request_port = 0
        for version in sorted(versions):
            self._request[version] = _open(version, self.request_port)
            self.request_port = self._request[version].getsockname()[1]
        if group is not None:
            for index in self._group_interfaces:
                _join(self._control[group.version], group, index)

    @property
    def readers(self) -> Mapping[int, Callable[[], Iterator[Datagram]]]:
        """For each descriptor, what gives the datagrams that have arrived on it."""
        opened = [*self._control.values(), *self._request.values()]
        return {one.fileno(): partial(_receive, one, one.getsockname()[1], self._is_ours) for one in opened}

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

    def send_to_group(self, effect: SendToGroup) -> None:
        """Send a control message to the site's other xTRs: as far as the LAN goes.

        Raises:
            OSError: It cannot be sent: an interface is down, say.
        """
        if self._group is None:
            return
        for index, name in self._group_interfaces.items():
            if effect.interface in ("", name):
                opened, where = self._control[self._group.version], (str(self._group), CONTROL_PORT)
                if self._group.version == 4:
                    out = (socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", index, bytes(4), bytes(4)))
                else:
                    out = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, bytes(16) + struct.pack("=i", index))
                opened.sendmsg([effect.payload], [out], socket.MSG_MORE, where)
                opened.send(b"")

    def _is_ours(self, destination: IPAddress, index: int) -> str | None:
        """By which site interface a datagram came to the group, "" for one to an own RLOC; None: it is not for us."""
        if destination in self._own:
            return ""
        return self._group_interfaces.get(index) if destination == self._group else None

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


def _join(opened: socket.socket, group: IPAddress, index: int) -> None:
    if group.version == 4:
        membership = group.packed + bytes(4) + struct.pack("=i", index)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group.packed + struct.pack("=i", index))
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)


IsOurs = Callable[[IPAddress, int], str | None]


def _receive(opened: socket.socket, port: int, is_ours: IsOurs) -> Iterator[Datagram]:
    for _ in range(_BATCH):
        try:
            payload, ancillary, _, sender = opened.recvmsg(_LARGEST, 64)
        except BlockingIOError:
            return
        destination, index = _destination(ancillary)
        interface = is_ours(destination, index) if destination is not None else None
        if destination is None or interface is None:
            continue
        source = IPv4Address(sender[0]) if opened.family == socket.AF_INET else IPv6Address(sender[0].split("%")[0])
        yield Datagram(payload, source, sender[1], destination, port, interface)


def _destination(ancillary: list[tuple[int, int, bytes]]) -> tuple[IPAddress | None, int]:
    """Where a datagram was sent to, and the index of the interface that it came in by."""
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            index, _, destination = struct.unpack_from("=i4s4s", value)
            return IPv4Address(destination), index
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return IPv6Address(value[:16]), struct.unpack_from("=i", value, 16)[0]
    return None, 0
