"""Messages that nobody waits for."""

from __future__ import annotations

from ipaddress import ip_address

from nodes.daemon.unhurried import PAUSE, Unhurried
from nodes.lisp.effects import Send

ONE, OTHER = (Send(payload, ip_address("192.0.2.1"), can_wait=True) for payload in (b"one", b"other"))


def test_what_can_wait_goes_together_a_moment_after_the_first() -> None:
    sent: list[Send] = []
    now = [5.0]
    unhurried = Unhurried(sent.append, lambda: now[0])
    assert unhurried.deadline() is None
    unhurried.hold(ONE)
    now[0] += PAUSE / 2
    unhurried.hold(OTHER)
    unhurried.expire()
    assert sent == []
    assert unhurried.deadline() == 5.0 + PAUSE
    now[0] = 5.0 + PAUSE
    unhurried.expire()
    assert sent == [ONE, OTHER]
    assert unhurried.deadline() is None
    unhurried.hold(ONE)
    unhurried.release()  # at the end of the daemon
    assert sent == [ONE, OTHER, ONE]
