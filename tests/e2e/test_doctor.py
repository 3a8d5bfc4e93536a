"""What the machine offers, as `ci/lab doctor` says it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.linux import genetlink, links
from nodes.linux.netlink import Connection
from testbed import commands, doctor

ROOT = Path(__file__).resolve().parents[2]


def absent() -> str:
    raise OSError(errno.ENOENT, "not installed")


def test_a_machine_that_runs_this_suite_runs_labs() -> None:
    with Connection() as kernel:
        before = links.list_links(kernel)
        report = doctor.examine()
        after = links.list_links(kernel)
    assert report.lab_can_run
    found = {one.name: one for one in report.findings}
    assert all(one.found and one.detail for one in found.values() if one.needed)
    assert all(one.cost for one in found.values())
    assert found["ping"].found
    assert found["Python"].detail == ".".join(map(str, sys.version_info[:3]))
    assert [one.name for one in after] == [one.name for one in before]


def test_json_says_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.doctor(as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["lab_can_run"] is True
    assert report["machine"]["kernel"] == os.uname().release
    names = [one["name"] for one in report["findings"]]
    assert len(set(names)) == len(names) == len(doctor.TRIALS)
    assert {"namespaces", "TUN", "clsact, cls_bpf", "eBPF", "netem", "htb", "tbf", "nftables"} <= set(names)
    assert {"libbpf", "clang", "tc programs"} <= set(names)
    assert {"Open vSwitch module", "KVM", "BIRD", "tshark", "iperf3", "QEMU", "Python"} <= set(names)


@pytest.mark.parametrize(("needed", "status"), [(True, 1), (False, 0)])
def test_only_what_every_lab_needs_is_a_failure(
    needed: bool, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = doctor.Trial("veth", "no lab", lambda: "works", needed=True)
    trials = (there, doctor.Trial("wormholes", "packets take as long as light", absent, needed=needed))
    monkeypatch.setattr(doctor, "TRIALS", trials)
    assert commands.doctor() == status
    out = capsys.readouterr().out
    assert "packets take as long as light" in out
    assert "not installed" in out
    assert "missing: wormholes" in out


def test_tools_that_are_not_there_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = {one.name: one for one in doctor.examine().findings}
    for name in ("BIRD", "tshark", "iperf3", "QEMU", "nftables", "mnexec"):
        assert (found[name].found, found[name].detail) == (False, "not installed")
    assert doctor.examine().lab_can_run


def test_a_plain_user_can_run_no_lab() -> None:
    script = "import os; os.setuid(65534); from testbed import commands; raise SystemExit(commands.doctor())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "use sudo" in done.stdout
    assert "NO LAB CAN RUN HERE; missing: root, namespaces" in done.stdout


def test_a_family_that_the_kernel_does_not_know() -> None:
    genetlink.find_family("nlctrl")
    with pytest.raises(FileNotFoundError, match="generic netlink family wormholes"):
        genetlink.find_family("wormholes")


@pytest.mark.parametrize(
    ("missing", "runs", "why"),
    [
        ("", "ebpf", ""),
        ("KVM", "ebpf", ""),
        ("clang", "python", "clang: not installed"),
        ("libbpf", "python", "libbpf: not installed"),
        ("tc programs", "python", "tc programs: not installed"),
    ],
)
def test_it_says_which_data_plane_would_run_and_why(
    missing: str, runs: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("eBPF", "libbpf", "clang", "tc programs", "KVM")
    trials = tuple(doctor.Trial(one, "slow", absent if one == missing else lambda: "works") for one in names)
    monkeypatch.setattr(doctor, "TRIALS", trials)
    assert commands.doctor() == 0
    assert f"data plane: {runs}{f', because of {why}' if why else ''}\n" in capsys.readouterr().out
    assert commands.doctor(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["dataplane"] == {"runs": runs, "why": why}


def test_a_verifiers_refusal_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = tmp_path / "made.o"
    compiled.write_text("no object")
    monkeypatch.setattr(doctor, "programs", lambda: compiled)
    (finding,) = [trial.run() for trial in doctor.TRIALS if trial.name == "tc programs"]
    assert not finding.found
    assert finding.detail.endswith(f"when they were loaded: see {tmp_path / 'made.refused.log'}")
    assert (tmp_path / "made.refused.log").read_text().startswith(f"open {compiled}: ")
