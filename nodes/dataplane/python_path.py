"""The data path in Python: packets from the TUN device into LISP headers, packets out of LISP headers into it.

The kernel has done its part before a packet gets here: TTL, fragmentation to the device's MTU, ICMP about both.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping

from nodes.dataplane import flows
from nodes.dataplane.decision import (
    OVERHEAD,
    Deliver,
    Drop,
    Encapsulate,
    Hold,
    Native,
    SourceOf,
    Tables,
    Unreachable,
    decide_inbound,
    decide_outbound,
    proxies_for,
)
from nodes.dataplane.encapsulation import FLAG_INSTANCE, LISP_HEADER, MASK_ENCRYPTION_KEY, decapsulated_tos
from nodes.dataplane.holding import Holding
from nodes.dataplane.icmp import Budget, error_message, error_packet, may_be_told
from nodes.dataplane.packet import ANY_FRAGMENT, DONT_FRAGMENT, PROTOCOLS_WITH_PORTS, Packet, parse, set_tos_and_ttl
from nodes.dataplane.ports import Sender, open_data_port, tos_and_ttl
from nodes.dataplane.statistics import Statistics
from nodes.lisp.effects import ForwardingEntry, Miss
from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.errors import DecodeError

_BATCH = 64
"""Packets handled before the loop looks at its other descriptors."""

MOST_LOCATORS = 4096
"""Locators whose routes are remembered; when there are more, all are forgotten and looked up anew."""

_RECEIVE = 65536
_V4 = struct.Struct("!BBHHHBBHQI")
_V6 = struct.Struct("!IHBBQQQQI")
_HEAD = _V6.size
_NO_OPTIONS = 0x45
"""First byte of an IPv4 packet whose header has no options: its ports are where the format above reads them."""


class PythonPath:
    """Forwards packets between a TUN device and LISP headers.

    Attributes:
        tables: What the decision depends on; written through :meth:`install` and :meth:`remove`.
        statistics: What was counted.
        held: The packets that wait for a mapping.
    """

    def __init__(
        self, tables: Tables, tun: int, source_of: SourceOf, clock: Callable[[], float], versions: frozenset[int]
    ) -> None:
        """Open its sockets in the caller's network namespace.

        Args:
            tables: The tables to decide by.
            tun: The TUN device's descriptor.
            source_of: Looks up the route to an RLOC.
            clock: The time in seconds.
            versions: The IP versions of the RLOCs and of the hosts.
        """
        self.tables = tables
        self.statistics = Statistics()
        self.held = Holding()
        self._tun = tun
        self._always_fits = tables.core_mtu - OVERHEAD[6]
        self._route = source_of
        self._clock = clock
        self._sender = Sender(versions)
        self._inbound = [open_data_port(rloc) for rloc in sorted(tables.own, key=str)]
        self._buffer = bytearray(_RECEIVE)
        self._view = memoryview(self._buffer)
        self._sources: dict[IPAddress, IPAddress | None] = {}
        self._flows: dict[object, flows.Flow] = {}
        self._accepted: dict[object, Deliver | Native] = {}
        self._misses: list[Miss] = []
        self._icmp_budget = Budget()

    # What the daemon calls

    @property
    def readers(self) -> Mapping[int, Callable[[], None]]:
        """What to call when which descriptor can be read."""
        found: dict[int, Callable[[], None]] = {self._tun: self.read_tun}
        for opened in self._inbound:
            found[opened.fileno()] = lambda opened=opened: self.read_data_port(opened)  # type: ignore[misc]
        return found

    def install(self, entry: ForwardingEntry) -> None:
        """Take an entry into the map-cache; what waited for it goes first, in order."""
        self.tables.map_cache.set(entry.prefix, entry)
        self._flows.clear()
        for eid in self.held.covered(entry.prefix):
            for packet in self.held.release(eid):
                self.outbound(packet)

    def remove(self, prefix: EidPrefix) -> None:
        """Take an entry out of the map-cache."""
        self.tables.map_cache.pop(prefix)
        self._flows.clear()

    def unresolved(self, eid: EidPrefix) -> None:
        """Drop what waits for an EID: nobody answered."""
        packets = self.held.release(eid)
        self._flows.clear()
        for packet in packets:
            self._drop(Drop("unresolved", Unreachable.HOST), packet)

    def routes_changed(self) -> None:
        """Look up the routes to locators again, for the next packet of each flow (requirement S05)."""
        self._sources.clear()
        self._flows.clear()

    def take_misses(self) -> list[Miss]:
        """The EIDs for which packets began to wait since the last call."""
        taken, self._misses = self._misses, []
        return taken

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do."""
        return self.held.deadline()

    def expire(self) -> None:
        """Give up what has waited too long."""
        for eid in self.held.expired(self._clock()):
            self.unresolved(eid)

    def close(self) -> None:
        """Close its sockets; the TUN device is the caller's."""
        self._sender.close()
        for opened in self._inbound:
            opened.close()

    # Outbound: from the TUN device into LISP headers

    def read_tun(self) -> None:
        """Handle the packets that were routed into the TUN device."""
        tun, read, outbound = self._tun, os.read, self.outbound
        size = self.tables.core_mtu + 64  # the device's MTU is smaller: a read takes a whole packet
        for _ in range(_BATCH):
            try:
                packet = read(tun, size)
            except BlockingIOError:
                return
            outbound(packet)

    def outbound(self, packet: bytes) -> None:
        """Handle one packet of a host, whose TTL the kernel has decremented."""
        key: object
        try:
            # The last fragment of a packet can be shorter than the ports: read zeros there.
            head = packet if len(packet) >= _HEAD else packet + bytes(_HEAD)
            if packet[0] >> 4 == 4:
                first, tos, _, _, fragment, ttl, protocol, _, addresses, ports = _V4.unpack_from(head)
                if first != _NO_OPTIONS:
                    behind = (first & 15) * 4
                    ports = int.from_bytes(head[behind : behind + 4], "big")
                if fragment & ANY_FRAGMENT:
                    key = addresses
                else:
                    key = (addresses, protocol, ports if protocol in PROTOCOLS_WITH_PORTS else 0)
            else:
                word, _, protocol, ttl, *addresses, ports = _V6.unpack_from(head)
                tos = word >> 20 & 0xFF
                key = (*addresses, protocol, ports if protocol in PROTOCOLS_WITH_PORTS else 0)
                fragment = DONT_FRAGMENT
            if len(packet) > self._always_fits:  # D16: which locator it gets and whether DF is set matter then
                key = (key, fragment & DONT_FRAGMENT)
            flow = self._flows.get(key)
            if flow is None:
                flow = self._decide(packet, key)
        except (struct.error, IndexError, DecodeError):
            self.statistics.drops["malformed"] += 1
            return
        flow(packet, tos, ttl)

    def _decide(self, packet: bytes, key: object) -> flows.Flow:
        headers = parse(packet)
        verdict = decide_outbound(headers, self.tables, self._source_of)
        flow: flows.Flow
        if isinstance(verdict, Encapsulate):
            flow = flows.encapsulating(verdict, self._sender.to(verdict.locator), self.statistics)
            mtu = self.tables.core_mtu - OVERHEAD[verdict.locator.version]
            if len(packet) > mtu:  # D17: the kernel cut it for an IPv4 locator
                flow = flows.fragmenting(flow, mtu)
        elif isinstance(verdict, Hold):
            waiting, new = self.held.queue(verdict.eid, self._clock())
            if waiting is None:
                # Not remembered: there may be room again for the next packet.
                return flows.dropping(Drop("holding queue full"), self._drop)
            if new:
                self._misses.append(Miss(verdict.eid, headers.source))
            flow = flows.holding(waiting, self.held, self.statistics)
        elif isinstance(verdict, Native):
            flow = self._forward_natively
        else:
            flow = flows.dropping(verdict, self._drop)
        if len(self._flows) >= flows.MOST_FLOWS:
            self._flows.clear()
        self._flows[key] = flow
        return flow

    def _forward_natively(self, packet: bytes, tos: int, ttl: int) -> None:
        # The kernel decremented the TTL on the way into the device and will do so again.
        again = bytearray(packet)
        set_tos_and_ttl(again, 0, tos, min(ttl + 1, 255))
        self._write(again)
        self.statistics.forwarded_natively += 1

    def _source_of(self, locator: IPAddress) -> IPAddress | None:
        if locator not in self._sources:
            if len(self._sources) >= MOST_LOCATORS:
                self._sources.clear()
            self._sources[locator] = self._route(locator)
        return self._sources[locator]

    # Inbound: out of LISP headers into the TUN device

    def read_data_port(self, opened: socket.socket) -> None:
        """Handle the packets that have arrived on UDP port 4341."""
        receive, buffers = opened.recvmsg_into, [self._buffer]
        for _ in range(_BATCH):
            try:
                length, ancillary, _, _ = receive(buffers, 128)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error about a packet of ours: nothing was received
                continue
            tos, ttl = tos_and_ttl(ancillary)
            self.inbound(length, tos, ttl)

    def inbound(self, length: int, outer_tos: int, outer_ttl: int) -> None:
        """Handle the LISP packet of ``length`` bytes in the buffer: LISP header, inner packet."""
        buffer, drops = self._buffer, self.statistics.drops
        flags = buffer[0]
        if length <= LISP_HEADER:
            drops["malformed"] += 1
            return
        if flags & MASK_ENCRYPTION_KEY:  # RFC 8061: encrypted with a key that this node does not have
            drops["encrypted"] += 1
            return
        # D06 to D08: nonce, Locator-Status-Bits, versions and the reserved bit are not looked at.
        instance_id = int.from_bytes(buffer[4:7], "big") if flags & FLAG_INSTANCE else 0
        start = LISP_HEADER
        if buffer[start] >> 4 == 4:
            end = start + (buffer[start + 2] << 8 | buffer[start + 3])
            key = (instance_id, bytes(buffer[start + 12 : start + 20]))
            tos, ttl = buffer[start + 1], buffer[start + 8]
        else:
            end = start + 40 + (buffer[start + 4] << 8 | buffer[start + 5])
            key = (instance_id, bytes(buffer[start + 8 : start + 40]))
            tos, ttl = (buffer[start] & 15) << 4 | buffer[start + 1] >> 4, buffer[start + 7]
        verdict = self._accepted.get(key)
        if end > length or verdict is None:
            verdict = self._accept(length, instance_id, key)
            if verdict is None:
                return
        new_tos = decapsulated_tos(tos, outer_tos)
        if new_tos is None:
            drops["congestion experienced, inner packet not ECN-capable"] += 1
            return
        # RFC 9300 section 5.3: the outer TTL, where it is the smaller one, so that loops end.
        set_tos_and_ttl(buffer, start, new_tos, min(ttl, outer_ttl))
        self.statistics.decapsulated += 1
        self.statistics.decapsulated_bytes += end - start
        if type(verdict) is Native:
            self.statistics.forwarded_natively += 1
        self._write(self._view[start:end])

    def _accept(self, length: int, instance_id: int, key: object) -> Deliver | Native | None:
        data = self._view[LISP_HEADER:length]
        try:
            packet = parse(data)
        except DecodeError:
            self.statistics.drops["malformed"] += 1
            return None
        verdict = decide_inbound(packet, instance_id, self.tables)
        if isinstance(verdict, Drop):
            self._drop(verdict, bytes(data[: packet.length]), packet)
            return None
        if len(self._accepted) >= flows.MOST_FLOWS:
            self._accepted.clear()
        self._accepted[key] = verdict
        return verdict

    # Both

    def _write(self, packet: bytearray | memoryview) -> None:
        try:
            os.write(self._tun, packet)
        except OSError:  # the device is down or its queue full
            self.statistics.drops["device refused"] += 1

    def _drop(self, verdict: Drop, data: bytes, packet: Packet | None = None) -> None:
        self.statistics.drops[verdict.reason] += 1
        if verdict.icmp is None or not self._icmp_budget.take(self._clock()):
            return
        packet = packet or parse(data)
        if not may_be_told(packet, data):
            return
        if proxies_for(packet.source, self.tables):
            # Natively the error would come back to this router, with its own address as the source.
            own = [rloc for rloc in self.tables.own if rloc.version == packet.version]
            if own:
                self.outbound(error_packet(verdict, packet, data, own[0]))
                self.statistics.icmp_sent += 1
            return
        try:
            self._sender.icmp(error_message(verdict, packet, data), packet.source)
            self.statistics.icmp_sent += 1
        except (OSError, KeyError):  # no way back, or no socket of that IP version
            self.statistics.drops["ICMP error not sent"] += 1
