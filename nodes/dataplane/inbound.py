"""Out of LISP headers: into the TUN device of the packet's instance, or into another LISP header.

Into another one go the packets of an RTR, and those for a host that left this site.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from nodes.dataplane import flows
from nodes.dataplane.absences import Absence
from nodes.dataplane.contacts import Contact
from nodes.dataplane.context import PathContext
from nodes.dataplane.decision import Drop, Native, Reencapsulate, Unreachable
from nodes.dataplane.decision_inbound import decide_inbound
from nodes.dataplane.encapsulation import (
    FLAG_INSTANCE,
    FLAG_STATUS_BITS,
    LISP_HEADER,
    MASK_ENCRYPTION_KEY,
    decapsulated_tos,
)
from nodes.dataplane.outbound import BATCH
from nodes.dataplane.packet import parse, set_tos_and_ttl
from nodes.dataplane.ports import tos_and_ttl
from nodes.dataplane.unfinished import finish
from nodes.lisp.eid import IPAddress, host_prefix
from nodes.lisp.errors import DecodeError
from nodes.lisp.inputs import StatusBits

_RECEIVE = 65536
_NO_OPTIONS = 0x45
"""First byte of an IPv4 packet whose header has no options."""

Again = Callable[[bytes, int, IPAddress | None], None]
"""Takes a packet that is to be put into another LISP header, its TTL decremented; its instance-ID; and the RLOC that it
does not go back to."""


@dataclass(slots=True, eq=False)
class _Accepted:
    """What becomes of the packets of one inner source and destination from one outer source.

    Attributes:
        tun: The device that they are written to.
        natively: Whether a PETR forwards them.
        contact: Their EID of this site and the outer source.
        source: The inner source.
        again: Whether they go into another LISP header.
        absence: Of what the control plane is to be told while they come.
        status_bits: The last Locator-Status-Bits that came with them.
    """

    tun: int
    natively: bool
    contact: Contact
    source: IPAddress
    again: bool = False
    absence: Absence | None = None
    status_bits: int | None = None


class Inbound:
    """The packets that arrive on UDP port 4341."""

    def __init__(self, context: PathContext, tuns: Mapping[int, int], again: Again, unfinished: bool = False) -> None:
        """Take charge of decapsulation.

        Args:
            context: What the data path shares.
            tuns: The descriptor of each instance's TUN device, by instance-ID.
            again: Takes what is encapsulated again.
            unfinished: Whether checksums may be left to complete: the kernel's programs run here too, and they need no
                complete ones, so that nobody before this router completes any.
        """
        self._context = context
        self._again = again
        self._unfinished = unfinished
        self._hears = bool(context.tables.registered)
        self._tuns = tuns
        self._buffer = bytearray(_RECEIVE)
        self._view = memoryview(self._buffer)
        self._accepted: dict[object, _Accepted] = {}

    def forget(self) -> None:
        """Decide anew for the next packet of each flow."""
        self._accepted.clear()

    def read(self, opened: socket.socket) -> None:
        """Handle the packets that have arrived on a socket."""
        self._context.now = self._context.clock()
        receive, buffers = opened.recvmsg_into, [self._buffer]
        for _ in range(BATCH):
            try:
                length, ancillary, _, sender = receive(buffers, 128)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error about a packet of ours: nothing was received
                continue
            tos, ttl = tos_and_ttl(ancillary)
            self.handle(length, sender[0], tos, ttl)

    def handle(self, length: int, sender: str, outer_tos: int, outer_ttl: int) -> None:
        """Handle the LISP packet of ``length`` bytes in the buffer: LISP header, inner packet."""
        buffer, statistics = self._buffer, self._context.statistics
        flags = buffer[0]
        if length <= LISP_HEADER:
            statistics.drops["malformed"] += 1
            return
        if flags & MASK_ENCRYPTION_KEY:  # RFC 8061: encrypted with a key that this node does not have
            statistics.drops["encrypted"] += 1
            return
        # D06 to D08: nonce, versions and the reserved bit are not looked at.
        instance_id = int.from_bytes(buffer[4:7], "big") if flags & FLAG_INSTANCE else 0
        start = LISP_HEADER
        first = buffer[start]
        if first >> 4 == 4:
            end = start + (buffer[start + 2] << 8 | buffer[start + 3])
            key = (instance_id, sender, bytes(buffer[start + 12 : start + 20]))
            tos, ttl = buffer[start + 1], buffer[start + 8]
            sound = first == _NO_OPTIONS and end >= start + 20 and _sums_up(buffer, start, start + 20)
        else:
            end = start + 40 + (buffer[start + 4] << 8 | buffer[start + 5])
            key = (instance_id, sender, bytes(buffer[start + 8 : start + 40]))
            tos, ttl = (first & 15) << 4 | buffer[start + 1] >> 4, buffer[start + 7]
            sound = first >> 4 == 6
        accepted = self._accepted.get(key) if sound and end <= length else None
        if accepted is None:
            accepted = self._accept(length, instance_id, sender, key)
            if accepted is None:
                return
        new_tos = decapsulated_tos(tos, outer_tos)
        if new_tos is None:
            statistics.drops["congestion experienced, inner packet not ECN-capable"] += 1
            return
        # RFC 9300 section 5.3: the outer TTL, where it is the smaller one, so that loops end.
        ttl = min(ttl, outer_ttl)
        set_tos_and_ttl(buffer, start, new_tos, ttl)
        statistics.decapsulated += 1
        statistics.decapsulated_bytes += end - start
        if accepted.natively:
            statistics.forwarded_natively += 1
        accepted.contact.last = self._context.now
        if self._hears and flags & FLAG_STATUS_BITS and not accepted.again:
            self._hear(accepted, instance_id, sender, flags)
        if self._unfinished:
            finish(buffer, start, end)
        if accepted.again:
            self._send_again(start, end, new_tos, ttl, instance_id, accepted.absence)
            return
        try:
            os.write(accepted.tun, self._view[start:end])
        except OSError:  # the device is down or its queue full
            statistics.drops["device refused"] += 1

    def _hear(self, accepted: _Accepted, instance_id: int, sender: str, flags: int) -> None:
        """RFC 9300 section 10: a change of the Locator-Status-Bits."""
        bits = int.from_bytes(self._buffer[4:8], "big")
        if flags & FLAG_INSTANCE:
            bits |= 0xFFFFFF00
        if bits != accepted.status_bits:
            accepted.status_bits = bits
            said = StatusBits(host_prefix(accepted.source, instance_id), ip_address(sender), bits)
            self._context.heard.note(said)

    def _send_again(self, start: int, end: int, tos: int, ttl: int, instance_id: int, absence: Absence | None) -> None:
        """RFC 9300 section 3: put the packet at ``start`` into another LISP header, as a router on its way does.

        Its TTL falls by one, so that mappings that lead round come to an end. DSCP and ECN are those that it has after
        decapsulation; encapsulation copies them (requirement D14).
        """
        if absence is not None:
            self._context.absences.note(absence, self._context.now)
        if ttl <= 1:
            data = bytes(self._view[start:end])
            self._context.drop(Drop("TTL exceeded", Unreachable.TTL), data, instance_id)
            return
        set_tos_and_ttl(self._buffer, start, tos, ttl - 1)
        self._context.statistics.reencapsulated += 1
        self._again(bytes(self._view[start:end]), instance_id, absence.rloc if absence is not None else None)

    def _accept(self, length: int, instance_id: int, sender: str, key: object) -> _Accepted | None:
        context = self._context
        data = self._view[LISP_HEADER:length]
        try:
            packet = parse(data)
            # RFC 1812 section 5.2.2: the kernel would drop it as well, but nobody would count it.
            if packet.version == 4 and not _sums_up(data, 0, packet.header_length):
                raise DecodeError("IPv4 header checksum is wrong", "inner packet")
        except DecodeError:
            context.statistics.drops["malformed"] += 1
            return None
        verdict = decide_inbound(packet, instance_id, context.tables)
        rloc = ip_address(sender)
        if isinstance(verdict, Drop):
            if context.tables.dynamic.lookup_address(instance_id, packet.destination):
                context.absences.note(Absence(host_prefix(packet.destination, instance_id), rloc), context.now)
            context.drop(verdict, bytes(data[: packet.length]), instance_id, packet)
            return None
        contact = context.contacts.between(instance_id, packet.destination, rloc, context.now)
        # D20: into the device of its own instance. Natively there is one address space only.
        natively, again = isinstance(verdict, Native), isinstance(verdict, Reencapsulate)
        tun = -1 if again else self._tuns[0 if natively else instance_id]
        accepted = _Accepted(tun, natively, contact, packet.source, again)
        if isinstance(verdict, Reencapsulate) and verdict.absent:
            accepted.absence = Absence(host_prefix(packet.destination, instance_id), rloc)
        if len(self._accepted) >= flows.MOST_FLOWS:
            self._accepted.clear()
        self._accepted[key] = accepted
        return accepted


def _sums_up(data: bytearray | memoryview, start: int, end: int) -> bool:
    """Whether an IPv4 header holds its own right checksum: as one number, it is a multiple of 2^16 - 1 (RFC 1071)."""
    return int.from_bytes(data[start:end], "big") % 0xFFFF == 0
