"""What the site's EIDs map to: configured EID-prefixes, and the hosts found inside permitted prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nodes.lisp.config import DatabaseMapping, DynamicEid, Locator, NodeConfig
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.eid_table import EidTable
from nodes.lisp.errors import LispError
from nodes.lisp.inputs import ChangeLocator
from nodes.lisp.locators import explicit_path
from nodes.lisp.wire import EidRecord, LocatorRecord, sorted_locators

MAX_HOSTS = 4096


@dataclass(frozen=True, slots=True)
class Host:
    """A dynamic-EID that is here.

    Attributes:
        eid: Its host prefix.
        interface: The site interface that leads to it.
        found_at: When it showed itself first, in seconds of the engine's clock.
    """

    eid: EidPrefix
    interface: str
    found_at: float


class RefusedError(LispError):
    """A host or a change that the configuration does not allow; the text says why.

    Attributes:
        reason: A short name for counters.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Database:
    """The mappings that this ETR registers and answers for. A host's own /32 or /128 goes before its prefix."""

    def __init__(self, config: NodeConfig, max_hosts: int = MAX_HOSTS) -> None:
        """Make one that knows no host yet.

        Args:
            config: What the node is told.
            max_hosts: The bound on hosts; who can send from a whole prefix may not fill the memory.
        """
        self._max_hosts = max_hosts
        self._mappings: EidTable[DatabaseMapping] = EidTable()
        self._permitted: EidTable[DynamicEid] = EidTable()
        self._hosts: EidTable[Host] = EidTable()
        self._cut_off: frozenset[IPAddress] = frozenset()
        self.configure(config)

    def configure(self, config: NodeConfig) -> None:
        """Go by a configuration whose RLOCs are others; the hosts that are here have the new ones as well."""
        self._own = frozenset(config.rlocs)
        for mapping in config.database:
            self._mappings.set(mapping.prefix, mapping)
        for permitted in config.dynamic_eids:
            self._permitted.set(permitted.prefix, permitted)
        for host in self.hosts():
            if found := self._permitted.lookup(host.eid):
                self._mappings.set(host.eid, DatabaseMapping(host.eid, found[1].locators, found[1].ttl_minutes))

    def regard(self, cut_off: frozenset[IPAddress]) -> bool:
        """Tell from now on that these RLOCs of the site cannot be reached; whether that is news."""
        news = cut_off != self._cut_off
        self._cut_off = cut_off
        return news

    def find(self, eid: EidPrefix) -> EidRecord | None:
        """The record of the longest prefix that covers ``eid``, or None."""
        found = self._mappings.lookup(eid)
        return self._record(found[1]) if found else None

    def record_of(self, prefix: EidPrefix) -> EidRecord:
        """The record of a mapping, or what it would be for a host of a permitted prefix.

        Raises:
            KeyError: It is neither.
        """
        mapping, permitted = self._mappings.get(prefix), self._permitted.get(prefix)
        if mapping is None:
            if permitted is None:
                raise KeyError(str(prefix))
            mapping = DatabaseMapping(prefix, permitted.locators, permitted.ttl_minutes)
        return self._record(mapping)

    def inside(self, prefix: EidPrefix) -> Iterator[EidRecord]:
        """The records of all more-specifics of ``prefix``."""
        yield from (self._record(mapping) for inner, mapping in self._mappings.covered(prefix) if inner != prefix)

    def records(self) -> list[EidRecord]:
        """Every record, in address order."""
        return [self._record(mapping) for _, mapping in self._mappings.items()]

    def hosts(self) -> list[Host]:
        """Every dynamic-EID that is here, in address order."""
        return [host for _, host in self._hosts.items()]

    def host(self, eid: EidPrefix) -> Host | None:
        """The dynamic-EID, if it is here."""
        return self._hosts.get(eid)

    def add(self, host: Host) -> EidRecord:
        """Take in a host that showed itself, or move it to another interface; its record.

        Raises:
            RefusedError: No permitted prefix covers it, it has a configured mapping, or there are too many hosts.
        """
        # Requirement X02: only hosts inside a permitted prefix, as a /32 or /128.
        permitted = self._permitted.lookup(host.eid)
        if permitted is None or host.eid.mask_len != host.eid.network.max_prefixlen:
            raise RefusedError("host-not-permitted", f"{host.eid} is no host of a permitted prefix")
        if host.eid.address in permitted[1].routers:
            raise RefusedError("host-is-a-router", f"{host.eid} is the address of a router")
        known = host.eid in self._hosts
        if not known and host.eid in self._mappings:
            raise RefusedError("host-configured", f"{host.eid} has a configured mapping")
        if not known and len(self._hosts) >= self._max_hosts:
            raise RefusedError("too-many-hosts", f"{host.eid} is one host more than {self._max_hosts}")
        mapping = DatabaseMapping(host.eid, permitted[1].locators, permitted[1].ttl_minutes)
        self._hosts.set(host.eid, host)
        self._mappings.set(host.eid, mapping)
        return self._record(mapping)

    def remove(self, eid: EidPrefix) -> Host | None:
        """Forget a dynamic-EID; what was known of it, or None."""
        host = self._hosts.pop(eid)
        if host is not None:
            self._mappings.pop(eid)
        return host

    def change(self, change: ChangeLocator) -> list[EidRecord]:
        """Give an RLOC another priority or weight; the records that say something else now.

        Raises:
            RefusedError: The prefix is not of this site, the RLOC not of its locator-set, or a number not of 8 bits.
        """
        permitted = self._permitted.get(change.prefix)
        mappings = [
            mapping for prefix, mapping in self._mappings.covered(change.prefix) if self._goes_by(prefix, change)
        ]
        if permitted is None and not mappings:
            prefixes = ", ".join(sorted(str(one) for one in self._changeable())) or "none"
            raise RefusedError("locator-change", f"{change.prefix} is not an EID-prefix of this site; {prefixes} is")
        changed = [replace(mapping, locators=_changed(mapping.locators, change)) for mapping in mappings]
        if permitted is not None:
            self._permitted.set(change.prefix, replace(permitted, locators=_changed(permitted.locators, change)))
        for mapping in changed:
            self._mappings.set(mapping.prefix, mapping)
        return [self._record(new) for new, old in zip(changed, mappings, strict=True) if new != old]

    def locators(self, prefix: EidPrefix) -> tuple[Locator, ...]:
        """The locator-set of a configured mapping or of a permitted prefix; empty if it is neither."""
        found = self._mappings.get(prefix) or self._permitted.get(prefix)
        return found.locators if found else ()

    def _changeable(self) -> Iterator[EidPrefix]:
        yield from (prefix for prefix, _ in self._mappings.items() if prefix not in self._hosts)
        yield from (prefix for prefix, _ in self._permitted.items())

    def _goes_by(self, prefix: EidPrefix, change: ChangeLocator) -> bool:
        """Whether a mapping is the one that is changed, or a host whose permitted prefix is."""
        if prefix not in self._hosts:
            return prefix == change.prefix
        longest = self._permitted.lookup(prefix)
        return longest is not None and longest[0] == change.prefix

    def _record(self, mapping: DatabaseMapping) -> EidRecord:
        """A mapping as it is told: sorted locators (RFC 9301 section 5.5), those that end here with the L-bit."""
        locators = (
            LocatorRecord(
                explicit_path((*one.via, one.address)),
                one.priority,
                one.weight,
                local=one.address in self._own,
                reachable=one.address not in self._cut_off,  # section 5.4, R-bit
            )
            for one in mapping.locators
        )
        return EidRecord.of(mapping.prefix, mapping.ttl_minutes, sorted_locators(locators))


def _changed(locators: tuple[Locator, ...], change: ChangeLocator) -> tuple[Locator, ...]:
    """The locator-set with one RLOC changed.

    Raises:
        RefusedError: The RLOC is not in it, or a number does not fit its 8 bits (RFC 9301 section 5.4).
    """
    if change.rloc not in {one.address for one in locators}:
        allowed = ", ".join(str(one.address) for one in locators)
        raise RefusedError("locator-change", f"{change.rloc} is not in the locator-set of {change.prefix}: {allowed}")
    for name, value in (("priority", change.priority), ("weight", change.weight)):
        if value is not None and not 0 <= value <= 255:
            raise RefusedError("locator-change", f"{name} {value} is not one of 0 to 255")
    return tuple(
        one
        if one.address != change.rloc
        else replace(
            one,
            priority=one.priority if change.priority is None else change.priority,
            weight=one.weight if change.weight is None else change.weight,
        )
        for one in locators
    )
