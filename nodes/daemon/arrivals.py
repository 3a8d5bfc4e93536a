"""Machines that say that they are here and not who they are: which addresses to ask them for (RARP, requirement X01).

A hypervisor announces a guest that it has received by its MAC address; the guest itself may say nothing. So it is asked
which addresses it has: by ARP and neighbour solicitations that go to its MAC address alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.rate_limit import RateLimit

MOST_QUESTIONS = 256
"""How many addresses a machine is asked for: what it had here before, what is known to be elsewhere, then one after the
other of the prefix."""

MOST_OTHERS = 4
"""How many of the addresses that it had here before a machine is asked for when it comes back with one of them."""

PAUSE = 1.0
"""Seconds between two searches for one machine: hypervisors announce it several times."""

BURST, EACH = 16 * MOST_QUESTIONS, 0.001
"""Questions to all machines: as many at once, then one in a millisecond."""

_MOST_REMEMBERED = 4096


class Arrivals:
    """Remembers which MAC address had which addresses, and chooses what to ask."""

    def __init__(self, permitted: Iterable[EidPrefix], elsewhere: Callable[[EidPrefix], Iterable[EidPrefix]]) -> None:
        """Remember nothing yet.

        Args:
            permitted: The prefixes in which hosts are found.
            elsewhere: The hosts of a prefix that are known to be behind other routers.
        """
        self._permitted = tuple(permitted)
        self._elsewhere = elsewhere
        self._had: dict[bytes, dict[EidPrefix, None]] = {}
        self._searches: RateLimit[bytes] = RateLimit(1, PAUSE)
        self._returns: RateLimit[bytes] = RateLimit(1, PAUSE)
        self._questions: RateLimit[None] = RateLimit(BURST, EACH)

    def had(self, mac: bytes, eid: EidPrefix) -> None:
        """A host was here with this MAC address."""
        known = self._had.pop(mac, {})
        known[eid] = None
        self._had[mac] = dict(islice(known.items(), MOST_QUESTIONS))
        if len(self._had) > _MOST_REMEMBERED:
            del self._had[next(iter(self._had))]

    def others(self, mac: bytes, is_wanted: Callable[[EidPrefix], bool], now: float) -> Iterator[EidPrefix]:
        """What a machine had here besides when it was here before: a few, and none if too many arrive.

        Once in a while: of a machine that stays another router's, each answer would ask for the next.

        Args:
            mac: Its MAC address.
            is_wanted: Whether it is to be asked for one of them.
            now: Seconds of the clock.
        """
        wanted = [eid for eid in islice(self._had.get(mac, ()), MOST_OTHERS) if is_wanted(eid)]
        if not wanted or not self._returns.allows(mac, now):
            return
        for eid in wanted:
            if not self._questions.allows(None, now):
                return
            yield eid

    def questions(self, mac: bytes, instance_id: int, now: float) -> Iterator[IPAddress]:
        """The addresses to ask a machine for, the likeliest first; none that was just asked, or if too many arrive.

        Args:
            mac: Its MAC address.
            instance_id: The instance that it arrived in.
            now: Seconds of the clock.
        """
        # A flood of them costs no more than looking at the clock.
        if self._questions.next(None, now) > now or not self._searches.allows(mac, now):
            return
        prefixes = [one for one in self._permitted if one.instance_id == instance_id]
        likely = [one.address for one in self._had.get(mac, ()) if one.instance_id == instance_id]
        derived = (_modified_eui_64(one, mac) for one in prefixes if one.version == 6 and one.mask_len <= 64)
        known = (eid.address for one in prefixes for eid in self._elsewhere(one))
        # Of an IPv6 prefix, the first addresses are as likely as any: the machine is pinged instead.
        each = (address for one in prefixes if one.version == 4 for address in one.network)
        chosen: set[IPAddress] = set()
        for address in islice(chain(likely, derived, known, each), 2 * MOST_QUESTIONS):
            if address in chosen:
                continue
            if len(chosen) >= MOST_QUESTIONS or not self._questions.allows(None, now):
                return
            chosen.add(address)
            yield address


def _modified_eui_64(prefix: EidPrefix, mac: bytes) -> IPAddress:
    """The address that a machine gives itself in a prefix (RFC 4291, appendix A)."""
    identifier = bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
    return prefix.network[int.from_bytes(identifier, "big")]
