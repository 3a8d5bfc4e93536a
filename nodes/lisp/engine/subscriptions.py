"""What an ITR, PITR or RTR has subscribed to, and which Map-Notifies it believes (RFC 9437 sections 4 to 7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nodes.lisp.config import Key
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.engine.context import Context
from nodes.lisp.engine.subscription import SERIAL_BITS, newer, plus
from nodes.lisp.inputs import Datagram
from nodes.lisp.timers import Timers
from nodes.lisp.wire import Action, EidRecord, MapNotify, verify

RENEWAL = 300.0
"""Seconds after which a subscription whose mappings are in use is asked for again: its Map-Server may have lost it."""
REFUSED = 60.0
"""Seconds for which nothing is subscribed to after a refusal, and after which a subscription is tried again."""
MAX_SUBSCRIPTIONS = 8192
MAX_ENDING = 256
ENDING_TRANSMISSIONS, BETWEEN = 4, 1.0
"""How often a Map-Request that unsubscribes is sent at most, and seconds between two (RFC 9301 section 5.3)."""
STEP_BITS = 18
WINDOW = 1 << 16
"""How much greater a publication's nonce may be than the last one. Those of other subscriptions are further away."""


@dataclass(slots=True)
class Subscribed:
    """An EID-prefix that a Map-Server has confirmed.

    Attributes:
        prefix: The EID-prefix; publications are about it, or about more-specifics.
        eid: What was asked for, and is asked for again.
        server: The Map-Server.
        nonce: The last one that was seen.
        asked: The later nonces that it was asked for with as well: their answers may be on the way.
        temporary: Whether the prefix held no EID: then it is not told of for ever.
        since: When it was confirmed first, in seconds of the engine's clock.
    """

    prefix: EidPrefix
    eid: EidPrefix
    server: IPAddress
    nonce: int
    asked: set[int] = field(default_factory=set)
    temporary: bool = False
    since: float = 0.0


@dataclass(slots=True)
class Ending:
    """A Map-Request that unsubscribes: from what, and how often it has been sent."""

    prefix: EidPrefix
    sent: int = 0


class Subscriptions:
    """The subscriptions of one node; those of a node without a secret for it are none, and stay none."""

    def __init__(self, context: Context, start_time: float) -> None:
        """Make one without subscriptions.

        Args:
            context: What the node's roles share.
            start_time: Wall-clock seconds.
        """
        self._context = context
        self._keys = context.config.subscription_keys
        self._table: EidTable[Subscribed] = EidTable()
        self._renewals: Timers[EidPrefix] = Timers()
        self._wanted: Timers[EidPrefix] = Timers()
        self._ending: dict[int, Ending] = {}
        self._unheard: Timers[int] = Timers()
        self._refused_until = float("-inf")
        # RFC 9437 section 5: greater than any that the Map-Server has seen, before a restart as well. And not one of
        # those that Map-Registers and other Map-Notifies have: it tells what a Map-Notify is about.
        self._nonce = int(start_time * (1 << 31)) + (context.nonce() >> 40)

    def open(self, now: float) -> bool:
        """Whether to subscribe to what is asked for."""
        return bool(self._keys) and now >= self._refused_until and len(self._table) < MAX_SUBSCRIPTIONS

    def next_nonce(self) -> int:
        """A nonce for a Map-Request that subscribes or unsubscribes.

        A decision of ours: RFC 9437 section 5 has the last nonce of the EID-prefix increased by one. A publication
        that is under way has that as well: of the two, one would be taken for the other, or dropped as its replay, and
        where a host has just moved that is the news. So it is greater by so much that no publication of this or
        another subscription is as great; a Map-Server asks for no more than a greater one.
        """
        step = (1 << STEP_BITS) + (self._context.nonce() >> (SERIAL_BITS - STEP_BITS))
        self._nonce = plus(self._nonce, step)
        return self._nonce

    def refused(self, now: float) -> None:
        """This node may not subscribe: it does without for a while."""
        self._refused_until = now + REFUSED

    def later(self, eid: EidPrefix, now: float) -> None:
        """It did not work now: try again by and by."""
        if self._keys and len(self._wanted) < MAX_SUBSCRIPTIONS:
            self._wanted.set(eid, now + REFUSED)

    def wanted(self, now: float) -> list[EidPrefix]:
        """What it is time to try again."""
        return self._wanted.due(now)

    def confirmed(self, notify: MapNotify, eid: EidPrefix, asked: Iterable[int], server: IPAddress, now: float) -> None:
        """A Map-Server has taken a subscription.

        Args:
            notify: The Map-Notify that says so.
            eid: What was asked for.
            asked: Every nonce that it was asked for with.
            server: Where the Map-Notify came from.
            now: Seconds of the engine's clock.
        """
        record = notify.records[0]
        before = self._table.get(record.prefix)
        later = {nonce for nonce in asked if newer(nonce, notify.nonce)}
        since = before.since if before else now
        subscribed = Subscribed(
            record.prefix, eid, server, notify.nonce, later, temporary=not record.locators, since=since
        )
        self._table.set(record.prefix, subscribed)
        self._renewals.set(record.prefix, now + self._context.jitter(RENEWAL, 0.2))

    def expect(self, prefix: EidPrefix, asked: Iterable[int]) -> None:
        """Map-Requests with these nonces asked for more EIDs of a prefix, which is confirmed: so may they be."""
        if (one := self._table.get(prefix)) is not None:
            one.asked.update(nonce for nonce in asked if newer(nonce, one.nonce))

    def find(self, notify: MapNotify) -> Subscribed | None:
        """Which subscription a Map-Notify belongs to, by its records and its nonce; None if to none."""
        if not notify.records:
            return None
        for _, one in self._table.covering(notify.records[0].prefix):
            ahead = (notify.nonce - one.nonce) % (1 << SERIAL_BITS)
            if ahead <= WINDOW or notify.nonce in one.asked or (1 << SERIAL_BITS) - ahead <= WINDOW:
                return one
        return None

    def key_of(self, notify: MapNotify, arrival: Datagram) -> Key | None:
        """The secret that proves that a Map-Server has sent this (RFC 9437 section 7.1); None if nothing does."""
        named = (key for key in self._keys if (key.key_id, key.algorithm) == (notify.key_id, notify.algorithm_id))
        return next((key for key in named if verify(arrival.payload, notify, key.secret)), None)

    def end(self, prefix: EidPrefix) -> Subscribed | None:
        """Be told of this prefix no more; returns what it was."""
        self._renewals.cancel(prefix)
        return self._table.pop(prefix)

    def ending(self, prefix: EidPrefix, nonce: int, now: float) -> int:
        """A Map-Request with this nonce unsubscribes; returns how often it was sent before.

        It is the same one each time: a Map-Server takes no two of them, and its Map-Notify answers them all.
        """
        one = self._ending.setdefault(nonce, Ending(prefix))
        one.sent += 1
        if one.sent < ENDING_TRANSMISSIONS:
            self._unheard.set(nonce, now + BETWEEN)
        if len(self._ending) > MAX_ENDING:
            self._forget_ending(next(iter(self._ending)))
        return one.sent - 1

    def unheard(self, now: float) -> list[tuple[EidPrefix, int]]:
        """The prefixes and nonces of those that nobody has answered, and it is time to send again."""
        return [(self._ending[nonce].prefix, nonce) for nonce in self._unheard.due(now)]

    def is_ending(self, nonce: int) -> bool:
        """Whether a Map-Notify with this nonce answers a Map-Request that unsubscribes; it is to be acknowledged."""
        return nonce in self._ending

    def ended(self, nonce: int) -> None:
        """It has come. It may come again: the acknowledgement may be lost."""
        self._unheard.cancel(nonce)

    def wants(self, eid: EidPrefix) -> None:
        """A Map-Request subscribes to this: a late answer to one that unsubscribed ends nothing any more."""
        for nonce in [nonce for nonce, one in self._ending.items() if one.prefix.covers(eid)]:
            self._forget_ending(nonce)

    def _forget_ending(self, nonce: int) -> None:
        del self._ending[nonce]
        self._unheard.cancel(nonce)

    def renew_all(self, now: float) -> None:
        """Ask for everything again that is in use: it is told to the wrong place."""
        for prefix, _ in self._table.items():
            self._renewals.set(prefix, now)

    def due(self, now: float) -> list[Subscribed]:
        """The subscriptions that are to be looked after; each will be due again."""
        found = [one for prefix in self._renewals.due(now) if (one := self._table.get(prefix))]
        for one in found:
            self._renewals.set(one.prefix, now + self._context.jitter(RENEWAL, 0.2))
        return found

    def deadline(self) -> float | None:
        """When :meth:`due`, :meth:`wanted` or :meth:`unheard` has something."""
        deadlines = (self._renewals.deadline(), self._wanted.deadline(), self._unheard.deadline())
        return min((one for one in deadlines if one is not None), default=None)

    def rows(self, now: float) -> list[dict[str, Any]]:
        """The subscriptions as a table."""
        config = self._context.config
        return [
            {
                "eid": str(prefix.network),
                "instance_id": prefix.instance_id,
                "from": [str(one.server)],
                "to": [str(rloc) for rloc in config.rlocs],
                "xtr_id": config.xtr_id,
                "state": "temporary" if one.temporary else "subscribed",
                "since_s": round(now - one.since, 1),
            }
            for prefix, one in self._table.items()
        ]


def is_refusal(records: Iterable[EidRecord]) -> bool:
    """Whether this is how a subscription is refused, or said to be lost (RFC 9437 section 5)."""
    refusals = (Action.DROP_POLICY_DENIED, Action.DROP_AUTH_FAILURE)
    return any(not record.locators and record.action in refusals for record in records)
