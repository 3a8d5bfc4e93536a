"""Whom an ETR solicits (RFC 9301 section 6.1), and a Map-Resolver's address that is not its own (section 8.4.1)."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from testbed.lab import Lab
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import Clock
from tests.conformance.tester.daemons import frozen
from tests.conformance.tester.places import rloc
from tests.conformance.tester.players import MapResolver
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.watch import Seen, Watch, inner_request

MINUTE_S = 60.0


def ping(lab: Lab, source: str, target: str) -> None:
    assert lab.run(source, ["ping", "-c", "1", "-W", "10", str(lab[target].address)]).returncode == 0


@pytest.mark.requirement("C34")
def test_only_those_are_solicited_to_whom_data_went_within_the_last_minute(lab: Lab) -> None:
    """One peer has been idle for longer than a minute, one never had any data, one has had some just now."""
    ping(lab, "h1", "h3")
    idle_since = time.monotonic()
    clock = Clock.of(lab)
    over = idle_since + clock.real(MINUTE_S) + 0.1
    clock.eventually(lambda: time.monotonic() > over, "a minute without data", within=MINUTE_S)
    with Watch(lab, ["core1", "core2"]) as watch:
        ping(lab, "h1", "h2")
        lab.set_locator("xtr1", "192.168.1.0/24", str(rloc(lab, "xtr1")), weight=50)
        own, peer = lab["xtr1"].lisp, lab["xtr2"].lisp
        assert own is not None
        assert peer is not None

        def solicited() -> list[Seen]:
            asked = [one for one in watch.control(wire.MAP_REQUEST) if one.message.word & wire.SMR]
            return [one for one in asked if one.outer.source in own.rlocs]

        watch.until(solicited, "a Solicit-Map-Request")
        # Who is told asks again through the mapping system (C31): by then the others would have been told as well.
        watch.until(
            lambda: [one for one in watch.control(wire.ECM) if inner_request(one).word & wire.SMR_INVOKED],
            "an SMR-invoked Map-Request",
        )
        assert {one.outer.destination for one in solicited()} <= set(peer.rlocs)


@pytest.mark.requirement("M11")
def test_a_reply_comes_from_another_address_than_the_map_resolvers(lab: Lab) -> None:
    """The Map-Resolver that has the address as well answers from its own; one without the nonce is not believed."""
    eid, address, near = "192.168.200.1", rloc(lab, "mr"), rloc(lab, "near")
    right, wrong = (wire.mapping("192.168.200.0/24", 1440, [(rloc(lab, one), 1, 100)]) for one in ("xtr4", "xtr3"))
    with frozen(lab, "mr"), Watch(lab, ["core1"]) as watch:
        shared, other = (MapResolver(lab, "xtr1", watch, resolver=one) for one in (address, near))
        inject(lab, "h1", packets.datagram(lab["h1"].address, eid, (7, 7), b"x"))
        question = other.question(ip_address(eid))
        assert question.outer.destination == address
        shared.answer(question, wrong, nonce=inner_request(question).nonce ^ 1)
        other.answer(question, right)
        outer, inner = watch.until(watch.data, "a LISP packet")[0]
    assert (str(inner.destination), outer.destination) == (eid, rloc(lab, "xtr4"))
