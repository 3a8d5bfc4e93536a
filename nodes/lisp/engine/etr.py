"""ETR: the site's mappings, who is told of them, and which hosts are here (RFC 9301 sections 5.5, 6.1 and 8.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nodes.lisp.effects import AddHost, Answer, BeGateway, Effect, RemoveHost, Report
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.database import Database, Host, RefusedError
from nodes.lisp.engine.group import SiteGroup
from nodes.lisp.engine.handover import Handover, Learn, Resolve
from nodes.lisp.engine.home import Home
from nodes.lisp.engine.notices import Notices
from nodes.lisp.engine.registrar import Registrar
from nodes.lisp.engine.solicitor import Solicitor
from nodes.lisp.inputs import ChangeKey, ChangeLocator, CoreLinks, Datagram, HostGone, HostSeen, HostsSeen, StrayData
from nodes.lisp.locators import last_hop
from nodes.lisp.wire import EidRecord, MapNotify, MapRequest


class Etr:
    """The site's database, registered with every configured Map-Server."""

    def __init__(
        self,
        context: Context,
        durable: Mapping[str, Any],
        start_time: float,
        learn: Learn,
        resolve: Resolve,
        contacts: Callable[[EidPrefix], Collection[IPAddress]],
        now: float,
    ) -> None:
        """Make one that has sent nothing.

        Args:
            context: What the node's roles share.
            durable: What an earlier run kept.
            start_time: Wall-clock seconds.
            learn: Takes the mapping of a host that is elsewhere into the map-cache.
            resolve: The mapping of a host by the map-cache; asks for it where that has none.
            contacts: The RLOCs that data of an EID went to or came from within the last minute.
            now: Seconds of the engine's clock.
        """
        self._context = context
        self._contacts = contacts
        self._database = Database(context.config)
        self._registrar = Registrar(context, durable, start_time)
        self._solicitor = Solicitor(context)
        self._unregistered: list[EidRecord] = []  # of hosts that were found, within one step
        self._found: dict[EidPrefix, EidRecord] = {}  # until the Map-Servers know
        self._notices = Notices(context, durable)
        self._home = Home(context.config, self._database, durable)
        self._handover = Handover(
            context, self._database, self._home, self._registrar, self._solicitor, learn, resolve, contacts
        )
        config = context.config
        self._group: SiteGroup | None = None
        self._was_gateway = False
        if config.map_notify_group is not None:
            prefixes = (*(one.prefix for one in config.dynamic_eids), *(one.prefix for one in config.database))
            record = self._database.record_of(prefixes[0])
            self._group = SiteGroup(context, record, durable, start_time, now)

    def start(self, now: float) -> Iterator[Effect]:
        """Send the first Map-Registers."""
        yield from self._registrar.register(self._database.records(), now)
        yield from self._handover.start(now)
        yield from self._speak(now)

    def verdict(self, eid: EidPrefix, probed: IPAddress | None = None) -> tuple[EidPrefix, EidRecord] | None:
        """The site's mapping for ``eid``, as an ETR tells it, and its prefix; None if the EID is not of this site.

        Args:
            eid: The EID or EID-prefix asked for.
            probed: The RLOC that an RLOC-probe came to.
        """
        record = self._database.find(eid)
        if record is None:
            return None
        # RFC 9301 section 5.4: A and L are an ETR's to set; p marks the one locator that was probed.
        locators = record.locators
        if probed:
            marked = next((one for one in locators if last_hop(one.address) == probed), None)
            locators = tuple(replace(one, probed=one is marked) for one in locators)
        return record.prefix, replace(record, locators=locators, authoritative=True)

    def inside(self, prefix: EidPrefix) -> Iterator[EidRecord]:
        """The mappings of all more-specifics of ``prefix``."""
        yield from (replace(record, authoritative=True) for record in self._database.inside(prefix))

    def host_seen(self, seen: HostSeen, now: float) -> Iterator[Effect]:
        """A host showed itself."""
        yield from self.hosts_seen(HostsSeen((seen,)), now)

    def hosts_seen(self, seen: HostsSeen, now: float) -> Iterator[Effect]:
        """Hosts showed themselves: inside a permitted prefix they become dynamic-EIDs (requirements X01, X02)."""
        news: dict[str, list[EidRecord]] = {}
        returned = []
        here: list[Effect] = []
        for one in seen.hosts:
            if not self._home.covers(one.eid):
                if record := self._take_in(one, now, here):
                    news.setdefault(one.interface, []).append(record)
            elif self._home.is_away(one.eid):
                # X10: a host of the subnet is not registered; one that was away is back.
                yield from self._handover.seen(one.eid, now)
                if not self._home.is_away(one.eid):
                    returned.append(self._home.withdrawal(one.eid))
        yield from self._register_found(now)
        yield from here
        for interface, records in news.items():
            yield from self._tell_peers(records, now, interface)
        if returned:
            yield from self._tell_peers(returned, now)

    def _take_in(self, seen: HostSeen, now: float, here: list[Effect]) -> EidRecord | None:
        """A host is here; its record, if that is news, and in ``here`` what is to be done for it.

        :meth:`_register_found` is to follow, and goes first: before a Map-Server has told somebody who then sends here,
        the host route is there. What comes sooner, once, goes by what was known before.
        """
        before = self._database.host(seen.eid)
        if before is not None and before.interface == seen.interface:
            return None
        elsewhere = list(self._handover.seen(seen.eid, now)) if before is None else []
        if before is None and not self._handover.may_claim(seen.eid, now):
            dropped = self._context.drop("host-of-another-xtr", now, eid=seen.eid, interface=seen.interface)
            here += [*elsewhere, *dropped]
            return None
        try:
            record = self._database.add(Host(seen.eid, seen.interface, before.found_at if before else now))
        except RefusedError as error:
            dropped = self._context.drop(error.reason, now, eid=seen.eid, interface=seen.interface)
            here += [*elsewhere, *dropped]
            return None
        if before is not None:
            here.append(RemoveHost(seen.eid, before.interface))
        # The host route comes before what was known of another place ends: between the two nobody would be there.
        here += [AddHost(seen.eid, seen.interface), *elsewhere]
        here.append(Report("dynamic-eid-found", {"eid": str(seen.eid), "interface": seen.interface}))
        if before is None and self._registers_hosts:
            self._unregistered.append(record)
        return record

    def _register_found(self, now: float) -> Iterator[Effect]:
        """Hosts that were taken in are registered, all together."""
        records, self._unregistered = self._unregistered, []
        self._found |= {record.prefix: record for record in records}
        if records:
            yield from self._registrar.register(records, now)

    def stray_data(self, stray: StrayData, now: float) -> Iterator[Effect]:
        """Data came for a host that is not here (requirement X06)."""
        yield from self._handover.stray(stray, now)

    def host_gone(self, gone: HostGone, now: float) -> Iterator[Effect]:
        """A host is not there any more: its mapping is withdrawn, and never registered again (requirement X05)."""
        host = self._database.host(gone.eid)
        if host is None or host.interface != gone.interface or not self._registers_hosts:
            return  # a host that does not answer a gateway's peer may answer the gateway
        yield from self._gone(host)
        yield from self._registrar.withdraw(gone.eid, now)
        yield from self._tell_peers([EidRecord.of(gone.eid, 0)], now, gone.interface)

    def _gone(self, gone: Host) -> Iterator[Effect]:
        self._database.remove(gone.eid)
        self._found.pop(gone.eid, None)
        yield RemoveHost(gone.eid, gone.interface)
        yield Report("dynamic-eid-gone", {"eid": str(gone.eid), "interface": gone.interface})

    def change_locator(self, change: ChangeLocator, now: float) -> Iterator[Effect]:
        """The site changes how others share their traffic among its RLOCs (requirement S11)."""
        try:
            records = self._database.change(change)
        except RefusedError as error:
            yield Answer(change.token, None, str(error))
            return
        yield from self._registrar.register(records, now)
        # RFC 9301 section 6.1: those with whom data was exchanged within the last minute are to ask again.
        for record in records:
            self._solicitor.announce(record, change.peers, now)
        yield Answer(
            change.token,
            {
                "eid": str(change.prefix.network),
                "instance_id": change.prefix.instance_id,
                "locators": [
                    {"rloc": str(one.address), "priority": one.priority, "weight": one.weight}
                    for one in self._database.locators(change.prefix)
                ],
                "changed": [str(record.prefix) for record in records],
                "peers": [str(one) for one in self._solicitor.reachable(change.peers)] if records else [],
            },
        )

    def moved(self, now: float) -> Iterator[Effect]:
        """The node has other RLOCs: the Map-Servers hear it at once, then those with whom data was exchanged.

        The old RLOCs need no withdrawal: what an xTR registers replaces what it registered (RFC 9301 section 5.6).
        """
        before = {record.prefix: record for record in self._database.records()}
        self._database.configure(self._context.config)
        records = self._database.records()
        yield from self._registrar.register(records, now)
        for record in records:
            if record != before[record.prefix]:
                self._solicitor.announce(record, self._contacts(record.prefix), now)

    def change_key(self, change: ChangeKey, now: float) -> Iterator[Effect]:
        """The site registers with another of its secrets from now on (RFC 9301 section 5.6, Key ID)."""
        known = self._registrar.key_ids()
        if change.key_id not in known:
            allowed = ", ".join(map(str, known)) or "none"
            yield Answer(
                change.token, None, f"Key ID {change.key_id} is not shared with every Map-Server; {allowed} is"
            )
            return
        yield from self._registrar.change_key(change.key_id, now)
        servers = [str(peer.address) for peer in self._context.config.map_servers]
        yield Answer(change.token, {"key_id": change.key_id, "map_servers": servers})

    def map_notify(self, notify: MapNotify, arrival: Datagram, now: float) -> Iterator[Effect]:
        """A Map-Server acknowledges a Map-Register; what waited for that is told to others. Or it has news."""
        if self._group is not None and arrival.destination == self._context.config.map_notify_group:
            for record in (yield from self._group.take(notify, arrival, now)):
                yield from self._peer_says(record, arrival.interface, self._group, now)
            yield from self._speak(now)
            return
        if not self._registrar.sent(notify.nonce):
            news = yield from self._notices.take(notify, arrival, now)
            for record in news:
                yield from self._handover.moved(record, now)
                if self._database.host(record.prefix) is None:
                    self._found.pop(record.prefix, None)
            if news:
                yield from self._tell_peers(news, now)
            return
        known = yield from self._registrar.map_notify(notify, arrival, now)
        yield from self._home.settle(self._registrar.acknowledged)
        yield from self._solicitor.settle(self._is_known, now)
        yield from self._tell_contacts(known, now)

    def _is_known(self, prefix: EidPrefix) -> bool:
        """Whether every Map-Server is known to know a mapping as it is: of what a peer registers nothing is heard."""
        return self._registrar.registers(prefix) and self._registrar.acknowledged(prefix)

    def _tell_contacts(self, known: Iterable[EidPrefix], now: float) -> Iterator[Effect]:
        """Hosts that were found are registered: whoever has got data of theirs may go by what was so before.

        Of a new host that is the negative Map-Reply of a moment ago, if an answer to its first packet was faster than
        its registration; of one that moved, the old place, should the xTR there be silent.
        """
        for eid in known:
            record = self._found.pop(eid, None)
            # RFC 9437: where the Map-Server tells subscribers, it has told them before it acknowledged.
            if record is not None and not self._context.config.subscription_keys:
                yield from self._solicitor.solicit(record, self._contacts(eid), now)

    def map_request(self, request: MapRequest) -> None:
        """A Map-Request came through the mapping system: it may show that a Solicit-Map-Request has arrived."""
        self._solicitor.heard(request)

    # The other xTRs of the site (requirement X09)

    def core_links(self, links: CoreLinks, now: float) -> Iterator[Effect]:
        """This node reaches the core, or does not: then a peer is the better gateway."""
        if self._group is not None:
            self._group.election.set_able(links.up, now)
            self._group.speak(now)
            yield from self._speak(now)

    @property
    def _registers_hosts(self) -> bool:
        """One xTR of a site does, the gateway; the locator-set that it registers has those of all."""
        return self._group is None or self._group.election.active

    def _tell_peers(self, records: Iterable[EidRecord], now: float, interface: str = "") -> Iterator[Effect]:
        if self._group is not None:
            yield from self._group.tell(records, now, interface)

    def _peer_says(self, record: EidRecord, interface: str, group: SiteGroup, now: float) -> Iterator[Effect]:
        eid = record.prefix
        if group.is_ours(record):
            group.confirm(eid, now)
            here: list[Effect] = []
            self._take_in(HostSeen(eid, interface), now, here)
            yield from self._register_found(now)
            yield from here
        elif record.ttl_minutes or self._home.covers(eid):
            yield from self._handover.moved(record, now)
        elif (host := self._database.host(eid)) is not None:
            yield from self._gone(host)
            if self._registers_hosts:
                yield from self._registrar.withdraw(eid, now)

    def _speak(self, now: float) -> Iterator[Effect]:
        """Be heard by the peers, and the gateway if it is this node's turn."""
        group = self._group
        if group is None:
            return
        yield from group.tick(self._hosts_here, now)
        active = group.election.active
        changed = self._database.regard(group.cut_off)
        told: list[EidRecord] = []
        if active != self._was_gateway:
            self._was_gateway = active
            yield BeGateway(active)
            yield Report("gateway", {"active": active})
            yield from group.tell((), now)
            hosts = [record for _, record in self._hosts_here()]
            if active:
                told = hosts
                yield from self._registrar.register(hosts, now)
            else:
                for record in hosts:
                    self._registrar.forget(record.prefix)
        if changed:
            yield from self._tell_reachability({record.prefix for record in told}, now)
        for host in group.unconfirmed(self._database.hosts(), now):
            yield from self._gone(host)

    def _tell_reachability(self, told: Collection[EidPrefix], now: float) -> Iterator[Effect]:
        """A peer has lost the core, or reaches it again: others are to use its RLOCs no more, or again.

        RFC 9301 section 5.4: the R-bit is what an xTR of the site says of a locator; its own one can say so no more.

        Args:
            told: What has just been registered so.
            now: Seconds of the engine's clock.
        """
        records = {record.prefix: record for record in self._database.records()}
        others = set() if self._registers_hosts else {host.eid for host in self._database.hosts()}
        unsaid = [record for eid, record in records.items() if eid not in others and eid not in told]
        yield from self._registrar.register(unsaid, now)
        for eid, record in records.items():
            if self._database.host(eid) is not None and eid not in others:
                self._found[eid] = record  # also who talks with it only by then is solicited
            else:
                self._solicitor.announce(record, self._contacts(eid), now)

    def _hosts_here(self) -> list[tuple[str, EidRecord]]:
        return [(host.interface, self._database.record_of(host.eid)) for host in self._database.hosts()]

    def tick(self, now: float) -> Iterator[Effect]:
        """Register again, retransmit, solicit."""
        yield from self._speak(now)
        yield from self._registrar.tick(now)
        yield from self._handover.tick(now)
        yield from self._solicitor.tick(now)

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        group = self._group.deadline() if self._group is not None else None
        deadlines = (self._registrar.deadline(), self._handover.deadline(), self._solicitor.deadline(), group)
        return min((one for one in deadlines if one is not None), default=None)

    @property
    def registered(self) -> bool:
        """Whether every Map-Server has acknowledged every EID-prefix, and the hosts have a gateway."""
        return self._registrar.registered and (self._group is None or self._group.election.is_settled)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """The database as a table: what is registered with whom."""
        return [
            {
                "eid": str(record.prefix.network),
                "instance_id": record.prefix.instance_id,
                "locators": [
                    {"rloc": str(one.address), "priority": one.priority, "weight": one.weight}
                    for one in record.locators
                ],
                "ttl_minutes": record.ttl_minutes,
                "map_servers": self._registrar.rows(record.prefix, now),
            }
            for record in self._database.records()
        ]

    def host_rows(self, now: float) -> list[dict[str, Any]]:
        """The dynamic-EIDs that are here, as a table."""
        return [
            {
                "eid": str(host.eid.network),
                "instance_id": host.eid.instance_id,
                "interface": host.interface,
                "found_s": round(now - host.found_at, 1),
                "state": "registered" if self._registrar.acknowledged(host.eid) else "pending",
            }
            for host in self._database.hosts()
        ]
