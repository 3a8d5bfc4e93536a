"""What a lab writes down: logs of one shape, secrets nowhere."""

from __future__ import annotations

import re
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testbed.act.ping import ping
from testbed.lab import Lab
from tests.conformance.tester import packets, wire
from tests.conformance.tester.daemons import log_lines
from tests.conformance.tester.places import rloc, uplink
from tests.conformance.tester.traffic import inject

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def used(lab: Lab) -> Lab:
    """The lab, after pings, restarts, forged and broken messages: whatever makes daemons write."""
    ping(lab, lab.run_dir)
    for node in lab.topology.lisp_routers:
        secret = secrets(lab)[0]
        forged = wire.map_register(5, [wire.mapping("192.0.2.0/24", 5)], secret)
        for payload in (b"\x10", forged, b"\x30" + secret.encode() * 3):
            packet = packets.datagram(rloc(lab, "xtr1"), rloc(lab, node.name), (4000, wire.CONTROL), payload)
            inject(lab, uplink(lab, node.name), packet)
        lab.restart(node.name)
        for what in ("map-cache", "database", "registrations", "roles", "statistics", "interfaces"):
            assert secret not in str(lab.show(node.name, what))
    assert secrets(lab)[0] not in str(lab.status())
    return lab


def secrets(lab: Lab) -> list[str]:
    """Every key of the topology."""
    configs = [node.lisp for node in lab.topology.lisp_routers if node.lisp]
    found = [key.secret for config in configs for site in config.sites for key in site.keys]
    assert found
    return found + [peer.key.secret for config in configs for peer in config.map_servers]


def test_every_line_of_every_log_is_a_record(used: Lab) -> None:
    """Time, node, event, fields; times in UTC and of the monotonic clock that do not run backwards."""
    for node in used.topology.lisp_routers:
        lines = log_lines(used, node.name)
        assert lines
        for line in lines:
            assert set(line) == {"time", "monotonic", "node", "event", "fields"}
            assert line["node"] == node.name
            assert TIME.fullmatch(line["time"])
            assert re.fullmatch(r"[a-z-]+", line["event"])
            assert isinstance(line["fields"], dict)
        times = [datetime.fromisoformat(line["time"]) for line in lines]
        assert times == sorted(times)
        monotonic = [line["monotonic"] for line in lines]
        assert monotonic == sorted(monotonic)
        assert 0 <= time.monotonic() - monotonic[-1] < 300
        assert abs(datetime.now(UTC) - times[-1]) < timedelta(minutes=5)
        assert [line["event"] for line in lines if line["event"] == "crash"] == []


def test_no_secret_is_in_what_others_may_read(used: Lab) -> None:
    """Keys stand in files that only root reads, and in no log whoever may read it."""
    files = [path for path in used.run_dir.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
    assert len(files) > 3 * len(used.topology.lisp_routers)
    holding = set()
    for path in files:
        data = path.read_bytes()
        if any(secret.encode() in data for secret in secrets(used)):
            holding.add(path)
    assert {path.name for path in holding} == {"config.json", "topology.yaml"}
    assert not [path for path in holding if path.stat().st_mode & 0o077], holding


def test_control_sockets_and_states_are_roots_alone(used: Lab) -> None:
    """0600: whoever speaks to one is root."""
    places = [path for path in used.run_dir.rglob("*") if path.name in ("control.sock", "state.jsonl", "config.json")]
    assert len(places) == 3 * len(used.topology.lisp_routers) + 1
    assert {stat.S_IMODE(path.lstat().st_mode) for path in places} == {0o600}


def test_the_resolved_topology_can_be_booted_again(used: Lab, tmp_path: Path) -> None:
    """The run directory's topology.yaml is a topology file: the same nodes and addresses."""
    from testbed.load import load

    copy = tmp_path / f"{used.topology.name}.yaml"
    copy.write_text((used.run_dir / "topology.yaml").read_text())
    again = load(copy)
    assert {name: node.interfaces for name, node in again.nodes.items()} == {
        name: node.interfaces for name, node in used.topology.nodes.items()
    }
