"""The tc programs are compiled once, anew when anything they are made from changes, and refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.dataplane.bpf import compiler
from nodes.dataplane.bpf.compiler import CompileError, provide
from tests.conformance.tester.waiting import eventually

needs_clang = pytest.mark.skipif(compiler.find_clang() is None, reason="no clang")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    place = tmp_path / "sources"
    place.mkdir()
    (place / "lisp.bpf.c").write_text('#include <linux/types.h>\n#include "own.h"\n__u32 number = OWN;\n')
    (place / "own.h").write_text("#define OWN 1\n")
    return place


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "bpf"


@needs_clang
def test_the_tc_programs_compile(cache: Path) -> None:
    compiled = provide(cache=cache)
    assert compiled.read_bytes().startswith(b"\x7fELF")
    log = compiled.with_suffix(".log").read_text()
    assert log.count("\n") == 1, log  # the command alone: no warnings


@needs_clang
def test_what_is_current_is_not_compiled_again(sources: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = provide(sources, cache)
    assert sorted(path.suffix for path in cache.iterdir()) == [".log", ".o", ".sha256"]
    monkeypatch.setattr(compiler, "_run", lambda _order: pytest.fail("clang was started"))
    assert provide(sources, cache) == compiled


@needs_clang
@pytest.mark.parametrize(
    "damage", ["truncated", "one byte", "empty", "no sum", "sum of nothing", "sum of bytes", "gone"]
)
def test_a_damaged_object_is_made_anew(sources: Path, cache: Path, damage: str) -> None:
    """Nobody has to delete it; afterwards it is current as any."""
    compiled = provide(sources, cache)
    whole, total = compiled.read_bytes(), compiled.with_suffix(".sha256")
    match damage:
        case "truncated":
            compiled.write_bytes(whole[: len(whole) // 2])
        case "one byte":
            compiled.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        case "empty":
            compiled.write_bytes(b"")
        case "no sum":
            total.unlink()
        case "sum of nothing":
            total.write_text("")
        case "sum of bytes":
            total.write_bytes(b"\xff" * 64)
        case "gone":
            compiled.unlink()
    assert provide(sources, cache) == compiled
    assert (compiled.read_bytes(), len(total.read_text())) == (whole, 64)
    made = compiled.stat().st_mtime_ns
    provide(sources, cache)
    assert compiled.stat().st_mtime_ns == made


@needs_clang
def test_a_change_of_anything_makes_another(sources: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = [provide(sources, cache)]
    (sources / "own.h").write_text("#define OWN 2\n")
    compiled.append(provide(sources, cache))
    monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-DMORE"))
    compiled.append(provide(sources, cache))
    clang = compiler.find_clang()
    assert clang is not None
    touched = cache.parent / "clang"
    touched.write_text(f'#!/bin/sh\nexec "{clang}" "$@"\n')
    touched.chmod(0o755)
    monkeypatch.setattr(compiler, "find_clang", lambda: touched)
    compiled.append(provide(sources, cache))
    os.utime(touched, ns=(0, 0))
    compiled.append(provide(sources, cache))
    assert len(set(compiled)) == 5
    assert sorted(cache.glob("*.o")) == sorted(compiled[-3:]), "the oldest objects go"
    for suffix in (".log", ".sha256"):
        assert {path.stem for path in cache.glob(f"*{suffix}")} == {path.stem for path in compiled[-3:]}


@needs_clang
def test_a_refusal_is_one_line_with_the_log(sources: Path, cache: Path) -> None:
    (sources / "own.h").write_text("#define OWN nonsense\n")
    with pytest.raises(CompileError, match=r"cannot compile the tc programs \(error: .*nonsense.*\): see ") as caught:
        provide(sources, cache)
    assert caught.value.log is not None
    assert "nonsense" in caught.value.log.read_text()
    assert str(caught.value).endswith(str(caught.value.log))
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in cache.iterdir()] == [".log"]


def test_a_compiler_that_hangs_is_killed(sources: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It and what it started, which holds its output open."""
    hanging = sources.parent / "clang"
    hanging.write_text(f"#!/bin/sh\nsleep 300 &\necho $! >{sources.parent}/pid\nwait\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(compiler, "find_clang", lambda: hanging)
    monkeypatch.setattr(compiler, "_SECONDS", 0.5)
    with pytest.raises(CompileError, match=r"clang has not compiled the tc programs within 0\.5 s, and was killed$"):
        provide(sources, cache)
    state = Path(f"/proc/{(sources.parent / 'pid').read_text().strip()}/stat")
    eventually(lambda: not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z", "its end")
    assert list(cache.iterdir()) == []


def test_no_compiler_is_one_line(sources: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CompileError, match="no clang to compile the tc programs with") as caught:
        provide(sources, cache)
    assert caught.value.log is None
    assert not cache.exists()


@pytest.mark.parametrize("names", [["clang"], ["clang-14"], ["clang-16", "clang-14"]])
def test_clang_goes_by_several_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler.find_clang() == tmp_path / names[0]


def test_as_a_command_it_says_one_line_and_fails(tmp_path: Path) -> None:
    root = Path(compiler.__file__).parents[3]
    order = [sys.executable, "-m", "nodes.dataplane.bpf.compiler"]
    done = subprocess.run(order, cwd=root, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("no clang to compile")
