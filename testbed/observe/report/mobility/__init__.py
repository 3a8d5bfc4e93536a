"""The page of a run in which a host moved: before and after, what happened when, what its correspondents saw."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from testbed.model import Topology
from testbed.observe.capture import Frame
from testbed.observe.report import pack, render
from testbed.observe.report.mobility.findings import Findings
from testbed.observe.report.mobility.view import MoveView
from testbed.observe.report.mobility.words import milliseconds
from testbed.observe.report.mobility.world import pictures
from testbed.observe.timeline import Probe, Timeline

_HERE = Path(__file__).parent


def page(timeline: Timeline, topology: Topology, frames: Sequence[Frame], kept: str) -> str:
    """The HTML of the page.

    Args:
        timeline: What happened.
        topology: The world as it was before the first move.
        frames: The packets that events name by their numbers.
        kept: The names of the files with the same as data.
    """
    findings = Findings(timeline)
    views = [MoveView(findings, topology, number) for number in range(len(timeline.moves))]
    drawn = [one.to_json(frames, kept) for one in views]
    host = timeline.moves[0].node
    return render(
        _HERE / "mobility.html",
        [_HERE / "mobility.css"],
        [_HERE / "mobility.js"],
        title=timeline.title,
        host=host,
        lead=_lead(host, findings.correspondents),
        lived=findings.ok,
        verdict=list(findings.sentences()),
        facts=_facts(timeline, views),
        pictures=list(pictures(topology, timeline.moves)),
        moves=[_move(view, one) for view, one in zip(views, drawn, strict=True)],
        datagrams=[_datagrams(findings, one, host) for one in findings.datagrams],
        blackouts=[f"Blackout to {one.site}" for one in timeline.moves],
        streams=[_stream(one, host) for one in timeline.probes if one.protocol == "tcp"],
        made=datetime.now().astimezone(),
        kept=kept,
        packed=pack({"moves": drawn}),
    )


def _lead(host: str, correspondents: Sequence[str]) -> str:
    who = (
        f"{', '.join(correspondents[:-1])} and {correspondents[-1]}"
        if len(correspondents) > 1
        else "".join(correspondents)
    )
    return f"{host} changes its place while datagrams and TCP sessions go both ways between it and {who}."


def _facts(timeline: Timeline, views: Sequence[MoveView]) -> dict[str, str]:
    told = {words.partition(":")[0].partition(",")[0] for view in views for _, words, *_ in view.told()}
    ways = [one for one in ("PubSub", "SMR") if one in told]
    facts = {"Topology": timeline.topology, "Data plane": timeline.dataplane, "Moves": str(len(timeline.moves))}
    return facts | ({"Routers are told by": " and ".join(ways)} if ways else {})


def _move(view: MoveView, drawn: dict[str, Any]) -> dict[str, Any]:
    move = view.move
    words = f"Its cable is out for {milliseconds(move.plugged - move.unplugged)}."
    right = [one for one in view.events if one.kind == "first-packet"]
    ways = {(one.correspondent, one.version) for one in view.findings.datagrams}
    if right and len(right) == len(ways):
        words += (
            f" After {milliseconds(right[-1].at - view.begin)} everybody sends the right way, {right[-1].node} last."
        )
    elif ways:
        words += f" {len(right)} of {len(ways)} flows to it were seen to go the right way while it was watched."
    return {
        "title": f"{move.node} goes from {move.origin} to {move.site}",
        "words": words,
        "told": list(view.told()),
        "marks": drawn["marks"],
    }


def _way(probe: Probe, host: str) -> list[str]:
    return [probe.correspondent, f"{'from' if probe.direction == 'to' else 'to'} {host}", f"IPv{probe.version}"]


def _datagrams(findings: Findings, probe: Probe, host: str) -> list[str]:
    numbers = (probe.sent, probe.lost, probe.duplicated, probe.reordered)
    gaps = (findings.gap(probe, number) for number in range(len(findings.begins)))
    return [*_way(probe, host), *map(str, numbers), *(milliseconds(gap[1] - gap[0]) if gap else "" for gap in gaps)]


def _stream(probe: Probe, host: str) -> list[str]:
    numbers = (probe.bytes, probe.bytes_wrong, probe.sessions_lost)
    return [*_way(probe, host), *map(str, numbers), milliseconds(probe.blackout_s)]
