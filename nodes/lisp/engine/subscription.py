"""A subscription at a Map-Server, and the Map-Notifies that its xTR has not acknowledged (RFC 9437, 5 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import ip_address
from typing import Any

from nodes.lisp.config import Subscriber
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.engine.repetition import Repetition
from nodes.lisp.wire import EidRecord

SERIAL_BITS = 64
_SERIALS = 1 << SERIAL_BITS
AFTER_RESTART = 256
"""By how much publications' nonces go on after a restart: the last ones may not have been kept."""
NEAR = 64
"""How much greater than the last nonce that of a Map-Request is at most which goes on from it, with retransmissions."""
SUBSCRIPTIONS = "subscription/"
"""What the names begin with under which subscriptions are kept."""


def newer(nonce: int, than: int) -> bool:
    """Whether a nonce is greater than another one (RFC 9437 sections 5 and 6).

    By serial number arithmetic (RFC 1982): the first one is the xTR's to choose, and may be among the greatest.
    """
    return 0 < (nonce - than) % _SERIALS < _SERIALS >> 1


def plus(nonce: int, steps: int) -> int:
    """A nonce that many steps later."""
    return (nonce + steps) % _SERIALS


class Purpose(Enum):
    """What a Map-Notify to a subscriber is for."""

    CONFIRM = auto()  # answers a Map-Request that subscribes
    END = auto()  # answers one that unsubscribes
    PUBLISH = auto()  # tells a change


@dataclass(slots=True, eq=False)
class Subscription:
    """What one xTR wants to be told of.

    Attributes:
        subscriber: The xTR.
        prefix: The EID-prefix; all inside it is told as well.
        confirmed: Whether the xTR has proved that it wants that; before, it is told nothing.
        rlocs: Its ITR-RLOCs that this Map-Server can send to.
        nonce: The last one: that of the Map-Request, or of a publication after it.
        step: By how much the next publication's is greater.
        since: When it was confirmed first, in seconds of the engine's clock.
        temporary: Whether the prefix held no EID: such a subscription ends.
        pending: The answers to its requests that wait for their acknowledgement.
        unsaid: The publications that do, the oldest first; no prefix is in two of them.
    """

    subscriber: Subscriber
    prefix: EidPrefix
    confirmed: bool = False
    rlocs: tuple[IPAddress, ...] = ()
    nonce: int = 0
    step: int = 1
    since: float = 0.0
    temporary: bool = False
    pending: list[Telling] = field(default_factory=list)
    unsaid: list[Telling] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What it is kept under across a restart."""
        return f"{SUBSCRIPTIONS}{self.subscriber.xtr_id}/{self.prefix}"

    @property
    def state(self) -> str:
        """In a word."""
        return "pending" if not self.confirmed else "unacknowledged" if self.unsaid else "subscribed"

    def next_nonce(self) -> int:
        """RFC 9437 section 6: each publication of an EID-prefix to an xTR has a nonce greater by one.

        Section 5: so may each Map-Request of the xTR. One that waits for its acknowledgement has taken its nonce: the
        xTR would drop a publication with that as a replay. One from far ahead may be forged, and its xTR expect less.
        """
        taken = [ahead for one in self.pending if 0 < (ahead := (one.nonces[0] - self.nonce) % _SERIALS) <= NEAR]
        self.nonce = plus(self.nonce, max(taken, default=0) + self.step)
        self.step = 1
        return self.nonce

    def go_on_from(self, nonce: int) -> None:
        """The xTR has proved that this nonce is its own; what was published meanwhile may have a greater one."""
        if not self.confirmed or newer(nonce, self.nonce):
            self.nonce = nonce

    def to_json(self) -> dict[str, Any]:
        """What is kept across a restart; :meth:`from_json` reads it."""
        return {
            "xtr_id": self.subscriber.xtr_id,
            "eid": _plain(self.prefix),
            "rlocs": [str(one) for one in self.rlocs],
            "nonce": self.nonce,
            "temporary": self.temporary,
            "untold": [_plain(prefix) for telling in self.unsaid for prefix in telling.records],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], known: Mapping[str, Subscriber], now: float) -> Subscription:
        """Read what :meth:`to_json` wrote.

        Raises:
            KeyError, ValueError, TypeError: It was not written by :meth:`to_json`, or its xTR or its RLOCs are not
                known any more.
        """
        subscriber, rlocs = known[data["xtr_id"]], tuple(ip_address(one) for one in data["rlocs"])
        if not rlocs or not all(any(one in network for network in subscriber.rlocs) for one in rlocs):
            raise ValueError("its RLOCs are not those of its xTR")
        # The next Map-Request of its xTR goes on from the nonce that it has seen last, and knows of no restart.
        return cls(
            subscriber,
            prefix_of(data["eid"]),
            True,
            rlocs,
            nonce=plus(int(data["nonce"]), 0),
            step=AFTER_RESTART,
            since=now,
            temporary=bool(data["temporary"]),
        )


@dataclass(slots=True, eq=False)
class Telling:
    """A Map-Notify to a subscriber, until it is acknowledged.

    Attributes:
        subscription: What it is about.
        purpose: What it is for.
        records: What it says; what is overtaken by later news leaves a publication.
        rlocs: Where it goes: the next one each time that it is repeated (RFC 9437 section 6).
        nonces: Those that it has been sent with; an acknowledgement of any of them will do.
        missed: Of an answer that waits: what has been published since.
        hurried: How often it has been told again because a later one was acknowledged.
        repetition: When it is sent again.
    """

    subscription: Subscription
    purpose: Purpose
    records: dict[EidPrefix, EidRecord]
    rlocs: tuple[IPAddress, ...]
    nonces: list[int]
    missed: dict[EidPrefix, EidRecord] = field(default_factory=dict)
    hurried: int = 0
    repetition: Repetition = field(default_factory=Repetition)

    @property
    def rloc(self) -> IPAddress:
        """Where it goes now."""
        return self.rlocs[self.repetition.repeated % len(self.rlocs)]


def prefix_of(plain: Any) -> EidPrefix:
    """Read an EID-prefix that was kept.

    Raises:
        ValueError, TypeError: It is none.
    """
    network, instance_id = plain
    return EidPrefix.of(str(network), int(instance_id))


def _plain(prefix: EidPrefix) -> list[Any]:
    return [str(prefix.network), prefix.instance_id]
