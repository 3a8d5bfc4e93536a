"""Locators that are lost and come back, over IPv4 and IPv6, for an ITR and a PITR; PETRs; Locator-Status-Bits.

RFC 9301 section 7 and RFC 9300 sections 5.3 and 10, in the world ``losses``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from testbed.act.echo import Echo, Pinger
from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.data_plane.pair import MARK, Seen
from tests.conformance.tester import packets, wire
from tests.conformance.tester.cable import Cable
from tests.conformance.tester.clock import PATIENCE_S
from tests.conformance.tester.counters import by_fast_path
from tests.conformance.tester.daemons import foreign
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.traffic import SINK
from tests.conformance.tester.waiting import eventually

INTERVAL = 1.0
"""Seconds between probes in this world."""
_PACE = 0.02
_SLACK = 0.3
"""Seconds for what a busy machine does in between."""
_AT_ONCE = 0.5
PROBE, PROBE_REPLY = 1 << 25, 1 << 27
LSB, INSTANCE, RESERVED, INSTANCE_ID = 1 << 30, 1 << 27, 1 << 26, 7
SENDERS = ("xn", "pitr", "rtr")
"""Who sends the flows to their locators; all are next to core3."""


@dataclass(frozen=True)
class Flow:
    """Echoes between two hosts that pass by the first of two locators, and by the second when the first is lost.

    Attributes:
        sender: Who chooses between the two.
    """

    source: str
    target: str
    sender: str
    ends: tuple[IPAddress, IPAddress]

    def addresses(self, lab: Lab) -> tuple[IPAddress, IPAddress]:
        """Where the echoes come from and go to."""
        version = self.ends[0].version
        return lab[self.source].address_of(version), lab[self.target].address_of(version)


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab], dataplane: str) -> Lab:
    """All flows go."""
    started = boot("losses", dataplane=dataplane)
    for sender in (one for one in SENDERS if started.tells(one, "statistics")):
        assert started.show(sender, "statistics")["dataplane"]["runs"] == dataplane
    with Pinger(started) as pinger:
        echoes = one_of_each(started, pinger)
        assert pinger.wait(echoes, echoes[-1].sent + PATIENCE_S)
    # A kernel would say only twice within a second to one and the same node that something is unreachable.
    for name in ("net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"):
        assert started.run("core3", ["sysctl", "-q", "-w", f"{name}=0"]).returncode == 0
    return started


def flows(lab: Lab) -> list[Flow]:
    """From a site and, through the PITR, from outside: over each IP version, and by the RTR; and one by the PETRs."""

    def ends(version: int, *routers: str) -> tuple[IPAddress, IPAddress]:
        found = [one for router in routers for one in lab[router].lisp.rlocs]  # type: ignore[union-attr]
        first, second = [one for one in found if one.version == version]
        return first, second

    hosts = {"hn": "xn", "client": "pitr"}
    inward = [Flow(one, f"h{outer}", by, ends(outer, f"x{outer}")) for outer in (4, 6) for one, by in hosts.items()]
    relayed = [Flow(one, "hv", "rtr", ends(6, "xv")) for one in hosts]
    return [*inward, *relayed, Flow("hn", "client", "xn", ends(4, "petr1", "petr2"))]


def one_of_each(lab: Lab, pinger: Pinger) -> list[Echo]:
    """An echo of each flow."""
    return [pinger.send(one.source, one.addresses(lab)[1]) for one in flows(lab)]


def answered(lab: Lab) -> dict[tuple[str, str], str]:
    """The state of the RLOCs of the flows that ever answered a probe, by who asked."""
    known = {str(end) for one in flows(lab) for end in one.ends}
    rows = {(sender, row["rloc"]): row for sender in SENDERS for row in lab.show(sender, "locators")}
    return {key: row["state"] for key, row in rows.items() if key[1] in known and row["probes_answered"]}


def ip(lab: Lab, node: str, *words: str) -> None:
    done = lab.run(node, ["ip", *words])
    assert done.returncode == 0, done.stderr


@contextmanager
def without_a_way(lab: Lab, kind: str) -> Iterator[None]:
    """While it lasts, core3 forwards to no first locator of a flow."""
    with ExitStack() as later:
        for end in sorted({str(one.ends[0]) for one in flows(lab)}):
            ip(lab, "core3", "route", "add", kind, end)
            later.callback(ip, lab, "core3", "route", "del", kind, end)
        yield


def outages(lab: Lab, within: float) -> list[float]:
    """An echo of every flow at a time, every 20 ms: seconds until three of a flow are answered one after the other."""
    with Pinger(lab) as pinger:
        began = time.monotonic()
        sent: list[list[Echo]] = []
        while len(sent) < 3 or any(echo.rtt is None for echoes in sent[-3:] for echo in echoes):
            assert time.monotonic() - began < within, f"no answers within {within:g} s"
            sent.append(one_of_each(lab, pinger))
            never = Echo("", sent[-1][0].target)  # it is the pace that counts, however soon the answers are here
            pinger.wait([never], sent[-1][0].sent + _PACE)
        lost = [[echo.sent + _PACE - began for echo in flow if echo.rtt is None] for flow in zip(*sent, strict=True)]
        return [max(one, default=0.0) for one in lost]


def ways(lab: Lab, dataplane: str) -> list[set[IPAddress]]:
    """To which locators each flow goes; all of them by the fast path."""
    # Four requests each, two of which the RTR sends on; the answer to the one that goes outside comes through the PITR.
    wanted = [4, 4, 2] if dataplane == "ebpf" else [0] * 3
    with ExitStack() as watched:
        for sender, count in zip(SENDERS, wanted, strict=True):
            watched.enter_context(by_fast_path(lab, sender, "encapsulated", count))
        seen, pinger = watched.enter_context(Seen(lab, ["core3"])), watched.enter_context(Pinger(lab))
        echoes = one_of_each(lab, pinger)
        assert pinger.wait(echoes, echoes[-1].sent + PATIENCE_S)
        outers = {sender: [packets.tunnelled(one) for one in seen.packets("core3", sender)] for sender in SENDERS}
    return [
        {
            one.outer.destination
            for one in outers[flow.sender]
            if one and (one.inner.source, one.inner.destination) == flow.addresses(lab)
        }
        for flow in flows(lab)
    ]


@pytest.mark.requirement("C30", "C36")
def test_probes_go_straight_to_the_rloc(lab: Lab) -> None:
    """Map-Request and Map-Reply with the P-bit and one nonce, over both versions: by a PITR, which says so, an RTR.

    A PETR is asked as well.
    """
    wanted = {
        (sender, end): sender == "pitr"
        for sender in ("xn", "pitr")
        for end in (rlocs(lab, "x4")[0], rlocs(lab, "x6")[0])
    }
    wanted["rtr", rlocs(lab, "xv")[0]] = wanted["xn", rlocs(lab, "petr1")[0]] = False
    asked_ones = ("x4", "x6", "xv", "petr1")
    places = {end: place for place in asked_ones for end in rlocs(lab, place)}
    with Seen(lab, [*SENDERS, *asked_ones]) as seen:

        def exchange(sender: str, end: IPAddress) -> tuple[int, int] | None:
            own = [one for one in lab[sender].lisp.rlocs if one.version == end.version]  # type: ignore[union-attr]
            asked = [one for one in seen.packets(places[end]) if one.source in own and one.ports[1] == wire.CONTROL]
            told = {one.text[4:12]: one for one in seen.packets(sender) if one.source == end and one.protocol == 17}
            pairs = [(one.text, told[one.text[4:12]].text) for one in asked if one.text[4:12] in told]
            return next(((word(question), word(answer)) for question, answer in pairs), None)

        for (sender, end), by_pitr in wanted.items():
            found = seen.until(lambda sender=sender, end=end: exchange(sender, end), f"a probe by {sender} of {end}")
            assert found is not None
            assert (found[0] >> 28, found[1] >> 28) == (wire.MAP_REQUEST, wire.MAP_REPLY)
            assert (found[0] & PROBE, found[1] & PROBE_REPLY) == (PROBE, PROBE_REPLY)
            assert bool(found[0] & wire.PITR) == by_pitr


def word(message: bytes) -> int:
    """The first word of a control message."""
    return int.from_bytes(message[:4], "big")


def rlocs(lab: Lab, router: str) -> list[IPAddress]:
    """The RLOCs that a router is known by to those who send the flows, the better first."""
    return [
        end for end in dict.fromkeys(end for one in flows(lab) for end in one.ends) if end in lab[router].lisp.rlocs
    ]  # type: ignore[union-attr]


@pytest.mark.alone
@pytest.mark.requirement("C35", "C37")
def test_flows_move_to_the_next_best_and_back(lab: Lab, dataplane: str) -> None:
    """Silent loss within two intervals, an ICMP unreachable at once; recovery by the next answered probe."""
    first, second = ([{one.ends[number]} for one in flows(lab)] for number in (0, 1))
    eventually(lambda: len(answered(lab)) == 12, "each sender has heard of each RLOC", within=PATIENCE_S)
    assert ways(lab, dataplane) == first
    # Ours is asked in no time; to ask another router, a command has to be started first.
    back = PATIENCE_S if any(foreign(lab, one) for one in SENDERS) else INTERVAL + _SLACK
    for kind, within in (("blackhole", 2 * INTERVAL + _SLACK), ("unreachable", _AT_ONCE)):
        with without_a_way(lab, kind), clause({"blackhole": "C37", "unreachable": "C35"}[kind]):
            lost = outages(lab, within=PATIENCE_S)
            assert max(lost) <= within, (kind, lost)
            assert ways(lab, dataplane) == second
        eventually(lambda: set(answered(lab).values()) == {"up"}, "all are up again", within=back)
        assert ways(lab, dataplane) == first


@pytest.mark.requirement("D09")
@pytest.mark.parametrize("outer", [4, 6])
def test_locator_status_bits(lab: Lab, dataplane: str, outer: int) -> None:
    """There are 32 bits, or 8 beside an instance-ID; the bit of an RLOC whose link is down is 0, in every packet."""
    router = f"x{10 - outer}"
    own = [str(one.address) for one in lab[router].lisp.database[0].locators]  # type: ignore[union-attr]
    in_order = [str(one) for one in sorted(map(ip_address, own))]
    (link,) = [one for one in lab[router].interfaces if one.name == "core2"]
    lost = next(str(one.ip) for one in link.addresses if str(one.ip) in own)
    for _ in range(2):
        with Pinger(lab) as pinger:
            echoes = [pinger.send(f"{tenant}{10 - outer}", ends[1]) for tenant, ends in hosts(lab, outer)]
            assert pinger.wait(echoes, echoes[-1].sent + PATIENCE_S)
    assert headers(lab, dataplane, outer) == told(0b11)
    ip(lab, router, "link", "set", link.name, "down")
    try:
        without = told(0b11 & ~(1 << in_order.index(lost)))
        eventually(lambda: headers(lab, dataplane, outer) == without, "the bit is 0")
    finally:
        ip(lab, router, "link", "set", link.name, "up")
    eventually(lambda: headers(lab, dataplane, outer) == told(0b11), "the bit is 1 again")


@pytest.mark.requirement("D09")
def test_a_cleared_status_bit_moves_flows(lab: Lab) -> None:
    """RFC 9300 section 10: the next packet of the site says which of its locators is down, before any probe is late."""
    first, second = rlocs(lab, "x4")
    (link,) = [one for one in lab["x4"].interfaces if one.name == "core1"]
    hn, h4 = lab["hn"].address_of(4), lab["h4"].address_of(4)

    def state() -> tuple[str, str]:
        """What the packets of the other site make of it."""
        with Cable(lab, "h4", "x4") as cable:
            cable.send(packets.datagram(h4, hn, (7777, SINK), MARK))
        (row,) = [one for one in lab.show("xn", "locators") if one["rloc"] == str(first)]
        return row["state"], row["why"]

    eventually(lambda: state() == ("up", ""), "the locator is up")
    ip(lab, "x4", "link", "set", link.name, "down")
    try:
        eventually(lambda: state() == ("down", "Locator-Status-Bit is 0"), "the bit is heard")
        with Seen(lab, ["core3"]) as seen, Pinger(lab) as pinger:
            echo = pinger.send("hn", h4)
            assert pinger.wait([echo], echo.sent + PATIENCE_S)
            outers = [packets.tunnelled(one) for one in seen.packets("core3", "xn")]
        assert {one.outer.destination for one in outers if one and one.inner.destination == h4} == {second}
    finally:
        ip(lab, "x4", "link", "set", link.name, "up")
    eventually(lambda: state() == ("up", ""), "it is up again")


def told(bits: int) -> set[tuple[str, int, int]]:
    """The words of the LISP header for a host's packets, without an instance-ID and with one."""
    return {("h", LSB, bits), ("r", LSB | INSTANCE, INSTANCE_ID << 8 | bits)}


def hosts(lab: Lab, outer: int) -> list[tuple[str, tuple[IPAddress, IPAddress]]]:
    """Both tenants' hosts at the site that sends, and at the one whose RLOCs are of that IP version."""

    def eid(tenant: str, site: int, version: int) -> IPAddress:
        return lab[f"{tenant}{site}"].address_of(version)

    return [(one, (eid(one, 10 - outer, inner), eid(one, outer, inner))) for one in "hr" for inner in (4, 6)]


def headers(lab: Lab, dataplane: str, outer: int) -> set[tuple[str, int, int]]:
    """What a site's packets tell, of both its tenants and both IP versions; all of them by the fast path."""
    router = f"x{10 - outer}"

    fast = by_fast_path(lab, router, "encapsulated", 4 if dataplane == "ebpf" else 0)
    with fast, Seen(lab, ["core1"]) as seen:
        for tenant, ends in hosts(lab, outer):
            with Cable(lab, f"{tenant}{10 - outer}", router) as cable:
                cable.send(packets.datagram(*ends, (7777, SINK), MARK + tenant.encode()))
        found = seen.all_of(4, lambda: seen.data("core1", router), "LISP packets")
    assert {one.outer.version for one in found} == {outer}
    texts = [(one.inner.text[len(MARK) :].decode(), one.header) for one in found]
    flags = 0xFF << 24 & ~RESERVED
    return {(text, int.from_bytes(one[:4], "big") & flags, int.from_bytes(one[4:], "big")) for text, one in texts}
