"""What an ITR believes: Map-Replies written by the test, to Map-Requests that the Map-Resolver leaves unanswered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from testbed.act.echo import Pinger
from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import LATE_S, Clock
from tests.conformance.tester.daemons import asking, expect_drop, frozen, lasting, map_cache
from tests.conformance.tester.places import rloc, uplink
from tests.conformance.tester.players import MapResolver
from tests.conformance.tester.traffic import inject, sink
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen, Watch, inner_request

ITR = "xtr1"
NATIVE, SEND_MAP_REQUEST, DROP, POLICY, AUTHENTICATION = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Oracle(MapResolver):
    """Stands in for the mapping system.

    Attributes:
        free: Prefixes inside the EID space that the topology gives to nobody.
    """

    free: Iterator[IPv4Network] = field(default_factory=lambda: iter(()))

    def resolve(self, eid: IPv4Address, *records: bytes, flags: int = 0) -> None:
        """Make the ITR ask for an EID, and answer."""
        asked = asking(self.lab, ITR, eid, timeout=1.0)
        self.answer(self.question(eid), *records, flags=flags)
        asked.join()

    def refused(self, reason: str, eid: IPv4Address, *records: bytes, flags: int = 0) -> None:
        """The same, and the ITR drops the answer for that reason and learns nothing."""
        before = lasting(map_cache(self.lab, ITR))
        asked = asking(self.lab, ITR, eid, timeout=0.2)
        with expect_drop(self.lab, ITR, reason):
            self.answer(self.question(eid), *records, flags=flags)
        assert lasting(map_cache(self.lab, ITR)) == before
        asked.join()


@pytest.fixture(scope="module")
def silent(lab: Lab) -> Iterator[Lab]:
    """The lab with a Map-Resolver that does not answer."""
    with frozen(lab, "mr"):
        yield lab


@pytest.fixture(scope="module")
def oracle(silent: Lab) -> Iterator[Oracle]:
    with Watch(silent, [uplink(silent, ITR)]) as watch:
        aggregate = silent.topology.eid_aggregates[0].network
        assert isinstance(aggregate, IPv4Network)
        used = [prefix.network for one in silent.topology.sites.values() for prefix in one.eid_prefixes]
        free = (one for one in aggregate.subnets(new_prefix=24) if not any(one.overlaps(u) for u in used))
        yield Oracle(silent, ITR, watch, resolver=rloc(silent, "mr"), free=free)


def row(lab: Lab, prefix: Any) -> dict[str, Any] | None:
    """The map-cache row of a prefix."""
    return map_cache(lab, ITR).get(str(prefix))


@pytest.mark.requirement("S04")
def test_a_fresh_itr_sends_map_requests_for_everything(silent: Lab) -> None:
    """The default entry is there from the start, and never ends; a PITR has one for the aggregates."""
    (default,) = map_cache(silent, ITR).values()
    assert (default["eid"], default["action"], default["source"]) == ("0.0.0.0/0", "send-map-request", "default")
    assert default["expires_s"] is None
    aggregates = {str(one.network) for one in silent.topology.eid_aggregates}
    assert {eid for eid, one in map_cache(silent, "pxtr").items() if one["source"] == "default"} == aggregates


@pytest.mark.requirement("C07")
def test_a_reply_to_our_nonce_is_believed_and_no_other(silent: Lab, oracle: Oracle) -> None:
    """Spoofed replies with wrong nonces install nothing; the right one does, once."""
    prefix = next(oracle.free)
    record = wire.mapping(prefix, 1440, [(rloc(silent, "xtr3"), 1, 100)])
    asked = asking(silent, ITR, prefix[9], timeout=2.0)
    question = oracle.question(prefix[9])
    nonce = inner_request(question).nonce
    with expect_drop(silent, ITR, "map-reply-unknown-nonce", 3):
        for wrong in (0, nonce ^ 1, nonce ^ 1 << 63):
            oracle.answer(question, record, nonce=wrong)
    assert row(silent, prefix) is None
    oracle.answer(question, record)
    asked.join()
    learned = row(silent, prefix)
    assert learned is not None
    assert [(one["rloc"], one["priority"], one["weight"]) for one in learned["locators"]] == [
        (str(rloc(silent, "xtr3")), 1, 100)
    ]
    with expect_drop(silent, ITR, "map-reply-unknown-nonce"):
        oracle.answer(question, wire.mapping(prefix, 1440, [(rloc(silent, "xtr2"), 1, 100)]))
    assert lasting({"": row(silent, prefix) or {}}) == lasting({"": learned})


@pytest.mark.requirement("C10")
def test_the_record_ttl_is_in_minutes(silent: Lab, oracle: Oracle) -> None:
    """2 is 120 seconds; all ones leave it to the receiver, who takes a day."""
    for ttl, seconds in ((2, 120), (0xFFFFFFFF, 86400)):
        prefix = next(oracle.free)
        oracle.resolve(prefix[1], wire.mapping(prefix, ttl, [(rloc(silent, "xtr3"), 1, 100)]))
        learned = row(silent, prefix)
        assert learned is not None
        assert seconds - 10 < learned["expires_s"] <= seconds


@pytest.mark.requirement("C10")
def test_a_ttl_of_zero_removes_the_entry_at_once(silent: Lab, oracle: Oracle) -> None:
    prefix = next(oracle.free)
    oracle.resolve(prefix[1], wire.mapping(prefix, 1440, [(rloc(silent, "xtr3"), 1, 100)]))
    assert row(silent, prefix)
    oracle.resolve(prefix[2], wire.mapping(prefix, 0))
    assert row(silent, prefix) is None


@pytest.mark.requirement("C12")
@pytest.mark.parametrize(("action", "code"), [(0, 1), (DROP, 1), (POLICY, 13), (AUTHENTICATION, 13)])
def test_drop_actions_tell_the_host(silent: Lab, oracle: Oracle, action: int, code: int) -> None:
    """No locators and no action, drop, policy-denied, authentication-failure: ICMP unreachable from the xTR."""
    prefix = next(oracle.free)
    oracle.resolve(prefix[1], wire.mapping(prefix, 15, action=action))
    with Watch(silent, [uplink(silent, ITR)]) as watch, Pinger(silent) as pinger:
        echo = pinger.send("h1", prefix[1])
        pinger.wait([echo], echo.sent + 10)
        assert f"code {code})" in echo.refused_by, echo.refused_by
        watch.drain()
        assert not watch.datagrams(packets.DATA)


@pytest.mark.requirement("C12", "M14")
def test_action_natively_forward(silent: Lab, oracle: Oracle) -> None:
    """Packets for it go to the PETR, without another Map-Request."""
    prefix = next(oracle.free)
    oracle.resolve(prefix[1], wire.mapping(prefix, 15, action=NATIVE))
    with Watch(silent, [uplink(silent, ITR)]) as watch:
        inject(silent, "h1", packets.datagram(silent["h1"].address, prefix[1], (7, 7), b"native"))
        outer, inner = watch.until(watch.data, "a LISP packet")[0]
        with clause("M14"):
            assert (outer.destination, inner.destination) == (rloc(silent, "pxtr"), prefix[1])
        assert not watch.control(wire.ECM)


@pytest.mark.requirement("C12")
def test_action_send_map_request(silent: Lab, oracle: Oracle) -> None:
    """The entry is there, and the next packet asks again."""
    prefix = next(oracle.free)
    oracle.resolve(prefix[1], wire.mapping(prefix, 1, action=SEND_MAP_REQUEST))
    assert (row(silent, prefix) or {})["action"] == "send-map-request"
    inject(silent, "h1", packets.datagram(silent["h1"].address, prefix[7], (7, 7), b"ask"))
    assert oracle.question(prefix[7])


def test_a_reply_must_answer_what_was_asked(silent: Lab, oracle: Oracle) -> None:
    """A mapping of another EID, or of a wider prefix beside the right one, is refused whole."""
    prefix, other = next(oracle.free), next(oracle.free)
    there = [(rloc(silent, "xtr3"), 1, 100)]
    oracle.refused("map-reply-other-eid", prefix[1], wire.mapping(other, 15, there))
    both = wire.mapping(prefix, 15, there), wire.mapping(other, 15, there)
    oracle.refused("map-reply-other-eid", prefix[2], *both)


@pytest.mark.requirement("C15")
@pytest.mark.parametrize("bad", ["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"])
def test_locators_that_are_no_rlocs_are_refused(silent: Lab, oracle: Oracle, bad: str) -> None:
    prefix = next(oracle.free)
    locators = [(rloc(silent, "xtr3"), 1, 100), (bad, 1, 100)]
    oracle.refused("map-reply-forbidden-locator", prefix[1], wire.mapping(prefix, 15, locators))


@pytest.mark.requirement("D21", "D23")
def test_locators_that_are_not_to_be_used_are_not(silent: Lab, oracle: Oracle) -> None:
    """Priority 255 and the R-bit 0; the third locator gets every flow."""
    prefix = next(oracle.free)
    locators = [("10.255.0.1", 255, 100), ("10.255.0.2", 1, 100), (rloc(silent, "xtr3"), 2, 100)]
    record = bytearray(wire.mapping(prefix, 15, locators))
    unreachable = record.index(IPv4Address("10.255.0.2").packed) - 3
    record[unreachable] &= 0xFE
    oracle.resolve(prefix[1], bytes(record))
    h1, core = silent["h1"].address, uplink(silent, ITR)
    with Watch(silent, [core]) as watch:
        inject(silent, "h1", *(packets.datagram(h1, prefix[1], (20000 + n, 7), b"flow") for n in range(40)))
        watch.until(lambda: len(watch.data()) >= 40, "40 LISP packets")
        found = {str(outer.destination) for outer, _ in watch.data()}
        with clause("D21"):
            assert "10.255.0.1" not in found
        with clause("D23"):
            assert "10.255.0.2" not in found
        assert found <= {"10.255.0.1", "10.255.0.2", str(rloc(silent, "xtr3"))}


def test_a_more_specific_mapping_wins(silent: Lab, oracle: Oracle) -> None:
    """The longest prefix decides; the reply brought both."""
    prefix = next(oracle.free)
    host = IPv4Network(prefix[200])
    oracle.resolve(
        prefix[1],
        wire.mapping(prefix, 15, [(rloc(silent, "xtr3"), 1, 100)]),
        wire.mapping(host, 15, [(rloc(silent, "xtr2"), 1, 100)]),
    )
    with Watch(silent, [uplink(silent, ITR)]) as watch, sink(silent, "h4"):
        h1 = silent["h1"].address
        inject(silent, "h1", *(packets.datagram(h1, one, (7, 7), b"x") for one in (prefix[199], prefix[200])))
        watch.until(lambda: len(watch.data()) == 2, "two LISP packets")
        found = {inner.destination: outer.destination for outer, inner in watch.data()}
    assert found == {prefix[199]: rloc(silent, "xtr3"), prefix[200]: rloc(silent, "xtr2")}


def test_unasked_probe_replies_are_dropped(silent: Lab, oracle: Oracle) -> None:
    """The P-bit in the answer to a request that was no probe."""
    prefix = next(oracle.free)
    record = wire.mapping(prefix, 15, [(rloc(silent, "xtr3"), 1, 100)])
    oracle.refused("map-reply-unexpected-probe", prefix[1], record, flags=1 << 27)


@pytest.mark.requirement("C08")
def test_late_answers_of_the_real_map_resolver_find_nobody(silent: Lab, oracle: Oracle) -> None:
    """What was asked again before the answer came is asked with a new nonce, a second later."""
    prefix = next(oracle.free)
    asked = asking(silent, ITR, prefix[1], timeout=3.0)
    oracle.question(prefix[1])

    def both() -> list[Seen]:
        asked = oracle.questions(prefix[1])
        return asked[:2] if len(asked) >= 2 else []

    first, second = oracle.watch.until(both, "a second Map-Request")
    assert inner_request(first).nonce != inner_request(second).nonce
    Clock.of(silent).assert_between(first, second, 1, 1, late=LATE_S)
    # A reply to either will do: the first was only slow.
    oracle.answer(first, wire.mapping(prefix, 15, [(rloc(silent, "xtr3"), 1, 100)]))
    eventually(lambda: row(silent, prefix), "the mapping")
    asked.join()
