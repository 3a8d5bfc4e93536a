"""`traffic`: a load from one node to another by iperf3, and by which path it crossed the core.

What the two ends measured says how much arrived; what a sample at the core routers shows says how it got there. Where
one of the two moves meanwhile, the paths of each place where it was are right, for the sample does not say which came
when.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from nodes.lisp.eid import IPAddress
from testbed.act import iperf
from testbed.act.iperf import Flow, Load, Report
from testbed.act.mobility.moved import Moved
from testbed.act.passages import Direction, Tunnel, count
from testbed.act.places import as_it_changed
from testbed.client.channel import InputError
from testbed.lab import Lab
from testbed.model import Path as Via
from testbed.model import Topology
from testbed.observe.sampler import Sampler
from testbed.words import echoed

FILE = "traffic.json"
UDP_RATE = 10.0
"""Mbit/s of UDP unless told otherwise."""


@dataclass(frozen=True, slots=True)
class TrafficResult:
    """What became of a load.

    Attributes:
        source: The node that sent, and ``destination`` the node that received.
        version: The IP version.
        load: What was to be sent.
        report: What iperf3 measured.
        there: What the core saw of the packets to the destination.
        back: What it saw of those that came back; None when none was there to be seen, as with UDP.
        tunnels: Of each flow, in the order of the report, the tunnels it took to the destination, in that of the path.
        moves: The moves of the two nodes meanwhile.
    """

    source: str
    destination: str
    version: int
    load: Load
    report: Report
    there: Direction
    back: Direction | None
    tunnels: tuple[tuple[Tunnel, ...], ...]
    moves: tuple[Moved, ...] = ()

    @property
    def total(self) -> Flow:
        """All flows together: sums, and the mean of round-trip times and jitters."""
        flows = self.report.flows
        return Flow(
            0,
            sum(one.sent_mbps for one in flows),
            sum(one.received_mbps for one in flows),
            _sum([one.retransmissions for one in flows]),
            _mean([one.rtt_ms for one in flows]),
            _sum([one.packets for one in flows]),
            _sum([one.lost for one in flows]),
            _mean([one.jitter_ms for one in flows]),
            _sum([one.out_of_order for one in flows]),
        )

    @property
    def lost_percent(self) -> float:
        """Datagrams lost, per cent of all; 0 for TCP."""
        total = self.total
        return 100 * (total.lost or 0) / total.packets if total.packets else 0.0

    @property
    def ok(self) -> bool:
        """Whether both ways are what the topology says."""
        return self.there.ok and (self.back is None or self.back.ok)

    def share(self, rloc: IPAddress | str) -> float:
        """The share of the encapsulated packets that went to an RLOC, 0 to 1."""
        return sum(one.share for one in self.there.passages if one.tunnel and str(one.tunnel.destination) == str(rloc))

    def require(
        self,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        lost_percent: float | None = None,
        out_of_order: int | None = None,
        path: Via | None = None,
        between: tuple[str, str] | None = None,
    ) -> None:
        """Assert what must hold, all of it at once; that the paths are what the topology says always must.

        Args:
            at_least: Mbit/s that arrive.
            at_most: Mbit/s that arrive.
            lost_percent: Per cent of the datagrams that may be lost.
            out_of_order: Datagrams that may be overtaken.
            path: The path to the destination.
            between: The nodes at the two ends of every tunnel to the destination.

        Raises:
            AssertionError: Something does not hold; each such thing is a line.
        """
        total, wrong = self.total, []
        if at_least is not None and total.received_mbps < at_least:
            wrong.append(f"{total.received_mbps:.2f} Mbit/s arrive, at least {at_least:g} are required")
        if at_most is not None and total.received_mbps > at_most:
            wrong.append(f"{total.received_mbps:.2f} Mbit/s arrive, at most {at_most:g} are allowed")
        if lost_percent is not None and self.lost_percent > lost_percent:
            wrong.append(f"{self.lost_percent:.2f} % are lost, at most {lost_percent:g} are allowed")
        if out_of_order is not None and (total.out_of_order or 0) > out_of_order:
            wrong.append(f"{total.out_of_order} are out of order, at most {out_of_order} are allowed")
        if path is not None and self.there.seen is not path:
            wrong.append(f"the path is to be {path}, and is {self.there}")
        if between is not None:
            ends = {(one.source, one.destination) for one in self.there.passages if one.tunnel}
            if ends != {between}:
                wrong.append(f"tunnels are to go from {between[0]} to {between[1]}; {self.there}")
        wrong += self.complaints
        assert not wrong, "\n".join([f"{self.source} to {self.destination}:", *wrong])

    @property
    def complaints(self) -> list[str]:
        """Each path that is not what the topology says, in a line."""
        ways = [(self.source, self.destination, self.there), (self.destination, self.source, self.back)]
        return [_complaint(source, destination, way) for source, destination, way in ways if way and not way.ok]

    def to_json(self) -> dict[str, Any]:
        """The document ``traffic.json``."""
        flows = []
        for flow, tunnels in zip(self.report.flows, self.tunnels, strict=True):
            rlocs = [{"from_rloc": str(one.source), "to_rloc": str(one.destination)} for one in tunnels]
            flows.append({"port": flow.port, **_figures(flow), "tunnels": rlocs})
        return {
            "from": self.source,
            "to": self.destination,
            "version": self.version,
            "protocol": "udp" if self.load.udp else "tcp",
            "rate_mbps": self.load.rate,
            "seconds": round(self.report.seconds, 3),
            "ok": self.ok,
            **_figures(self.total),
            "there": self.there.to_json(),
            "back": self.back and self.back.to_json(),
            "moves": [asdict(one) for one in self.moves],
            "flows": flows,
            "intervals": [
                {"start": round(start, 3), "end": round(end, 3), "sent_mbps": round(sent, 3)}
                for start, end, sent in self.report.intervals
            ],
            "iperf3": self.report.version,
        }


def traffic(
    lab: Lab,
    source: str,
    destination: str,
    *,
    udp: bool = False,
    rate: float | None = None,
    seconds: int = 5,
    flows: int = 1,
    version: int | None = None,
) -> TrafficResult:
    """Send traffic from one node to another; write what became of it to ``traffic.json`` in the run directory.

    Args:
        lab: A lab that is ready.
        source: The node that sends.
        destination: The node that receives.
        udp: By UDP instead of TCP.
        rate: Mbit/s of all flows together; None for as fast as TCP goes, and 10 Mbit/s of UDP.
        seconds: For how long.
        flows: How many flows at a time.
        version: The IP version; None for 4, or 6 where the two nodes have nothing else in common.

    Raises:
        InputError: A node, an address or a way from one to the other is missing.
        LabError: It cannot be measured: there is no iperf3, or it found no way.
    """
    sender, receiver, version = _addresses(lab, source, destination, version)
    _same_instance(lab.topology, source, destination, version)
    topology = lab.topology
    load = Load(udp, UDP_RATE if udp and rate is None else rate, seconds, flows)
    began, places = time.monotonic(), lab.places()
    with Sampler(lab, [router.name for router in topology.core]) as sampler:
        report = iperf.measure(lab, source, destination, receiver, load, sampler.look)
    moves = [one for one in lab.moves if one.node in (source, destination) and one.plugged >= began]
    worlds = as_it_changed(topology, places, moves)
    ports = [flow.port for flow in report.flows]
    there, back = count(sampler.frames, topology, sender, receiver, report.server_port, ports)
    answers, seen = (
        way.direction(worlds, ends, _expected(worlds, ends, version))
        for way, ends in ((back, (destination, source)), (there, (source, destination)))
    )
    ways = [one.tunnel for one in seen.passages]
    result = TrafficResult(
        source,
        destination,
        version,
        load,
        report,
        seen,
        answers if answers.passages or not udp else None,
        tuple(tuple(sorted(there.of_flow(port), key=ways.index)) for port in ports),
        tuple(moves),
    )
    file = lab.run_dir / FILE
    file.write_text(json.dumps(result.to_json(), indent=1) + "\n")
    lab.publish(file)
    return result


def _expected(worlds: list[Topology], ends: tuple[str, str], version: int) -> list[Via]:
    """The path that each of the worlds says, once where it stays the same."""
    told = [
        one.path
        for world in worlds
        for one in world.expectations
        if (one.source, one.destination, one.version) == (*ends, version)
    ]
    return [path for path, _ in groupby(told)]


def _addresses(lab: Lab, source: str, destination: str, version: int | None) -> tuple[IPAddress, IPAddress, int]:
    """The two addresses and their IP version."""
    if source == destination:
        raise InputError(f"traffic from {echoed(source)} to itself crosses nothing; name two nodes")
    nodes = (lab[source], lab[destination])
    common = [{one.version for each in node.interfaces for one in each.addresses} for node in nodes]
    for node, versions in zip(nodes, common, strict=True):
        if not versions:
            raise InputError(f"{node.name} has no address")
        if version is not None and version not in versions:
            raise InputError(f"{node.name} has no IPv{version} address")
    both = common[0] & common[1] if version is None else {version}
    if not both:
        raise InputError(f"{source} and {destination} have no IP version in common")
    chosen = min(both)
    return nodes[0].address_of(chosen), nodes[1].address_of(chosen), chosen


def _same_instance(topology: Topology, source: str, destination: str, version: int) -> None:
    """Hosts of different instances do not know each other: an address that one sends to is somebody else's."""
    if any(topology[one] not in topology.hosts for one in (source, destination)):
        return
    pairs = {(one.source, one.destination) for one in topology.expectations if one.version == version}
    if pairs and (source, destination) not in pairs:
        raise InputError(f"{source} and {destination} are hosts of different instances: no packet goes between them")


def _complaint(source: str, destination: str, way: Direction) -> str:
    strays = f"; wrong tunnel end: {', '.join(way.strays)}" if way.strays else ""
    expected = ", then ".join(str(one) for one in (*way.before, way.expected))
    return f"from {source} to {destination}: expected {expected}, seen {way}{strays}"


def _figures(flow: Flow) -> dict[str, Any]:
    """The figures of a flow, those that its protocol knows."""
    figures = {
        "sent_mbps": round(flow.sent_mbps, 3),
        "received_mbps": round(flow.received_mbps, 3),
        "retransmissions": flow.retransmissions,
        "rtt_ms": flow.rtt_ms and round(flow.rtt_ms, 3),
        "packets": flow.packets,
        "lost": flow.lost,
        "jitter_ms": flow.jitter_ms and round(flow.jitter_ms, 3),
        "out_of_order": flow.out_of_order,
    }
    return {name: value for name, value in figures.items() if value is not None}


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
