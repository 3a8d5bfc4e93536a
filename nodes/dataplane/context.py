"""What both directions of the data path share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nodes.dataplane.absences import MOST_ABSENCES, Absence
from nodes.dataplane.contacts import Contacts
from nodes.dataplane.counts import Counts
from nodes.dataplane.decision import Drop, SourceOf, Tables, proxies_for, reached_by_tunnel
from nodes.dataplane.holding import Holding
from nodes.dataplane.icmp import Budget, error_message, error_packet, may_be_told
from nodes.dataplane.packet import Packet, parse
from nodes.dataplane.ports import Sender
from nodes.dataplane.statistics import Statistics
from nodes.dataplane.status_bits import HeardBits
from nodes.dataplane.strangers import MOST_SOUGHT, MOST_STRANGERS, Stranger
from nodes.dataplane.throttle import Throttle
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.inputs import Miss

MOST_LOCATORS = 4096
"""Locators whose routes are remembered; when there are more, all are forgotten and looked up anew."""

PER_STRANGER = 64
"""Packets that are held for each stranger until it answers."""


@dataclass(slots=True)
class PathContext:
    """Tables, counters, and the way out for encapsulated packets and ICMP errors.

    Attributes:
        tables: What decisions depend on.
        route: Looks up the route to an RLOC, each time anew.
        clock: The time in seconds.
        sender: Sends encapsulated packets and ICMP errors.
        encapsulate: Takes a packet of this node itself, as if it had come from the core side (PITR, RTR), and its
            instance-ID.
        now: The time when the current batch of packets was begun.
        held: Packets that wait for the mapping of their destination.
        transit: Those of them that an RTR took out of a LISP header.
        misses: EIDs for which packets began to wait.
        strangers: Sources inside dynamic prefixes that were not found yet (requirement X01).
        unfound: Those of their packets that wait until they are.
        sought: Hosts that packets wait for, and that may be here.
        counts: What went by which mapping.
        absences: Hosts of dynamic prefixes that data came for although they are not here (requirement X06).
        heard: The Locator-Status-Bits of others.
    """

    tables: Tables
    route: SourceOf
    clock: Callable[[], float]
    sender: Sender
    encapsulate: Callable[[bytes, int], None]
    now: float = 0.0
    statistics: Statistics = field(default_factory=Statistics)
    held: Holding = field(default_factory=Holding)
    transit: Holding = field(default_factory=Holding)
    contacts: Contacts = field(default_factory=Contacts)
    misses: list[Miss] = field(default_factory=list)
    strangers: Throttle[Stranger] = field(default_factory=lambda: Throttle(MOST_STRANGERS))
    unfound: Holding = field(default_factory=lambda: Holding(PER_STRANGER, eids=MOST_STRANGERS))
    sought: Throttle[EidPrefix] = field(default_factory=lambda: Throttle(MOST_SOUGHT))
    counts: Counts = field(default_factory=Counts)
    absences: Throttle[Absence] = field(default_factory=lambda: Throttle(MOST_ABSENCES))
    heard: HeardBits = field(default_factory=HeardBits)
    _sources: dict[IPAddress, IPAddress | None] = field(default_factory=dict)
    _icmp_budget: Budget = field(default_factory=Budget)

    def source_of(self, locator: IPAddress) -> IPAddress | None:
        """The own RLOC from which a locator is reached, as remembered since the routes last changed."""
        if locator not in self._sources:
            if len(self._sources) >= MOST_LOCATORS:
                self._sources.clear()
            self._sources[locator] = self.route(locator)
        return self._sources[locator]

    def routes_changed(self) -> None:
        """Forget which way the locators are reached (requirement S05)."""
        self._sources.clear()

    def drop(self, verdict: Drop, data: bytes, instance_id: int, packet: Packet | None = None) -> None:
        """Count a dropped packet, and tell its sender within the ICMP budget.

        Args:
            verdict: Why it is dropped.
            data: The packet.
            instance_id: The instance of its sender.
            packet: Its headers, where they are known.
        """
        self.statistics.drops[verdict.reason] += 1
        if verdict.icmp is None or not self._icmp_budget.take(self.clock()):
            return
        packet = packet or parse(data)
        if not may_be_told(packet, data):
            return
        if proxies_for(packet.source, self.tables) or reached_by_tunnel(packet.source, instance_id, self.tables):
            # Natively the error would come back to this PITR, with its own address as the source, or an RTR have no
            # route for it.
            own = [rloc for rloc in self.tables.own if rloc.version == packet.version]
            if own:
                self.encapsulate(error_packet(verdict, packet, data, own[0]), instance_id)
                self.statistics.icmp_sent += 1
            return
        try:
            self.sender.icmp(error_message(verdict, packet, data), packet.source, instance_id)
            self.statistics.icmp_sent += 1
        except (OSError, KeyError):  # no way back, or no socket of that IP version
            self.statistics.drops["ICMP error not sent"] += 1
