"""ARP and neighbour discovery answered for hosts that are elsewhere (requirements S06, X11, X12)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from nodes.daemon.neighbour_socket import NeighbourSocket
from nodes.dataplane.decision import Tables
from nodes.dataplane.neighbours import Heard
from nodes.dataplane.path import DataPath
from nodes.lisp.config import DynamicEid
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.inputs import Input, Miss
from nodes.lisp.rate_limit import RateLimit

_PATIENCE = 5.0
"""Seconds after which a neighbour request is an old story: the count of unanswered requests starts again."""

_BETWEEN_CORRECTIONS = 0.1
"""Seconds after which who still sends to a host that is not here is told so again."""

_MOST = 4096
"""Neighbour requests that are remembered."""


@dataclass(slots=True)
class _Asking:
    """One host that asks for one that is not here.

    Attributes:
        requests: How many it has sent in a row, the last of them ``heard`` on ``port`` at ``last``.
    """

    port: NeighbourSocket
    heard: Heard
    last: float
    requests: int = 0


class ProxyReplies:
    """Answers who asks for a host of its subnet that is behind another router."""

    def __init__(
        self,
        tables: Tables,
        permitted: EidTable[DynamicEid],
        path: DataPath,
        step: Callable[[Input], None],
        clock: Callable[[], float],
    ) -> None:
        """Nobody has asked yet.

        Args:
            tables: What the data path decides by.
            permitted: The prefixes in which hosts are found.
            path: The data path, which counts the answers.
            step: Tells the engine what has happened.
            clock: The time of the hosts, in seconds.
        """
        self._tables, self._permitted, self._path, self._step, self._clock = tables, permitted, path, step, clock
        self._corrections: RateLimit[tuple[EidPrefix, IPAddress]] = RateLimit(2, _BETWEEN_CORRECTIONS)
        self._asking: dict[tuple[EidPrefix, IPAddress], _Asking] = {}
        self._tidied = -_PATIENCE
        self._waiting: dict[tuple[EidPrefix, IPAddress], _Asking] = {}  # for the mapping system

    def asked(self, port: NeighbourSocket, heard: Heard, eid: EidPrefix) -> None:
        """A host asks for one of its subnet, which is not here."""
        permitted = self._permitted.lookup(eid)
        if permitted is None or eid.address in permitted[1].routers:
            return
        now = self._clock()
        asking = self._asking.get((eid, heard.sender))
        if asking is None or now - asking.last > _PATIENCE:
            if len(self._asking) >= _MOST and now - self._tidied > _PATIENCE:
                self._tidied = now  # seldom: while there is a flood, each look at all of them costs more than it brings
                self._asking = {key: one for key, one in self._asking.items() if now - one.last <= _PATIENCE}
                self._waiting = {key: one for key, one in self._waiting.items() if key in self._asking}
            if len(self._asking) >= _MOST:
                return
            asking = self._asking[eid, heard.sender] = _Asking(port, heard, now)
        asking.port, asking.heard, asking.last = port, heard, now
        asking.requests += 1
        if heard.misled:
            # Nobody else will answer. It goes on sending until it knows better: as fast as it sends, at worst.
            if not self._corrections.allows((eid, heard.sender), now):
                return
        elif asking.requests <= permitted[1].proxy_reply_requests:
            return
        if self._is_far(eid):
            self._answer(eid, asking)
        else:
            self._waiting[eid, heard.sender] = asking
            self._step(Miss(eid, heard.sender))

    def installed(self, prefix: EidPrefix) -> None:
        """The mapping system has answered: so may we."""
        now = self._clock()
        for key, asking in list(self._waiting.items()):
            if now - asking.last > _PATIENCE:
                del self._waiting[key]
            elif prefix.covers(key[0]) and self._is_far(key[0]):
                del self._waiting[key]
                self._answer(key[0], asking)

    def _answer(self, eid: EidPrefix, asking: _Asking) -> None:
        with suppress(OSError):  # the interface is down; the host will ask again
            asking.port.answer(asking.heard, eid.address)
            self._path.neighbour_answered()

    def _is_far(self, eid: EidPrefix) -> bool:
        """Whether a host is known to be behind another router."""
        found = self._tables.map_cache.lookup(eid)
        return (
            found is not None
            and found[1].forwarding is Forwarding.ENCAPSULATE
            and not any(locator.address in self._tables.own for locator in found[1].locators)
        )
