"""Which data plane a lab runs: what its topology says, what its caller says, and what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.dataplane.bpf import compiler
from nodes.dataplane.bpf.compiler import CompileError
from testbed import dataplane
from testbed.lab import Lab, LabError
from testbed.load import loads
from testbed.model import Topology
from tests.topology.mistakes import BASE

MIXED = BASE.replace("title:", "dataplane: ebpf\ntitle:").replace("xtr2: {", "xtr2: {dataplane: python, ")


def planes(topology: Topology) -> dict[str, str]:
    return {node.name: node.lisp.dataplane.value for node in topology.lisp_routers if node.lisp}


def objects(topology: Topology) -> dict[str, str]:
    return {node.name: node.lisp.bpf_object for node in topology.lisp_routers if node.lisp and node.lisp.bpf_object}


def absent() -> Path:
    raise CompileError("clang cannot compile the tc programs", Path("x.log"))


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("made.o", "made.log"):
        (tmp_path / name).touch()
    monkeypatch.setattr(compiler, "provide", lambda: tmp_path / "made.o")
    return tmp_path / "made.o"


@pytest.mark.parametrize("wanted", ["auto", "ebpf", "python"])
@pytest.mark.parametrize("text", [BASE, MIXED])
def test_the_caller_wins_over_the_file_and_its_nodes(text: str, wanted: str) -> None:
    lab = Lab(loads(text), dataplane=wanted)
    assert set(planes(lab.topology).values()) == {wanted}
    assert planes(loads(lab.topology.source)) == planes(lab.topology)


def test_an_unknown_data_plane_is_one_line() -> None:
    with pytest.raises(LabError) as caught:
        Lab(loads(BASE), dataplane="ebfp")
    assert str(caught.value) == "unknown data plane 'ebfp', allowed are auto, ebpf, python (did you mean 'ebpf'?)"


def test_only_nodes_that_forward_and_want_to_get_the_object(compiled: Path) -> None:
    said: list[str] = []
    assert objects(dataplane.provided(loads(MIXED), said.append)) == {"pxtr": str(compiled), "xtr1": str(compiled)}
    assert said == []


def test_without_an_object_auto_falls_back_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "provide", absent)
    said: list[str] = []
    assert objects(dataplane.provided(loads(BASE), said.append)) == {}
    assert said == [
        "data plane: python (the tc programs are not compiled: clang cannot compile the tc programs: see x.log)"
    ]


def test_without_an_object_ebpf_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "provide", absent)
    with pytest.raises(LabError) as caught:
        dataplane.provided(loads(MIXED), lambda _line: None)
    refusal = "dataplane: ebpf of pxtr, xtr1 is not possible: clang cannot compile the tc programs: see x.log"
    assert str(caught.value) == refusal


def test_python_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "provide", lambda: pytest.fail("compiled for nobody"))
    topology = dataplane.overridden(loads(BASE), "python")
    assert dataplane.provided(topology, pytest.fail) is topology


def test_what_daemons_say_alike_is_said_once(compiled: Path) -> None:
    topology = dataplane.provided(loads(BASE), pytest.fail)
    kernel, too_old = {"runs": "ebpf", "why": "auto"}, {"runs": "python", "why": "no such helper"}
    assert dataplane.told(topology, {}) == []
    assert dataplane.told(topology, {"xtr1": kernel, "xtr2": kernel}) == ["data plane: ebpf (auto)"]
    assert dataplane.told(topology, {"xtr1": too_old, "xtr2": too_old}) == ["data plane: python (no such helper)"]
    assert dataplane.told(topology, {f"xtr{n}": kernel for n in range(7)} | {"pxtr": too_old}) == [
        "data plane of xtr0, xtr1, xtr2, xtr3, xtr4 and 2 more: ebpf (auto)",
        "data plane of pxtr: python (no such helper)",
    ]


def test_of_logs_that_say_the_same_the_first_is_named(compiled: Path) -> None:
    topology = dataplane.provided(loads(BASE), pytest.fail)
    refused = {name: {"runs": "python", "why": f"see nodes/{name}/verifier.log"} for name in ("xtr1", "xtr2")}
    assert dataplane.told(topology, refused) == ["data plane: python (see nodes/xtr1/verifier.log)"]


def test_what_the_boot_has_said_is_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "provide", absent)
    topology = dataplane.provided(loads(BASE), lambda _line: None)
    assert dataplane.told(topology, {"xtr1": {"runs": "python", "why": "not compiled"}}) == []
