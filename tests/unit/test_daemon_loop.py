"""The daemon's event loop."""

from __future__ import annotations

import os
import selectors
import socket

from nodes.daemon.loop import Loop


def test_a_deadline_in_centuries_is_no_error() -> None:
    """C10: a Record TTL of 2**31 minutes can be all that a node waits for."""
    loop = Loop()
    read_end, write_end = os.pipe()
    loop.add(read_end, lambda _events: loop.stop())
    os.write(write_end, b"x")
    loop.run(lambda: 60.0 * 2**31, lambda: None)
    loop.close()
    os.close(read_end)
    os.close(write_end)


def test_an_owner_that_went_in_the_same_turn_is_not_called() -> None:
    """Both descriptors are ready at once; whoever is served first takes the other one out."""
    loop, served = Loop(), []
    pipes = [os.pipe() for _ in range(2)]
    readers = [read_end for read_end, _ in pipes]

    def serve(own: int) -> None:
        served.append(own)
        loop.remove(next(one for one in readers if one != own))
        loop.stop()

    for read_end, write_end in pipes:
        loop.add(read_end, lambda _events, own=read_end: serve(own))  # type: ignore[misc]
        os.write(write_end, b"x")
    loop.run(lambda: 5.0, lambda: None)
    assert len(served) == 1
    loop.close()
    for end in (end for pipe in pipes for end in pipe):
        os.close(end)


def test_what_is_waited_for_can_change() -> None:
    """An end of a socket that can be written at once, and read only when the other one has written."""
    loop, seen = Loop(), list[int]()
    ours, theirs = socket.socketpair()

    def ready(events: int) -> None:
        seen.append(events)
        if events == selectors.EVENT_WRITE:
            theirs.send(b"x")
            loop.change(ours.fileno(), selectors.EVENT_READ)
        else:
            loop.stop()

    loop.add(ours.fileno(), ready)
    loop.change(ours.fileno(), selectors.EVENT_WRITE)
    loop.run(lambda: 5.0, lambda: None)
    assert seen == [selectors.EVENT_WRITE, selectors.EVENT_READ]
    loop.close()
    ours.close()
    theirs.close()


def test_who_was_added_first_is_served_first() -> None:
    """Whatever became ready first: messages go before packets."""
    loop, served = Loop(), list[str]()
    first, second = os.pipe(), os.pipe()
    loop.add(first[0], lambda _events: served.append("first"))
    loop.add(second[0], lambda _events: served.append("second"))
    for _, write_end in (second, first):
        os.write(write_end, b"x")
    loop.run(lambda: 5.0, loop.stop)
    assert served == ["first", "second"]
    loop.close()
    for end in (*first, *second):
        os.close(end)
