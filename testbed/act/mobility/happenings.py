"""What happened in a move, put together from wires and logs on one clock, the machine's monotonic one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from testbed.act.mobility.moved import Moved
from testbed.act.mobility.watch import Watch
from testbed.act.tunnels import routers_by_rloc
from testbed.lab import Lab
from testbed.observe.capture import Frame
from testbed.observe.decoder import decode
from testbed.observe.scapy_lisp.telling import headline
from testbed.observe.timeline import KINDS, Event

_SECOND = 1_000_000_000
_MESSAGES = {
    "Map-Register": "map-register",
    "Map-Notify": "map-notify",
    "Map-Notify-Ack": "map-notify-ack",
    "SMR": "solicit-map-request",
    "Map-Request": "map-request",
    "Map-Reply": "map-reply",
}
"""The kind of event that each kind of message is; those that are not here (probes) tell nothing of a move."""
_LOGGED = {
    "dynamic-eid-found": ("detected", "{eid}"),
    "dynamic-eid-moved": ("host-left", "{eid} → {locators}"),
    "map-cache-installed": ("map-cache", "{eid} → {locators}"),
    "map-cache-removed": ("map-cache", "{eid} taken out"),
}
"""The kind and the words of what daemons say in their logs."""
_LEADING = re.compile(r"^(encapsulated, )?(for )?")
"""What stands before the records of a message."""
_MOST_RECORDS = 256


class Happenings:
    """The events of a run, told move by move.

    Attributes:
        packets: The frames that events name by their numbers.
    """

    def __init__(self, lab: Lab, host: str, correspondents: Sequence[str]) -> None:
        """Begin where the logs end now.

        Args:
            lab: Where it happens.
            host: The host that moves.
            correspondents: Who talks with it.
        """
        self._correspondents = correspondents
        self._addresses = [address.ip for one in lab[host].interfaces for address in one.addresses]
        self._prefixes = {f"{one}/{one.max_prefixlen}" for one in self._addresses}
        self._routers = routers_by_rloc(lab.topology)
        self._named = {str(rloc): node.name for rloc, node in self._routers.items()}
        self._logs = {node.name: lab.log_path(node.name).open(encoding="utf-8") for node in lab.topology.lisp_routers}
        self._begun: dict[str, str] = {}
        self.packets: list[Frame] = []
        for _ in self._lines():
            pass

    def close(self) -> None:
        """Let go of the logs."""
        for one in self._logs.values():
            one.close()

    def of(self, moved: Moved, watch: Watch, zero: float) -> list[Event]:
        """What happened in a move, in the order of time.

        Args:
            moved: The move, as the watch has seen it.
            watch: What has looked at the wires while it happened.
            zero: What times count from, in monotonic seconds.
        """
        first = watch.first_frame(moved)
        found = [*_cable(moved), *self._messages(watch), *self._logged(moved)]
        if first is not None:
            found += [self._first_frame(moved, first), *self._first_packets(moved, watch, first.time_ns / _SECOND)]
        # Of one moment, in the order in which things come about.
        return sorted(
            (replace(one, at=one.at - zero) for one in found), key=lambda one: (one.at, KINDS.index(one.kind))
        )

    def _first_frame(self, moved: Moved, frame: Frame) -> Event:
        words = ", ".join(headline(frame.data))
        return Event(frame.time_ns / _SECOND, moved.node, "first-frame", words, frame.node, self._kept(frame))

    def _messages(self, watch: Watch) -> Iterator[Event]:
        """The control messages about the host, as they leave the routers."""
        for frame in watch.sent_by_routers(watch.control):
            name, words = headline(frame.data, _MOST_RECORDS)
            kind = _MESSAGES.get(name, "")
            records = [one.split(" → ") for one in _LEADING.sub("", words).split("; ")]
            ours = [
                [eid, self._names(to[0].split(", "))] if to else [eid] for eid, *to in records if eid in self._prefixes
            ]
            packet = decode(frame.data)
            if kind and ours and packet is not None:
                to_router = self._routers.get(packet.headers[0].destination)
                text = "; ".join(" → ".join(one) for one in ours)
                peer = to_router.name if to_router else ""
                yield Event(frame.time_ns / _SECOND, frame.interface, kind, text, peer, self._kept(frame))

    def _logged(self, moved: Moved) -> Iterator[Event]:
        """What daemons logged about the host."""
        for line in self._lines():
            fields = line["fields"]
            if (
                line["event"] in _LOGGED
                and fields.get("eid") in self._prefixes
                and line["monotonic"] >= moved.unplugged
            ):
                kind, words = _LOGGED[line["event"]]
                places = self._names(fields.get("locators") or ())
                text = words.format(eid=fields["eid"], locators=places or "nowhere")
                yield Event(line["monotonic"], line["node"], kind, text)

    def _first_packets(self, moved: Moved, watch: Watch, first: float) -> Iterator[Event]:
        """When the packets of each correspondent went the right way for good."""
        versions = sorted({one.version for one in self._addresses})
        for one in watch.convergence(moved, self._correspondents, versions):
            if one.after is not None:
                text = f"IPv{one.version}, to {moved.site}"
                yield Event(first + one.after, one.correspondent, "first-packet", text)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """The lines that have come to the logs; one that is being written is for the next time."""
        for name, file in self._logs.items():
            lines = (self._begun.pop(name, "") + file.read()).splitlines(keepends=True)
            if lines and not lines[-1].endswith("\n"):
                self._begun[name] = lines.pop()
            yield from map(json.loads, lines)

    def _names(self, rlocs: Sequence[str]) -> str:
        """Who is behind RLOCs; what is nobody's, or no address, stays as it is."""
        return ", ".join(dict.fromkeys(self._named.get(one, one) for one in rlocs))

    def _kept(self, frame: Frame) -> int:
        self.packets.append(frame)
        return len(self.packets) - 1


def _cable(moved: Moved) -> Iterator[Event]:
    yield Event(moved.unplugged, moved.node, "link-down", f"at {moved.origin}")
    yield Event(moved.plugged, moved.node, "link-up", f"at {moved.site}")
