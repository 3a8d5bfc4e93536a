"""What the Python path remembers of a flow, so that the decision is taken once for all its packets."""

from __future__ import annotations

from collections.abc import Callable

from nodes.dataplane.contacts import Contact
from nodes.dataplane.context import PathContext
from nodes.dataplane.counts import Count
from nodes.dataplane.decision import Drop, Encapsulate
from nodes.dataplane.encapsulation import header_writer
from nodes.dataplane.holding import Handle, Holding, Waiting
from nodes.dataplane.packet import fragments

MOST_FLOWS = 8192
"""Remembered flows; when there are more, all are forgotten and learned anew."""

Flow = Callable[[bytes, int, int], None]
"""Handles one packet of a flow: the packet, its DSCP and ECN byte, its TTL."""


def encapsulating(
    verdict: Encapsulate, send: Callable[[bytes], int], context: PathContext, contact: Contact, count: Count
) -> Flow:
    """Puts the packets into LISP headers and sends them to the flow's locator."""
    header, statistics = header_writer(verdict), context.statistics

    def forward(packet: bytes, tos: int, ttl: int) -> None:
        length = len(packet)
        try:
            send(header(tos, ttl, length) + packet)
        except OSError as error:
            name = "send buffer full" if isinstance(error, BlockingIOError) else "send failed"
            statistics.drops[name] += 1
            return
        statistics.encapsulated += 1
        statistics.encapsulated_bytes += length
        count.packets += 1
        count.bytes += length
        contact.last = count.last = context.now

    return forward


def fragmenting(whole: Flow, mtu: int) -> Flow:
    """Cuts the packets to ``mtu`` bytes before ``whole`` encapsulates them (requirement D17)."""

    def forward(packet: bytes, tos: int, ttl: int) -> None:
        for piece in fragments(packet, mtu):
            whole(piece, tos, ttl)

    return forward


def holding(waiting: Waiting, held: Holding, handle: Handle, context: PathContext) -> Flow:
    """Keeps the packets until what they wait for is known; then ``handle`` takes them."""
    statistics = context.statistics

    def forward(packet: bytes, tos: int, ttl: int) -> None:  # noqa: ARG001
        if held.hold(waiting, packet, handle):
            statistics.held += 1
        else:
            statistics.drops["holding queue full"] += 1

    return forward


def dropping(verdict: Drop, context: PathContext, instance_id: int) -> Flow:
    """Counts the packets, and tells the sender within the ICMP budget."""

    def forward(packet: bytes, tos: int, ttl: int) -> None:  # noqa: ARG001
        context.drop(verdict, packet, instance_id)

    return forward
