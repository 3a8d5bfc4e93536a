"""The data path in Python: packets from TUN devices into LISP headers, packets out of LISP headers into the devices.

The kernel has done its part before a packet gets here: TTL, fragmentation to the device's MTU, ICMP about both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from nodes.dataplane.absences import Absence
from nodes.dataplane.contacts import Use
from nodes.dataplane.context import PER_STRANGER, PathContext
from nodes.dataplane.counts import Counts
from nodes.dataplane.decision import Drop, SourceOf, Tables, Unreachable
from nodes.dataplane.first_frames import FirstFrames
from nodes.dataplane.gates import Gate
from nodes.dataplane.holding import Holding, Waiting
from nodes.dataplane.inbound import Inbound
from nodes.dataplane.outbound import Outbound
from nodes.dataplane.ports import Sender, open_data_port
from nodes.dataplane.statistics import Statistics
from nodes.dataplane.status_bits import HeardBits
from nodes.dataplane.strangers import MOST_STRANGERS, Stranger
from nodes.dataplane.throttle import Throttle
from nodes.lisp.config import Role
from nodes.lisp.effects import ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.inputs import Miss


class PythonPath:
    """Forwards packets between TUN devices, one for each instance-ID, and LISP headers."""

    def __init__(
        self,
        tables: Tables,
        tuns: Mapping[int, int],
        source_of: SourceOf,
        clock: Callable[[], float],
        versions: frozenset[int],
        gates: Mapping[int, Gate] | None = None,
        transits: Mapping[int, tuple[int, Gate]] | None = None,
        sites: Mapping[int, int] | None = None,
    ) -> None:
        """Open its sockets in the caller's network namespace.

        Args:
            tables: The tables to decide by.
            tuns: The TUN devices' descriptors by instance-ID; 0 is among them.
            source_of: Looks up the route to an RLOC.
            clock: The time in seconds.
            versions: The IP versions of the RLOCs and of the hosts.
            gates: By instance-ID, what is told how far the reading of its TUN device has come.
            transits: By instance-ID, the descriptor of an RTR's transit device, and its gate.
            sites: The instance-ID behind each site interface, by its index, where this path has to see itself who is
                there: where the kernel's programs do not run.
        """
        sender = Sender(versions)
        self._context = PathContext(tables, source_of, clock, sender, self._encapsulate)
        if Role.RTR not in tables.roles:  # what waits for hosts that left is caused from outside
            self._context.transit = Holding(PER_STRANGER, eids=MOST_STRANGERS)
        self._gates = dict(gates or {})
        transits = transits or {}
        self._gated = [*self._gates.values(), *(gate for _, gate in transits.values())]
        self._outbound = {
            instance: Outbound(self._context, instance, tun, self._gates.get(instance))
            for instance, tun in tuns.items()
        }
        self._transit = {
            one: Outbound(self._context, one, *transits.get(one, (-1, None)), site=tuns.get(one, -1), transit=True)
            for one in tables.sent_on_in
        }
        self._transit_tuns = {one: tun for one, (tun, _) in transits.items()}
        self._inbound = Inbound(self._context, tuns, self._encapsulate_again, unfinished=gates is not None)
        self._ports = {rloc: open_data_port(rloc) for rloc in sorted(tables.own, key=str)}
        self._tuns = tuns
        self._first_frames = FirstFrames(tables, sites or {}, self._context.strangers, clock)

    @property
    def statistics(self) -> Statistics:
        """What was counted."""
        return self._context.statistics

    @property
    def held(self) -> tuple[Holding, ...]:
        """The packets that wait for a mapping: those of the site, and at an RTR those of other sites."""
        return self._context.held, self._context.transit

    @property
    def counts(self) -> Counts:
        """What went by which mapping."""
        return self._context.counts

    @property
    def strangers(self) -> Throttle[Stranger]:
        """Sources inside dynamic prefixes whose hosts are not known to be here (requirement X01)."""
        return self._context.strangers

    @property
    def sought(self) -> Throttle[EidPrefix]:
        """Hosts of dynamic prefixes that packets wait for, and that may be here (requirement X01)."""
        return self._context.sought

    @property
    def absences(self) -> Throttle[Absence]:
        """Hosts that data came for although they are not here (requirement X06)."""
        return self._context.absences

    @property
    def heard(self) -> HeardBits:
        """The Locator-Status-Bits of others."""
        return self._context.heard

    @property
    def readers(self) -> Mapping[int, Callable[[], None]]:
        """What to call when which descriptor can be read."""
        found: dict[int, Callable[[], None]] = {self._tuns[one]: out.read for one, out in self._outbound.items()}
        found |= {tun: self._transit[one].read for one, tun in self._transit_tuns.items()}
        for port in self._ports.values():
            found[port.fileno()] = lambda port=port: self._inbound.read(port)  # type: ignore[misc]
        return found | dict(self._first_frames.readers)

    def install(self, entry: ForwardingEntry) -> None:
        """Take an entry into the map-cache; what waited for it goes first, in order."""
        context = self._context
        context.tables.map_cache.set(entry.prefix, entry)
        self._forget_outbound()
        self._inbound.forget()
        sent_on = context.transit.covered(entry.prefix)
        for held in (context.held, context.transit):
            for eid in held.covered(entry.prefix):
                _handle_again(held.release(eid))
        if sent_on:
            self._read_what_came_behind()

    def remove(self, prefix: EidPrefix) -> None:
        """Take an entry out of the map-cache."""
        self._context.tables.map_cache.pop(prefix)
        self._context.counts.forget(prefix)
        self._forget_outbound()
        self._inbound.forget()

    def unresolved(self, eid: EidPrefix) -> None:
        """Drop what waits for an EID: nobody answered."""
        given_up = [self._context.held.release(eid), self._context.transit.release(eid)]
        self._forget_outbound()
        for packet in chain.from_iterable(waiting.packets for waiting in given_up if waiting):
            self._context.drop(Drop("unresolved", Unreachable.HOST), packet, eid.instance_id)

    def set_locator(self, rloc: IPAddress, up: bool) -> None:
        """Use an RLOC no more, or again: its flows move with their next packet (requirement C37)."""
        down = self._context.tables.down
        if up:
            down.discard(rloc)
        else:
            down.add(rloc)
        self._forget_outbound()

    @property
    def path_mtus(self) -> Mapping[IPAddress, int]:
        """What is known of the paths to RLOCs: outer bytes (requirement D19)."""
        return self._context.tables.path_mtu

    def set_path_mtu(self, rloc: IPAddress, mtu: int) -> None:
        """The path to an RLOC takes outer packets of so many bytes at most; 0 forgets that (requirement D19)."""
        if mtu:
            self._context.tables.path_mtu[rloc] = mtu
        else:
            self._context.tables.path_mtu.pop(rloc, None)
        self._forget_outbound()

    def add_host(self, eid: EidPrefix) -> None:
        """A dynamic-EID is here (requirement X01)."""
        self._context.tables.local.set(eid, True)
        self._first_frames.know(eid.instance_id, eid.address)
        self._forget_outbound()
        self._inbound.forget()
        self._was_found(eid)

    def remove_host(self, eid: EidPrefix) -> None:
        """A dynamic-EID is here no longer."""
        self._context.tables.local.pop(eid)
        self._first_frames.forget(eid.instance_id, eid.address)
        self._context.strangers.forget(Stranger(eid))  # it may be back before the second is over
        self._forget_outbound()
        self._inbound.forget()

    def host_away(self, eid: EidPrefix) -> None:
        """A host of the own subnet is elsewhere (X10): alone, it is like a dynamic prefix without a host."""
        self._context.tables.dynamic.set(eid, True)
        self._first_frames.miss(eid.instance_id, eid.address)
        self._forget_outbound()
        self._inbound.forget()

    def host_home(self, eid: EidPrefix) -> None:
        """It is one of its subnet's again; what it sent before that was known goes on its way."""
        self._context.tables.dynamic.pop(eid)
        self._first_frames.miss_no_more(eid.instance_id, eid.address)
        self._forget_outbound()
        self._inbound.forget()
        self._was_found(eid)

    def routes_changed(self) -> None:
        """Look up the routes to locators again, for the next packet of each flow (requirement S05)."""
        self._context.routes_changed()
        self._forget_outbound()

    def move(self, rlocs: frozenset[IPAddress]) -> None:
        """The node has other RLOCs: receive there, and send from there. Raises OSError."""
        for rloc in self._ports.keys() - rlocs:
            self._ports.pop(rloc).close()
        for rloc in sorted(rlocs - self._ports.keys(), key=str):
            self._ports[rloc] = open_data_port(rloc)
        self._context.tables.own = rlocs
        self._inbound.forget()
        self.routes_changed()

    def _was_found(self, eid: EidPrefix) -> None:
        """What it sent goes on its way, and what was sent to it."""
        context = self._context
        from_core = context.transit.release(eid)
        for waiting in (context.unfound.release(eid), context.held.release(eid), from_core):
            _handle_again(waiting)
        if from_core is not None:
            self._read_what_came_behind()

    def _read_what_came_behind(self) -> None:
        """What came out of LISP headers behind what waited goes before the kernel takes over."""
        for port in self._ports.values() if self._gates else ():
            self._inbound.read(port)

    def _forget_outbound(self) -> None:
        for outbound in (*self._outbound.values(), *self._transit.values()):
            outbound.forget()

    def _encapsulate(self, packet: bytes, instance_id: int) -> None:
        """Send a packet of this node itself to an EID."""
        if instance_id in self._transit:
            self._transit[instance_id].handle(packet)
        else:
            self._outbound[0].handle(packet)

    def _encapsulate_again(self, packet: bytes, instance_id: int, came_from: IPAddress | None) -> None:
        self._transit[instance_id].handle(packet, came_from)

    def take_misses(self) -> list[Miss]:
        """The EIDs for which packets began to wait since the last call."""
        taken, self._context.misses = self._context.misses, []
        return taken

    def contacts(self) -> Iterator[tuple[int, IPAddress, IPAddress, float]]:
        """Instance-ID, EID of this site, RLOC, and when data last went between the two by this path."""
        return self._context.contacts.last_uses()

    def contacts_of(self, prefix: EidPrefix) -> Iterator[Use]:
        """The RLOCs that data of the EIDs inside ``prefix`` went to or came from by this path."""
        return self._context.contacts.of(prefix)

    def source_of(self, locator: IPAddress) -> IPAddress | None:
        """The own RLOC from which a locator is reached, as remembered since the routes last changed."""
        return self._context.source_of(locator)

    def settle(self) -> None:
        """Tell the gates of the TUN devices that turned out to be empty, and whose frames are not news any more."""
        for gate in self._gated:
            gate.settle()
        self._first_frames.settle()

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do."""
        context = self._context
        deadlines = (context.held.deadline(), context.transit.deadline(), context.unfound.deadline())
        return min((one for one in deadlines if one is not None), default=None)

    def expire(self) -> None:
        """Give up what has waited too long."""
        now = self._context.clock()
        for eid in (*self._context.held.expired(now), *self._context.transit.expired(now)):
            self.unresolved(eid)
        for eid in self._context.unfound.expired(self._context.clock()):
            waiting = self._context.unfound.release(eid)
            for packet in waiting.packets if waiting else ():
                self._context.drop(Drop("source not found"), packet, eid.instance_id)

    def close(self) -> None:
        """Close its sockets; the TUN devices are the caller's."""
        self._first_frames.close()
        self._context.sender.close()
        for port in self._ports.values():
            port.close()


def _handle_again(waiting: Waiting | None) -> None:
    if waiting is not None:
        waiting.handle_again()
