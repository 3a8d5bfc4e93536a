"""Tables of the data path, as they are shown: uses of mappings and locators, contacts, and how the maps compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nodes.dataplane.path import NEVER, DataPath
from nodes.lisp.effects import ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress

NOT_PROBED = {
    "rloc": "",
    "state": "up",
    "why": "not probed",
    "since_s": None,
    "rtt_ms": None,
    "last_answer_s": None,
    "probes_sent": 0,
    "probes_answered": 0,
    "path_mtu": None,
}
"""The row of a locator that packets went to and that the engine does not watch."""


def with_uses(path: DataPath, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The engine's map-cache, each entry with how much it was used."""
    prefixes = [EidPrefix.of(row["eid"], row["instance_id"]) for row in rows]
    uses = path.mapping_uses(prefixes)
    return [{**row, **uses[prefix].data()} for row, prefix in zip(rows, prefixes, strict=True)]


def locators_with_uses(path: DataPath | None, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The engine's table of locators, each with how many packets went to it by whatever mapping."""
    uses = {str(rloc): use for rloc, use in path.locator_uses().items()} if path is not None else {}
    mtus = {str(rloc): mtu for rloc, mtu in path.path_mtus().items()} if path is not None else {}
    probed = [{**row, **uses.pop(row["rloc"], NEVER).data()} for row in rows]
    others = [{**NOT_PROBED, "rloc": rloc, "path_mtu": mtus.get(rloc)} for rloc in sorted(uses)]
    return probed + [{**row, **uses[str(row["rloc"])].data()} for row in others]


def contact_rows(path: DataPath | None, now: float, scale: float) -> list[dict[str, Any]]:
    """When each EID of this site last exchanged data with each RLOC, by instance-ID, EID and RLOC.

    Args:
        path: The data path, if there is one.
        now: The engine's clock.
        scale: How much faster than real time that runs.
    """
    uses = sorted(path.last_uses() if path is not None else (), key=_by_ends)
    return [
        {
            "instance_id": instance_id,
            "eid": str(eid),
            "rloc": str(rloc),
            "idle_s": round(max(0.0, now - last) / scale, 1),
        }
        for instance_id, eid, rloc, last in uses
    ]


def _by_ends(use: tuple[int, IPAddress, IPAddress, float]) -> tuple[int, ...]:
    instance_id, eid, rloc, _ = use
    return instance_id, eid.version, int(eid), rloc.version, int(rloc)


def verification(path: DataPath | None) -> dict[str, Any]:
    """Which data plane runs, and where the kernel's maps differ from the engine's view."""
    if path is None:
        return {"runs": "none", "why": "this node forwards nothing", "rows": []}
    found = path.differences() or ()
    return {"runs": path.running.runs, "why": path.running.why, "rows": [asdict(one) for one in found]}


def installed_row(entry: ForwardingEntry) -> dict[str, Any]:
    """What the log says of a map-cache entry that the data path has taken."""
    locators = [str(locator.address) for locator in entry.locators]
    return {"eid": str(entry.prefix), "forwarding": entry.forwarding.value, "locators": locators}
