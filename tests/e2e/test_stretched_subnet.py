"""One subnet in two data centres, hosts found by their first frame: requirements S06 to S08, X01, X02, X08, X12."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from nodes.daemon.admission import MOST_HOSTS_OF_A_MAC
from testbed.act.ping import ping as ping_all
from testbed.lab import Lab
from testbed.model import Path as Way
from testbed.observe.capture import Capture
from testbed.observe.decoder import decode
from tests.conformance.tester.packets import datagram
from tests.conformance.tester.waiting import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

WORLD = Path(__file__).resolve().parents[2] / "topologies" / "stretched-subnet.yaml"
PC1, PC2, NOBODY = (IPv4Address(f"11.11.11.{last}") for last in (11, 12, 200))
TABLE = "1000000000"  # instance 0's own routes


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, dataplane: str) -> Iterator[Lab]:
    name = f"test-stretched-{dataplane}-{os.getpid()}"
    run_dir = tmp_path_factory.mktemp("runs") / name
    with Lab(WORLD, name=name, run_dir=run_dir, dataplane=dataplane) as running:
        eventually(lambda: len(hosts(running, "router1")) + len(hosts(running, "router2")) == 2, "both hosts found")
        yield running


def hosts(lab: Lab, router: str) -> set[str]:
    """The dynamic-EIDs of a router that every Map-Server has acknowledged."""
    return {row["eid"] for row in lab.show(router, "dynamic-eids") if row["state"] == "registered"}


def ping(lab: Lab, source: str, *destination: str) -> str:
    return lab.run(source, ["ping", "-n", "-c", "1", "-W", "10", *destination]).stdout


def arp(operation: int, mac: bytes, sender: str, asked: str) -> bytes:
    """An ARP frame to everybody."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + ip_address(sender).packed
    return b"\xff" * 6 + mac + b"\x08\x06" + body + bytes(6) + ip_address(asked).packed


class Wire:
    """A host's cable: sends frames, and hears ARP replies."""

    def __init__(self, lab: Lab, host: str) -> None:
        interface = lab[host].interfaces[0]
        self.mac = bytes.fromhex(interface.mac.replace(":", ""))
        self._socket = lab.socket(host, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        self._socket.bind((interface.name, 0x0806))

    def send(self, frame: bytes) -> None:
        """Send a frame as it is."""
        self._socket.send(frame)

    def ask(self, asked: str, sender: str = str(PC1), operation: int = 1, within: float = 0.3) -> str | None:
        """The MAC address that somebody answers with, or None."""
        self._socket.settimeout(within)
        self._socket.send(arp(operation, self.mac, sender, asked))
        while True:
            try:
                frame = self._socket.recv(2000)
            except TimeoutError:
                return None
            if frame[20:22] == b"\0\2" and frame[28:32] == ip_address(asked).packed:
                return frame[22:28].hex(":")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.mark.requirement("S06")
def test_one_subnet_in_two_data_centres(lab: Lab) -> None:
    """Hosts of one subnet reach each other through the RLOCs; each router answers ARP for the far host."""
    with Capture(lab, ["core1"]) as core:
        assert "ttl=60" in ping(lab, "pc1", str(PC2))
        assert "ttl=60" in ping(lab, "pc2", str(PC1))
        core.drain()
    seen = {
        tuple(str(header.source) for header in packet.headers)
        for frame in core.frames
        if (packet := decode(frame.data)) and packet.lisp
    }
    assert seen == {("200.1.247.1", str(PC1)), ("200.1.247.2", str(PC2))}
    for host, far, router, switch in (("pc1", PC2, "router1", "switch1"), ("pc2", PC1, "router2", "switch2")):
        assert lab[router].link_to(switch).mac in lab.run(host, ["ip", "neigh", "show", str(far)]).stdout


@pytest.mark.requirement("S06")
def test_hosts_that_were_found_take_the_fast_path(lab: Lab, dataplane: str) -> None:
    """Once a host is known its packets need the daemon no more; both ways, at both routers."""

    def counted(router: str) -> list[int]:
        data = lab.show(router, "statistics")["data"]
        return [data.get(f"{kind}_fast_packets", 0) for kind in ("encapsulated", "decapsulated")]

    ping(lab, "pc1", str(PC2))
    before = [counted(router) for router in ("router1", "router2")]
    done = lab.run("pc1", ["ping", "-n", "-c", "20", "-i", "0.01", "-W", "2", str(PC2)])
    assert " 0% packet loss" in done.stdout, done.stdout
    after = [counted(router) for router in ("router1", "router2")]
    wanted = [[20, 20], [20, 20]] if dataplane == "ebpf" else [[0, 0], [0, 0]]
    assert [[b - a for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)] == wanted


@pytest.mark.requirement("S06")
def test_the_world_does_what_its_file_implies(lab: Lab) -> None:
    """As ``ci/lab ping`` judges it."""
    result = ping_all(lab, lab.run_dir)
    assert [pair.seen for pair in result.pairs] == [Way.ENCAPSULATED] * 2
    assert not result.failures


@pytest.mark.requirement("S07")
def test_one_router_with_all_five_roles(lab: Lab) -> None:
    """XTR, Map-Server, Map-Resolver, PITR and PETR in one process, and both routers rely on it.

    The other router's host hears from a host without LISP, and sends to it, by way of this one.
    """
    roles = lab.show("router1", "roles")["roles"]
    assert roles == sorted(["itr", "etr", "map-server", "map-resolver", "pitr", "petr"])
    registered = {
        (row["eid"], row["etr"]) for row in lab.show("router1", "registrations") if row["state"] == "registered"
    }
    assert {("11.11.11.11/32", "200.1.247.1"), ("11.11.11.12/32", "200.1.247.2")} <= registered
    for router in ("router1", "router2"):
        (record,) = lab.lig(router, str(PC2))["records"]
        assert (record["eid"], [one["rloc"] for one in record["locators"]]) == ("11.11.11.12/32", ["200.1.247.2"])
    elsewhere = "198.51.100.1"
    with Capture(lab, ["core1"]) as core:

        def sources() -> set[tuple[str, ...]]:
            """Outside and inside LISP headers."""
            core.drain()
            packets = [packet for frame in core.frames if b"forged" in frame.data and (packet := decode(frame.data))]
            return {tuple(str(header.source) for header in packet.headers) for packet in packets}

        inject(lab, "core2", elsewhere, str(PC2))
        inject(lab, "pc2", str(PC2), elsewhere)
        eventually(lambda: ("200.1.247.1", elsewhere) in sources(), "the PITR sends what comes from elsewhere")
        eventually(lambda: (str(PC2),) in sources(), "the PETR sends what goes elsewhere")


@pytest.mark.requirement("S08")
def test_the_hole_above_the_registered_hosts(lab: Lab) -> None:
    """Only .11 and .12 are registered: the upper half of the subnet is one hole, forward-native."""
    for router in ("router1", "router2"):
        (record,) = lab.lig(router, str(NOBODY))["records"]
        assert (record["eid"], record["action"], record["locators"]) == ("11.11.11.128/25", 1, [])


def test_a_host_that_is_nowhere_is_unreachable(lab: Lab) -> None:
    """The router does not answer for a host that nobody registered."""
    assert "Destination Host Unreachable" in ping(lab, "pc1", str(NOBODY), "-W", "4")


@pytest.mark.requirement("S06")
def test_the_gateways_answer_for_themselves_and_each_other(lab: Lab) -> None:
    """.254 and .253, each in both data centres, the first packet too: a host that moves keeps the one that it had."""
    for host, router, switch in (("pc1", "router1", "switch1"), ("pc2", "router2", "switch2")):
        for gateway in ("11.11.11.254", "11.11.11.253"):
            assert "ttl=64" in ping(lab, host, gateway)
            assert lab[router].link_to(switch).mac in lab.run(host, ["ip", "neigh", "show", gateway]).stdout


@pytest.mark.requirement("X01", "X08")
def test_a_host_route_is_there_only_after_discovery(lab: Lab) -> None:
    """Two Null0 halves until a host sends its first frame; then its /32, and its registration."""
    routes = lab.run("router1", ["ip", "route", "show", "table", TABLE]).stdout
    assert "throw 11.11.11.0/25" in routes
    assert "throw 11.11.11.128/25" in routes
    assert "11.11.11.11 dev switch1" in routes
    assert "11.11.11.33" not in routes
    with Wire(lab, "pc1") as wire:
        wire.ask("11.11.11.33", sender="11.11.11.33")  # gratuitous: an announcement
    eventually(lambda: "11.11.11.33/32" in hosts(lab, "router1"), "11.11.11.33 registered")
    assert "11.11.11.33 dev switch1" in lab.run("router1", ["ip", "route", "show", "table", TABLE]).stdout
    (row,) = [one for one in lab.show("router1", "dynamic-eids") if one["eid"] == "11.11.11.33/32"]
    assert row["mac"] == lab["pc1"].interfaces[0].mac
    (record,) = lab.lig("router2", "11.11.11.33")["records"]
    assert record["eid"] == "11.11.11.33/32"


@pytest.mark.requirement("X02")
def test_only_hosts_of_the_permitted_prefix_are_registered(lab: Lab) -> None:
    """A foreign source, an ARP probe and the gateway's own address make no dynamic-EID."""
    with Wire(lab, "pc1") as wire:
        wire.ask("172.16.1.1", sender="172.16.1.1")
        wire.ask("11.11.11.44", sender="0.0.0.0")
        wire.ask("11.11.11.254", sender="11.11.11.254")
        wire.ask("11.11.11.45", sender="11.11.11.45")
    eventually(lambda: "11.11.11.45/32" in hosts(lab, "router1"), "11.11.11.45 registered")
    found = {row["eid"] for row in lab.show("router1", "dynamic-eids")}
    assert not found & {"172.16.1.1/32", "11.11.11.44/32", "11.11.11.254/32"}


@pytest.mark.requirement("X01")
def test_a_packet_finds_a_host_that_never_used_arp(lab: Lab) -> None:
    """A data packet from an unknown source inside the prefix is enough."""
    interface = lab["pc1"].interfaces[0].name
    router = lab["router1"].link_to("switch1").mac
    lab.run("pc1", ["ip", "address", "add", "11.11.11.55/32", "dev", interface])
    lab.run("pc1", ["ip", "neigh", "replace", str(PC2), "lladdr", router, "dev", interface])
    assert "1 received" in ping(lab, "pc1", str(PC2), "-I", "11.11.11.55")  # the first packet already
    eventually(lambda: "11.11.11.55/32" in hosts(lab, "router1"), "11.11.11.55 registered")
    lab.run("pc1", ["ip", "address", "del", "11.11.11.55/32", "dev", interface])


@pytest.mark.requirement("S06")
def test_whom_the_router_does_not_answer_for(lab: Lab) -> None:
    """It answers for far hosts; never announcements, probes, or for hosts of this data centre."""
    router = lab["router1"].link_to("switch1").mac
    with Wire(lab, "pc1") as wire:
        assert wire.ask(str(PC2), within=20.0) == router
        assert wire.ask(str(PC2), sender="0.0.0.0") is None
        wire.ask("11.11.11.66", sender="11.11.11.66")
        eventually(lambda: "11.11.11.66/32" in hosts(lab, "router1"), "11.11.11.66 registered")
        assert wire.ask("11.11.11.66") is None
        assert wire.ask(str(NOBODY)) is None


def inject(lab: Lab, node: str, source: str, destination: str) -> None:
    """Send a UDP packet that says it is from ``source``, by the node's own routes."""
    data = datagram(source, destination, (1111, 2222), b"forged")
    with lab.socket(node, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(data, (destination, 0))


@pytest.mark.requirement("X01")
def test_a_packet_from_the_core_makes_no_host(lab: Lab) -> None:
    """A host's own address comes from the site; a PITR drops what comes from the core with it, and only that."""
    elsewhere = "198.51.100.1"
    with Capture(lab, ["router1", "pc1"]) as capture:
        for source, target in ((str(PC2), "11.11.11.99"), (str(PC2), str(PC1)), (elsewhere, str(PC1))):
            inject(lab, "core2", source, target)
        eventually(lambda: forged(capture, "pc1"), "the packet from elsewhere at the host")
        assert len(forged(capture, "router1")) == 3
        assert [ip_address(frame[26:30]) for frame in forged(capture, "pc1")] == [ip_address(elsewhere)]
    assert "11.11.11.12/32" not in {row["eid"] for row in lab.show("router1", "dynamic-eids")}
    assert "ttl=60" in ping(lab, "pc1", str(PC2))


def forged(capture: Capture, node: str) -> list[bytes]:
    """The forged packets that arrived at a node up to now."""
    capture.drain()
    found = [frame.data for frame in capture.frames if frame.node == node and frame.data.endswith(b"forged")]
    return [frame for frame in found if frame[23] == socket.IPPROTO_UDP]  # a refusal quotes the packet


@pytest.mark.requirement("X01")
def test_a_source_that_nobody_answers_for_makes_no_host(lab: Lab) -> None:
    """The router asks the site for the unknown source of a packet; the far host does not answer there."""
    with Capture(lab, ["pc1", "core1"]) as capture:
        inject(lab, "pc1", str(PC2), "198.51.100.1")
        wanted = b"\x08\x06\0\1\x08\0\6\4\0\1"  # an ARP request

        def asked() -> bool:
            capture.drain()
            return any(frame.data[12:22] == wanted and frame.data[38:42] == PC2.packed for frame in capture.frames)

        eventually(asked, "the router asks for the source")
        assert not forged(capture, "core1")
    assert "11.11.11.12/32" not in {row["eid"] for row in lab.show("router1", "dynamic-eids")}
    assert "ttl=60" in ping(lab, "pc1", str(PC2))


@pytest.mark.requirement("X02")
def test_addresses_of_the_subnet_itself_are_no_hosts(lab: Lab) -> None:
    """Neither the network address nor the broadcast address."""
    with Wire(lab, "pc1") as wire:
        for one in ("11.11.11.0", "11.11.11.255", "11.11.11.46"):
            wire.ask(one, sender=one)
    eventually(lambda: "11.11.11.46/32" in hosts(lab, "router1"), "11.11.11.46 registered")
    assert not {row["eid"] for row in lab.show("router1", "dynamic-eids")} & {"11.11.11.0/32", "11.11.11.255/32"}


def test_one_station_cannot_be_every_host(lab: Lab) -> None:
    """A flood of announcements from one MAC address leaves room for others, and is in the log once."""
    forger = bytes.fromhex("02f100d00001")
    with Wire(lab, "pc1") as wire:
        for last in range(100, 200):
            wire.send(arp(1, forger, f"11.11.11.{last}", f"11.11.11.{last}"))
        wire.ask("11.11.11.47", sender="11.11.11.47")
    eventually(lambda: "11.11.11.47/32" in hosts(lab, "router1"), "11.11.11.47 registered")
    rows = [row for row in lab.show("router1", "dynamic-eids") if row["mac"] == forger.hex(":")]
    assert len(rows) == MOST_HOSTS_OF_A_MAC
    events = [json.loads(line)["event"] for line in lab.log_path("router1").read_text().splitlines()]
    assert events.count("too-many-hosts-of-a-mac") == 1


@pytest.mark.requirement("X01")
def test_a_restarted_router_finds_its_hosts_again(lab: Lab) -> None:
    """Also a host that says nothing of its own accord."""
    assert "ttl=60" in ping(lab, "pc1", str(PC2))
    lab.restart("router2")
    eventually(lambda: "11.11.11.12/32" in hosts(lab, "router2"), "11.11.11.12 found again")
    assert "ttl=60" in ping(lab, "pc1", str(PC2))


@pytest.mark.requirement("X12")
def test_an_answer_after_so_many_unanswered_requests(tmp_path: Path) -> None:
    """With nbr-proxy-reply 2 the third request is the first to be answered. And the same for IPv6 hosts over IPv4."""
    file = tmp_path / "twice.yaml"
    text = WORLD.read_text().replace("nbr-proxy-reply: 0", "nbr-proxy-reply: 2")
    text = text.replace("eid: 11.11.11.0/24", "eid: [11.11.11.0/24, 2001:db8:11::/64]")
    file.write_text(text.replace("dynamic-eids: 11.11.11.0/24", "dynamic-eids: [11.11.11.0/24, 2001:db8:11::/64]"))
    with Lab(file, name="test-twice", run_dir=tmp_path / "test-twice") as lab:
        eventually(lambda: len(hosts(lab, "router2")) == 2, "pc2 found")
        router = lab["router1"].link_to("switch1").mac
        with Wire(lab, "pc1") as wire:
            assert [wire.ask(str(PC2), within=within) for within in (0.3, 0.3, 20.0)] == [None, None, router]
        far = next(one.ip for one in lab["pc2"].interfaces[0].addresses if one.version == 6)
        assert "1 received" in ping(lab, "pc1", str(far), "-W", "8")
        assert router in lab.run("pc1", ["ip", "neigh", "show", str(far)]).stdout


def test_a_host_that_moved_is_told_where_its_gateway_is_now(lab: Lab) -> None:
    """S06: the same address in each data centre, another MAC address: it sends on without asking for it."""

    def known() -> str:
        return lab.run("pc1", ["ip", "neigh", "show", "11.11.11.254"]).stdout

    def mac(router: str) -> str:
        return next(str(row["mac"]) for row in lab.show(router, "interfaces") if row["side"] == "site")

    assert ping(lab, "pc1", "11.11.11.254")
    for site, router in (("dc2", "router2"), ("dc1", "router1")):
        assert mac(router) not in known()
        lab.move("pc1", site)
        eventually(lambda router=router: mac(router) in known(), f"it sends to {router}")  # type: ignore[misc]
        eventually(lambda router=router: f"{PC1}/32" in hosts(lab, router), f"{router} has it")  # type: ignore[misc]
