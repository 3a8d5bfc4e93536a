"""Two sites of the world ``families``: hosts of one IP version, RLOCs of one IP version, and what tests do there."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from testbed.lab import Lab
from tests.conformance.tester import packets
from tests.conformance.tester.cable import Cable
from tests.conformance.tester.counters import by_fast_path, counting
from tests.conformance.tester.packets import Ip, IPAddress, Tunnelled
from tests.conformance.tester.traffic import SINK
from tests.conformance.tester.watch import Watch

OVERHEAD = {4: 36, 6: 56}
"""Bytes of outer IP, UDP and LISP header by the RLOC's IP version (RFC 9300 section 7.1)."""

CORE_MTU = 1500
MARK = b"packet "
"""What the payload of the tests' own datagrams begins with."""

BEHIND = ("behind, fast", "behind, slow")
"""Of the packets behind those that a test is about: when they have arrived, the others have or never will."""


@dataclass(frozen=True)
class Pair:
    """EIDs of IP version ``inner`` over RLOCs of IP version ``outer``, in a lab whose routers forward by ``dataplane``.

    The near site sends and the far site receives; a packet passes core1, core2 and core3 in between.
    """

    lab: Lab
    dataplane: str
    inner: int
    outer: int

    @property
    def here(self) -> str:
        """The near host."""
        return f"hn{self.outer}"

    @property
    def there(self) -> str:
        """The far host."""
        return f"hf{self.outer}"

    @property
    def itr(self) -> str:
        """The near router."""
        return f"xn{self.outer}"

    @property
    def etr(self) -> str:
        """The far router."""
        return f"xf{self.outer}"

    @property
    def source(self) -> IPAddress:
        """The near EID."""
        return self.lab[self.here].address_of(self.inner)

    @property
    def target(self) -> IPAddress:
        """The far EID."""
        return self.lab[self.there].address_of(self.inner)

    @property
    def most(self) -> int:
        """The largest inner packet in bytes."""
        return CORE_MTU - OVERHEAD[self.outer]

    def warm(self) -> None:
        """Let each router of the pair know the other's mappings, of both IP versions, with its gate open."""
        for version in (4, 6):
            target = str(self.lab[self.there].address_of(version))
            done = self.lab.run(self.here, ["ping", "-n", "-c", "2", "-i", "0.05", "-W", "2", target])
            assert done.returncode == 0, done.stdout

    def rloc(self, router: str) -> IPAddress:
        """The RLOC of a router."""
        config = self.lab[router].lisp
        assert config is not None
        return next(one for one in config.rlocs if one.version == self.outer)

    def datagram(self, text: object = "", port: int = 7777, **fields: Any) -> bytes:
        """A packet from the near to the far host; the keywords are those of :func:`packets.ip`."""
        return packets.datagram(self.source, self.target, (port, SINK), MARK + str(text).encode(), **fields)

    def tunnel(self, inner: bytes, **fields: Any) -> bytes:
        """A LISP data packet from the near to the far router; the keywords are those of :func:`packets.lisp`."""
        return packets.lisp(self.rloc(self.itr), self.rloc(self.etr), inner, **fields)

    def leave(self, *sent: bytes) -> None:
        """Send packets from the near host as they are, mistakes included."""
        with Cable(self.lab, self.here, self.itr) as cable:
            cable.send(*sent)

    def send(self, node: str, peer: str, *sent: bytes) -> None:
        """Send packets from any node over its link to a peer, as they are."""
        with Cable(self.lab, node, peer) as cable:
            cable.send(*sent)

    def between(self, source: IPAddress, target: IPAddress, text: object, **fields: Any) -> bytes:
        """A packet of any two addresses; the keywords are those of :func:`packets.ip`."""
        return packets.datagram(source, target, (7777, SINK), MARK + str(text).encode(), **fields)

    def answer(self, *sent: bytes) -> None:
        """Send packets from the far host."""
        with Cable(self.lab, self.there, self.etr) as cable:
            cable.send(*sent)

    def slow(self, packet: bytes) -> bytes:
        """A LISP packet with an outer option or extension header, which only the Python path handles."""
        plain = Ip(packet)
        fields: dict[str, Any] = {"ttl": plain.ttl, "tos": plain.tos}
        if plain.version == 4:
            return packets.ip(plain.source, plain.destination, plain.payload, options=b"\x01" * 4, **fields)
        padding = struct.pack("!BBBBI", packets.UDP, 0, 1, 4, 0)  # one PadN option of four bytes
        return packets.ip(plain.source, plain.destination, padding + plain.payload, protocol=60, **fields)

    def arrive(self, *sent: bytes) -> None:
        """Send packets from the core to the far router as they are; behind them one that is in order on each path."""
        with Cable(self.lab, "core3", self.etr) as cable:
            fast, slow = (self.tunnel(self.datagram(text)) for text in BEHIND)
            cable.send(*sent, fast, self.slow(slow))

    def all_arrived(self, seen: Seen) -> None:
        """Wait until what is behind the packets of :meth:`arrive` is at the far host."""
        seen.until(lambda: all(seen.arrived(self.there, text) for text in BEHIND), "the packets behind them")

    @contextmanager
    def watch(self, *nodes: str, exact: bool = False) -> Iterator[Seen]:
        """Watch nodes; meanwhile a socket takes what the far host is sent, or it would answer by ICMP.

        Args:
            nodes: Their names.
            exact: Their links have no offloads: for whoever judges checksums or sizes.
        """
        family = socket.AF_INET if self.inner == 4 else socket.AF_INET6
        with Seen(self.lab, nodes, exact=exact) as seen, self.lab.socket(self.there, family, socket.SOCK_DGRAM) as ear:
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            ear.bind((str(self.target), SINK))
            yield seen

    def counted(self, router: str, kind: str) -> int:
        """How many packets a router's kernel has "encapsulated", "decapsulated", "natively_forwarded"."""
        return int(self.lab.show(router, "statistics")["data"].get(f"{kind}_fast_packets", 0))

    def fast(self, router: str, kind: str, count: int) -> AbstractContextManager[None]:
        """Of what happens meanwhile, a router's kernel handles so many packets, if it has the programs."""
        return by_fast_path(self.lab, router, kind, count if self.dataplane == "ebpf" else 0)

    def drops(self, router: str) -> Counter[str]:
        """The packets that a router's data path has dropped, by reason."""
        return Counter(self.lab.show(router, "statistics")["drops"])

    def counting(self, router: str, wanted: Mapping[str, int]) -> AbstractContextManager[None]:
        """Of what happens meanwhile, a router's data path drops exactly these, by reason."""
        return counting(self.lab, router, wanted)


class Seen(Watch):
    """A capture that knows the tests' own datagrams."""

    def packets(self, node: str, interface: str | None = None) -> list[Ip]:
        """The IP packets that arrived at a node, by one of its interfaces or any."""
        self.drain()
        found = [
            packets.read(one.data)
            for one in self.frames
            if (one.node, interface or one.interface) == (node, one.interface)
        ]
        return [one for one in found if one]

    def texts(self, node: str) -> list[str]:
        """What the tests' own datagrams said that arrived at a node without a LISP header; all but :data:`BEHIND`."""
        found = [one.text[len(MARK) :].decode() for one in self.packets(node) if one.text.startswith(MARK)]
        return [one for one in found if one not in BEHIND]

    def arrived(self, node: str, text: object) -> Ip | None:
        """The datagram with that text."""
        wanted = MARK + str(text).encode()
        return next((one for one in self.packets(node) if one.text == wanted), None)

    def data(self, node: str, interface: str) -> list[Tunnelled]:
        """The LISP data packets around the tests' own datagrams that arrived at a node by one interface, in order."""
        found = [packets.tunnelled(one) for one in self.packets(node, interface)]
        return [one for one in found if one and MARK in one.inner.packet]

    def all_of(self, count: int, find: Callable[[], list[Any]], what: str) -> list[Any]:
        """Wait until ``find`` has ``count`` of them, and not more."""
        found = self.until(lambda: found if len(found := find()) >= count else None, f"{count} {what}")
        assert found is not None
        assert len(found) == count
        return found
