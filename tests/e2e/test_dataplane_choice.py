"""`dataplane` in a lab that boots: what runs is said aloud, and eBPF where it cannot run is refused or done without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes.dataplane.bpf import compiler
from testbed import doctor
from testbed.act.ping import ping
from testbed.lab import Lab, LabError
from testbed.model import Side, Topology
from tests.labs import offloads

# Reads a packet without a look at where it ends.
REFUSED = """
#include <linux/bpf.h>
#define SEC(name) __attribute__((section(name), used))
SEC("tc") int lisp_site(struct __sk_buff *skb) { return *(int *)(long)skb->data; }
char licence[] SEC("license") = "Dual BSD/GPL";
"""

needs_clang = pytest.mark.skipif(compiler.find_clang() is None, reason="no clang")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that no verifier takes, in the place of ours."""
    (tmp_path / "lisp.bpf.c").write_text(REFUSED)
    made = compiler.provide(tmp_path, tmp_path / "cache")
    monkeypatch.setattr(compiler, "provide", lambda: made)


def forwarders(topology: Topology) -> set[str]:
    return {node.name for node in topology.lisp_routers if node.lisp and "itr" in node.lisp.roles}


def events(lab: Lab, node: str, event: str) -> list[dict[str, str]]:
    entries = [json.loads(line) for line in lab.log(node)]
    return [entry["fields"] for entry in entries if entry["event"] == event]


@pytest.mark.parametrize("plane", ["auto", "ebpf", "python"])
def test_what_runs_is_said_aloud_and_in_the_log(plane: str, tmp_path: Path) -> None:
    here, why = doctor.examine().dataplane
    if plane == "ebpf" and here != plane:
        pytest.skip(f"no eBPF here: {why}")
    runs = here if plane == "auto" else plane
    said: list[str] = []
    lab = Lab("minimal", name=f"test-plane-{plane}", run_dir=tmp_path / plane, dataplane=plane)
    lab.boot(progress=said.append)
    try:
        told = [line for line in said if line.startswith("data plane")]
        assert [line.partition(" (")[0] for line in told] == [f"data plane: {runs}"]
        for node in forwarders(lab.topology):
            assert [fields["runs"] for fields in events(lab, node, "dataplane")] == [runs]
        assert events(lab, "msmr", "dataplane") == []
        assert not ping(lab, lab.run_dir).failures
    finally:
        lab.stop()


@needs_clang
@pytest.mark.usefixtures("refused")
def test_auto_without_ebpf_goes_on_in_python_aloud(tmp_path: Path) -> None:
    said: list[str] = []
    lab = Lab("minimal", name="test-plane-back", run_dir=tmp_path / "run", dataplane="auto")
    lab.boot(progress=said.append)
    try:
        (line,) = [line for line in said if line.startswith("data plane")]
        assert line.startswith("data plane: python (load ")
        log = Path(line.removesuffix(")").rpartition(" ")[2])
        assert "invalid access to packet" in log.read_text()
        # What leads to a socket is without offloads, which is seen only now.
        for node in forwarders(lab.topology):
            for port in (one for one in lab[node].interfaces if one.side is Side.CORE):
                assert not offloads(lab, port.peer, port.peer_interface)["tx-checksum-ip-generic"]
        assert not ping(lab, lab.run_dir).failures
    finally:
        lab.stop()


@needs_clang
@pytest.mark.usefixtures("refused")
def test_ebpf_that_cannot_run_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    lab = Lab("minimal", name="test-plane-refused", run_dir=tmp_path / "run", dataplane="ebpf")
    with pytest.raises(
        LabError, match=r"refused: load .*: Permission denied; the verifier's log is .*verifier\.log$"
    ) as caught:
        lab.boot()
    assert "\n" not in str(caught.value)
    assert "invalid access to packet" in Path(str(caught.value).rpartition(" ")[2]).read_text()
    assert not lab.runs


def test_ebpf_without_a_compiler_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    lab = Lab("minimal", name="test-plane-none", run_dir=tmp_path / "run", dataplane="ebpf")
    with pytest.raises(LabError, match=r"^dataplane: ebpf of xtr1, xtr2 is not possible: no clang .*$"):
        lab.boot()
    assert not lab.run_dir.exists()
