"""The tc programs with a defect in them, compiled into a cache of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

from nodes.dataplane.bpf import compiler
from tests.conformance.selftest.defect import ROOT, Defect, Edit

CACHE = ROOT / ".cache" / "selftest"


def compiled(defect: Defect) -> Path:
    """The object with the defect, compiled if it is not there.

    Raises:
        CompileError: There is no clang, or it refuses.
        DefectError: The sources are not what the defect is for.
    """
    place = CACHE / defect.requirement
    sources = place / "bpf"
    texts = {path.name: path.read_text(encoding="utf-8") for path in compiler.SOURCES.glob("*.[ch]")}
    for edit in defect.how:
        if isinstance(edit, Edit) and edit.is_program:
            name = Path(edit.file).name
            texts[name] = edit.apply(texts[name])
    if {path.name: path.read_text(encoding="utf-8") for path in sources.glob("*.[ch]")} != texts:
        shutil.rmtree(sources, ignore_errors=True)
        sources.mkdir(parents=True)
        for name, text in texts.items():
            (sources / name).write_text(text, encoding="utf-8")
    return compiler.provide(sources, place)
