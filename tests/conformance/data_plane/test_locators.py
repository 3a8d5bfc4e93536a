"""Which of several locators a flow goes to, and from which RLOC (RFC 9300 section 9; S05): the world ``locators``."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.data_plane.conftest import PAIRS
from tests.conformance.data_plane.pair import MARK, Seen
from tests.conformance.tester import packets, wire
from tests.conformance.tester.cable import Cable
from tests.conformance.tester.counters import by_fast_path
from tests.conformance.tester.daemons import asking, frozen, map_cache
from tests.conformance.tester.packets import IPAddress, Tunnelled
from tests.conformance.tester.traffic import SINK
from tests.conformance.tester.waiting import eventually

FLOWS = 2000
SHARE_POINTS = 0.03
CORE = ("core1", "core2", "core3")


@dataclass(frozen=True)
class Site:
    """The near site, and a far one whose locators are of IP version ``outer``; hosts of IP version ``inner``."""

    lab: Lab
    dataplane: str
    inner: int
    outer: int

    @property
    def target(self) -> IPAddress:
        """The far host's EID."""
        return self.lab[f"h{self.outer}"].address_of(self.inner)

    def rlocs(self, router: str) -> dict[str, IPAddress]:
        """The RLOCs of a router that count here, by the core router that they face."""
        config = self.lab[router].lisp
        assert config is not None
        own = [one for one in config.rlocs if one.version == self.outer]
        return dict(zip(config.core_interfaces, own, strict=True))

    @property
    def there(self) -> dict[str, IPAddress]:
        """The far router's RLOCs."""
        return self.rlocs(f"x{self.outer}")

    def flow(self, number: int, target: IPAddress | None = None) -> bytes:
        """A packet of a flow of its own."""
        source = self.lab["hn"].address_of(self.inner)
        return packets.datagram(source, target or self.target, (20000 + number, SINK), MARK + b"%d" % number)

    def sent(self, *some: bytes) -> list[Tunnelled]:
        """Packets of the near host, as they leave its router for the core; all of them by the fast path."""
        found: list[Tunnelled] = []
        fast = by_fast_path(self.lab, "xn", "encapsulated", len(some) if self.dataplane == "ebpf" else 0)
        with fast, Seen(self.lab, CORE) as seen, Cable(self.lab, "hn", "xn") as cable:
            read = 0

            def arrived(wanted: int) -> bool:
                nonlocal read
                new, read = seen.frames[read:], len(seen.frames)
                seen_here = [packets.tunnelled(packets.read(one.data)) for one in new if one.interface == "xn"]
                found.extend(one for one in seen_here if one and MARK in one.inner.packet)
                return len(found) >= wanted

            for begin in range(0, len(some), 250):
                part = some[begin : begin + 250]
                cable.send(*part)
                seen.until(partial(arrived, begin + len(part)), "LISP packets")
        assert len(found) == len(some)
        return found

    @contextmanager
    def route(self, *words: object) -> Iterator[None]:
        """A route of the near router, for a while."""
        ip = ["ip", f"-{self.outer}", "route"]
        assert self.lab.run("xn", [*ip, "add", *map(str, words)]).returncode == 0
        try:
            yield
        finally:
            assert self.lab.run("xn", [*ip, "del", *map(str, words)]).returncode == 0


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab], dataplane: str) -> Lab:
    return boot("locators", dataplane=dataplane)


@pytest.fixture(params=PAIRS, ids=lambda pair: f"v{pair[0]}-over-v{pair[1]}")
def site(request: pytest.FixtureRequest, lab: Lab, dataplane: str) -> Site:
    """D15; the near router knows the mapping."""
    one = Site(lab, dataplane, *request.param)
    done = lab.run("hn", ["ping", "-n", "-c", "1", "-W", "10", str(one.target)])
    assert done.returncode == 0, done.stdout
    return one


@pytest.mark.requirement("D21")
def test_the_best_priority_wins_and_weights_share(site: Site) -> None:
    """Priorities 1, 1 and 2, weights 75 and 25: 2000 flows, within 3 percentage points."""
    shares = Counter(one.outer.destination for one in site.sent(*map(site.flow, range(FLOWS))))
    assert set(shares) == {site.there["core1"], site.there["core2"]}
    assert abs(shares[site.there["core1"]] / FLOWS - 0.75) <= SHARE_POINTS


@pytest.mark.requirement("D02", "D22")
def test_one_flow_has_one_locator_and_one_source(site: Site) -> None:
    """Whatever the others do."""
    found = site.sent(*(site.flow(number) for _ in range(10) for number in range(20)))
    ways: dict[bytes, set[tuple[IPAddress, IPAddress]]] = {}
    ports: dict[bytes, set[int]] = {}
    for one in found:
        ways.setdefault(one.inner.text, set()).add((one.outer.source, one.outer.destination))
        ports.setdefault(one.inner.text, set()).add(one.source_port)
    assert len(ways) == 20
    with clause("D02"):
        assert {len(one) for one in ports.values()} == {1}
    with clause("D22"):
        assert {len(one) for one in ways.values()} == {1}
    assert len({destination for one in ways.values() for _, destination in one}) == 2


@pytest.mark.requirement("S05")
def test_the_route_to_the_locator_gives_the_source(site: Site) -> None:
    """Each locator by another link: the source RLOC is that link's, and follows when the route changes."""
    own, there = site.rlocs("xn"), site.there
    flows = [site.flow(number) for number in range(60)]
    assert {one.outer.source for one in site.sent(*flows)} == {own["core1"]}
    gateway = next(one.ip for one in site.lab["core2"].link_to("xn").addresses if one.version == site.outer)
    with site.route(there["core2"], "via", gateway):
        ways = {(own["core1"], there["core1"]), (own["core2"], there["core2"])}
        eventually(
            lambda: {(one.outer.source, one.outer.destination) for one in site.sent(*flows)} == ways, "both ways"
        )
    eventually(lambda: {one.outer.source for one in site.sent(*flows)} == {own["core1"]}, "the one way")


@pytest.mark.requirement("D21", "S05")
def test_a_locator_without_a_route_is_not_used(site: Site) -> None:
    """The next best takes its flows; when it is reachable again they come back."""
    flows, there = [site.flow(number) for number in range(60)], site.there

    def go(*ways: str) -> None:
        wanted = {there[one] for one in ways}
        eventually(lambda: {one.outer.destination for one in site.sent(*flows)} == wanted, f"packets by {ways}")

    with site.route("unreachable", there["core1"]):
        go("core2")
        with site.route("unreachable", there["core2"]):
            go("core3")
    go("core1", "core2")


@pytest.mark.requirement("D21", "D23")
def test_locators_that_are_not_to_be_used_are_not(site: Site) -> None:
    """Priority 255 and the R-bit 0; the third locator gets every flow."""
    eid = site.target + 100
    length = {4: 32, 6: 128}[site.inner]
    first, second, third = site.there.values()
    usable = wire.mapping(f"{eid}/{length}", 15, [(first, 255, 100), (second, 1, 100), (third, 9, 1)])
    at = usable.index(second.packed) - 3
    record = packets.put(usable, at, usable[at] & 0xFE)
    if not site.lab.tells("xn", "lig"):  # a packet will have it ask: it is to know nothing of that site
        site.lab.restart("xn")
    with frozen(site.lab, "msmr"), Seen(site.lab, ["core3"]) as seen:
        asked = asking(site.lab, "xn", eid, timeout=1.0)
        port, nonce = seen.until(lambda: question(seen), "a Map-Request")
        reply = wire.map_reply(nonce, record)
        ends = site.lab["msmr"].address_of(4), site.lab["xn"].address_of(4)
        with Cable(site.lab, "core1", "xn") as cable:
            cable.send(packets.datagram(*ends, (wire.CONTROL, port), reply))
        asked.join()
    if site.lab.tells("xn", "map-cache"):  # else the packets wait for it
        eventually(lambda: f"{eid}/{length}" in map_cache(site.lab, "xn"), "the mapping is there")
    found = {one.outer.destination for one in site.sent(*(site.flow(number, eid) for number in range(40)))}
    with clause("D21"):
        assert first not in found
    with clause("D23"):
        assert second not in found
    assert found <= {first, second, third}


def question(seen: Seen) -> tuple[int, int] | None:
    """The source port and nonce of the near router's Map-Request in an Encapsulated Control Message."""
    for one in seen.packets("core3"):
        if one.protocol == packets.UDP and one.ports[1] == wire.CONTROL and one.text[:1] == b"\x80":
            inner = packets.Ip(one.text[4:])
            return inner.ports[0], struct.unpack_from("!Q", inner.text, 4)[0]
    return None


def test_packets_to_any_rloc_of_the_router_are_delivered(site: Site) -> None:
    """All three of them."""
    host, router = f"h{site.outer}", f"x{site.outer}"
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[site.inner]
    with Seen(site.lab, [host]) as seen, site.lab.socket(host, family, socket.SOCK_DGRAM) as ear:
        ear.bind((str(site.target), SINK))
        for number, (core, address) in enumerate(site.there.items()):
            with Cable(site.lab, core, router) as cable:
                cable.send(packets.lisp(site.rlocs("xn")["core1"], address, site.flow(number)))
        seen.until(lambda: sorted(seen.texts(host)) == ["0", "1", "2"], "three packets")
