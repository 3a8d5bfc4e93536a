"""Which addresses that showed themselves on a site interface are taken for hosts (requirements X01, X02)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from nodes.dataplane.decision import Tables
from nodes.lisp.config import DynamicEid
from nodes.lisp.eid import EidPrefix
from nodes.lisp.eid_table import EidTable

MOST_HOSTS_OF_A_MAC = 64
"""Dynamic-EIDs with the same MAC address: one station that announces a whole prefix must not lock the others out."""


class Admission:
    """Tells hosts from what cannot be one, and keeps each MAC address to its share of them."""

    def __init__(
        self, tables: Tables, permitted: EidTable[DynamicEid], report: Callable[[str, dict[str, Any]], None]
    ) -> None:
        """Admit nobody yet.

        Args:
            tables: What the data path decides by.
            permitted: The prefixes in which hosts are found one by one.
            report: Writes an event and its fields into the log.
        """
        self._tables, self._permitted, self._report = tables, permitted, report
        self._macs: dict[EidPrefix, str] = {}
        self._shares: Counter[str] = Counter()
        self._reported: set[str] = set()

    def admits(self, eid: EidPrefix, mac: str) -> bool:
        """Whether ``eid``, overheard with this MAC address, may be a host."""
        if self._macs.get(eid) == mac:
            return True
        permitted = self._permitted.lookup(eid)
        if permitted is None or eid.address in permitted[1].routers or self._names_a_subnet(eid, permitted[0]):
            return False
        if self._shares[mac] < MOST_HOSTS_OF_A_MAC:
            return True
        if mac not in self._reported:
            # Once, and again only after it had room: who announces addresses could fill the log too.
            self._reported.add(mac)
            self._report("too-many-hosts-of-a-mac", {"mac": mac, "most": MOST_HOSTS_OF_A_MAC, "eid": str(eid)})
        return False

    def knows(self, mac: str) -> bool:
        """Whether a host with this MAC address is here."""
        return mac in self._shares

    def took(self, eid: EidPrefix, mac: str) -> None:
        """A host was overheard with this MAC address; the one it had before has room again."""
        if self._macs.get(eid) != mac:
            self.forget(eid)
            self._macs[eid] = mac
            self._shares[mac] += 1

    def forget(self, eid: EidPrefix) -> None:
        """A host is here no longer."""
        mac = self._macs.pop(eid, None)
        if mac is not None:
            self._shares[mac] -= 1
            if not self._shares[mac]:
                del self._shares[mac]
            self._reported.discard(mac)

    def _names_a_subnet(self, eid: EidPrefix, permitted: EidPrefix) -> bool:
        """Whether an address is a subnet's own, or broadcast.

        RFC 4291 section 2.6.1: the first address of an IPv6 subnet is the anycast address of its routers. RFC 3021 and
        RFC 6164: subnets of two addresses have hosts at both.
        """
        last_bits = int(eid.address) & 3
        if last_bits in (1, 2) or (last_bits == 3 and eid.version == 6):
            return False  # no subnet of four addresses or more begins or ends with it
        known = self._tables.native.covering(eid)
        subnets = [one.network for one, leads_here in known if leads_here and _is_subnet(one)]
        # The end of a prefix inside a subnet is a host's like any other.
        return any(
            eid.address == one.network_address or (eid.version == 4 and eid.address == one.broadcast_address)
            for one in subnets or [one.network for one in (permitted,) if _is_subnet(one)]
        )


def _is_subnet(prefix: EidPrefix) -> bool:
    return 0 < prefix.mask_len < prefix.address.max_prefixlen - 1
