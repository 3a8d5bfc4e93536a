"""The scenario of the demo: a host moves to the other data centre and back, while everybody talks with it."""

from __future__ import annotations

import time
from contextlib import closing

from testbed.act.mobility.happenings import Happenings
from testbed.act.mobility.moved import Moved
from testbed.act.mobility.probes import Probes
from testbed.act.mobility.watch import Watch
from testbed.lab import Lab
from testbed.model import NodeKind
from testbed.observe.capture import Frame
from testbed.observe.narration import Narrator
from testbed.observe.timeline import Event, Timeline

_BEFORE, _SETTLES = 0.5, 0.7
"""Seconds of traffic: before the first move, and after each until it is told."""


def there_and_back(lab: Lab, host: str, narrator: Narrator) -> tuple[Timeline, list[Frame]]:
    """Move a host to the other site that has a fabric and back; tell it as it happens.

    Args:
        lab: A lab that is ready.
        host: The host; every other one is a correspondent of it.
        narrator: Who tells it.

    Returns:
        What happened, and the packets that its events name.

    Raises:
        LabError: A correspondent cannot be reached.
    """
    topology = lab.topology
    home = topology[host].site
    away = next(one.site for one in topology.nodes.values() if one.kind is NodeKind.FABRIC and one.site != home)
    correspondents = [one.name for one in topology.hosts if one.name != host]
    moves: list[Moved] = []
    events: list[Event] = []
    narrator.begins(host, home, correspondents)
    with (
        closing(Happenings(lab, host, correspondents)) as happenings,
        Probes(lab, host, correspondents) as probes,
    ):
        time.sleep(_BEFORE)  # the traffic as it was
        for site in (away, home):
            with Watch(lab, host) as watch:
                moved = lab.move(host, site)
                narrator.moved(moved)
                time.sleep(_SETTLES)  # what is watched: whatever the move brings about
            moves.append(watch.seen(moved))
            fresh = happenings.of(moves[-1], watch, moves[0].unplugged)
            narrator.tell(fresh, moves[-1].unplugged - moves[0].unplugged)
            events += fresh
        narrator.say("sending ends; every byte of TCP is to arrive")
        seen = probes.stop()
    zero = round(moves[0].unplugged * 1e9)
    found = (*(one.probe(zero) for one in seen.flows), *(one.probe(zero) for one in seen.streams))
    planes = {one["runs"] for one in lab.events if one["event"] == "daemon-dataplane"}
    title = f"{host} moves from {home} to {away}, and back"
    timeline = Timeline(tuple(events), found, tuple(moves), title, topology.name, " and ".join(sorted(planes)))
    return timeline, happenings.packets
