"""With whom data was exchanged by way of the programs: their map is read as a whole, and not for each host."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodes.dataplane.bpf.layout import CONTACT_KEY, LONG
from nodes.dataplane.contacts import Use
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel.maps import KernelMap
from nodes.lisp.eid import EidPrefix, IPAddress

AGE = 0.02
"""Seconds for which what was read is good: hundreds of hosts that leave at once are asked about one after the other."""

_SCOPE_END = CONTACT_KEY.fields["scope"][1]
_EID_START, _EID_SIZE = CONTACT_KEY.fields["eid"]
_EID_END = _EID_START + _EID_SIZE


class KernelContacts:
    """The map ``contacts``."""

    def __init__(self, kernel: KernelMap, clock: Callable[[], float]) -> None:
        """Nothing is read yet; ``clock`` is the time in seconds."""
        self._kernel, self._clock = kernel, clock
        self._by_eid: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._read_at = float("-inf")

    def of(self, prefix: EidPrefix) -> Iterator[Use]:
        """The RLOCs that data of the EIDs inside ``prefix`` went to or came from, seconds of CLOCK_MONOTONIC.

        As they were at most :data:`AGE` ago. Raises OSError.
        """
        if prefix.mask_len == prefix.network.max_prefixlen:
            if self._clock() - self._read_at > AGE:
                self._read()
            host = encoding.scope(prefix.instance_id, prefix.version) + encoding.padded(prefix.address)
            yield from (_use(key, value) for key, value in self._by_eid.get(host, ()))
            return
        for instance_id, eid, rloc, last in self.all():
            if prefix.instance_id == instance_id and prefix.contains(eid):
                yield rloc, last

    def all(self) -> Iterator[tuple[int, IPAddress, IPAddress, float]]:
        """Instance-ID, EID of this site, RLOC, and when data last went between them, as it is now. Raises OSError."""
        for key, value in self._kernel.items():
            yield *encoding.contact(key), LONG.unpack(value)[0] / 1e9

    def _read(self) -> None:
        found: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for key, value in self._kernel.items():
            found.setdefault(key[:_SCOPE_END] + key[_EID_START:_EID_END], []).append((key, value))
        self._by_eid, self._read_at = found, self._clock()


def _use(key: bytes, value: bytes) -> Use:
    return encoding.contact(key)[2], LONG.unpack(value)[0] / 1e9
