"""What is alike in all Map-Notifies that nobody asked for: how much fits one, and how one is acknowledged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from nodes.lisp.config import Key
from nodes.lisp.effects import Send
from nodes.lisp.eid import IPAddress
from nodes.lisp.engine.context import payload_limit
from nodes.lisp.wire import EidRecord, MapNotify, MapNotifyAck, sealed

MAX_RECORDS = 255


def in_parts(records: Iterable[EidRecord], key: Key, *rlocs: IPAddress) -> Iterator[list[EidRecord]]:
    """The records, as many together as one message holds (RFC 9301 sections 5 and 5.7).

    Args:
        records: In their order.
        key: What the messages are signed with.
        rlocs: Where each of them may have to go.
    """
    room = left = min(map(payload_limit, rlocs)) - _without_records(key.algorithm)
    part: list[EidRecord] = []
    for record in records:
        size = len(record.encode())
        if part and (size > left or len(part) == MAX_RECORDS):
            yield part
            part, left = [], room
        part.append(record)
        left -= size
    if part:
        yield part


@cache
def _without_records(algorithm: int) -> int:
    """How many bytes a Map-Notify has that says nothing, signed by an algorithm."""
    return len(sealed(MapNotify(0, 0, algorithm, ()), ""))


def acknowledgement(notify: MapNotify, key: Key, server: IPAddress, *, can_wait: bool = True) -> Send:
    """RFC 9301 section 5.7: the Map-Notify-Ack is the Map-Notify with another type, and authenticated.

    Args:
        notify: What is acknowledged.
        key: What that was signed with.
        server: The Map-Server.
        can_wait: Whether it only keeps the Map-Notify from being repeated.
    """
    ack = MapNotifyAck(notify.nonce, key.key_id, key.algorithm, notify.records)
    return Send(sealed(ack, key.secret), server, from_control_port=True, can_wait=can_wait)
