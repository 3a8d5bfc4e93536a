"""The packet socket that overhears ARP, RARP and neighbour discovery on one site interface, and nothing else."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from nodes.dataplane import neighbours
from nodes.dataplane.neighbours import (
    ECHO_REPLY,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_RARP,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    PING,
    Arrived,
    Astray,
    Heard,
)
from nodes.dataplane.packet import ICMPV6
from nodes.linux.socket_filter import JUMP_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_WORD, RETURN, attach
from nodes.lisp.eid import IPAddress
from nodes.lisp.rate_limit import RateLimit

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_IGNORE_OUTGOING, _ALL_MULTICAST = 263, 1, 23, 2
_BATCH = 64
_LONGEST = 128
_PACKET_TYPE, _FOR_ANOTHER = 0xFFFFF004, 3  # SKF_AD_PKTTYPE, PACKET_OTHERHOST

MOST_MISLED, DEAFNESS = 256, 1.0
"""Frames for others that are looked at in so many seconds. A switch sends everywhere what goes to a host that has long
been silent, at any rate, though nobody is misled."""


FILTER = (  # the classic BPF of packet(7); a jump names the instructions to skip if equal, if not
    (LOAD_HALF, 0, 0, 12),  # the Ethernet type
    (JUMP_EQUAL, 13, 0, ETH_ARP),
    (JUMP_EQUAL, 12, 0, ETH_RARP),
    (JUMP_EQUAL, 9, 0, ETH_IPV4),
    (JUMP_EQUAL, 0, 11, ETH_IPV6),
    (LOAD_BYTE, 0, 0, 20),  # the next header
    (JUMP_EQUAL, 0, 6, ICMPV6),
    (LOAD_BYTE, 0, 0, 54),  # the ICMPv6 type
    (JUMP_EQUAL, 6, 0, NEIGHBOUR_SOLICITATION),
    (JUMP_EQUAL, 5, 0, NEIGHBOUR_ADVERTISEMENT),
    (JUMP_EQUAL, 0, 2, ECHO_REPLY),
    (LOAD_WORD, 0, 0, 58),  # identifier and sequence number
    (JUMP_EQUAL, 2, 0, PING),
    (LOAD_WORD, 0, 0, _PACKET_TYPE),
    (JUMP_EQUAL, 0, 1, _FOR_ANOTHER),
    (RETURN, 0, 0, _LONGEST),
    (RETURN, 0, 0, 0),
)
DEAF_FILTER = (*FILTER[:-3], (RETURN, 0, 0, 0), *FILTER[-2:])
"""The same without frames for others: while there are too many of them."""


class NeighbourSocket:
    """Overhears one interface, and speaks there for hosts that are elsewhere, or whose neighbours know better now.

    Attributes:
        interface: The interface's name.
    """

    def __init__(self, interface: str, gateway: bytes = b"") -> None:
        """Open it in the caller's network namespace.

        Args:
            interface: The interface's name.
            gateway: The gateway's MAC address: whoever speaks by it speaks for hosts that are elsewhere, as this does.

        Raises:
            OSError: There is no such interface, or the caller may not.
        """
        self.interface, self._gateway = interface, gateway
        self._misled: RateLimit[None] = RateLimit(MOST_MISLED, DEAFNESS / MOST_MISLED)
        self._listens_again: float | None = None
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # bound to a protocol only once the filter is there
        attach(self._socket, FILTER)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((interface, _ETH_P_ALL))
        # Solicitations go to multicast groups of hosts that are not here.
        membership = struct.pack("iHH8s", socket.if_nametoindex(interface), _ALL_MULTICAST, 0, b"")
        self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)

    @property
    def mac(self) -> bytes:
        """The interface's MAC address, as it is now."""
        found: bytes = self._socket.getsockname()[4]
        return found

    def fileno(self) -> int:
        """The descriptor, for select."""
        return self._socket.fileno()

    def read(self, now: float) -> Iterator[Heard | Arrived | Astray]:
        """What has been said since the last call, a batch at most; ``now`` is in seconds of any clock."""
        ours = (self.mac, self._gateway)
        for _ in range(_BATCH):
            try:
                frame, (_, _, packet_type, *_) = self._socket.recvfrom(_LONGEST)
            except OSError:  # nothing is left, or the interface is down
                return
            heard: Heard | Arrived | Astray | None = neighbours.overhear(frame)
            if packet_type == _FOR_ANOTHER:
                heard = neighbours.mislead(heard, frame)
                self._bound(now)
            if heard is not None and heard.mac not in ours:
                yield heard

    def deadline(self) -> float | None:
        """When :meth:`listen` has something to do, or None."""
        return self._listens_again

    def listen(self, now: float) -> None:
        """Look at frames for others again, if there were too many of them a while ago."""
        if self._listens_again is not None and now >= self._listens_again:
            attach(self._socket, FILTER)
            self._listens_again = None

    def _bound(self, now: float) -> None:
        if self._listens_again is None and not self._misled.allows(None, now):
            attach(self._socket, DEAF_FILTER)
            self._listens_again = now + DEAFNESS

    def answer(self, heard: Heard, asked: IPAddress) -> None:
        """Say that packets for ``asked`` are to go to this router. Raises OSError."""
        self._socket.send(neighbours.answer(heard, asked, self.mac))

    def announce(self, address: IPAddress, mac: bytes | None, source: IPAddress) -> None:
        """Tell everybody that a neighbour has this MAC address now; None is this router's. Raises OSError."""
        self._socket.send(neighbours.announce(address, mac or self.mac, self.mac, source))

    def ask(self, wanted: IPAddress, own: IPAddress, mac: bytes | None = None) -> None:
        """Ask the link for a host, in the name of an own address. The answer is overheard. Raises OSError.

        Not by the kernel, which asks once a second, and keeps a place for each address that somebody only made up.

        Args:
            wanted: The host's address.
            own: The router's.
            mac: The one machine that is asked, by its MAC address; None asks everybody.
        """
        self._socket.send(neighbours.question(wanted, own, self.mac, mac))

    def ping(self, mac: bytes, source: IPAddress) -> None:
        """Have the machine with a MAC address show its address of the prefix of ``source``. Raises OSError."""
        self._socket.send(neighbours.ping(mac, self.mac, source))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
