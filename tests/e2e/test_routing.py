"""BIRD in a lab: OSPF and BGP as the topology says, in both address families, supervised like any other daemon."""

from __future__ import annotations

import json
import re
import signal
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from nodes.lisp.config import Role
from nodes.lisp.eid import IPNetwork
from testbed.act.echo import Pinger
from testbed.act.ping import ping
from testbed.lab import Lab, LabError
from testbed.load import load
from testbed.model import Node
from testbed.observe.decoder import decode
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Watch

DEFAULTS = {ip_network("0.0.0.0/0"), ip_network("::/0")}
FLOWS = 64
WORLD = Path(__file__).with_name("routed.yaml")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(WORLD, name="routed", run_dir=tmp_path_factory.mktemp("runs") / "routed") as running:
        yield running


def speakers(lab: Lab) -> list[Node]:
    """The nodes that run BIRD."""
    return [node for node in lab.topology.nodes.values() if node.routing]


def kernel(lab: Lab, node: str) -> set[IPNetwork]:
    """The prefixes of a kernel's main tables, without link-local ones."""
    found = set()
    for option, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for row in json.loads(lab.run(node, ["ip", "-j", option, "route", "show", "table", "main"]).stdout or "[]"):
            found.add(ip_network(everything if row["dst"] == "default" else row["dst"]))
    return {one for one in found if not one.is_link_local}


def rib(lab: Lab, node: str, version: int) -> set[IPNetwork]:
    """The prefixes of BIRD's own table."""
    return {
        ip_network(one)
        for one in re.findall(r"^(\S+/\d+) ", birdc(lab, node, "show", "route", "table", f"master{version}"), re.M)
    }


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and (one.subnet_of(other) or other.subnet_of(one))  # type: ignore[arg-type]


def connected(node: Node) -> set[IPNetwork]:
    """Networks of its own interfaces; its loopback addresses too."""
    own = {address.network for interface in node.interfaces for address in interface.addresses}
    loopbacks = node.routing.loopbacks if node.routing else ()
    return own | {ip_network(one) for one in loopbacks if one.version == 6}  # IPv4's are in the local table only


def birdc(lab: Lab, node: str, *words: str) -> str:
    done = lab.run(node, ["birdc", *words])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def reaches(lab: Lab, source: str, destination: str) -> bool:
    with Pinger(lab) as pinger:
        echo = pinger.send(source, lab[destination].address)
        pinger.wait([echo], echo.sent + 2)
        return echo.rtt is not None


@pytest.mark.requirement("M15", "S01")
def test_ready_means_that_every_kernel_has_its_routes(lab: Lab) -> None:
    """And no other: of all EIDs the core knows the aggregates, by BGP."""
    for row in lab.status()["nodes"]:
        node = lab[row["name"]]
        assert row["state"] == ("ready" if node.lisp or node.routing else "up")
        assert [one["daemon"] for one in row["daemons"]] == ["lisp"] * bool(node.lisp) + ["bird"] * bool(node.routing)
    for node in speakers(lab):
        if node.lisp is None and node.routing:
            assert kernel(lab, node.name) == connected(node) | set(node.routing.learned), node.name
    for router in lab.topology.core:
        assert router.routes == ()
        assert {one.version for one in kernel(lab, router.name)} == {4, 6}


def test_no_address_waits_for_duplicate_address_detection(lab: Lab) -> None:
    """It takes a second for each; link-local ones count too: OSPFv3 speaks from them. And nobody asks for routers."""
    for node in lab.topology.nodes.values():
        for row in json.loads(lab.run(node.name, ["ip", "-j", "-6", "address"]).stdout):
            assert not [one for one in row["addr_info"] if one.get("tentative") or one.get("dadfailed")], node.name
            if row["ifname"] not in ("lo", "lisp0"):
                settings = [f"net.ipv6.conf.{row['ifname']}.{name}" for name in ("accept_dad", "router_solicitations")]
                assert lab.run(node.name, ["sysctl", "-n", *settings]).stdout.split() == ["0", "0"]


def test_every_adjacency_is_full_and_every_session_is_established(lab: Lab) -> None:
    for node in speakers(lab):
        assert node.routing is not None
        for protocol in ("ospf4", "ospf6") if node.routing.ospf else ():
            neighbours = birdc(lab, node.name, "show", "ospf", "neighbors", protocol)
            assert sorted(re.findall(r"\bFull/PtP\s+\S+\s+(\S+)", neighbours)) == sorted(node.routing.ospf)
        sessions = [line for line in birdc(lab, node.name, "show", "protocols").splitlines() if " BGP " in line]
        assert len(sessions) == len(node.routing.bgp)
        assert [line for line in sessions if "Established" not in line] == []


@pytest.mark.requirement("M13", "M14", "S10")
def test_all_pairs_go_the_way_that_the_topology_says(lab: Lab) -> None:
    """Non-LISP hosts come and go through a PxTR that only BGP has told the core of."""
    result = ping(lab, lab.run_dir)
    assert [pair for pair in result.pairs if not pair.ok] == []
    assert {pair.seen.value for pair in result.pairs} == {"encapsulated", "proxied"}


@pytest.mark.requirement("M15", "S10")
def test_bgp_carries_the_aggregates_and_nothing_more_specific(lab: Lab) -> None:
    """Every RIB of the core and of the non-LISP site, after every host has been spoken to."""
    aggregates = {one.network for one in lab.topology.eid_aggregates}
    (pitr,) = [node for node in speakers(lab) if node.lisp and Role.PITR in node.lisp.roles]
    assert pitr.routing is not None
    for node in speakers(lab):
        if node.lisp is not None or node.routing is None:
            continue
        known = {one for version in (4, 6) for one in rib(lab, node.name, version)}
        assert {one for one in known if any(overlap(one, eids) for eids in aggregates)} == aggregates
        core = next(iter(lab.topology.core)).routing
        assert core is not None
        transit = [] if node.routing.asn == core.asn else [core.asn]
        for aggregate in aggregates:
            path = re.search(r"BGP\.as_path: (.*)", birdc(lab, node.name, "show", "route", str(aggregate), "all"))
            assert path is not None
            assert path[1].split() == [str(asn) for asn in (*transit, pitr.routing.asn)]


def test_a_pitr_announces_and_learns_nothing(lab: Lab) -> None:
    """A route from BGP would beat its default route, and packets would leave without a LISP header."""
    for node in speakers(lab):
        if node.lisp and node.routing:
            assert kernel(lab, node.name) == connected(node) | DEFAULTS
            assert rib(lab, node.name, 4) | rib(lab, node.name, 6) == set(node.routing.announced)


def test_xtrs_and_the_mapping_system_run_no_bird(lab: Lab) -> None:
    """Whoever tunnels has a default route to the core and nothing else."""
    assert {node.name for node in speakers(lab)} == {"core1", "core2", "core3", "core4", "edge", "pxtr"}
    for node in lab.topology.lisp_routers:
        assert kernel(lab, node.name) == connected(node) | DEFAULTS


@pytest.mark.requirement("D02")
def test_flows_share_equal_paths(lab: Lab) -> None:
    """Between xTRs at opposite ends of the ring, by the source ports that the ITR draws for each flow.

    The sites have RLOCs of both IP versions, of equal priority and weight: flows share those as well.
    """
    assert reaches(lab, "h1", "h2")
    target = str(lab["h2"].address)
    with Watch(lab, ["core2", "core4"]) as watch, lab.socket("h1") as sender:
        for port in range(9000, 9000 + FLOWS):
            sender.sendto(b"flow", (target, port))
        watch.until(lambda: len(lisp_packets(watch, target)) >= FLOWS, f"{FLOWS} LISP packets")
        shares = Counter(lisp_packets(watch, target))
    assert sum(shares.values()) == FLOWS
    assert set(shares) == {(core, version) for core in ("core2", "core4") for version in (4, 6)}
    assert min(shares.values()) > FLOWS / 20, shares


def lisp_packets(watch: Watch, target: str) -> list[tuple[str, int]]:
    """Where each LISP data packet to ``target`` arrived, and the IP version of its RLOCs."""
    packets = [(frame.node, decode(frame.data)) for frame in watch.frames]
    return [
        (node, one.headers[0].source.version)
        for node, one in packets
        if one and one.lisp and str(one.headers[-1].destination) == target
    ]


def test_ospf_goes_round_a_broken_link(lab: Lab) -> None:
    """The ring has two ways. BGP inside the AS does not notice: its sessions end at loopback addresses."""
    uplink = lab["xtr1"].interfaces[0].peer
    pxtr = lab["pxtr"].interfaces[0].peer
    assert reaches(lab, "h1", "client")
    before = birdc(lab, uplink, "show", "protocols")
    assert lab.run(uplink, ["ip", "link", "set", pxtr, "down"]).returncode == 0
    try:
        eventually(lambda: reaches(lab, "h1", "client"), "a way round", within=30)
        sessions = [line for line in birdc(lab, uplink, "show", "protocols").splitlines() if " BGP " in line]
        assert sessions == [line for line in before.splitlines() if " BGP " in line]
    finally:
        lab.run(uplink, ["ip", "link", "set", pxtr, "up"])

    def adjacent() -> bool:
        neighbours = birdc(lab, uplink, "show", "ospf", "neighbors", "ospf4").splitlines()
        return any("Full/PtP" in line and pxtr in line for line in neighbours)

    eventually(adjacent, f"{uplink} and {pxtr} are neighbours again", within=30)


def test_a_bird_that_dies_is_reported_and_restarts(lab: Lab) -> None:
    """The core router next to the PxTR: without it nobody outside is reached."""
    name = lab["pxtr"].interfaces[0].peer
    (before,) = next(row for row in lab.status()["nodes"] if row["name"] == name)["daemons"]
    assert lab.run(name, ["kill", "-KILL", str(before["pid"])]).returncode == 0
    event = lab.wait_for("daemon-died", name)
    assert (event["daemon"], event["status"]) == ("bird", -signal.SIGKILL)
    assert event["log_tail"] == list(map(str.rstrip, lab.log(name)))[-len(event["log_tail"]) :] != []
    row = next(row for row in lab.status()["nodes"] if row["name"] == name)
    assert (row["state"], row["exit_status"]) == ("exited", -signal.SIGKILL)

    lab.restart(name)
    row = next(row for row in lab.status()["nodes"] if row["name"] == name)
    assert row["state"] == "ready"
    assert row["pid"] != before["pid"]
    assert reaches(lab, "client", "h1"), "the aggregate is back at the edge"
    assert sum("<INFO> Started" in line for line in lab.log(name)) == 2


def test_both_daemons_of_a_pitr_restart(lab: Lab) -> None:
    before = next(row for row in lab.status()["nodes"] if row["name"] == "pxtr")["daemons"]
    lab.restart("pxtr")
    after = next(row for row in lab.status()["nodes"] if row["name"] == "pxtr")["daemons"]
    assert [one["state"] for one in after] == ["ready", "ready"]
    assert not {one["pid"] for one in before} & {one["pid"] for one in after}
    assert reaches(lab, "client", "h1"), "the aggregate is announced again"


def test_a_restart_is_over_when_the_others_have_heard_of_it(lab: Lab) -> None:
    """A busy machine: the core router next to the PITR has no time to notice that its neighbour's BIRD has ended."""
    neighbour = lab["pxtr"].interfaces[0].peer
    (busy,) = next(row for row in lab.status()["nodes"] if row["name"] == neighbour)["daemons"]

    def stopped() -> int:
        return sum(
            (one["event"], one.get("node"), one.get("daemon")) == ("daemon-stopped", "pxtr", "bird")
            for one in lab.events
        )

    before = stopped()
    assert lab.run(neighbour, ["kill", "-STOP", str(busy["pid"])]).returncode == 0
    try:
        restarting = threading.Thread(target=lab.restart, args=("pxtr",))
        restarting.start()
        eventually(lambda: stopped() > before, "the PITR's BIRD has ended")
        restarting.join(0.5)
        assert restarting.is_alive(), "the edge believes in routes of before"
    finally:
        lab.run(neighbour, ["kill", "-CONT", str(busy["pid"])])
        restarting.join()
    assert reaches(lab, "client", "h1")


def test_an_edited_configuration_is_read_at_a_restart(lab: Lab) -> None:
    """The non-LISP site announces one more subnet; with the old file again, the core forgets it."""
    file = lab.run_dir / "nodes" / "edge" / "bird.conf"
    more, before = ip_network("198.51.100.0/24"), file.read_text()
    text = before.replace(
        "protocol static announced4 {", f"protocol static announced4 {{\n  route {more} unreachable;", 1
    )
    file.write_text(text.replace("net ~ [ 203", f"net ~ [ {more}, 203", 1))
    lab.restart("edge")
    eventually(lambda: more in kernel(lab, "core1"), f"core1 has a route to {more}", within=30)
    file.write_text(before)
    lab.restart("edge")
    eventually(lambda: more not in kernel(lab, "core1"), f"core1 has no route to {more}", within=30)


def test_control_sockets_are_for_root_only(lab: Lab) -> None:
    for node in speakers(lab):
        status = (lab.run_dir / "nodes" / node.name / "bird.ctl").stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert (status.st_uid, status.st_gid, status.st_mode & stat.S_IRWXO) == (0, 0, 0)


def test_a_bird_that_cannot_start_fails_the_boot(tmp_path: Path) -> None:
    """The error names the node and says what BIRD said."""
    topology = load(WORLD)
    broken = topology.nodes["core1"]
    assert broken.routing is not None
    nobody = replace(broken, routing=replace(broken.routing, asn=-1))
    lab = Lab(replace(topology, nodes=topology.nodes | {"core1": nobody}), name="no-bird", run_dir=tmp_path / "no-bird")
    with pytest.raises(LabError, match=r"the BIRD of core1 ended with exit status 1; the end of its log: .*bird\.conf"):
        lab.boot()
    assert not lab.runs
