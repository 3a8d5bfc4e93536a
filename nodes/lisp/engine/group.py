"""What the xTRs of a site tell each other on their LAN: who is there, and which hosts (``map-notify-group``, X09).

Each message is a Map-Notify to a multicast group, with the sender's xTR-ID and Site-ID behind its records (RFC 9301
section 5.7; draft-ietf-lisp-eid-mobility). Its first record is the site's prefix with its locator-set, as the sender
sees it: L-bits at its own RLOCs, their R-bits say whether it reaches the core, the A-bit that it is the gateway. Others
follow: a host with the site's locator-set is here, with other locators it is there, with a Record TTL of 0 it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nodes.lisp.config import Key
from nodes.lisp.effects import Effect, Persist, Report, SendToGroup
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.database import Host
from nodes.lisp.engine.election import HELLO, Election, Peer, Rank
from nodes.lisp.inputs import Datagram
from nodes.lisp.wire import EidRecord, MapNotify, sealed, verify

EVERYTHING = 10.0
"""Seconds between two lists of all hosts by the gateway: what was lost of single messages."""
SILENCE = 3.5 * EVERYTHING
"""Seconds after which a host that the gateway does not list is gone for its peers as well."""
ROOM = 1100
"""Bytes of records in one message; it does not leave the LAN."""
MAX_PEERS = 16
NEWEST = "group-nonce/"
KEPT_EVERY = 256
"""Nonces of a peer after which the last one is kept: so many of its messages could be played again after a restart."""


class SiteGroup:
    """Speaks to the other xTRs of the site, and hears them.

    Attributes:
        election: Which of them is the gateway.
    """

    def __init__(
        self, context: Context, site: EidRecord, durable: Mapping[str, Any], start_time: float, now: float
    ) -> None:
        """Make one that has said nothing.

        Args:
            context: What the node's roles share.
            site: The site's prefix with its locator-set.
            durable: What an earlier run kept.
            start_time: Wall-clock seconds: nonces increase from one start to the next.
            now: Seconds of the engine's clock.
        """
        config = context.config
        self._context, self._site = context, site
        self._xtr_id = bytes.fromhex(config.xtr_id)
        self._nonce = int(start_time * (1 << 32))
        self._newest = {
            key.removeprefix(NEWEST): kept
            for key, kept in durable.items()
            if key.startswith(NEWEST) and isinstance(kept, int)
        }
        self._kept = dict(self._newest)
        self._rlocs = frozenset(one.address for one in site.locators)
        self._cut_off: dict[str, frozenset[IPAddress]] = {}
        self.election = Election(_rank(config.rlocs), now)
        self._speak_at = now
        self._list_at = now
        self._introduces = False
        self._confirmed: dict[EidPrefix, float] = {}

    def take(self, notify: MapNotify, arrival: Datagram, now: float) -> Generator[Effect, None, tuple[EidRecord, ...]]:
        """Check one message; returns what it says of hosts. What is not authentic, or old, changes nothing."""
        config = self._context.config
        if notify.xtr_id == self._xtr_id:
            return ()
        if notify.xtr_id is None or notify.site_id != config.site_id or not notify.records:
            yield from self._context.drop("group-foreign", now, source=arrival.source)
            return ()
        if not self._is_authentic(notify, arrival):
            yield from self._context.drop("group-authentication", now, source=arrival.source)
            return ()
        name = notify.xtr_id.hex()
        newest = self._newest.get(name, -1)
        if notify.nonce <= newest:
            if notify.nonce < newest:
                yield from self._context.drop("group-replay", now, source=arrival.source)
            return ()
        if name not in self._newest and len(self._newest) >= MAX_PEERS:
            yield from self._context.drop("group-too-many-peers", now, source=arrival.source)
            return ()
        self._newest[name] = notify.nonce
        if notify.nonce >= self._kept.get(name, -KEPT_EVERY) + KEPT_EVERY:
            self._kept[name] = notify.nonce
            yield Persist(f"{NEWEST}{name}", notify.nonce)
        hello, *records = notify.records
        own = [one for one in hello.locators if one.local]
        rank = _rank(one.address for one in own if isinstance(one.address, IPAddress))
        lost = {one.address for one in own if not one.reachable}
        self._cut_off[name] = frozenset(one for one in lost & self._rlocs if isinstance(one, IPAddress))
        peer = Peer(rank, any(one.reachable for one in own), hello.authoritative, now)
        if self.election.heard(notify.xtr_id, peer, now):
            yield Report("site-peer-up", {"xtr_id": name, "source": str(arrival.source)})
            self._speak_at = self._list_at = now
            self._introduces = True
        return tuple(records)

    @property
    def cut_off(self) -> frozenset[IPAddress]:
        """The site's RLOCs whose xTRs have said that they do not reach the core, and not taken that back."""
        return frozenset().union(*self._cut_off.values())

    def is_ours(self, record: EidRecord) -> bool:
        """Whether a record says that a host is at this site."""
        return bool(record.ttl_minutes) and any(one.address in self._rlocs for one in record.locators)

    def confirm(self, eid: EidPrefix, now: float) -> None:
        """A peer says that a host is here."""
        self._confirmed[eid] = now

    def unconfirmed(self, hosts: Iterable[Host], now: float) -> list[Host]:
        """The hosts of which the gateway says nothing any more, although somebody else is it: they are gone."""
        hosts = list(hosts)
        self._confirmed = {one.eid: self._confirmed.get(one.eid, one.found_at) for one in hosts}
        if self.election.active or not self.election.has_gateway:
            self._confirmed = dict.fromkeys(self._confirmed, now)
        return [one for one in hosts if now - self._confirmed[one.eid] > SILENCE]

    def tell(self, records: Iterable[EidRecord], now: float, interface: str = "") -> Iterator[Effect]:
        """Tell the peers of hosts at once, those on the LAN behind an interface or all; without any, be heard."""
        part: list[EidRecord] = []
        size = 0
        for record in records:
            if part and size + len(record.encode()) > ROOM:
                yield self._message(part, interface)
                part, size = [], 0
            part.append(record)
            size += len(record.encode())
        yield self._message(part, interface)
        self._speak_at = now + HELLO

    def tick(self, hosts: Callable[[], Iterable[tuple[str, EidRecord]]], now: float) -> Iterator[Effect]:
        """Say that this xTR is there; the gateway lists the hosts now and then, everybody does so for a new peer.

        Args:
            hosts: The hosts that are here, each with its interface.
            now: Seconds of the engine's clock.
        """
        for xtr_id in self.election.tick(now):
            yield Report("site-peer-down", {"xtr_id": xtr_id.hex()})
        if now >= self._list_at:
            self._list_at = now + EVERYTHING
            by_interface: dict[str, list[EidRecord]] = {}
            for interface, record in hosts() if self.election.active or self._introduces else ():
                by_interface.setdefault(interface, []).append(record)
            self._introduces = False
            for interface, records in by_interface.items():
                yield from self.tell(records, now, interface)
        if now >= self._speak_at:
            yield from self.tell((), now)

    def deadline(self) -> float:
        """When :meth:`tick` has something to do."""
        ends = self.election.deadline()
        return min(self._speak_at, self._list_at, self._speak_at if ends is None else ends)

    def speak(self, now: float) -> None:
        """Something has changed that the peers are to hear now."""
        self._speak_at = now

    def _message(self, records: Iterable[EidRecord], interface: str) -> SendToGroup:
        self._nonce += 1
        locators = tuple(
            replace(one, reachable=self.election.able) if one.local else one for one in self._site.locators
        )
        hello = replace(self._site, locators=locators, authoritative=self.election.active)
        key = _group_key(self._context.config.map_servers[0].key)
        notify = MapNotify(
            self._nonce,
            key.key_id,
            key.algorithm,
            (hello, *records),
            xtr_id=self._xtr_id,
            site_id=self._context.config.site_id,
        )
        return SendToGroup(sealed(notify, key.secret), interface)

    def _is_authentic(self, notify: MapNotify, arrival: Datagram) -> bool:
        peers = self._context.config.map_servers
        return any(
            (key.key_id, key.algorithm) == (notify.key_id, notify.algorithm_id)
            and verify(arrival.payload, notify, _group_key(key).secret)
            for peer in peers
            for key in (peer.key, *peer.other_keys)
        )


def _group_key(key: Key) -> Key:
    """The site's secret as it is used here: hosts hear what is said, and no Map-Server is to be imitated by it."""
    return replace(key, secret=f"{key.secret} map-notify-group")


def _rank(rlocs: Iterable[IPAddress]) -> Rank:
    """The lowest RLOC's: the same order in which a host that is in two places stays with one."""
    return min(((one.version, int(one)) for one in rlocs), default=(9, 0))
