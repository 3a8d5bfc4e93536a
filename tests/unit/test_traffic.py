"""What `traffic` makes of the core's packets and of iperf3's words."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from testbed.act import iperf
from testbed.act.iperf import Flow, Load, Report
from testbed.act.mobility.moved import Moved
from testbed.act.passages import Direction, Tunnel, count
from testbed.act.places import as_it_changed
from testbed.act.traffic import TrafficResult, traffic
from testbed.client.channel import LabError
from testbed.lab import Lab
from testbed.load import load
from testbed.model import Path, Topology
from testbed.observe.capture import Frame
from testbed.observe.decoder import decode
from testbed.observe.tables import throughput
from tests.unit.frames import ethernet, ip_packet, lisp_data

H1, H4 = "192.168.1.11", "192.168.2.11"
SERVER = 5201
RLOCS = {1: "10.0.7.2", 2: "10.0.8.2", 3: "10.0.9.2"}


@pytest.fixture(scope="module")
def world() -> Topology:
    return load("two-dc-static")


def segment(source: str, destination: str, source_port: int, destination_port: int, protocol: int = 6) -> bytes:
    return ip_packet(source, destination, protocol, struct.pack("!HH", source_port, destination_port) + bytes(16))


class Core:
    """What the core routers of two-dc-static saw."""

    def __init__(self, world: Topology) -> None:
        self.world = world
        self.frames: list[tuple[Frame, int]] = []

    def saw(self, node: str, interface: str, packet: bytes, stands_for: int = 1) -> None:
        self.frames.append((Frame(len(self.frames), node, interface, ethernet(packet)), stands_for))

    def tunnel(self, inner: bytes, source: str, destination: str, stands_for: int = 1, instance_id: int = 0) -> None:
        """A LISP packet on its way from one xTR to another: it enters the core once, and crosses a link inside it."""
        ends = (str(self.world[source].address), str(self.world[destination].address))
        packet = lisp_data(ends, inner, flags=0x08 if instance_id else 0, instance_id=instance_id)
        entry = self.world[source].interfaces[0].peer
        inside = next(one.name for one in self.world[entry].interfaces if one.peer.startswith("core"))
        self.saw(entry, source, packet, stands_for)
        self.saw(entry, inside, packet, stands_for)

    def there(self, *flows: int, ends: tuple[str, str] = ("h1", "h4"), expected: Path | None = None) -> Direction:
        addresses = [self.world[end].address for end in ends]
        way, _ = count(self.frames, self.world, addresses[0], addresses[1], SERVER, flows)
        return way.direction([self.world], ends, [expected] if expected else [])


def test_the_ports_of_the_inner_header_are_read() -> None:
    inner = segment(H1, H4, 40000, SERVER)
    packet = decode(ethernet(lisp_data(("10.0.0.1", "10.0.0.5"), inner)))
    assert packet is not None
    assert packet.ports == (40000, SERVER)
    native = decode(ethernet(segment("2001:db8::1", "2001:db8::2", 1, 2, protocol=17)))
    assert native is not None
    assert native.ports == (1, 2)
    short = decode(ethernet(ip_packet(H1, H4, 6, b"\0\1")))
    assert short is not None
    assert short.ports is None


def test_a_packet_counts_once_however_far_it_goes(world: Topology) -> None:
    core = Core(world)
    core.tunnel(segment(H1, H4, 40000, SERVER), "xtr1", "xtr2", stands_for=8)
    seen = core.there(40000, expected=Path.ENCAPSULATED)
    (passage,) = seen.passages
    assert (passage.source, passage.destination, passage.packets, passage.share) == ("xtr1", "xtr2", 8, 1.0)
    assert seen.ok
    assert str(seen) == f"encapsulated: xtr1 ({world['xtr1'].address}) to xtr2 ({world['xtr2'].address})"


def test_only_this_run_counts(world: Topology) -> None:
    core = Core(world)
    core.tunnel(segment(H1, H4, 40000, 80), "xtr1", "xtr2")  # another server
    core.tunnel(segment(H1, H4, 40001, SERVER), "xtr1", "xtr2")  # the control connection
    core.tunnel(segment(H4, H1, SERVER, 40000), "xtr2", "xtr1")  # the way back
    core.saw("core1", "xtr1", b"\x60")  # cut short
    assert core.there(40000).passages == ()
    assert str(core.there(40000)) == "not seen in the core"
    assert core.there(40000).seen is Path.LOCAL


def test_packets_that_pass_an_rtr() -> None:
    """Each is seen in two tunnels: shares are those of one leg of the way."""
    mixed = load("mixed-families")
    core = Core(mixed)
    inner = segment(str(mixed["h1"].address), str(mixed["h3"].address), 40000, SERVER)
    core.tunnel(inner, "xtr1", "rtr", stands_for=8)
    seen = core.there(40000, ends=("h1", "h3"), expected=Path.REENCAPSULATED)
    assert (seen.seen, seen.ok) == (Path.ENCAPSULATED, False)
    core.tunnel(inner, "rtr", "xtr3", stands_for=8)
    seen = core.there(40000, ends=("h1", "h3"), expected=Path.REENCAPSULATED)
    assert (seen.seen, seen.ok, seen.relays) == (Path.REENCAPSULATED, True, ("rtr",))
    assert [one.share for one in seen.passages] == [1.0, 1.0]
    assert not core.there(40000, ends=("h1", "h3"), expected=Path.ENCAPSULATED).ok


def test_tunnels_by_way_of_rtrs_are_in_the_order_of_the_path() -> None:
    """However the sample was taken: of each leg another number of packets may have been seen."""
    mixed = load("mixed-families")
    core = Core(mixed)
    inner = segment(str(mixed["h1"].address), str(mixed["h3"].address), 40000, SERVER)
    core.tunnel(inner, "xtr1", "rtr", stands_for=7)
    core.tunnel(inner, "rtr", "xtr3", stands_for=9)
    seen = core.there(40000, ends=("h1", "h3"), expected=Path.REENCAPSULATED)
    assert [(one.source, one.destination) for one in seen.passages] == [("xtr1", "rtr"), ("rtr", "xtr3")]


def test_shares_are_of_what_is_alike(world: Topology) -> None:
    """Proxied: all of it is native in one place, and encapsulated in another."""
    core = Core(world)
    client = str(world["client"].address)
    core.saw("core4", "edge", segment(client, H4, 40000, SERVER), 4)
    core.tunnel(segment(client, H4, 40000, SERVER), "pxtr", "xtr2", stands_for=3)
    core.tunnel(segment(client, H4, 40000, SERVER), "pxtr", "xtr2", stands_for=1, instance_id=7)
    seen = core.there(40000, ends=("client", "h4"), expected=Path.PROXIED)
    assert seen.seen is Path.PROXIED
    assert seen.ok
    assert sorted(one.share for one in seen.passages) == [0.25, 0.75, 1.0]
    assert {one.tunnel.instance_id for one in seen.passages if one.tunnel} == {0, 7}


def test_no_way_is_rounded_away(world: Topology) -> None:
    core = Core(world)
    for target, packets in (("xtr2", 999), ("xtr3", 1)):
        core.tunnel(segment(H1, H4, 40000, SERVER), "xtr1", target, stands_for=packets)
    assert str(core.there(40000)) == (
        f"encapsulated: over 99 % xtr1 ({RLOCS[1]}) to xtr2 ({RLOCS[2]}), "
        f"under 1 % xtr1 ({RLOCS[1]}) to xtr3 ({RLOCS[3]})"
    )


def test_a_tunnel_to_a_stranger_is_not_ok(world: Topology) -> None:
    core = Core(world)
    core.tunnel(segment(H1, H4, 40000, SERVER), "xtr1", "xtr3")
    seen = core.there(40000, expected=Path.ENCAPSULATED)
    assert seen.seen is Path.ENCAPSULATED
    assert not seen.ok
    assert seen.strays == (f"xtr3 ({world['xtr3'].address})",)


def test_each_flow_knows_its_tunnels(world: Topology) -> None:
    core = Core(world)
    for flow, target in ((40000, "xtr2"), (40001, "xtr3")):
        core.tunnel(segment(H1, H4, flow, SERVER), "xtr1", target)
    way, _ = count(core.frames, world, ip_address(H1), ip_address(H4), SERVER, [40000, 40001])
    source = world["xtr1"].address
    assert way.of_flow(40000) == [Tunnel(source, world["xtr2"].address, 0)]
    assert way.of_flow(40001) == [Tunnel(source, world["xtr3"].address, 0)]
    assert way.of_flow(40002) == []


SENT_TCP = {"sender": {"bits_per_second": 126e6, "retransmits": 12, "mean_rtt": 33073}}
SENT_UDP = {"udp": {"bits_per_second": 50e6, "packets": 520, "lost_packets": 0}}


def udp(packets: int, lost: int, out_of_order: int = 0) -> dict[str, Any]:
    return {"udp": {"packets": packets, "lost_packets": lost, "jitter_ms": 0.14, "out_of_order": out_of_order}}


def told(whole: str, sent: list[dict[str, Any]], arrived: list[dict[str, Any]]) -> dict[str, Any]:
    """What iperf3's client tells; the server has the flows in another order."""
    ports = [40000 + number for number, _ in enumerate(sent)]
    server_streams = {
        "start": {"connected": [{"remote_port": port} for port in reversed(ports)]},
        "end": {"streams": list(reversed(arrived))},
    }
    return {
        "start": {"connected": [{"local_port": port} for port in ports], "version": "iperf 3.12"},
        "intervals": [{"sum": {"start": 0, "end": 1.0, "bits_per_second": 3e6}}],
        "end": {"streams": sent, whole: {"seconds": 1.0}},
        "server_output_json": server_streams,
    }


def test_tcp_is_read() -> None:
    arrived = [{"receiver": {"bits_per_second": rate}} for rate in (112e6, 113e6)]
    load = Load(udp=False, rate=None, seconds=1, flows=2)
    report = iperf.read(told("sum_sent", [SENT_TCP, SENT_TCP], arrived), SERVER, load)
    assert [flow.received_mbps for flow in report.flows] == [112.0, 113.0]
    assert report.flows[0] == Flow(40000, 126.0, 112.0, retransmissions=12, rtt_ms=33.073)
    assert report.intervals == ((0, 1.0, 3.0),)


@pytest.mark.parametrize(
    ("arrived", "flow"),
    [
        (udp(520, 52, 3), Flow(40000, 50.0, 45.0, packets=520, lost=52, jitter_ms=0.14, out_of_order=3)),
        (udp(260, 0), Flow(40000, 50.0, 25.0, packets=520, lost=260, jitter_ms=0.14, out_of_order=0)),
        (udp(0, 0), Flow(40000, 50.0, 0.0, packets=520, lost=520, out_of_order=0)),
    ],
    ids=["holes", "the second half", "all"],
)
def test_udp_is_read(arrived: dict[str, Any], flow: Flow) -> None:
    """iperf3 itself calls a run in which nothing arrives one without loss."""
    report = iperf.read(told("sum", [SENT_UDP], [arrived]), SERVER, Load(udp=True, rate=50, seconds=1, flows=1))
    assert report.flows == (flow,)


@pytest.fixture
def result() -> TrafficResult:
    flow = Flow(40000, 10.0, 9.0, packets=1000, lost=100, jitter_ms=0.5, out_of_order=2)
    report = Report((flow, replace(flow, port=40001)), 1.0, (), SERVER, "iperf 3.12")
    way = Direction(Path.ENCAPSULATED, (), ())
    return TrafficResult("h1", "h4", 4, Load(True, 20, 1, 2), report, way, None, ((), ()))


def test_what_is_required_and_does_not_hold_is_said_all_at_once(result: TrafficResult) -> None:
    with pytest.raises(AssertionError) as caught:
        result.require(
            at_least=19, at_most=17, lost_percent=9, out_of_order=3, path=Path.NATIVE, between=("xtr1", "xtr2")
        )
    assert str(caught.value).splitlines() == [
        "h1 to h4:",
        "18.00 Mbit/s arrive, at least 19 are required",
        "18.00 Mbit/s arrive, at most 17 are allowed",
        "10.00 % are lost, at most 9 are allowed",
        "4 are out of order, at most 3 are allowed",
        "the path is to be native, and is not seen in the core",
        "tunnels are to go from xtr1 to xtr2; not seen in the core",
        "from h1 to h4: expected encapsulated, seen not seen in the core",
    ]


def test_the_topology_is_always_required(result: TrafficResult) -> None:
    with pytest.raises(AssertionError, match="from h1 to h4: expected encapsulated"):
        result.require(at_least=17, lost_percent=10, out_of_order=4)
    replace(result, there=Direction(Path.LOCAL, (), ())).require(at_least=17, path=Path.LOCAL)


def test_the_whole_is_the_sum_of_the_flows(result: TrafficResult) -> None:
    assert result.total == Flow(0, 20.0, 18.0, packets=2000, lost=200, jitter_ms=0.5, out_of_order=4)
    assert result.lost_percent == 10.0
    document = result.to_json()
    assert (document["ok"], document["received_mbps"], document["protocol"]) == (False, 18.0, "udp")
    assert "retransmissions" not in document
    assert [flow["port"] for flow in document["flows"]] == [40000, 40001]


@pytest.mark.parametrize(
    ("source", "destination", "version", "line"),
    [
        ("a1", "b2", None, "a1 and b2 are hosts of different instances: no packet goes between them"),
        ("a1", "b1", 6, "a1 has no IPv6 address"),
    ],
)
def test_tenants_do_not_hear_each_other(source: str, destination: str, version: int | None, line: str) -> None:
    """S13: the address of another tenant's host is, to the sender, that of one of its own."""
    with pytest.raises(LabError, match=line):
        traffic(Lab("tenants"), source, destination, version=version)


AWAY = Moved("mobile", "dc1", "dc2", 100.0, 100.001)


def while_it_moves(*moves: Moved, last: str = "xtr2") -> Direction:
    """What near1, in dc1, sends to the host that moves from there: in the end from its xTR to another one."""
    mobility = load("mobility")
    worlds = as_it_changed(mobility, {"mobile": "dc1"}, moves)
    core = Core(mobility)
    ends = ("near1", "mobile")
    core.tunnel(segment(*(str(mobility[one].address) for one in ends), 40000, SERVER), "xtr1", last)
    way, _ = count(core.frames, mobility, mobility["near1"].address, mobility["mobile"].address, SERVER, [40000])
    return way.direction(worlds, ends, [Path.LOCAL, Path.ENCAPSULATED] if moves else [Path.LOCAL])


def test_a_move_meanwhile_makes_the_paths_of_both_places_right() -> None:
    """And of no other place: what goes to the branch is wrong wherever the host was."""
    assert while_it_moves(AWAY).ok
    assert [one.strays for one in (while_it_moves(AWAY, last="xtr3"), while_it_moves())] == [
        ("xtr3 (10.0.8.2)",),
        ("xtr2 (10.0.7.2)",),
    ]
    assert while_it_moves(AWAY).to_json()["expected_before"] == ["local"]


def test_a_path_that_neither_place_has_is_told_with_both(result: TrafficResult) -> None:
    there = replace(while_it_moves(AWAY), expected=Path.NATIVE)
    moved = replace(result, there=there, moves=(AWAY,))
    assert moved.complaints == [
        "from h1 to h4: expected local, then native, seen encapsulated: xtr1 (10.0.6.2) to xtr2 (10.0.7.2)"
    ]
    assert moved.to_json()["moves"] == [
        {"node": "mobile", "origin": "dc1", "site": "dc2", "unplugged": 100.0, "plugged": 100.001}
    ]


def test_an_rloc_that_two_routers_send_to_is_shown_once(result: TrafficResult) -> None:
    """By the old xTR and the new one of the host that sends."""
    tunnels = tuple(Tunnel(ip_address(RLOCS[one]), ip_address(RLOCS[3]), 0) for one in (1, 2))
    drawn = throughput(replace(result, tunnels=(tunnels, tunnels)))
    assert [*drawn.columns[-1].cells][:2] == [RLOCS[3]] * 2
