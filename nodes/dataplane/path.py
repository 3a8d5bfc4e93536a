"""The data path as the daemon sees it: the Python path, and where it runs the kernel's in front of it.

The one home of ordering. What is new goes into Python's tables, the packets that waited for it leave, then the kernel
may take over. What says less goes to the kernel first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nodes.dataplane.absences import Absence
from nodes.dataplane.contacts import SECONDS, peers_of
from nodes.dataplane.counts import Count
from nodes.dataplane.kernel.events import Events
from nodes.dataplane.kernel.verify import Difference
from nodes.dataplane.kernel_path import KernelPath
from nodes.dataplane.python_path import PythonPath
from nodes.dataplane.statistics import merged
from nodes.dataplane.strangers import Stranger
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.inputs import Miss, StatusBits


@dataclass(frozen=True, slots=True)
class Running:
    """Which data plane a node runs.

    Attributes:
        runs: "ebpf" or "python".
        why: Why it is that one, in words.
    """

    runs: str
    why: str


@dataclass(frozen=True, slots=True)
class Use:
    """How much something was used.

    Attributes:
        packets: Packets of both paths.
        bytes: Of the inner packets.
        idle_s: Seconds since the last one; None if there was none.
        fast_packets: Those of ``packets`` that the kernel forwarded.
    """

    packets: int
    bytes: int
    idle_s: float | None
    fast_packets: int

    def data(self) -> dict[str, Any]:
        """As shown."""
        idle = None if self.idle_s is None else round(self.idle_s, 1)
        return {"packets": self.packets, "bytes": self.bytes, "idle_s": idle, "fast_packets": self.fast_packets}


NEVER = Use(0, 0, None, 0)


class DataPath:
    """Both paths of a router, in step.

    Attributes:
        running: Which data plane runs and why.
    """

    def __init__(
        self,
        python: PythonPath,
        kernel: KernelPath | None,
        events: Events | None,
        running: Running,
        clock: Callable[[], float],
        scale: float = 1.0,
    ) -> None:
        """Join the paths.

        Args:
            python: The Python path.
            kernel: What the kernel's programs go by; None where none run.
            events: What the programs tell.
            running: Which data plane runs and why.
            clock: The engine's clock.
            scale: How much faster than real time that runs.
        """
        self._python, self._kernel, self._events = python, kernel, events
        self.running = running
        self._clock, self._scale = clock, scale

    @property
    def readers(self) -> Mapping[int, Callable[[], None]]:
        """What to call when which descriptor can be read."""
        found = dict(self._python.readers)
        if self._events is not None:
            found[self._events.fileno()] = lambda: self._events.read(self._clock()) if self._events else None
        return found

    # What changes

    def install(self, entry: ForwardingEntry) -> None:
        """Take an entry into the map-cache; what waited for it goes first, in order."""
        if self._kernel is None:
            self._python.install(entry)
        elif entry.forwarding is Forwarding.ENCAPSULATE:
            self._python.install(entry)
            self._kernel.install(entry)
        else:
            # It may say less than the one before: no packet more goes by that one.
            self._kernel.install(entry)
            self._python.install(entry)

    def remove(self, prefix: EidPrefix) -> None:
        """Take an entry out of the map-cache."""
        if self._kernel is not None:
            self._kernel.remove(prefix)
        self._python.remove(prefix)

    def unresolved(self, eid: EidPrefix) -> None:
        """Drop what waits for an EID: nobody answered."""
        self._python.unresolved(eid)

    def add_host(self, eid: EidPrefix) -> None:
        """A dynamic-EID is here, its host route stands (requirement X01)."""
        self._python.add_host(eid)
        if self._kernel is not None:
            self._kernel.add_host(eid)

    def remove_host(self, eid: EidPrefix) -> None:
        """A dynamic-EID is here no longer; its host route goes next."""
        if self._kernel is not None:
            self._kernel.remove_host(eid)
        self._python.remove_host(eid)

    def host_away(self, eid: EidPrefix) -> None:
        """A host of the own subnet is elsewhere, the subnet's route does not lead to it (requirement X10)."""
        self._python.host_away(eid)
        if self._kernel is not None:
            self._kernel.host_away(eid)

    def host_home(self, eid: EidPrefix) -> None:
        """It is one of its subnet's again, and reached as those are."""
        if self._kernel is not None:
            self._kernel.remove_host(eid)
        self._python.host_home(eid)

    def routes_changed(self) -> None:
        """Native routes, or routes to locators, are others (requirements S02, S05). A native route wins at once."""
        if self._kernel is not None:
            self._kernel.native_changed()
        self._python.routes_changed()
        if self._kernel is not None:
            self._kernel.routes_changed()

    def move(self, rlocs: frozenset[IPAddress]) -> None:
        """The node has other RLOCs (requirement S15); :attr:`readers` are others then. Raises OSError."""
        self._python.move(rlocs)
        if self._kernel is not None:
            self._kernel.moved()

    def set_locator(self, rloc: IPAddress, up: bool) -> None:
        """Use an RLOC no more, or again: its flows move with their next packet (requirement C37)."""
        self._python.set_locator(rloc, up)
        if self._kernel is not None:
            self._kernel.locator_changed(rloc)

    def set_path_mtu(self, rloc: IPAddress, mtu: int) -> None:
        """The path to an RLOC takes outer packets of so many bytes at most; 0 forgets that (requirement D19)."""
        self._python.set_path_mtu(rloc, mtu)
        if self._kernel is not None:
            self._kernel.locator_changed(rloc)

    # What it tells

    def take_misses(self) -> list[Miss]:
        """The EIDs for which packets began to wait since the last call."""
        return self._python.take_misses()

    def take_strangers(self) -> list[Stranger]:
        """The unknown sources inside dynamic prefixes (X01) since the last call; each at most once a second."""
        return self._python.strangers.take()

    def take_sought(self) -> list[EidPrefix]:
        """The hosts of dynamic prefixes that packets wait for and that may be here (X01); each once a second."""
        return self._python.sought.take()

    def take_absent(self) -> list[Absence]:
        """Who sent data for hosts of dynamic prefixes that are not here (X06); each at most once a second."""
        return self._python.absences.take()

    def take_status_bits(self) -> list[StatusBits]:
        """Whose Locator-Status-Bits are others since the last call (requirement D09)."""
        return self._python.heard.take()

    def peers(self, prefix: EidPrefix) -> tuple[IPAddress, ...]:
        """The RLOCs that data of ``prefix`` went to or came from within the last minute (requirement C34)."""
        uses = list(self._python.contacts_of(prefix))
        if self._kernel is not None:
            uses += [(rloc, last * self._scale) for rloc, last in self._kernel.contacts_of(prefix)]
        return peers_of(uses, self._clock())

    def in_use(self) -> frozenset[IPAddress]:
        """The RLOCs that any data went to or came from within the last minute: whose mappings are probed."""
        now = self._clock()
        return frozenset(rloc for _, _, rloc, last in self.last_uses() if now - last <= SECONDS)

    def last_uses(self) -> Iterable[tuple[int, IPAddress, IPAddress, float]]:
        """When each EID of this site last exchanged data with each RLOC.

        Returns:
            Instance-ID, EID, RLOC, and the time on the engine's clock, by both paths.
        """
        latest = {(one, eid, rloc): last for one, eid, rloc, last in self._python.contacts()}
        for instance_id, eid, rloc, last in self._kernel.contacts() if self._kernel is not None else ():
            ends, then = (instance_id, eid, rloc), last * self._scale
            latest[ends] = max(then, latest.get(ends, then))
        return [(*ends, last) for ends, last in latest.items()]

    # Time

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do."""
        deadlines = (self._python.deadline(), self._kernel.deadline() if self._kernel is not None else None)
        return min((one for one in deadlines if one is not None), default=None)

    def expire(self) -> None:
        """Give up what has waited too long; try again what the kernel refused."""
        self._python.expire()
        if self._kernel is not None:
            self._kernel.expire()

    def settle(self) -> None:
        """Tell the kernel that a TUN device is empty, where the last batch of its packets was the end."""
        self._python.settle()

    # What is shown

    def neighbour_answered(self) -> None:
        """Count an answer that was given in the name of a host that is elsewhere."""
        self._python.statistics.neighbours_answered += 1

    def statistics(self) -> dict[str, Any]:
        """Which data plane runs, and what both paths did."""
        fast = self._kernel.statistics() if self._kernel is not None else None
        data, drops = merged(self._python.statistics, fast)
        held = self._python.held
        return {
            "dataplane": {"runs": self.running.runs, "why": self.running.why, **self._state()},
            "data": data,
            "drops": drops,
            "held": {
                "now": sum(one.in_all for one in held),
                "eids": sum(len(one) for one in held),
                "ever": self._python.statistics.held,
                "overflows": sum(one.overflows for one in held),
            },
        }

    def mapping_uses(self, prefixes: Iterable[EidPrefix]) -> dict[EidPrefix, Use]:
        """How much each of these mappings was used."""
        fast = self._kernel.mapping_counts() if self._kernel is not None else {}
        return {one: self._use(self._python.counts.mapping(one), fast.get(one)) for one in prefixes}

    def path_mtus(self) -> Mapping[IPAddress, int]:
        """The MTUs of the paths that are narrower than the core, in outer bytes (requirement D19)."""
        return self._python.path_mtus

    def locator_uses(self) -> dict[IPAddress, Use]:
        """How much each locator was used, by whatever mapping."""
        slow = self._python.counts.locators()
        fast = self._kernel.locator_counts() if self._kernel is not None else {}
        return {one: self._use(slow.get(one, Count()), fast.get(one)) for one in {**slow, **fast}}

    def differences(self) -> list[Difference] | None:
        """Where the kernel's maps differ from the engine's view; None where no programs run."""
        return self._kernel.differences() if self._kernel is not None else None

    def close(self) -> None:
        """Close what was opened; the TUN devices and the programs are the caller's."""
        if self._events is not None:
            self._events.close()
        self._python.close()

    def _state(self) -> dict[str, Any]:
        return {} if self._kernel is None else {"in_step": self._kernel.in_step}

    def _use(self, slow: Count, fast: Count | None) -> Use:
        fast = fast or Count()
        ages = []
        if slow.packets:
            ages.append((self._clock() - slow.last) / self._scale)
        if fast.packets:
            ages.append(time.monotonic() - fast.last)
        idle = max(0.0, min(ages)) if ages else None
        return Use(slow.packets + fast.packets, slow.bytes + fast.bytes, idle, fast.packets)
