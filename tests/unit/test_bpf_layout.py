"""``maps.h`` and ``layout.py`` say the same: names, places, sizes, as clang reads the one and Python the other."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from nodes.dataplane.bpf import compiler, layout
from nodes.linux import libbpf
from tests.unit.btf import Btf

MAPS_H = (compiler.SOURCES / "maps.h").read_text()

pytestmark = pytest.mark.skipif(compiler.find_clang() is None, reason="no clang")


@pytest.fixture(scope="module")
def btf(tmp_path_factory: pytest.TempPathFactory) -> Btf:
    """The types of maps.h, each used by a variable: clang forgets those that no variable needs."""
    place = tmp_path_factory.mktemp("layout")
    variables = [f"struct {name} struct_{name};" for name in layout.STRUCTS]
    variables += [f"enum {name} enum_{name};" for name in layout.ENUMS]
    variables += ["char candidates[LISP_MOST_CANDIDATES];", "char locators[LISP_MOST_LOCATORS];"]
    variables += ["char flows[LISP_MOST_FLOWS];"]
    (place / "maps.h").write_text(MAPS_H)
    (place / "lisp.bpf.c").write_text("\n".join(["#include <linux/types.h>", '#include "maps.h"', *variables, ""]))
    return Btf(compiler.provide(place, place / "cache"))


def declared(kind: str) -> set[str]:
    return set(re.findall(rf"^{kind} (\w+) {{", MAPS_H, re.MULTILINE))


def test_nothing_is_forgotten() -> None:
    assert declared("struct") == set(layout.STRUCTS)
    assert declared("enum") == set(layout.ENUMS)


@pytest.mark.parametrize("name", layout.STRUCTS)
def test_a_structure(btf: Btf, name: str) -> None:
    assert (layout.STRUCTS[name].size, layout.STRUCTS[name].fields) == btf.struct(name)


@pytest.mark.parametrize("name", layout.ENUMS)
def test_an_enumeration(btf: Btf, name: str) -> None:
    ours, prefix = layout.ENUMS[name]
    theirs = btf.enum(name)
    theirs.pop(f"{prefix}COUNT", None)  # how many there are
    assert {prefix + one.name: one.value for one in ours if one.name} == theirs


def test_the_limits(btf: Btf) -> None:
    assert btf.variable("candidates") == layout.MOST_CANDIDATES
    assert btf.variable("locators") == layout.MOST_LOCATORS
    assert btf.variable("flows") == layout.MOST_FLOWS


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_maps_of_the_object(tmp_path: Path) -> None:
    with libbpf.Object(compiler.provide(cache=tmp_path)) as loaded:
        for name, (key, value) in layout.MAPS.items():
            found = loaded.maps[name]
            assert (name, key.size, value.size) == (name, found.key_size, found.value_size)
        assert set(loaded.maps) - set(layout.MAPS) - {"events", "heard", "asked", "scratch"} == set()
        assert loaded.maps["locators"].max_entries == layout.MOST_LOCATORS
        assert loaded.maps["statistics"].max_entries == len(layout.Statistic)


def test_members_are_packed_in_their_order() -> None:
    packed = layout.LOCAL.pack(layout.LocalFlag.EID | layout.LocalFlag.HOST, 1, 0, 0, 7)
    assert packed == bytes([5, 1, 0, 0, 0, 0, 0, 0]) + (7).to_bytes(8, "little")
    assert layout.LOCAL.unpack(packed) == (5, 1, 0, 0, 7)
