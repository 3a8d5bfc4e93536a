"""The MTU of the path to each RLOC, as ICMP errors tell it (RFC 9300 section 7.2, requirement D19)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from nodes.lisp.effects import Effect, PathMtu, Report
from nodes.lisp.eid import IPAddress
from nodes.lisp.engine.context import Context
from nodes.lisp.inputs import TooBig
from nodes.lisp.map_cache import MapCache
from nodes.lisp.timers import Timers

LEAST = {4: 576, 6: 1280}
"""What every path carries (RFC 1122 section 3.3.3, RFC 8200 section 5): a smaller MTU in an error is not believed."""
LIFETIME = 600.0
"""Seconds after which a path may have become wider (RFC 1191 section 6.3, RFC 8201 section 4)."""
MOST = 1024
"""RLOCs with a smaller MTU than the core's; when there are more, the one that would be forgotten first makes room."""


class PathMtus:
    """Takes in what gets smaller; what gets wider shows itself when the lifetime is over.

    Anybody can forge such an error. The worst that it does is packets of 576 or 1280 bytes for ten minutes.
    """

    def __init__(self, context: Context, map_cache: MapCache) -> None:
        self._context = context
        self._map_cache = map_cache
        self._mtus: dict[IPAddress, int] = {}
        self._timers: Timers[IPAddress] = Timers()

    def too_big(self, error: TooBig, now: float) -> Iterator[Effect]:
        """An outer packet of this node did not fit its path."""
        config, rloc, mtu = self._context.config, error.rloc, error.mtu
        if not config.path_mtu_discovery:  # RFC 9300 section 7.1: stateless
            return
        if not self._map_cache.uses(rloc) and rloc not in config.petrs:
            yield from self._context.drop("icmp-too-big-no-locator", now, rloc=rloc)
        elif mtu < LEAST[rloc.version]:
            yield from self._context.drop("icmp-too-big-mtu", now, rloc=rloc, mtu=mtu)
        elif mtu < self._mtus.get(rloc, config.core_mtu):
            if rloc not in self._mtus and len(self._mtus) >= MOST and (first := self._timers.first()):
                yield self._forget(first[1])
            self._mtus[rloc] = mtu
            self._timers.set(rloc, now + LIFETIME)
            yield PathMtu(rloc, mtu)
            yield Report("path-mtu", {"rloc": str(rloc), "mtu": mtu})

    def of(self, rloc: str) -> int | None:
        """The MTU learned of the path to an RLOC in bytes, or None."""
        return self._mtus.get(ip_address(rloc))

    def tick(self, now: float) -> Iterator[Effect]:
        """Forget what is old."""
        for rloc in self._timers.due(now):
            yield self._forget(rloc)

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        return self._timers.deadline()

    def _forget(self, rloc: IPAddress) -> PathMtu:
        self._timers.cancel(rloc)
        del self._mtus[rloc]
        return PathMtu(rloc, 0)
