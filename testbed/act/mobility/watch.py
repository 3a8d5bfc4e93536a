"""What a move looks like on the wires: when the host is first seen at its new place, and who sends there when."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from nodes.lisp.config import Role
from nodes.lisp.eid import IPAddress
from testbed.act.mobility.moved import Moved
from testbed.lab import Lab
from testbed.model import NodeKind, Topology
from testbed.observe import filters
from testbed.observe.capture import Capture, Frame
from testbed.observe.decoder import decode

_DATA_PORT, _CONTROL_PORT = 4341, 4342
_HEADERS = 128
"""Octets of a frame that tell who sent it to whom, with two IPv6 headers, UDP and LISP between them."""
_WHOLE = 4096
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Convergence:
    """When one correspondent's packets went where the host is.

    Attributes:
        correspondent: The node.
        version: The IP version.
        after: Seconds from the host's first frame at the new place to the first packet that went the right way, of
            those that no packet of the wrong way followed; negative where it had gone there before that frame.
            None: never.
        wrong: Packets that went the wrong way after that first frame.
    """

    correspondent: str
    version: int
    after: float | None
    wrong: int


class Watch:
    """Captures at the core and at the fabrics, from ``with`` to its end.

    A core router sees what each LISP router sends by the interface that is named after it, so what a router's data
    plane decided is seen where its packets leave it. Times are those of the kernel, as monotonic nanoseconds.

    Attributes:
        control: What LISP routers sent and received on port 4342.
        data: The beginnings of the LISP data packets that they sent.
        fabrics: The beginnings of all frames that arrive at the fabrics.
        arrivals: The beginnings of frames of the host that arrive at the site ports of LISP routers.
    """

    def __init__(self, lab: Lab, mobile: str) -> None:
        """Open the captures."""
        self._lab, self._mobile = lab, lab[mobile]
        topology = lab.topology
        self._fabrics = {one.site: one.name for one in topology.nodes.values() if one.kind is NodeKind.FABRIC}
        self._routers = {node.name for node in topology.lisp_routers}
        self._mac = bytes.fromhex(self._mobile.interfaces[0].mac.replace(":", ""))
        core = [node.name for node in topology.core]
        self.control = Capture(lab, core, filters.udp_port(_CONTROL_PORT, _WHOLE))
        self.data = Capture(lab, core, filters.udp_port(_DATA_PORT, _HEADERS))
        self.fabrics = Capture(lab, self._fabrics.values(), filters.sample(1, _HEADERS))
        ports = [node.name for node in topology.lisp_routers if node.site in self._fabrics]
        self.arrivals = Capture(lab, ports, filters.from_mac(self._mac, _HEADERS))
        self._captures = (self.control, self.data, self.fabrics, self.arrivals)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.look()
        for one in self._captures:
            one.stop()

    def clear(self) -> None:
        """Forget what was seen up to now."""
        self.look()
        for one in self._captures:
            one.frames.clear()

    def look(self) -> None:
        """Take what the kernel holds, with times on the monotonic clock."""
        to_monotonic = time.monotonic_ns() - time.time_ns()
        for one in self._captures:
            before = len(one.frames)
            one.drain()
            one.frames[before:] = [
                Frame(frame.time_ns + to_monotonic, frame.node, frame.interface, frame.data, frame.length)
                for frame in one.frames[before:]
            ]

    def sent_by_routers(self, capture: Capture) -> Iterator[Frame]:
        """Frames of a capture at the core that have just left a LISP router."""
        return (frame for frame in capture.frames if frame.interface in self._routers)

    def first_frame(self, moved: Moved) -> Frame | None:
        """The host's first frame that came to a LISP router of the site that it moved to."""
        since = round(moved.unplugged * _SECOND)
        routers = {node.name for node in self._lab.topology.lisp_routers if node.site == moved.site}
        return next((one for one in self.arrivals.frames if one.node in routers and one.time_ns >= since), None)

    def seen(self, moved: Moved) -> Moved:
        """A move with the time at which its cable was plugged in at the latest.

        The kernel plugs in, then whoever asked for it looks at the clock, when he has his turn again: a frame may have
        come through before.
        """
        first = self.first_frame(moved)
        return moved if first is None else replace(moved, plugged=min(moved.plugged, first.time_ns / _SECOND))

    def convergence(self, moved: Moved, correspondents: Iterable[str], versions: Sequence[int]) -> list[Convergence]:
        """When each correspondent's packets went to the host's new place.

        Only correspondents that sent it something in the time that was captured are in it.
        """
        first = self.first_frame(moved)
        if first is None:
            return []
        places = self._lab.places()
        found = []
        local = self._local(moved, first.time_ns)
        tunnels = self._tunnels()
        for name in correspondents:
            for version in versions:
                source = self._lab[name].address_of(version)
                if places[name] == moved.site:
                    seen = local.get((name, source), [])
                else:
                    there = rlocs_of(self._lab.topology, moved.site)
                    own = encapsulators(self._lab.topology, places[name])
                    seen = [
                        (at, to in there)
                        for router, at, inner, to in tunnels
                        if router in own and inner == (source, self._mobile.address_of(version))
                    ]
                if seen:
                    found.append(_converged(name, version, seen, first.time_ns))
        return found

    def _local(self, moved: Moved, first: int) -> dict[tuple[str, IPAddress], list[tuple[int, bool]]]:
        """Packets for the host from its new neighbours, by name and address: when, and whether straight to it."""
        found: dict[tuple[str, IPAddress], list[tuple[int, bool]]] = {}
        own = self._own()
        for frame in self.fabrics.frames:
            if frame.node == self._fabrics[moved.site]:
                packet = decode(frame.data)
                if packet is not None and packet.ports is not None and packet.headers[0].destination in own:
                    right = frame.data[:6] == self._mac and frame.time_ns >= first
                    found.setdefault((frame.interface, packet.headers[0].source), []).append((frame.time_ns, right))
        return found

    def _tunnels(self) -> list[tuple[str, int, tuple[IPAddress, IPAddress], IPAddress]]:
        """Each LISP data packet for the host: who sent it when, the addresses inside, and to which RLOC."""
        own = self._own()
        found = []
        for frame in self.sent_by_routers(self.data):
            packet = decode(frame.data)
            if packet is None or packet.lisp is None or len(packet.headers) < 2:
                continue
            outer, inner = packet.headers
            if inner.destination in own:
                found.append((frame.interface, frame.time_ns, (inner.source, inner.destination), outer.destination))
        return found

    def _own(self) -> set[IPAddress]:
        return {address.ip for one in self._mobile.interfaces for address in one.addresses}


def rlocs_of(topology: Topology, site: str) -> set[IPAddress]:
    """The RLOCs of a site's routers."""
    return {rloc for node in topology.lisp_routers if node.site == site and node.lisp for rloc in node.lisp.rlocs}


def encapsulators(topology: Topology, site: str) -> set[str]:
    """Who encapsulates what is sent from a site: its routers, or where it is not a LISP site, the PITRs."""
    if topology.sites[site].is_lisp:
        return {node.name for node in topology.lisp_routers if node.site == site}
    return {node.name for node in topology.lisp_routers if node.lisp and Role.PITR in node.lisp.roles}


def right_from(seen: Iterable[tuple[int, bool]]) -> int | None:
    """When the first packet went the right way of those that no packet of the wrong way followed; None: none did.

    Args:
        seen: Of each packet when it was seen, and whether it went the right way; in the order of time.
    """
    since = None
    for at, right in seen:
        since = (at if since is None else since) if right else None
    return since


def _converged(name: str, version: int, seen: list[tuple[int, bool]], first: int) -> Convergence:
    """Read what was seen of one correspondent: when, and whether it went the right way."""
    since = right_from(seen)
    after = None if since is None else (since - first) / _SECOND
    return Convergence(name, version, after, sum(at > first for at, right in seen if not right))
