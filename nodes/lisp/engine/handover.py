"""Hosts that were here and are elsewhere now: who is told, and who was wrong (requirements X03 to X06)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, replace

from nodes.lisp.effects import Effect, FindHost, HostLeft, RemoveHost, Report
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.database import Database
from nodes.lisp.engine.home import Home
from nodes.lisp.engine.registrar import Registrar
from nodes.lisp.engine.solicitor import Solicitor
from nodes.lisp.inputs import StrayData
from nodes.lisp.locators import rlocs_of
from nodes.lisp.rate_limit import RateLimit
from nodes.lisp.timers import Timers
from nodes.lisp.wire import EidRecord

ABSENT_AFTER = 1.0
"""Seconds in which a host that another xTR has registered can show that it is still here."""
CONTEST = 10.0
"""Seconds within which claims of one host are one contest."""
QUICK, MANY = 0.3, 5
"""A host that is in two places answers within so many seconds of each loss, for it is asked on its link; one that comes
later was away. It is lost as soon after each claim; where messages take longer, so many claims are no moves."""
TOO_MANY = 30
"""So many returns in one contest are none either, however late each of them shows."""
FIRST_YIELD, LONGEST_YIELD = 1.0, 60.0
"""Seconds for which the loser of a contest claims a host no more; then it looks whether the host is here. A host that
moved there and back faster than messages do is found so, where it has come to rest; for each contest that is lost again
the time doubles."""
MAX_MOVED = 4096
TOLD_AFTER = 0.5
"""Seconds that the news of a host that left may take until its subscribers send to the new place."""
STRAY_BURST, STRAY_INTERVAL = 64, 0.01
"""Solicit-Map-Requests because of data for hosts that moved: 64 at once, then 100 a second."""

Learn = Callable[[EidRecord, float], Iterator[Effect]]
Resolve = Callable[[EidPrefix, float], Generator[Effect, None, EidRecord | None]]


@dataclass(slots=True)
class Away:
    """A host that another xTR has registered.

    Attributes:
        record: Its mapping now.
        claimed: How often this node has taken it back in the contest that goes on.
        lost_at: When it was last lost here.
        claimed_at: When this node last took it back before that.
        yields: How many contests this node has lost in a row.
        interface: Where it was here last.
        returned: How often it has come back in the contest that goes on, before its absence was taken for granted.
        yielded_until: Until when it is the other one's, whatever is seen here.
    """

    record: EidRecord
    claimed: int = 0
    lost_at: float = 0.0
    claimed_at: float = -CONTEST
    yielded_until: float = 0.0
    returned: int = 0
    yields: int = 0
    interface: str = ""

    def is_contested(self, now: float) -> bool:
        """Whether the host, which shows itself here now, is at the other place as well, by what happened lately."""
        quick = max(self.lost_at - self.claimed_at, now - self.lost_at) < QUICK
        return (self.claimed > 0 and quick) or self.claimed >= MANY or self.returned >= TOO_MANY


class Handover:
    """The hosts that went from this ETR to another one.

    A Map-Server cannot tell a late registration of the old place from a genuine return. So the loser looks whether its
    host is there: who finds it registers again. A machine in both places, or two with one address, would be taken back
    and forth for ever: as soon as that shows, the xTR with the lower RLOC keeps it, and the other one says so.
    """

    def __init__(
        self,
        context: Context,
        database: Database,
        home: Home,
        registrar: Registrar,
        solicitor: Solicitor,
        learn: Learn,
        resolve: Resolve,
        contacts: Callable[[EidPrefix], Collection[IPAddress]],
    ) -> None:
        """Make one that has lost no host.

        Args:
            context: What the node's roles share.
            database: The hosts that are here.
            home: The hosts of the site's own prefixes that are not here.
            registrar: Tells the Map-Servers.
            solicitor: Tells those who send data here.
            learn: Takes a mapping into the map-cache, so that what still arrives goes on to the new place.
            resolve: The mapping of a host by the map-cache; asks for it where that has none.
            contacts: The RLOCs that data of an EID went to or came from within the last minute.
        """
        self._context = context
        self._database = database
        self._home = home
        self._registrar = registrar
        self._solicitor = solicitor
        self._learn = learn
        self._resolve = resolve
        self._contacts = contacts
        self._away: dict[EidPrefix, Away] = {}
        self._sought: Timers[EidPrefix] = Timers()
        self._yielded: Timers[EidPrefix] = Timers()
        self._withdrawn: dict[EidPrefix, EidRecord] = {}
        self._strays: RateLimit[None] = RateLimit(STRAY_BURST, STRAY_INTERVAL)

    def moved(self, record: EidRecord, now: float) -> Iterator[Effect]:
        """A Map-Server says that another xTR has registered this (requirement X03)."""
        eid = record.prefix
        if self._is_own(record):
            if record.ttl_minutes == 0 and self._home.is_away(eid):
                # X10: the site that had it has withdrawn it, and no other one has it.
                yield from self._comes_home(eid, now)
            return
        if eid.mask_len < eid.network.max_prefixlen:
            # What a host is part of that has gone home.
            yield from self._learn(record, now)
            return
        # What still arrives here is sent on: the new mapping first, then the host route goes.
        yield from self._learn(record, now)
        before = self._away.pop(eid, None)
        if before is None and len(self._away) >= MAX_MOVED:
            oldest = next(iter(self._away))
            if self._home.is_away(oldest):
                yield from self._comes_home(oldest, now)
            self._away.pop(oldest, None)
        going_on = before is not None and now - max(before.lost_at, before.claimed_at) < CONTEST
        self._away[eid] = (
            replace(before, record=record, lost_at=now, yielded_until=0.0)
            if before and going_on
            else Away(record, 0, now)
        )
        if record.locators:
            yield HostLeft(eid)
        host = self._database.remove(eid)
        if host is not None:
            self._away[eid].interface = host.interface
            yield RemoveHost(eid, host.interface)
            yield Report(
                "dynamic-eid-moved", {"eid": str(eid), "locators": [str(one.address) for one in record.locators]}
            )
            if kept := self._registrar.forget(eid):
                self._withdrawn[eid] = kept
            yield from self._seek(eid, host.interface, now)
        elif self._home.covers(eid) and record.ttl_minutes:
            self._registrar.forget(eid)  # what is not acknowledged yet of an earlier return is over
            yield from self._home.leaves(record)
            yield from self._seek(eid, "", now)
        # RFC 9437: where there are subscriptions the Map-Server tells them as soon as it told this node. Each
        # Solicit-Map-Request would have them ask what they know, while the news are under way; who goes on sending here
        # gets one.
        if not self._context.config.subscription_keys:
            peers = [one for one in self._contacts(eid) if one not in _rlocs(record)]
            yield from self._solicitor.solicit(record, peers, now)

    def stray(self, stray: StrayData, now: float) -> Iterator[Effect]:
        """Data came for a host that is not here: who sent it goes by an old mapping (requirement X06).

        A node that has restarted, or forgotten, does not know that the host was here, and others may send to it for as
        long as a Record TTL says. Then the mapping system is asked where the host is; the next packet tells its sender.
        """
        away = self._away.get(stray.eid)
        if self._database.host(stray.eid) or (away and stray.rloc in _rlocs(away.record)):
            return
        if away and self._context.config.subscription_keys and now - away.lost_at < TOLD_AFTER:
            return
        if not self._strays.allows(None, now):
            yield from self._context.drop("solicit-map-request-rate", now, destination=stray.rloc, eid=stray.eid)
            return
        record = away.record if away else (yield from self._resolve(stray.eid, now))
        if record and not self._is_own(record) and stray.rloc not in _rlocs(record):
            yield from self._solicitor.solicit(record, [stray.rloc], now)

    def may_claim(self, eid: EidPrefix, now: float) -> bool:
        """Whether a host that is seen here is this node's to register."""
        away = self._away.get(eid)
        return away is None or now >= away.yielded_until

    def seen(self, eid: EidPrefix, now: float) -> Iterator[Effect]:
        """A host that may be elsewhere is seen here: it came back, or it never left."""
        away = self._away.get(eid)
        if away is None or not self.may_claim(eid, now):
            return
        is_over, is_absent = away.yielded_until > 0, self._sought.get(eid) is None
        if is_absent and not away.yields:
            # It was not looked for any more: it came back. What was learned of the other place ends (requirement X14).
            del self._away[eid]
        elif not is_over and away.is_contested(now) and self._rank() > self._rank_of(away.record):
            self._give_up(eid)
            away.yielded_until = now + min(LONGEST_YIELD, FIRST_YIELD * 2**away.yields)
            self._yielded.set(eid, away.yielded_until)
            away.yields += 1
            # Lost for the second time, a second after the first: there are two. A host that moved there and back faster
            # than messages do has come to rest by then, and only one of the xTRs finds it.
            if away.yields == 2:
                kept_by = [str(one) for one in _rlocs(away.record)]
                yield Report("dynamic-eid-duplicate", {"eid": str(eid), "kept_by": kept_by})
            return
        elif not is_over and (is_absent or now - away.lost_at >= QUICK):
            # Who never left would have answered at once: it came back.
            self._give_up(eid)
            away.claimed, away.returned = 0, away.returned + 1
        else:
            self._give_up(eid)
            away.claimed += 1
            away.claimed_at, away.yielded_until = now, 0.0
            yield Report(
                "dynamic-eid-taken-back", {"eid": str(eid), "also_at": [str(one) for one in _rlocs(away.record)]}
            )
        yield from self._forget(eid, now)
        if self._home.is_away(eid):
            yield from self._home.returns(eid)
            # X10: nothing is left of the other place but the subnet's own mapping (requirement X14).
            yield from self._registrar.register([self._home.withdrawal(eid)], now)

    def start(self, now: float) -> Iterator[Effect]:
        """Hosts that were away before a restart are so, or have come home meanwhile."""
        yield from self._home.start()
        for record in self._home.away():
            yield from self.moved(record, now)

    def tick(self, now: float) -> Iterator[Effect]:
        """A host that was looked for is not here: its registration here ends (requirements X04 and X05)."""
        ended = [record for eid in self._sought.due(now) if (record := self._withdrawn.pop(eid, None))]
        # RFC 9301 section 5.4: a Record TTL of 0.
        yield from self._registrar.register([replace(one, ttl_minutes=0) for one in ended], now)
        for eid in self._yielded.due(now):
            if (away := self._away.get(eid)) is not None:
                yield FindHost(eid, away.interface)

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        deadlines = (self._sought.deadline(), self._yielded.deadline())
        return min((one for one in deadlines if one is not None), default=None)

    def _seek(self, eid: EidPrefix, interface: str, now: float) -> Iterator[Effect]:
        """Whoever is said to be elsewhere can show that it is here."""
        self._sought.set(eid, now + ABSENT_AFTER)
        yield FindHost(eid, interface)

    def _comes_home(self, eid: EidPrefix, now: float) -> Iterator[Effect]:
        self._away.pop(eid, None)
        self._sought.cancel(eid)
        yield from self._home.returns(eid)
        yield from self._home.settle(self._registrar.acknowledged)
        yield from self._forget(eid, now)

    def _forget(self, eid: EidPrefix, now: float) -> Iterator[Effect]:
        """What was learned of another place ends."""
        yield from self._learn(replace(EidRecord.of(eid, 0, ()), authoritative=True), now)

    def _give_up(self, eid: EidPrefix) -> None:
        self._sought.cancel(eid)
        self._withdrawn.pop(eid, None)

    def _is_own(self, record: EidRecord) -> bool:
        return any(rloc in self._context.config.rlocs for rloc in _rlocs(record))

    def _rank(self) -> tuple[int, int]:
        return min(map(_order, self._context.config.rlocs))

    def _rank_of(self, record: EidRecord) -> tuple[int, int]:
        return min(map(_order, _rlocs(record)), default=self._rank())


def _rlocs(record: EidRecord) -> list[IPAddress]:
    """Every RLOC of a locator-set."""
    hops = (rloc for locator in record.locators for rloc in rlocs_of(locator.address))
    return [rloc for rloc in hops if isinstance(rloc, IPAddress)]


def _order(rloc: IPAddress) -> tuple[int, int]:
    return rloc.version, int(rloc)
