"""Two hundred hosts move at once, while every correspondent sends to each of them five times a second.

Each has an IPv4 and an IPv6 address, and both move: 400 EIDs. What is sent is IPv4.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

from ci.benches.mobility.worlds import AWAY, CORRESPONDENTS, CROWD, HOME, lisp_world
from nodes.lisp.eid import IPAddress
from testbed.act.mobility.moved import Moved
from testbed.act.mobility.watch import encapsulators, right_from, rlocs_of
from testbed.act.ping import first_reply
from testbed.client.box import ROOT
from testbed.lab import Lab, LabError
from testbed.observe import filters
from testbed.observe.capture import Capture, Frame
from testbed.observe.decoder import Packet, decode

_PORT = 46000
_INTERVAL_NS, _GROUPS = 10_000_000, 20
"""A turn, in which each correspondent sends to ten hosts, and the turns until all have been sent something. Shorter
ones cost the processor that the routers need."""
_BEFORE_S, _SETTLES_S, _APART_S = 0.2, 5.0, 8.0
_DATA_PORT, _HEADERS = 4341, 128

Seen = dict[tuple[str, str], list[tuple[int, bool]]]
"""Of each correspondent and host: when a packet was seen, and whether it went the right way."""


def moves(number: int, *, pubsub: bool) -> list[dict[str, Any]]:
    """Move them there and back, ``number`` times in all; before that once each way, to lay their patch cables."""
    rounds = []
    with Lab(lisp_world(pubsub=pubsub, crowd=True)) as lab:
        for one in CORRESPONDENTS:
            first_reply(lab, one, CROWD[0], within=10)
        with _traffic(lab):
            time.sleep(_SETTLES_S)  # 800 pairs resolve: no part of the first move
            for turn in range(-2, number):
                with _captures(lab) as (core, fabrics):
                    time.sleep(_BEFORE_S)  # the traffic as it was
                    moved = lab.move_all(CROWD, HOME if turn % 2 else AWAY)
                    time.sleep(_SETTLES_S)  # what is watched: whatever the move brings about
                    to_monotonic = time.monotonic_ns() - time.time_ns()
                if turn >= 0:
                    rounds.append(_round(moved, _seen(lab, moved, core, fabrics, to_monotonic)))
                    words = f"all right after {rounds[-1]['all_right_ms']:.0f} ms"
                    print(f"{len(CROWD)} hosts, move {turn + 1} of {number}: {words}", flush=True)
                time.sleep(max(0.0, moved[0].unplugged + _APART_S - time.monotonic()))  # moves are so far apart
    return rounds


@contextmanager
def _traffic(lab: Lab) -> Iterator[None]:
    """Each correspondent sends to each host, evenly."""
    with ExitStack() as stack:

        def bound(node: str) -> socket.socket:
            made = stack.enter_context(lab.socket(node))
            made.bind((str(lab[node].address_of(4)), _PORT))
            made.setblocking(False)
            return made

        sources, destinations = [bound(one) for one in CORRESPONDENTS], [bound(one) for one in CROWD]
        plan = {
            "interval_ns": _INTERVAL_NS,
            "groups": _GROUPS,
            "flows": [(source.fileno(), host.fileno()) for host in destinations for source in sources],
            "streams": [],
            "result": "/dev/null",
        }
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", "-S", str(ROOT / "testbed/act/mobility/prober.py"), str(ROOT)],
                pass_fds=[one.fileno() for one in chain(sources, destinations)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(plan) + "\n")
            process.stdin.flush()
            if process.stdout.readline() != "ready\n":
                raise LabError("bench mobility: the prober did not begin")
            yield
        finally:
            process.kill()


@contextmanager
def _captures(lab: Lab) -> Iterator[tuple[Capture, Capture]]:
    """What LISP routers send through the core, and correspondents on the fabrics; complete when the block has ended."""
    core = [node.name for node in lab.topology.core]
    fabrics = [one.node for one in lab.topology.nodes.values() if one.kind == "fabric" for one in one.interfaces[:1]]
    with (
        Capture(lab, core, filters.udp_port(_DATA_PORT, _HEADERS)) as data,
        Capture(lab, fabrics, filters.udp_port(_PORT, _HEADERS)) as local,
    ):
        yield data, local


def _seen(lab: Lab, moved: Sequence[Moved], core: Capture, fabrics: Capture, to_monotonic: int) -> Seen:
    topology, site = lab.topology, moved[0].site
    places = lab.places()
    there = rlocs_of(topology, site)
    hosts: dict[IPAddress, str] = {lab[one].address_of(4): one for one in CROWD}
    macs = {one: bytes.fromhex(lab[one].interfaces[0].mac.replace(":", "")) for one in CROWD}
    plugged = {one.node: round(one.unplugged * 1e9) for one in moved}
    senders: dict[IPAddress, str] = {lab[one].address_of(4): one for one in CORRESPONDENTS}
    own = {one: encapsulators(topology, places[one]) for one in CORRESPONDENTS}
    found: Seen = defaultdict(list)
    for frame, packet in _decoded(core):
        if packet.lisp is not None and len(packet.headers) > 1:
            outer, inner = packet.headers
            source, host = senders.get(inner.source), hosts.get(inner.destination)
            if source and host and places[source] != site and frame.interface in own[source]:
                found[source, host].append((frame.time_ns + to_monotonic, outer.destination in there))
    for frame, packet in _decoded(fabrics):
        source, host = senders.get(packet.headers[0].source), hosts.get(packet.headers[0].destination)
        if source and host and places[source] == site and frame.interface == source:
            at = frame.time_ns + to_monotonic
            found[source, host].append((at, frame.data[:6] == macs[host] and at >= plugged[host]))
    return found


def _decoded(capture: Capture) -> Iterator[tuple[Frame, Packet]]:
    return ((frame, packet) for frame in capture.frames if (packet := decode(frame.data)) is not None)


def _round(moved: Sequence[Moved], seen: Seen) -> dict[str, Any]:
    """From the moment when the first host's cable was pulled; who is not right at the end counts as long as that."""
    began = moved[0].unplugged
    right = {pair: right_from(sorted(packets)) for pair, packets in seen.items()}
    after = {
        pair: _SETTLES_S * 1000 if since is None else max(0.0, since / 1e6 - began * 1000)
        for pair, since in right.items()
    }
    return {
        "site": moved[0].site,
        "hosts": len(moved),
        "moved_within_ms": (moved[-1].plugged - began) * 1000,
        "pairs": len(seen),
        "not_right": sum(since is None for since in right.values()),
        "right_ms": {
            name: max((value for (source, _), value in after.items() if source == name), default=0.0)
            for name in CORRESPONDENTS
        },
        "all_right_ms": max(after.values(), default=_SETTLES_S * 1000),
    }
