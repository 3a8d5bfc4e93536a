"""`ping`: one ICMP echo for every ordered pair of hosts, and by which path each request really went.

The verdict rests on what arrived at the core routers while the echo was under way, not on what the routers say of
themselves: a request that went the wrong way fails its pair, even if a reply came. The way back is judged with the pair
turned round. A pair that is to be unreachable passes when no reply comes, however far its request got.

No request may be lost, but one: a host that moved sends the first packet to an old neighbour to the MAC address that it
had there. So it asks such a neighbour again, once; the pair's result tells it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nodes.lisp.eid import IPAddress
from testbed.act.echo import Echo, Pinger
from testbed.act.mobility.moved import Moved
from testbed.act.places import as_it_stands
from testbed.act.tunnels import relays, routers_by_rloc, serves
from testbed.client.channel import LabError
from testbed.model import Expectation, Node, Topology
from testbed.model import Path as Via
from testbed.observe.capture import Capture, Frame, SocketMaker
from testbed.observe.decoder import Packet, decode

_PACE_S = 0.02
"""How long the next echo waits for the reply to the last: a healthy lab is pinged one by one, a broken one at once."""
_RETRY_S = 0.2


class PingLab(SocketMaker, Protocol):
    """What `ping` needs of a lab."""

    @property
    def topology(self) -> Topology:
        """The resolved world."""
        ...

    def places(self) -> dict[str, str]:
        """The site that each host is in."""
        ...

    @property
    def moves(self) -> list[Moved]:
        """The moves so far."""
        ...

    def show(self, node: str, what: str) -> Any:
        """Ask a LISP node's daemon."""
        ...


@dataclass(frozen=True, slots=True)
class PairResult:
    """What happened to one ordered pair of hosts.

    Attributes:
        source: The host that asked.
        destination: The host that was asked.
        version: The IP version, 4 or 6.
        expected: The path that the topology says.
        seen: The path that was seen, "unreachable" when no reply came.
        encapsulated: Whether the request crossed the core inside a LISP header.
        rtt_ms: Round-trip time in milliseconds, None without a reply.
        ok: Whether what was seen is what the topology says, between the right tunnel ends.
        evidence: What was seen where, in words.
        lost: How many requests were lost before one had this result.
    """

    source: str
    destination: str
    version: int
    expected: Via
    seen: Via
    encapsulated: bool
    rtt_ms: float | None
    ok: bool
    evidence: str
    lost: int = 0

    def to_json(self) -> dict[str, Any]:
        """The row of ``ping.json``."""
        return {
            "from": self.source,
            "to": self.destination,
            "expected": self.expected.value,
            "seen": self.seen.value,
            "encapsulated": self.encapsulated,
            "rtt_ms": self.rtt_ms,
            "ok": self.ok,
            "version": self.version,
            "evidence": self.evidence,
            "lost": self.lost,
        }


@dataclass(frozen=True, slots=True)
class PingResult:
    """All pairs, and how the routers' own counters moved meanwhile.

    Attributes:
        pairs: One result a pair, in the topology's order.
        counters: Per LISP node, how far its data-path counters moved; None where the daemon did not tell.
        capture: The core's packets, a pcap file.
    """

    pairs: tuple[PairResult, ...]
    counters: Mapping[str, Mapping[str, int] | None]
    capture: Path

    @property
    def failures(self) -> tuple[PairResult, ...]:
        """The pairs that did not do what the topology says."""
        return tuple(pair for pair in self.pairs if not pair.ok)

    def to_json(self) -> dict[str, Any]:
        """The document ``ping.json``."""
        return {
            "pairs": [pair.to_json() for pair in self.pairs],
            "counters": {node: moved and dict(moved) for node, moved in self.counters.items()},
            "capture": self.capture.name,
        }


def ping(lab: PingLab, directory: Path, *, timeout: float = 2.0) -> PingResult:
    """Send an echo between every ordered pair of hosts and judge each by what the core saw.

    Writes ``ping.json`` and ``ping.pcap`` into ``directory``.

    Args:
        lab: A lab that is ready.
        directory: Where the result and the capture go.
        timeout: Seconds to wait for a reply.
    """
    topology = as_it_stands(lab.topology, lab.places())
    before = _data_counters(lab, topology)
    with Capture(lab, [router.name for router in topology.core]) as capture, Pinger(lab) as pinger:
        sent = exchange(pinger, topology, old_neighbours(topology, lab.moves), timeout, capture.drain)
    after = _data_counters(lab, topology)
    requests = _requests(capture.frames, pinger)
    routers = routers_by_rloc(topology)
    pairs = []
    for one, numbers in zip(topology.expectations, sent, strict=True):
        crossed = [packet for number in numbers for packet in requests.get(number, [])]
        judged = judge(one, pinger.echoes[numbers[-1]], crossed, topology, routers)
        pairs.append(replace(judged, lost=len(numbers) - 1))
    moved = {node: _difference(before[node], after[node]) for node in after}
    result = PingResult(tuple(pairs), moved, directory / "ping.pcap")
    capture.write(result.capture)
    (directory / "ping.json").write_text(json.dumps(result.to_json(), indent=1) + "\n")
    return result


def old_neighbours(topology: Topology, moves: Iterable[Moved]) -> set[tuple[str, str, int]]:
    """Hosts that left a neighbour, that neighbour, and the IP version: pairs of which the first request may be lost.

    Args:
        topology: The world as it stands.
        moves: The moves that made it so.
    """
    left: dict[str, set[str]] = {}
    for one in moves:
        left.setdefault(one.node, set()).add(one.origin)
    return {
        (one.source, one.destination, one.version)
        for one in topology.expectations
        if one.path is not Via.UNREACHABLE
        and topology[one.destination].site in left.get(one.source, set()) - {topology[one.source].site}
        and _on_one_subnet(topology[one.source], topology[one.destination].address_of(one.version))
    }


def _on_one_subnet(host: Node, address: IPAddress) -> bool:
    return any(address in own.network for one in host.interfaces for own in one.addresses)


def exchange(
    pinger: Pinger, topology: Topology, left: set[tuple[str, str, int]], timeout: float, look: Callable[[], object]
) -> list[list[int]]:
    """Send one echo a pair, the next as soon as the last is answered or has taken its pace, and collect the replies.

    Args:
        pinger: What sends them.
        topology: The world as it stands.
        left: The :func:`old_neighbours`: those whose echo has no answer get another one.
        timeout: Seconds to wait for a reply.
        look: Called after each of the echoes.

    Returns:
        The numbers of each pair's echoes, in the topology's order.
    """
    for one in topology.expectations:
        pinger.open(one.source, one.version)
    sent: list[list[int]] = [[] for _ in topology.expectations]
    wanted = list(zip(topology.expectations, sent, strict=True))
    for _ in range(2):
        for one, numbers in wanted:
            numbers.append(len(pinger.echoes))
            echo = pinger.send(one.source, topology[one.destination].address_of(one.version))
            pinger.wait([echo], echo.sent + _PACE_S)
            look()
        for _, numbers in wanted:
            echo = pinger.echoes[numbers[-1]]
            pinger.wait([echo], echo.sent + timeout)
        wanted = [
            (one, numbers)
            for one, numbers in wanted
            if (one.source, one.destination, one.version) in left and not pinger.echoes[numbers[-1]].done
        ]
    return sent


def first_reply(lab: PingLab, source: str, destination: str, *, within: float, version: int | None = None) -> float:
    """Ping one host from another until the first reply; return its round-trip time in seconds.

    Args:
        lab: Where they are.
        source: The host that asks.
        destination: The host that is asked.
        within: Seconds.
        version: By which IP version; None for that of the destination's first address.

    Raises:
        TimeoutError: No reply came within that many seconds.
    """
    until = time.monotonic() + within
    there = lab.topology[destination]
    target = there.address if version is None else there.address_of(version)
    with Pinger(lab) as pinger:
        while (now := time.monotonic()) < until:
            echo = pinger.send(source, target)
            pinger.wait([echo], min(until, now + _RETRY_S))
            if echo.rtt is not None:
                return echo.rtt
    raise TimeoutError(f"{destination} sent {source} no echo reply within {within:g} s")


def _requests(frames: Iterable[Frame], pinger: Pinger) -> dict[int, list[tuple[Frame, Packet]]]:
    """Our echo requests that the core saw, by the number of the echo, in the order of time."""
    seen: dict[int, list[tuple[Frame, Packet]]] = {}
    for frame in frames:
        packet = decode(frame.data)
        if packet is None or packet.echo is None or packet.echo.kind != "request":
            continue
        number = pinger.number(packet.echo.identifier, packet.echo.sequence)
        if number is not None:
            seen.setdefault(number, []).append((frame, packet))
    return seen


def judge(
    one: Expectation,
    echo: Echo,
    crossed: Sequence[tuple[Frame, Packet]],
    topology: Topology,
    routers: Mapping[IPAddress, Node],
) -> PairResult:
    """Decide by which path one request went, and whether its tunnels end where they should, in its own instance."""
    natively = list(dict.fromkeys(frame.node for frame, packet in crossed if packet.lisp is None))
    outers = list(dict.fromkeys((p.headers[0].source, p.headers[0].destination) for _, p in crossed if p.lisp))
    instances = {packet.lisp.instance_id for _, packet in crossed if packet.lisp}
    evidence = []
    strays = []
    homes = {topology[one.source].site, topology[one.destination].site}
    passed = relays(outers, routers)
    detours = one.path in (Via.REENCAPSULATED, Via.PROXIED)
    wanted = set(topology.sites[topology[one.destination].site].via) if detours else set()
    for outer in outers:
        ends = [routers.get(rloc) for rloc in outer]
        names = [f"{node.name if node else 'nobody'} ({rloc})" for node, rloc in zip(ends, outer, strict=True)]
        evidence.append(f"encapsulated from {names[0]} to {names[1]}")
        for name, node in zip(names, ends, strict=True):
            if node is None or not (node.name in passed & wanted or serves(node, homes)):
                strays.append(name)
    if natively:
        evidence.append(f"native at {', '.join(natively)}")
    if missed := sorted(wanted - passed) if crossed else []:
        evidence.append(f"not re-encapsulated by {', '.join(missed)}")
    if not crossed:
        evidence.append("not seen in the core")
    if strays:
        evidence.append(f"wrong tunnel end: {', '.join(strays)}")
    # RFC 9300 section 8: the instance-ID is all that tells tenants with the same addresses apart.
    leaked = instances - {one.instance_id}
    if leaked or instances - {0}:
        evidence += [f"{'wrong ' if number in leaked else ''}instance-ID {number}" for number in sorted(instances)]
    if echo.rtt is None:
        seen = Via.UNREACHABLE
        evidence.append(f"refused by {echo.refused_by}" if echo.refused_by else "no reply")
    elif outers:
        detour = Via.REENCAPSULATED if passed else Via.ENCAPSULATED
        seen = Via.PROXIED if natively else detour
    else:
        seen = Via.NATIVE if natively else Via.LOCAL
    rtt_ms = None if echo.rtt is None else round(echo.rtt * 1000, 3)
    ok = seen is one.path and not strays and not leaked and not missed
    return PairResult(
        one.source, one.destination, one.version, one.path, seen, bool(outers), rtt_ms, ok, "; ".join(evidence)
    )


def _data_counters(lab: PingLab, topology: Topology) -> dict[str, dict[str, int] | None]:
    """The data-path counters of every LISP node; None where its daemon is dead or deaf: pings are judged without."""
    found: dict[str, dict[str, int] | None] = {}
    for node in topology.lisp_routers:
        try:
            found[node.name] = dict(lab.show(node.name, "statistics")["data"])
        except LabError:
            found[node.name] = None
    return found


def _difference(before: dict[str, int] | None, after: dict[str, int] | None) -> dict[str, int] | None:
    """How far counters moved; a daemon that was restarted meanwhile begins at 0."""
    if before is None or after is None:
        return after
    return {key: max(value - before.get(key, 0), 0) for key, value in after.items()}
