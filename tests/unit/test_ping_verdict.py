"""How `ping` judges one echo: by what the core saw, and by whose tunnel it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from nodes.lisp.eid import IPAddress
from testbed.act.echo import Echo, Pinger
from testbed.act.mobility.moved import Moved
from testbed.act.ping import PairResult, exchange, judge, old_neighbours
from testbed.act.places import as_it_stands
from testbed.load import load, loads
from testbed.model import Expectation, Path, Topology
from testbed.observe.capture import Frame
from testbed.observe.decoder import Packet, decode
from tests.unit.frames import echo_request, ethernet, lisp_data


@pytest.fixture(scope="module")
def world() -> Topology:
    return load("two-dc")


class Scene:
    """One echo between two hosts of two-dc, and what the core saw of it."""

    def __init__(self, world: Topology, source: str, destination: str, expected: Path, *, replied: bool = True) -> None:
        self.world = world
        self.expectation = Expectation(source, destination, expected)
        self.echo = Echo(source, world[destination].address, sent=1.0, rtt=0.002 if replied else None)
        self.crossed: list[tuple[Frame, Packet]] = []
        self.inner = echo_request(str(world[source].address), str(world[destination].address), 7, 0)

    def native(self, at: str) -> None:
        self._saw(at, ethernet(self.inner))

    def tunnel(self, at: str, source: str, destination: str) -> None:
        ends = (str(self.world[source].address), str(self.world[destination].address))
        self._saw(at, ethernet(lisp_data(ends, self.inner)))

    def _saw(self, at: str, data: bytes) -> None:
        packet = decode(data)
        assert packet is not None
        self.crossed.append((Frame(len(self.crossed), at, "eth", data), packet))

    def judged(self) -> PairResult:
        routers = {rloc: node for node in self.world.lisp_routers if node.lisp for rloc in node.lisp.rlocs}
        return judge(self.expectation, self.echo, self.crossed, self.world, routers)


def test_between_the_right_xtrs_is_encapsulated(world: Topology) -> None:
    scene = Scene(world, "h1", "h4", Path.ENCAPSULATED)
    scene.tunnel("core1", "xtr1", "xtr2")
    scene.tunnel("core2", "xtr1", "xtr2")
    result = scene.judged()
    assert result.ok
    assert (result.seen, result.encapsulated, result.rtt_ms) == (Path.ENCAPSULATED, True, 2.0)
    assert "xtr1 (10.0.7.2) to xtr2 (10.0.8.2)" in result.evidence


def test_a_reply_through_the_wrong_xtr_fails(world: Topology) -> None:
    scene = Scene(world, "h1", "h4", Path.ENCAPSULATED)
    scene.tunnel("core1", "xtr1", "xtr3")
    result = scene.judged()
    assert not result.ok
    assert result.seen is Path.ENCAPSULATED
    assert "wrong tunnel end: xtr3" in result.evidence


def test_a_tunnel_to_nobody_fails(world: Topology) -> None:
    scene = Scene(world, "h1", "h4", Path.ENCAPSULATED)
    scene.tunnel("core1", "xtr1", "core3")
    assert not scene.judged().ok


def test_native_where_lisp_is_expected_fails(world: Topology) -> None:
    scene = Scene(world, "h1", "h4", Path.ENCAPSULATED)
    scene.native("core1")
    result = scene.judged()
    assert not result.ok
    assert (result.seen, result.encapsulated) == (Path.NATIVE, False)
    assert "native at core1" in result.evidence


def test_one_side_lisp_the_other_native_is_proxied(world: Topology) -> None:
    scene = Scene(world, "client", "h1", Path.PROXIED)
    scene.native("core4")
    scene.tunnel("core4", "pxtr", "xtr1")
    result = scene.judged()
    assert result.ok
    assert (result.seen, result.encapsulated) == (Path.PROXIED, True)


def test_a_reply_that_the_core_never_saw_is_local(world: Topology) -> None:
    assert Scene(world, "h1", "h2", Path.LOCAL).judged().ok
    assert not Scene(world, "h1", "h4", Path.ENCAPSULATED).judged().ok


def test_no_reply_is_unreachable_and_says_how_far_it_came(world: Topology) -> None:
    scene = Scene(world, "h1", "h4", Path.ENCAPSULATED, replied=False)
    scene.tunnel("core1", "xtr1", "xtr2")
    result = scene.judged()
    assert not result.ok
    assert (result.seen, result.rtt_ms) == (Path.UNREACHABLE, None)
    assert result.evidence.endswith("no reply")
    silent = Scene(world, "h1", "h4", Path.UNREACHABLE, replied=False)
    silent.echo.refused_by = "192.168.1.1 (ICMP unreachable, code 1)"
    assert silent.judged().ok
    assert "refused by 192.168.1.1" in silent.judged().evidence


def test_the_row_has_the_documented_keys(world: Topology) -> None:
    row = Scene(world, "h1", "h2", Path.LOCAL).judged().to_json()
    assert " ".join(row) == "from to expected seen encapsulated rtt_ms ok version evidence lost"


def test_a_tunnel_of_another_tenant_fails(world: Topology) -> None:
    """S13, D20: the right xTRs, but the packet went through an instance that is not the hosts' own."""
    scene = Scene(world, "h1", "h4", Path.ENCAPSULATED)
    scene.expectation = replace(scene.expectation, instance_id=7)
    scene.tunnel("core1", "xtr1", "xtr2")
    result = scene.judged()
    assert not result.ok
    assert "wrong instance-ID 0" in result.evidence


@pytest.fixture(scope="module")
def mixed() -> Topology:
    return load("mixed-families")


def test_by_way_of_the_rtr_is_reencapsulated(mixed: Topology) -> None:
    """Both tunnels were seen, and one begins where the other ends."""
    scene = Scene(mixed, "h1", "h3", Path.REENCAPSULATED)
    scene.tunnel("core1", "xtr1", "rtr")
    scene.tunnel("core2", "xtr1", "rtr")
    scene.tunnel("core2", "rtr", "xtr3")
    result = scene.judged()
    assert (result.ok, result.seen, result.encapsulated) == (True, Path.REENCAPSULATED, True)
    assert result.evidence.count("encapsulated from") == 2


@pytest.mark.parametrize(
    "tunnels",
    [
        [("xtr1", "xtr3")],  # past the RTR
        [("xtr1", "rtr")],  # where did it go from there?
        [("rtr", "xtr3")],
        [("xtr1", "rtr"), ("xtr1", "xtr3")],
        [("xtr1", "msmr"), ("msmr", "xtr3")],  # a node that is no RTR
    ],
)
def test_any_other_way_than_by_the_rtr_fails(mixed: Topology, tunnels: list[tuple[str, str]]) -> None:
    scene = Scene(mixed, "h1", "h3", Path.REENCAPSULATED)
    for source, destination in tunnels:
        scene.tunnel("core2", source, destination)
    assert not scene.judged().ok


RELAYED = """\
address-space: {rloc: 10.0.0.0/16, eid: 192.168.0.0/16}
core: {routers: core1}
mapping-system: {msmr: {links: core1}}
proxies: {rtr: {roles: rtr, links: core1}, pitr: {roles: pitr, links: core1}}
sites:
  lisp: {key: secret, via: rtr, routers: {xtr1: {links: core1}}, hosts: h1}
  plain: {lisp: false, subnets: 203.0.113.0/24, routers: {edge: {links: core1}}, hosts: client}
"""


@pytest.mark.parametrize(("last", "ok"), [("rtr", True), ("pitr", False)])
def test_a_pitr_sends_through_the_rtr_of_the_site(last: str, ok: bool) -> None:
    """RFC 6832 section 5: it goes by the Explicit Locator Path as an ITR does, not past it."""
    scene = Scene(loads(RELAYED), "client", "h1", Path.PROXIED)
    scene.native("core1")
    if ok:
        scene.tunnel("core1", "pitr", "rtr")
    scene.tunnel("core1", last, "xtr1")
    assert scene.judged().ok is ok


def test_by_way_of_an_rtr_where_none_is_expected_fails(mixed: Topology) -> None:
    scene = Scene(mixed, "h1", "h3", Path.ENCAPSULATED)
    scene.tunnel("core1", "xtr1", "rtr")
    scene.tunnel("core2", "rtr", "xtr3")
    result = scene.judged()
    assert (result.ok, result.seen) == (False, Path.REENCAPSULATED)
    assert "wrong tunnel end: rtr" in result.evidence


AWAY, HOME = Moved("mobile", "dc1", "dc2", 100.0, 100.001), Moved("mobile", "dc2", "dc1", 200.0, 200.001)
LEFT = {("mobile", "near1", 4), ("mobile", "near1", 6)}


@pytest.mark.parametrize(
    ("moves", "place", "old"),
    [
        ([], "dc1", set()),
        ([AWAY], "dc2", LEFT),
        ([AWAY, HOME], "dc1", {("mobile", "near2", 4), ("mobile", "near2", 6)}),
    ],
    ids=["at home", "away", "and back"],
)
def test_old_neighbours_are_those_that_a_host_left_on_its_subnet(
    moves: list[Moved], place: str, old: set[tuple[str, str, int]]
) -> None:
    """Not whom it finds by its gateway, and not the way from them to it: their entries are corrected."""
    assert old_neighbours(as_it_stands(load("mobility"), {"mobile": place}), moves) == old


class Network:
    """Answers echoes at once, but those of some pairs: of these the first ones, as many as it is told."""

    def __init__(self, world: Topology, lost: dict[tuple[str, str, int], int]) -> None:
        self.echoes: list[Echo] = []
        self.lost = {(source, world[to].address_of(version)): number for (source, to, version), number in lost.items()}

    def open(self, source: str, version: int) -> None:
        pass

    def send(self, source: str, target: IPAddress) -> Echo:
        left = self.lost.get((source, target), 0)
        self.lost[source, target] = left - 1
        self.echoes.append(Echo(source, target, rtt=None if left > 0 else 0.001))
        return self.echoes[-1]

    def wait(self, echoes: Sequence[Echo], _until: float) -> bool:
        return all(one.done for one in echoes)


@pytest.mark.parametrize(
    ("lost", "asked"),
    [
        ({("mobile", "near1", 4): 1}, [("mobile", "near1", 4)]),
        ({("mobile", "near1", 6): 2}, [("mobile", "near1", 6)]),  # not a third time
        ({("near1", "mobile", 4): 1, ("mobile", "b1", 6): 1}, []),  # of all others none may be lost
    ],
)
def test_only_a_host_that_moved_asks_twice_and_only_its_old_neighbours(
    lost: dict[tuple[str, str, int], int], asked: list[tuple[str, str, int]]
) -> None:
    world = as_it_stands(load("mobility"), {"mobile": "dc2"})
    network = Network(world, lost)
    sent = exchange(cast(Pinger, network), world, LEFT, 1.0, lambda: None)
    pairs = [(one.source, one.destination, one.version) for one in world.expectations]
    assert [pair for pair, numbers in zip(pairs, sent, strict=True) if len(numbers) == 2] == asked
    assert sorted(number for numbers in sent for number in numbers) == list(range(len(network.echoes)))
    unanswered = [pair for pair, numbers in zip(pairs, sent, strict=True) if not network.echoes[numbers[-1]].done]
    assert unanswered == [pair for pair in pairs if lost.get(pair, 0) > (pair in LEFT)]
