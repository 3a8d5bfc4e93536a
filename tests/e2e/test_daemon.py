"""The daemon in real network namespaces: two xTRs, a node that is map-server, map-resolver and PxTR, a plain core."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nodes.linux import links, routes
from nodes.linux.links import VethEnd
from nodes.lisp.checksum import checksum
from tests.e2e.daemon_world import World, ms_config, xtr_config

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("tshark"), reason="needs root and tshark")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        made.boot(ms_config(), xtr_config("xtr1", petrs=("10.0.3.1",)), xtr_config("xtr2"))
        yield made
    finally:
        made.close()


def inner_udp(source: str, destination: str, payload: bytes, tos: int = 0, ttl: int = 64) -> bytes:
    """An IPv4 packet with a UDP datagram (checksum zero) to port 9999."""
    udp = struct.pack("!HHHH", 7777, 9999, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(udp), 0, 0, ttl, 17, 0) + addresses
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + udp


@pytest.mark.requirement("D01", "D04", "D08", "D11", "D12", "D18", "S04")
def test_first_ping_gets_through_and_looks_right_in_the_core(world: World) -> None:
    """One flow, from the first packet on, and nothing lost."""
    default = [row for row in world.show("xtr1", "map-cache") if row["eid"] == "0.0.0.0/0"]
    assert default[0]["action"] == "send-map-request"
    with world.capture("core", "xtr1") as dissect:
        done = world.run(
            "h1", *["ping", "-n", "-c", "20", "-i", "0.01", "-W", "2", "-t", "33", "-Q", "0xb8", "192.168.2.1"]
        )
        assert " 0% packet loss" in done.stdout, done.stdout
        packets = dissect()
    assert not [one for one in packets if one["_ws.malformed"]]
    data = [one for one in packets if one["udp.dstport"].split(",")[0] == "4341"]
    sent = [one for one in data if one["ip.src"].startswith("10.0.1.1,192.168.1.1")]
    assert len(sent) == 20
    assert len(data) == 40
    for one in sent:
        assert one["ip.dst"] == "10.0.2.1,192.168.2.1"
        assert one["ip.ttl"] == "32,32"
        assert one["ip.dsfield"] == "0xb8,0xb8"
        assert one["udp.checksum"] == "0x0000"
        assert one["ip.flags.df"].startswith("1,")
        assert one["lisp-data.flags"] == "0x00"
        assert set(one["ip.checksum.status"].split(",")) == {"1"}
    assert len({one["udp.srcport"] for one in sent}) == 1
    assert int(sent[0]["udp.srcport"]) >= 0xC000
    statistics = world.show("xtr1", "statistics")
    assert statistics["data"]["encapsulated_packets"] == 20
    assert statistics["data"]["decapsulated_packets"] == 20
    assert statistics["held"]["ever"] >= 1
    assert statistics["drops"] == {}


@pytest.mark.requirement("D11", "D12")
@pytest.mark.parametrize("option", [("-T", "tsonly"), ("-R",)], ids=["timestamps", "record route"])
def test_packets_with_ipv4_options_get_through(world: World, option: tuple[str, ...]) -> None:
    """Outer TTL and DSCP are the inner ones, however long the inner header is."""
    with world.capture("core", "xtr1") as dissect:
        done = world.run(
            "h1", *["ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-t", "33", "-Q", "0xb8", *option, "192.168.2.1"]
        )
        assert " 0% packet loss" in done.stdout, done.stdout
        sent = [
            one
            for one in dissect()
            if one["ip.src"].startswith("10.0.1.1,192.168.1.1") and one["udp.dstport"] == "4341"
        ]
    assert [(one["ip.ttl"], one["ip.dsfield"]) for one in sent] == [("32,32", "0xb8,0xb8")] * 3


@pytest.mark.requirement("D02")
def test_many_flows_use_many_source_ports(world: World) -> None:
    """Fifty flows, more than twenty source ports."""
    sender = world.socket("h1", socket.SOCK_DGRAM)
    receiver = world.socket("h2", socket.SOCK_DGRAM)
    receiver.bind(("192.168.2.1", 9999))
    assert world.ping("h1", "192.168.2.1").returncode == 0
    with world.capture("core", "xtr1") as dissect:
        for _ in range(50):
            with world.socket("h1", socket.SOCK_DGRAM) as one:
                one.sendto(b"x", ("192.168.2.1", 9999))
                receiver.recv(100)
        ports = {one["udp.srcport"].split(",")[0] for one in dissect() if "4341" in one["udp.dstport"]}
    assert len(ports) > 20
    sender.close()
    receiver.close()


@pytest.mark.order
@pytest.mark.requirement("S04")
def test_a_burst_that_misses_arrives_whole_and_in_order(world: World) -> None:
    """Packets wait for the Map-Reply; none is lost, none is overtaken."""
    receiver = world.socket("h2", socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
    receiver.bind(("192.168.2.1", 9999))
    with world.socket("h1", socket.SOCK_DGRAM) as sender, receiver:
        for number in range(2000):
            sender.sendto(number.to_bytes(4, "big"), ("192.168.2.1", 9999))
        arrived = [int.from_bytes(receiver.recv(100), "big") for _ in range(2000)]
    assert arrived == list(range(2000))
    assert world.show("xtr1", "statistics")["held"]["now"] == 0


@pytest.mark.requirement("D03", "D05", "D08", "D11", "D12", "D13")
def test_what_an_etr_accepts(world: World) -> None:
    """Checksums, reserved bits, TTL, DSCP and ECN at decapsulation."""
    receiver = world.socket("h2", socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw = world.socket("core", socket.SOCK_RAW, socket.IPPROTO_RAW)

    def inject(lisp: bytes, inner: bytes, udp_checksum: int = 0, tos: int = 0, ttl: int = 64) -> None:
        udp = struct.pack("!HHHH", 50000, 4341, 16 + len(inner), udp_checksum)
        addresses = socket.inet_aton("10.0.1.1") + socket.inet_aton("10.0.2.1")
        outer = struct.pack("!BBHHHBBH", 0x45, tos, 0, 0, 0, ttl, 17, 0) + addresses
        raw.sendto(outer + udp + lisp + inner, ("10.0.2.1", 0))

    plain = bytes(8)
    with receiver, raw:
        inject(plain, inner_udp("192.168.1.1", "192.168.2.1", b"zero checksum"))
        assert receiver.recv(2000).endswith(b"zero checksum")
        inject(plain, inner_udp("192.168.1.1", "192.168.2.1", b"wrong checksum"), udp_checksum=0x1234)
        inject(bytes([0x04, 1, 2, 3, 4, 5, 6, 7]), inner_udp("192.168.1.1", "192.168.2.1", b"reserved bit"))
        assert receiver.recv(2000).endswith(b"reserved bit")  # and so the wrong checksum was dropped
        inject(plain, inner_udp("192.168.1.1", "192.168.2.1", b"small TTL"), tos=0xB8, ttl=20)
        packet = receiver.recv(2000)
        assert (packet[8], packet[1]) == (19, 0xB8)
        assert checksum(packet[:20]) == 0
        inject(plain, inner_udp("192.168.1.1", "192.168.2.1", b"large TTL", ttl=7), ttl=200)
        assert receiver.recv(2000)[8] == 6
        inject(plain, inner_udp("192.168.1.1", "192.168.2.1", b"ECT and CE", tos=2), tos=3)
        assert receiver.recv(2000)[1] == 3
        inject(plain, inner_udp("192.168.1.1", "192.168.2.1", b"not ECT but CE"), tos=3)
        inject(plain, inner_udp("192.168.1.1", "192.168.9.1", b"not of this site"))
        inject(b"\x08\0\0\0\0\0\x07\0", inner_udp("192.168.1.1", "192.168.2.1", b"another instance"))
        inject(plain, inner_udp("192.168.1.1", "192.168.2.1", b"the end"))
        assert receiver.recv(2000).endswith(b"the end")
    drops = world.show("xtr2", "statistics")["drops"]
    assert drops == {"congestion experienced, inner packet not ECN-capable": 1, "not an EID of this site": 2}


@pytest.mark.requirement("S01")
def test_hosts_have_no_way_to_the_rloc_space(world: World) -> None:
    """An RLOC, the own xTR's included, answers no host."""
    assert "Packet filtered" in world.ping("h1", "10.0.2.1").stdout
    with world.capture("core", "xtr1") as dissect:
        # The kernel bounds its ICMP errors, so not every refusal is told.
        for rloc in ("10.0.1.1", "10.0.3.1"):
            assert world.ping("h1", rloc, "-W", "0.2").returncode != 0
        assert not [one for one in dissect() if "192.168.1.1" in one["ip.src"]]
    assert world.ping("h1", "192.168.1.254").returncode == 0


@pytest.mark.requirement("S02")
def test_a_specific_route_wins_over_encapsulation(world: World) -> None:
    """Natively while a specific route exists; a Null0 route or none makes a candidate again."""
    kernel = world.kernel["xtr1"]
    assert world.ping("h1", "192.168.2.1").returncode == 0
    specific = routes.Route(ip_network("192.168.2.0/24"), ip_address("10.0.1.254"))
    with world.capture("core", "xtr1") as dissect:
        routes.add_route(kernel, specific)
        world.show("xtr1", "roles")  # answered after the notification has been read, or next to it
        world.show("xtr1", "roles")
        world.ping("h1", "192.168.2.1", "-W", "1")
        native = [one for one in dissect() if one["ip.src"] == "192.168.1.1"]
        assert native
        assert native[0]["ip.ttl"] == "63"
        routes.delete_route(kernel, specific)
        routes.add_route(kernel, routes.Route(ip_network("192.168.2.0/24"), type=routes.RouteType.UNREACHABLE))
        world.show("xtr1", "roles")
        world.show("xtr1", "roles")
        assert world.ping("h1", "192.168.2.1").returncode == 0


@pytest.mark.requirement("S03")
def test_a_source_outside_the_eid_prefixes_is_forwarded_natively(world: World) -> None:
    """And with the TTL of one hop."""
    world.address("h1", "xtr1", "172.16.5.5/32")
    with world.capture("core", "xtr1") as dissect:
        world.ping("h1", "203.0.113.9", "-I", "172.16.5.5", "-W", "1")
        seen = [one for one in dissect() if one["ip.src"] == "172.16.5.5"]
    assert seen
    assert seen[0]["ip.ttl"] == "63"
    assert seen[0]["udp.dstport"] == ""


@pytest.mark.requirement("M13", "M14")
def test_proxies(world: World) -> None:
    """A non-LISP host and an EID reach each other, by PITR one way and PETR the other."""
    with world.capture("core", "xtr1") as dissect:
        done = world.ping("h1", "203.0.113.9")
        assert done.returncode == 0, done.stdout
        seen = [one for one in dissect() if "icmp" in one["frame.protocols"].split(":")]
    assert [(one["ip.src"], one["ip.dst"]) for one in seen] == [
        ("10.0.1.1,192.168.1.1", "10.0.3.1,203.0.113.9"),
        ("10.0.3.1,203.0.113.9", "10.0.1.1,192.168.1.1"),
    ]
    # xtr2 has no PETR: out natively, back through the PITR.
    with world.capture("core", "xtr2") as dissect:
        assert world.ping("net", "192.168.2.1").returncode == 0
        seen = [one for one in dissect() if "icmp" in one["frame.protocols"].split(":")]
    assert [one["ip.src"] for one in seen] == ["10.0.3.1,203.0.113.9", "192.168.2.1"]


@pytest.mark.requirement("M24")
def test_an_unregistered_eid_is_unreachable_from_outside(world: World) -> None:
    """The PITR says so and does not send the packet round in circles."""
    with world.capture("core", "ms") as dissect:
        done = world.ping("net", "192.168.77.1")
        seen = [one for one in dissect() if one["ip.dst"] == "192.168.77.1"]
    assert "Destination Host Unreachable" in done.stdout, done.stdout
    assert len(seen) == 1
    # And from a site's EID: the PETR does not send it back into the aggregate, and says so inside a LISP header.
    done = world.ping("h1", "192.168.77.1")
    assert "From 10.0.3.1" in done.stdout, done.stdout
    assert "Destination Host Unreachable" in done.stdout
    assert world.show("ms", "statistics")["drops"]["destination inside the aggregates"] >= 1


@pytest.mark.requirement("D16", "D17")
def test_what_the_kernel_does_about_size(world: World) -> None:
    """DF and too big is told the size; without DF the pieces are encapsulated, none fragmented outside."""
    assert world.ping("h1", "192.168.2.1").returncode == 0
    with world.capture("core", "xtr1") as dissect:
        told = world.ping("h1", "192.168.2.1", "-M", "do", "-s", "1472")
        assert "mtu" in told.stdout, told.stdout
        assert "1464" in told.stdout
        assert world.ping("h1", "192.168.2.1", "-M", "dont", "-s", "1472").returncode == 0
        sizes = [int(one["ip.len"].split(",")[0]) for one in dissect() if "4341" in one["udp.dstport"]]
    assert len(sizes) == 4
    assert max(sizes) <= 1500


def test_a_killed_daemon_is_reported_and_never_leaks_natively(world: World) -> None:
    """Without its daemon an xTR refuses; a new one finds its rules and goes on."""
    assert world.ping("h1", "192.168.2.1").returncode == 0
    os.kill(world.pids["xtr1"], signal.SIGKILL)
    assert world.event("exited", "xtr1")["status"] == -signal.SIGKILL
    with world.capture("core", "xtr1") as dissect:
        done = world.ping("h1", "192.168.2.1")
        assert "Destination Host Unreachable" in done.stdout, done.stdout
        assert not [one for one in dissect() if "192.168.1.1" in one["ip.src"]]
    before = list(routes.list_rules(world.kernel["xtr1"], 4))
    report = world.start(xtr_config("xtr1"))
    world.wait_for(report, "registered", "xtr1")
    os.close(report)
    assert list(routes.list_rules(world.kernel["xtr1"], 4)) == before
    assert world.ping("h1", "192.168.2.1").returncode == 0


@pytest.mark.requirement("M22")
def test_the_control_socket(world: World) -> None:
    """Show and lig; errors are one line; the socket is root's alone."""
    assert (world.directory / "xtr1" / "control.sock").stat().st_mode & 0o777 == 0o600
    found = world.ask("xtr1", {"op": "lig", "eid": "192.168.2.1", "instance_id": 0, "timeout": 3})
    assert found["ok"], found
    assert "10.0.2.1" in str(found["data"])
    assert {row["eid"] for row in world.show("ms", "registrations")} == {"192.168.1.0/24", "192.168.2.0/24"}
    sides = {row["name"]: row["side"] for row in world.show("xtr1", "interfaces")}
    assert sides == {"core": "core", "h1": "site", "lisp0": "lisp"}
    for wrong in ({"op": "show", "what": "nonsense"}, {"op": "nonsense"}, {"op": "lig", "eid": "nonsense"}):
        answer = world.ask("xtr1", wrong)
        assert answer["ok"] is False
        assert "\n" not in answer["error"]


def test_a_daemon_stops_cleanly(world: World) -> None:
    os.kill(world.pids["xtr2"], signal.SIGTERM)
    assert world.event("exited", "xtr2")["status"] == 0
    assert world.log("xtr2")[-1]["event"] == "stopped"
    assert world.ask("xtr1", {"op": "stop"})["ok"]
    assert world.event("exited", "xtr1")["status"] == 0
    assert not (world.directory / "xtr1" / "control.sock").exists()


def test_a_daemon_that_cannot_start_says_why(world: World) -> None:
    wrong = xtr_config("xtr1")
    object.__setattr__(wrong, "core_interfaces", ("nonsense",))
    os.kill(world.pids["xtr1"], signal.SIGTERM)
    world.event("exited", "xtr1")
    os.close(world.start(wrong))
    assert world.event("exited", "xtr1")["status"] == 70
    assert "nonsense" in world.log("xtr1")[-1]["fields"]["error"]


def test_memory_of_a_forked_daemon(world: World) -> None:
    """The issue's bound is 15 MB of proportional memory for each daemon."""
    for name, pid in world.pids.items():
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert pss < 15_000, f"{name}: {pss} kB"


def test_logs_are_json_and_hold_no_key(world: World) -> None:
    for name in ("ms", "xtr1", "xtr2"):
        lines = world.log(name)
        assert {"listening", "ready"} <= {line["event"] for line in lines}
        assert all(set(line) == {"time", "monotonic", "node", "event", "fields"} for line in lines)
        assert "a secret of the test" not in str(lines)


@pytest.mark.requirement("S05")
def test_the_source_rloc_follows_the_route_to_the_locator(tmp_path: Path) -> None:
    """Two core links, two RLOCs; the output interface chooses, again when the route changes or its link fails."""
    world = World(tmp_path)
    try:
        a = VethEnd("core-2", world.namespace["xtr1"], "02:00:00:00:22:01")
        b = VethEnd("xtr1-2", world.namespace["core"], "02:00:00:00:22:02")
        links.add_veth(world.kernel["xtr1"], a, b)
        world.address("xtr1", "core-2", "10.0.11.1/24")
        world.address("core", "xtr1-2", "10.0.11.254/24")
        own = (ip_address("10.0.1.1"), ip_address("10.0.11.1"))
        config = replace(xtr_config("xtr1"), rlocs=own, core_interfaces=("core", "core-2"))
        world.boot(ms_config(), config, xtr_config("xtr2"))
        kernel = world.kernel["xtr1"]

        def outer_source() -> str:
            with world.capture("core", "xtr2") as dissect:
                assert world.ping("h1", "192.168.2.1").returncode == 0
                sources = [one["ip.src"].split(",") for one in dissect() if "4341" in one["udp.dstport"]]
            return next(outer for outer, inner in sources if inner == "192.168.1.1")

        assert outer_source() == "10.0.1.1"
        other_way = routes.Route(ip_network("10.0.2.0/24"), ip_address("10.0.11.254"))
        routes.add_route(kernel, other_way)
        assert outer_source() == "10.0.11.1"
        links.set_up(kernel, links.index_of(kernel, "core-2"), up=False)
        assert outer_source() == "10.0.1.1"
    finally:
        world.close()
