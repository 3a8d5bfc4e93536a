"""The packet socket that overhears ARP and neighbour discovery on one site interface, and nothing else."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from nodes.dataplane.neighbours import (
    ETH_ARP,
    ETH_IPV6,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    Heard,
    answer,
    overhear,
    question,
)
from nodes.dataplane.packet import ICMPV6
from nodes.linux.socket_filter import JUMP_EQUAL, LOAD_BYTE, LOAD_HALF, RETURN, attach
from nodes.lisp.eid import IPAddress

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_IGNORE_OUTGOING, _ALL_MULTICAST = 263, 1, 23, 2
_BATCH = 64
_LONGEST = 2048

_FILTER = (  # the classic BPF of packet(7); a jump names the instructions to skip if equal, if not
    (LOAD_HALF, 0, 0, 12),  # the Ethernet type
    (JUMP_EQUAL, 6, 0, ETH_ARP),
    (JUMP_EQUAL, 0, 6, ETH_IPV6),
    (LOAD_BYTE, 0, 0, 20),  # the next header
    (JUMP_EQUAL, 0, 4, ICMPV6),
    (LOAD_BYTE, 0, 0, 54),  # the ICMPv6 type
    (JUMP_EQUAL, 1, 0, NEIGHBOUR_SOLICITATION),
    (JUMP_EQUAL, 0, 1, NEIGHBOUR_ADVERTISEMENT),
    (RETURN, 0, 0, _LONGEST),
    (RETURN, 0, 0, 0),
)


class NeighbourSocket:
    """Overhears one interface, and answers for hosts that are elsewhere.

    Attributes:
        interface: The interface's name.
    """

    def __init__(self, interface: str) -> None:
        """Open it in the caller's network namespace.

        Raises:
            OSError: There is no such interface, or the caller may not.
        """
        self.interface = interface
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # bound to a protocol only once the filter is there
        attach(self._socket, _FILTER)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((interface, _ETH_P_ALL))
        # Solicitations go to multicast groups of hosts that are not here.
        membership = struct.pack("iHH8s", socket.if_nametoindex(interface), _ALL_MULTICAST, 0, b"")
        self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        self._mac: bytes = self._socket.getsockname()[4]

    def fileno(self) -> int:
        """The descriptor, for select."""
        return self._socket.fileno()

    def read(self) -> Iterator[Heard]:
        """What has been said since the last call, a batch at most."""
        for _ in range(_BATCH):
            try:
                frame = self._socket.recv(_LONGEST)
            except OSError:  # nothing is left, or the interface is down
                return
            heard = overhear(frame)
            if heard is not None and heard.mac != self._mac:
                yield heard

    def answer(self, heard: Heard, asked: IPAddress) -> None:
        """Say that packets for ``asked`` are to go to this router. Raises OSError."""
        self._socket.send(answer(heard, asked, self._mac))

    def ask(self, wanted: IPAddress, own: IPAddress) -> None:
        """Ask the link for a host, in the name of an own address. The answer is overheard. Raises OSError.

        Not by the kernel, which asks once a second, and keeps a place for each address that somebody only made up.
        """
        self._socket.send(question(wanted, own, self._mac))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
