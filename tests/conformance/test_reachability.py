"""Who reaches whom, by which way, and whether every LISP packet on the way is well formed."""

from __future__ import annotations

import json

import pytest

from testbed.act.ping import PingResult, ping
from testbed.lab import Lab
from testbed.observe.decoder import decode
from tests.conformance.clause import clause
from tests.conformance.tester.offloads import exact
from tests.conformance.tester.watch import dissect

ROW = ("from", "to", "expected", "seen", "encapsulated", "rtt_ms", "ok")


@pytest.fixture(scope="module")
def result(lab: Lab) -> PingResult:
    with exact(lab, [router.name for router in lab.topology.core]):
        return ping(lab, lab.run_dir)


def test_every_host_reaches_every_host_as_the_topology_says(lab: Lab, result: PingResult) -> None:
    assert [pair for pair in result.pairs if not pair.ok] == []
    names = [host.name for host in lab.topology.hosts]
    pairs = [(pair.source, pair.destination) for pair in result.pairs]
    assert sorted(pairs) == sorted((one, other) for one in names for other in names if one != other)
    assert {pair.seen.value for pair in result.pairs} == {"local", "encapsulated", "proxied"}


def test_ping_json_has_the_documented_shape(lab: Lab, result: PingResult) -> None:
    document = json.loads((lab.run_dir / "ping.json").read_text())
    assert len(document["pairs"]) == len(result.pairs)
    for row in document["pairs"]:
        assert tuple(row)[: len(ROW)] == ROW
        assert set(row) - set(ROW) == {"version", "evidence", "lost"}
        assert row["lost"] == 0  # no host has moved
        assert [type(row[key]) for key in ROW] == [str, str, str, str, bool, float, bool]


@pytest.mark.requirement("D01", "D04", "D10", "C02")
def test_every_lisp_packet_dissects_and_has_right_checksums(lab: Lab, result: PingResult) -> None:
    """Sending side: what another dissector makes of all that the core saw."""
    fields = ["udp.dstport", "udp.srcport", "udp.checksum", "udp.checksum.status", "ip.checksum.status"]
    fields += ["_ws.malformed", "_ws.expert.severity", "lisp-data.flags", "frame.number"]
    rows = dissect(result.capture, *fields, only="udp.port == 4341 or udp.port == 4342")
    assert len(rows) > 2 * sum(pair.encapsulated for pair in result.pairs)
    control = 0
    for destinations, sources, checksums, udp_states, ip_states, malformed, severities, flags, number in rows:
        assert not malformed, f"frame {number}: {malformed}"
        # 8 is an error, 6 a warning of Wireshark's.
        assert not [one for one in severities.split(",") if one and int(one, 0) >= 0x600000], f"frame {number}"
        # 1 is good, 3 is "zero, not computed".
        if destinations.split(",")[0] == "4341":
            with clause("D10"):  # N, L, E, V
                assert not int(flags, 16) & 0xF0, f"frame {number}: LISP flags {flags}"
            with clause("D04"):
                assert set(udp_states.split(",")) <= {"1", "3"}, f"frame {number}: UDP checksum"
        else:
            control += 1
            assert {destinations.split(",")[0], sources.split(",")[0]} & {"4342"}
            with clause("C02"):
                assert "0x0000" not in checksums.split(","), f"frame {number}"
                assert set(udp_states.split(",")) == {"1"}, f"frame {number}: UDP checksum"
        assert set(ip_states.split(",")) == {"1"}, f"frame {number}: IP checksum"
    assert control > 0


@pytest.mark.requirement("S01", "S10")
def test_tunnels_end_at_the_sites_routers(lab: Lab, result: PingResult) -> None:
    """Every encapsulated packet goes between RLOCs of LISP routers; no EID is an outer address."""
    rlocs = {one for node in lab.topology.lisp_routers if node.lisp for one in node.lisp.rlocs}
    raw = result.capture.read_bytes()[24:]
    outers = set()
    while raw:
        length = int.from_bytes(raw[8:12], "little")
        packet, raw = decode(raw[16 : 16 + length]), raw[16 + length :]
        if packet and packet.lisp:
            outers |= {packet.headers[0].source, packet.headers[0].destination}
    assert outers
    assert outers <= rlocs
