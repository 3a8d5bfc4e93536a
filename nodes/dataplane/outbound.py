"""From a TUN device into LISP headers: what was routed into the device is a candidate for encapsulation."""

from __future__ import annotations

import os
import struct
from functools import partial

from nodes.dataplane import flows
from nodes.dataplane.context import PathContext
from nodes.dataplane.counts import Count
from nodes.dataplane.decision import (
    OVERHEAD,
    Drop,
    Encapsulate,
    Hold,
    Native,
    decide_again,
    decide_outbound,
    is_stranger,
)
from nodes.dataplane.decision import Outbound as Verdict
from nodes.dataplane.gates import Gate
from nodes.dataplane.packet import (
    ANY_FRAGMENT,
    DONT_FRAGMENT,
    PROTOCOLS_WITH_PORTS,
    parse,
    set_tos_and_ttl,
)
from nodes.dataplane.strangers import Stranger
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.errors import DecodeError
from nodes.lisp.inputs import Miss

BATCH = 64
"""Packets handled before the loop looks at its other descriptors."""

_V4 = struct.Struct("!BBHHHBBHQI")
_V6 = struct.Struct("!IHBBQQQQI")
_HEAD = _V6.size
_NO_OPTIONS = 0x45
"""First byte of an IPv4 packet whose header has no options: its ports are where the format above reads them."""


class Outbound:
    """The packets of one instance's TUN device; at an RTR also those that came out of LISP headers."""

    def __init__(
        self,
        context: PathContext,
        instance_id: int,
        tun: int,
        gate: Gate | None = None,
        *,
        site: int | None = None,
        transit: bool = False,
    ) -> None:
        """Take charge of the packets of a TUN device.

        Args:
            context: What the data path shares.
            instance_id: The instance-ID of the hosts whose packets are routed into the device.
            tun: The device's descriptor.
            gate: Told how far the reading has come; None without a fast path.
            site: The descriptor of the device that leads to the instance's hosts, if that is another one.
            transit: Whether the packets come out of LISP headers instead: an RTR, or the xTR that a host left, puts
                them into others. They are for EIDs of other sites, and never leave natively.
        """
        self._context = context
        self._gate = gate
        self._transit = transit
        self._held = context.transit if transit else context.held
        self._instance_id = instance_id
        self._tun, self._site = tun, tun if site is None else site
        self._flows: dict[object, flows.Flow] = {}
        self.forget()

    def forget(self) -> None:
        """Decide anew for the next packet of each flow."""
        self._flows.clear()
        tables = self._context.tables
        self._always_fits = min((tables.core_mtu, *tables.path_mtu.values())) - OVERHEAD[6]

    def read(self) -> None:
        """Handle the packets that were routed into the device."""
        context = self._context
        context.now = context.clock()
        gate = self._gate
        if gate is not None:
            gate.begin()
        tun, read, handle = self._tun, os.read, self._handle_transit if self._transit else self.handle
        size = context.tables.core_mtu + 64  # the device's MTU is smaller: a read takes a whole packet
        for _ in range(BATCH):
            try:
                packet = read(tun, size)
            except BlockingIOError:
                if gate is not None:
                    gate.drained()
                return
            handle(packet)
        if gate is not None:
            gate.read(BATCH)

    def _handle_transit(self, packet: bytes) -> None:
        """The programs took this packet out of its LISP header: DSCP, ECN and TTL are as an RTR sends it on."""
        statistics = self._context.statistics
        statistics.decapsulated += 1
        statistics.decapsulated_bytes += len(packet)
        statistics.reencapsulated += 1
        self.handle(packet)

    def handle(self, packet: bytes, came_from: IPAddress | None = None) -> None:
        """Handle one packet, whose TTL is decremented: a host's by the kernel.

        Args:
            packet: The packet.
            came_from: The RLOC that sent it here, if it is not to go back there.
        """
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
            if len(packet) > self._always_fits:  # D16, D19: size, locator and whether DF is set matter then
                key = (key, fragment & DONT_FRAGMENT, len(packet))
            if came_from is not None:
                key = (key, came_from)
            flow = self._flows.get(key)
            if flow is None:
                flow = self._decide(packet, key, came_from)
        except (struct.error, IndexError, DecodeError):
            self._context.statistics.drops["malformed"] += 1
            return
        flow(packet, tos, ttl)

    def _decide(self, packet: bytes, key: object, came_from: IPAddress | None) -> flows.Flow:
        context = self._context
        headers = parse(packet)
        source = host_prefix(headers.source, self._instance_id)
        if not self._transit and is_stranger(source, context.tables):
            # Not remembered: it is to be decided anew as soon as the host is found.
            return self._hold_until_found(source)
        verdict: Verdict
        if self._transit:
            verdict = decide_again(headers, context.tables, context.source_of, self._instance_id, came_from)
        else:
            verdict = decide_outbound(headers, context.tables, context.source_of, self._instance_id)
        flow: flows.Flow
        if isinstance(verdict, Encapsulate):
            contact = context.contacts.between(verdict.instance_id, headers.source, verdict.locator, context.now)
            found = context.tables.map_cache.lookup_address(verdict.instance_id, headers.destination)
            count = context.counts.of(found[0], verdict.locator) if found else Count()
            flow = flows.encapsulating(verdict, context.sender.to(verdict.locator), context, contact, count)
            mtu = context.tables.inner_mtu(verdict.locator)
            if len(packet) > mtu:  # D17, D19: the kernel cut it for an IPv4 locator over the whole core's MTU
                flow = flows.fragmenting(flow, mtu)
        elif isinstance(verdict, Hold):
            waiting, new = self._held.queue(verdict.eid, context.clock())
            if waiting is None:
                # Not remembered: there may be room again for the next packet.
                return flows.dropping(Drop("holding queue full"), context, self._instance_id)
            handle = self.handle if came_from is None else partial(self.handle, came_from=came_from)
            flow = flows.holding(waiting, self._held, handle, context)
            if verdict.here or came_from is not None:
                context.sought.note(verdict.eid, context.clock())
            if verdict.here:
                return flow  # not remembered: while packets come, the host is asked for again
            if new:
                context.misses.append(Miss(verdict.eid, headers.source))
        elif isinstance(verdict, Native):
            flow = self._forward_natively
        else:
            flow = flows.dropping(verdict, context, self._instance_id)
        if len(self._flows) >= flows.MOST_FLOWS:
            self._flows.clear()
        self._flows[key] = flow
        return flow

    def _hold_until_found(self, stranger: EidPrefix) -> flows.Flow:
        # Anybody can write this source: the packet goes nowhere until the host itself has answered for it.
        context = self._context
        context.strangers.note(Stranger(stranger), context.clock())
        waiting, _ = context.unfound.queue(stranger, context.clock())
        if waiting is None:
            return flows.dropping(Drop("holding queue full"), context, self._instance_id)
        return flows.holding(waiting, context.unfound, self.handle, context)

    def _forward_natively(self, packet: bytes, tos: int, ttl: int) -> None:
        # The kernel decremented the TTL on the way into the device and will do so again.
        again = bytearray(packet)
        set_tos_and_ttl(again, 0, tos, min(ttl + 1, 255))
        statistics = self._context.statistics
        try:
            os.write(self._site, again)
        except OSError:  # the device is down or its queue full
            statistics.drops["device refused"] += 1
            return
        statistics.forwarded_natively += 1
