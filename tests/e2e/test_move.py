"""Hosts that move between fabrics, here both of one bridged LAN: what stays, what they say, what cannot be."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from testbed import commands
from testbed.act.mobility.probes import Probes
from testbed.act.ping import first_reply
from testbed.lab import Lab, LabError
from testbed.observe.capture import Capture, Frame
from tests.e2e.worlds import bridged_world

LINKS: dict[str, dict[str, float]] = {
    "plain": {},
    "near": {},
    "far-away": {"delay": 5.0},
    "thin": {"bandwidth": 20.0},
}
ETH_ARP, ETH_IPV6 = b"\x08\x06", b"\x86\xdd"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(bridged_world(LINKS), name="test-move", run_dir=tmp_path_factory.mktemp("runs") / "test-move") as running:
        yield running


def of_the_host(lab: Lab, host: str) -> str:
    """All that is its own: addresses, routes, neighbours, as its kernel tells them."""
    # The state of a neighbour changes with time.
    script = "ip address; ip route; ip -6 route; ip neigh | sed 's/ [A-Z]* *$//' | sort"
    return lab.run(host, ["sh", "-c", script]).stdout


def test_a_tcp_connection_lives_through_moves_there_and_back(lab: Lab) -> None:
    server = lab["far"].address_of(6)
    with lab.socket("far", socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.bind((str(server), 7000))
        listener.listen()
        with lab.socket("plain", socket.AF_INET6, socket.SOCK_STREAM) as mobile:
            mobile.settimeout(20)
            mobile.connect(listener.getsockname())
            there, _ = listener.accept()
            with there:
                there.settimeout(20)
                before = of_the_host(lab, "plain")
                for site in ("right", "left"):
                    moved = lab.move("plain", site)
                    assert moved.unplugged < moved.plugged
                    assert moved.site == site == lab.places()["plain"]
                    assert [row["site"] for row in lab.status()["nodes"] if row["name"] == "plain"] == [site]
                    mobile.sendall(b"here I am")
                    assert there.recv(100) == b"here I am"
                    there.sendall(b"so I see")
                    assert mobile.recv(100) == b"so I see"
                    assert of_the_host(lab, "plain") == before
                    assert lab.moves[-1] == moved


def announced(frames: list[Frame], mac: bytes) -> set[bytes]:
    """The Ethernet types of frames from a MAC address that say where one of its addresses is."""
    own = [frame.data for frame in frames if frame.data[6:12] == mac]
    kinds = {frame[12:14] for frame in own if frame[12:14] == ETH_ARP and frame[28:32] == frame[38:42]}
    return kinds | {frame[12:14] for frame in own if frame[12:14] == ETH_IPV6 and frame[54] == 136}


@pytest.mark.parametrize(("silent", "said"), [(False, {ETH_ARP, ETH_IPV6}), (True, set())], ids=["said", "silent"])
def test_a_host_announces_itself_unless_it_is_to_be_silent(lab: Lab, silent: bool, said: set[bytes]) -> None:
    mac = bytes.fromhex(lab["near"].interfaces[0].mac.replace(":", ""))
    with Capture(lab, ["far"]) as capture:
        moved = lab.move("near", "right", silent=silent)
        first_reply(lab, "plain", "far", within=20)  # what was said before that has come through
    lab.move("near", moved.origin)
    assert announced(capture.frames, mac) == said


def test_a_silent_host_is_found_again_by_its_first_frame(lab: Lab) -> None:
    first_reply(lab, "far", "near", within=20)
    lab.move("near", "right", silent=True)
    first_reply(lab, "near", "far", within=20)
    lab.move("near", "left")


def test_what_a_link_does_to_packets_moves_along(lab: Lab) -> None:
    for site in ("right", "left"):
        lab.move("far-away", site)
        assert first_reply(lab, "far-away", "far", within=20) >= 0.010


def test_who_left_is_forgotten_where_it_was(lab: Lab) -> None:
    """Or frames for it would go into an empty port until its address ages, some minutes later."""

    def known() -> bool:
        return f"{lab['near'].interfaces[0].mac} dev near " in lab.run("sw2", ["bridge", "fdb", "show"]).stdout

    lab.move("near", "right")
    first_reply(lab, "near", "far", within=20)
    assert known()
    lab.move("near", "left", silent=True)
    assert not known()
    lab.move("near", "right")
    lab.move("near", "left")


def test_several_move_at_once_or_none(lab: Lab) -> None:
    with pytest.raises(LabError, match="far is in right already"):
        lab.move_all(["plain", "near", "far"], "right")
    assert lab.places()["plain"] == lab.places()["near"] == "left"
    moves = lab.move_all(["plain", "near"], "right")
    assert [(one.node, one.origin, one.site) for one in moves] == [
        ("plain", "left", "right"),
        ("near", "left", "right"),
    ]
    assert moves[0].plugged <= moves[1].unplugged
    first_reply(lab, "near", "plain", within=20)
    lab.move_all(["near", "plain"], "left")


def test_probes_notice_a_move_and_lose_no_session(lab: Lab) -> None:
    with Probes(lab, "plain", ["near", "far"], interval_ns=2_000_000) as probes:
        moved = lab.move("plain", "right")
        lab.move("plain", "left")
        seen = probes.stop()
    ways = {(one, way, version) for one in ("near", "far") for way in ("to", "from") for version in (4, 6)}
    assert {(one.correspondent, one.direction, one.version) for one in seen.flows} == ways
    assert {(one.correspondent, one.direction, one.version) for one in seen.streams} == ways
    for flow in seen.flows:
        probe = flow.probe(round(moved.unplugged * 1e9))
        assert probe.sent == len(seen.late)
        assert 0 < probe.received == probe.sent - probe.lost
        assert probe.blackout_s < 2
    for stream in seen.streams:
        assert (stream.lost, stream.wrong) == ("", 0)
        assert 0 < stream.received == stream.sent


@pytest.mark.parametrize(
    ("node", "site", "says"),
    [
        ("plain", "left", "plain is in left already; sites with a fabric are left, right"),
        ("plain", "rigth", "there is no site rigth; sites with a fabric are left, right (did you mean 'right'?)"),
        ("plain", "nowhere", "nowhere has no fabric to plug plain in; sites with a fabric are left, right"),
        ("router", "right", "router cannot move; plain, near, far-away, thin, far can, between left and right"),
        ("nobody", "right", "there is no node nobody; nodes are plain, near, far-away, thin, far, sw1, sw2, router"),
    ],
)
def test_what_cannot_move_says_why_and_stays(lab: Lab, node: str, site: str, says: str) -> None:
    before = lab.places()
    with pytest.raises(LabError) as refused:
        lab.move(node, site)
    assert str(refused.value) == says
    assert lab.places() == before


def test_the_command_says_what_happened(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for site, origin in (("right", "left"), ("left", "right")):
        commands.move(str(lab.run_dir), "near", site)
        assert re.fullmatch(
            rf"near went from {origin} to {site}; its cable was out for [0-9.]+ ms\n", capsys.readouterr().out
        )


def test_a_host_that_cannot_be_plugged_in_is_back_where_it_was(lab: Lab) -> None:
    """The way to the new fabric is cut, and is laid anew the next time."""
    first_reply(lab, "near", "far", within=20)
    for site in ("right", "left"):
        lab.move("near", site)
    bridges = lab.run("sw1", ["sh", "-c", "ip -o link show type bridge"]).stdout
    for bridge in set(re.findall(r" (patch\d+):", bridges)):
        lab.run("sw1", ["ip", "link", "delete", bridge])
    with pytest.raises(LabError, match=r"make interface .* a port of bridge"):
        lab.move("near", "right")
    assert lab.places()["near"] == "left"
    first_reply(lab, "near", "plain", within=20)
    assert lab.move("near", "right").site == "right"
    first_reply(lab, "near", "plain", within=20)


def test_a_host_does_not_leave_for_a_fabric_that_is_broken(lab: Lab) -> None:
    """The last test: the fabric stays broken."""
    lab.run("sw2", ["ip", "link", "delete", "sw2"])
    with pytest.raises(LabError, match=r"make interface .* a port of bridge"):
        lab.move("thin", "right")
    assert lab.places()["thin"] == "left"
    first_reply(lab, "plain", "thin", within=20)
