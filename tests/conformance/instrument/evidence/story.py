"""The packets of a test as a reader wants them: each once, on its way between nodes, alike ones in one row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scapy.layers.l2 import Ether

from testbed.observe.capture import Frame
from testbed.observe.hops import Journey, journeys
from testbed.observe.scapy_lisp.telling import dissected, told

CORE = "core"
FIRST, LAST = 22, 10
"""Rows that are shown of a test: from its begin, and from its end."""
_READ = 100
"""Packets that are read from the begin of a test; half as many from its end."""
_KEPT = 512
"""Octets of a packet that are shown."""
_ALIKE = 3
"""Data packets and other packets in a row, from so many on, that are told as one."""
_COLORS = {
    "Map-Request": "request", "SMR": "request", "RLOC-probe": "request", "Map-Reply": "reply", "probe reply": "reply",
    "Map-Register": "register", "Map-Notify": "notify", "Map-Notify-Ack": "notify", "data": "data",
}  # fmt: skip


def story(entry: Mapping[str, Any], frames: Iterable[Frame]) -> dict[str, Any]:
    """What ``evidenceView`` of the page's scripts shows."""
    nodes = {name: one for lab in entry["labs"] for name, one in lab["nodes"].items()}
    ends = {(node, name): peer for lab in entry["labs"] for node, name, peer in lab["links"]}
    inner = {name for name, one in nodes.items() if one["site"] == CORE and not one["roles"]}
    found = journeys(
        (one for one in frames if (one.node, one.interface) in ends),
        lambda frame: ends[frame.node, frame.interface],
        lambda name: bool(nodes[name]["roles"]) or nodes[name]["kind"] == "host",
    )
    first, last = found[:_READ], found[_READ:][-_READ // 2 :]
    rows = _rows([*first, *last], entry["begin_ns"], inner)
    chosen = rows if len(rows) <= FIRST + LAST else [*rows[:FIRST], *rows[-LAST:]]
    for row in chosen:
        row |= _detail(row.pop("frame"))
    begin, call, end = ((entry[key] - entry["begin_ns"]) / 1000 for key in ("begin_ns", "call_ns", "end_ns"))
    used = {name for row in chosen for name in (row["from"], row["to"])}
    return {
        "nodes": _lanes(nodes, inner, used),
        "packets": chosen,
        "left_out": len(found) - sum(row["count"] for row in chosen),
        "lost": entry["lost"],
        "file": entry["file"],
        "end": end,
        "bands": [{"from": begin, "to": call, "name": "set-up", "why": "what the test needs: its lab, its fixtures"}],
    }


def _rows(found: Iterable[Journey], begin_ns: int, inner: set[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for one in found:
        kind, words = told(Ether(one.frame.data))
        ends = [CORE if name in inner else name for name in (one.hops[0].origin, one.hops[-1].node)]
        at = (one.hops[0].time_ns - begin_ns) / 1000
        color = _COLORS.get(kind, "native")
        row = {"at": round(at, 1), "from": ends[0], "to": ends[1], "kind": kind, "words": words, "color": color,
               "count": 1, "size": one.frame.length or len(one.frame.data), "frame": one.frame}  # fmt: skip
        rows.append(row)
    return _together(rows)


def _together(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tell packets in a row that differ in numbers only as one; control messages only if nothing differs."""
    groups: list[list[dict[str, Any]]] = []
    for row in rows:
        same = ["kind", "from", "to", *(["words"] if row["color"] not in ("data", "native") else [])]
        if groups and all(groups[-1][0][key] == row[key] for key in same):
            groups[-1].append(row)
        else:
            groups.append([row])
    found = []
    for group in groups:
        found += [group[0] | {"count": len(group)}] if len(group) >= _ALIKE else group
    return found


def _detail(frame: Frame) -> dict[str, Any]:
    return {"hex": frame.data[:_KEPT].hex(), "layers": dissected(frame.data)}


def _lanes(nodes: Mapping[str, Mapping[str, Any]], inner: set[str], used: set[str]) -> list[dict[str, Any]]:
    """The nodes from left to right: half of the sites, the core, the other half; a site's router towards the core."""
    sites: dict[str, list[str]] = {}
    for name, one in nodes.items():
        if name in used and name not in inner:
            alone = one["site"] == CORE
            sites.setdefault(name if alone else one["site"], []).append(name)
    # Those that stand in the core are of no site: the mapping system and the proxies, to the right.
    order = sorted(sites, key=lambda site: nodes.get(site, {"site": ""})["site"] == CORE)
    half = (len(order) + 1) // 2
    lanes = [name for site in order[:half] for name in sorted(sites[site], key=lambda one: bool(nodes[one]["roles"]))]
    lanes += [CORE] if CORE in used else []
    lanes += [name for site in order[half:] for name in sorted(sites[site], key=lambda one: not nodes[one]["roles"])]
    return [
        {"name": CORE, "sub": "and the tester", "core": True}
        if name == CORE
        else {"name": name, "sub": " ".join(nodes[name]["roles"]) or nodes[name]["kind"], "core": False}
        for name in lanes
    ]
