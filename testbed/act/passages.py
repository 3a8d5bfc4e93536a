"""How traffic between two nodes passed the core: natively, or encapsulated between which RLOCs.

A packet is counted where it enters the core, so once for each tunnel and once natively, however many hops the core has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nodes.lisp.eid import IPAddress
from testbed.act.tunnels import relays, routers_by_rloc, serves
from testbed.model import Node, Path, Topology
from testbed.observe.capture import Frame
from testbed.observe.decoder import decode


class Tunnel(NamedTuple):
    """Between which RLOCs, and for which instance-ID, packets were encapsulated."""

    source: IPAddress
    destination: IPAddress
    instance_id: int


@dataclass(frozen=True, slots=True)
class Passage:
    """One of the ways by which packets passed the core.

    Attributes:
        tunnel: The tunnel, or None: natively.
        source: The router that encapsulates, "" for none or one that nobody knows, and ``destination`` the other end.
        packets: How many, estimated from the sample.
        share: Their share of all encapsulated packets (of those of one leg, where there are RTRs on the way), or of all
            native ones, 0 to 1.
    """

    tunnel: Tunnel | None
    source: str
    destination: str
    packets: int
    share: float

    def to_json(self) -> dict[str, Any]:
        """A row of ``traffic.json``."""
        row: dict[str, Any] = {"encapsulated": self.tunnel is not None}
        if self.tunnel is not None:
            row |= {"from": self.source, "from_rloc": str(self.tunnel.source), "to": self.destination}
            row |= {"to_rloc": str(self.tunnel.destination), "instance_id": self.tunnel.instance_id}
        return row | {"packets": self.packets, "share": round(self.share, 4)}

    def __str__(self) -> str:
        if self.tunnel is None:
            return "native"
        source, destination = self.source or "nobody", self.destination or "nobody"
        return f"{source} ({self.tunnel.source}) to {destination} ({self.tunnel.destination})"


@dataclass(frozen=True, slots=True)
class Direction:
    """What the core saw of the packets of one direction.

    Attributes:
        expected: The path that the topology says, or None when it says nothing of these two nodes.
        passages: The ways, in the order of the path where there are RTRs on it, then the busiest first; empty when
            the core saw nothing.
        strays: Tunnel ends that have no business between these two nodes, by name or address.
        relays: The RTRs that packets passed.
        before: The paths that were to be expected, one after the other, before one of the two nodes moved meanwhile.
    """

    expected: Path | None
    passages: tuple[Passage, ...]
    strays: tuple[str, ...]
    relays: tuple[str, ...] = ()
    before: tuple[Path, ...] = ()

    @property
    def seen(self) -> Path:
        """The path that was seen."""
        tunnelled = any(one.tunnel for one in self.passages)
        natively = any(one.tunnel is None for one in self.passages)
        if tunnelled:
            detour = Path.REENCAPSULATED if self.relays else Path.ENCAPSULATED
            return Path.PROXIED if natively else detour
        return Path.NATIVE if natively else Path.LOCAL

    @property
    def ok(self) -> bool:
        """Whether what was seen is what the topology says, between the right tunnel ends."""
        return (self.expected is None or self.seen in (*self.before, self.expected)) and not self.strays

    def to_json(self) -> dict[str, Any]:
        """The object ``there`` or ``back`` of ``traffic.json``."""
        return {
            "expected": self.expected,
            "expected_before": list(self.before),
            "seen": self.seen,
            "ok": self.ok,
            "passages": [one.to_json() for one in self.passages],
            "strays": list(self.strays),
        }

    def __str__(self) -> str:
        if not self.passages:
            return "not seen in the core"
        ways = []
        for one in self.passages:
            ways.append(f"{'' if one.share == 1 else _per_cent(one.share)}{one}")
        return f"{self.seen}: {', '.join(ways)}"


def _per_cent(share: float) -> str:
    """A share of which some is there, and some is not: neither is rounded away."""
    whole = round(100 * share)
    return f"{'under 1' if whole < 1 else 'over 99' if whole > 99 else whole} % "


class Way:
    """The packets of one direction between two addresses, counted by flow and tunnel."""

    def __init__(self) -> None:
        self._packets: Counter[tuple[int, Tunnel | None]] = Counter()

    def count(self, flow: int, tunnel: Tunnel | None, packets: int) -> None:
        """Add packets of the flow whose client has this port."""
        self._packets[flow, tunnel] += packets

    def direction(self, worlds: Sequence[Topology], ends: tuple[str, str], expected: Sequence[Path]) -> Direction:
        """What all flows did together, from the first to the second of ``ends``.

        Args:
            worlds: The world, several times where one of the ends moved meanwhile: before, and after each move.
            ends: The two nodes.
            expected: The path that each of these worlds says; none where they say nothing of the two.
        """
        topology = worlds[-1]
        routers = routers_by_rloc(topology)
        sites = {world[end].site for world in worlds for end in ends}
        strays: dict[str, None] = {}
        totals: Counter[Tunnel | None] = Counter()
        for (_, tunnel), packets in self._packets.items():
            totals[tunnel] += packets
        passed = relays(((one.source, one.destination) for one in totals if one), routers)
        detours = {Path.REENCAPSULATED, Path.PROXIED} & set(expected)
        wanted = {rtr for world in worlds for rtr in world.sites[world[ends[1]].site].via} if detours else set()
        passages = []
        for tunnel, packets in totals.most_common():
            names = []
            for rloc in (tunnel.source, tunnel.destination) if tunnel else ():
                router = routers.get(rloc)
                names.append(router.name if router else "")
                if router is None or not (router.name in passed & wanted or serves(router, sites)):
                    strays[f"{names[-1] or 'nobody'} ({rloc})"] = None
            # A packet that passes an RTR is counted in each of its tunnels: shares are those of one leg.
            leg = _leg(tunnel, routers, passed)
            alike = sum(number for one, number in totals.items() if _leg(one, routers, passed) == leg)
            first, last = names or ("", "")
            passages.append(Passage(tunnel, first, last, packets, packets / alike))
        passages = sorted(passages, key=lambda one: _hops(one, passages, len(passed)))
        now, before = expected[-1] if expected else None, tuple(expected[:-1])
        return Direction(now, tuple(passages), tuple(strays), tuple(sorted(passed)), before)

    def of_flow(self, flow: int) -> list[Tunnel]:
        """The tunnels that one flow took, the busiest first."""
        return [tunnel for (port, tunnel), _ in self._packets.most_common() if port == flow and tunnel]


def _leg(tunnel: Tunnel | None, routers: Mapping[IPAddress, Node], passed: set[str]) -> str | None:
    """Which part of the way a tunnel is: from an RTR by its name, from anybody else "", or None: natively."""
    if tunnel is None:
        return None
    begins = routers.get(tunnel.source)
    return begins.name if begins and begins.name in passed else ""


def _hops(passage: Passage, passages: list[Passage], most: int) -> int:
    """How many RTRs, ``most`` at most, packets of a passage have behind them."""
    before = [one for one in passages if one.destination and one.destination == passage.source]
    return max((1 + _hops(one, passages, most - 1) for one in before), default=0) if most else 0


def count(
    frames: Iterable[tuple[Frame, int]],
    topology: Topology,
    source: IPAddress,
    destination: IPAddress,
    server_port: int,
    flows: Iterable[int],
) -> tuple[Way, Way]:
    """Count a run's packets as they enter the core: those from ``source`` to the server, and those back.

    Args:
        frames: Frames that arrived at core routers, each with the number of frames that it stands for.
        topology: The world.
        source: The client's address.
        destination: The server's address.
        server_port: The server's port.
        flows: The client's port of each flow; what else there is between the two is left out.
    """
    core = {router.name for router in topology.core}
    edges = {(node.name, one.name) for node in topology.core for one in node.interfaces if one.peer not in core}
    wanted = set(flows)
    there, back = Way(), Way()
    for frame, packets in frames:
        if (frame.node, frame.interface) not in edges:
            continue
        packet = decode(frame.data)
        if packet is None or packet.ports is None:
            continue
        inner = packet.headers[-1]
        if (inner.source, inner.destination, packet.ports[1]) == (source, destination, server_port):
            way, flow = there, packet.ports[0]
        elif (inner.source, inner.destination, packet.ports[0]) == (destination, source, server_port):
            way, flow = back, packet.ports[1]
        else:
            continue
        if flow in wanted:
            outer = packet.headers[0]
            tunnel = Tunnel(outer.source, outer.destination, packet.lisp.instance_id) if packet.lisp else None
            way.count(flow, tunnel, packets)
    return there, back
