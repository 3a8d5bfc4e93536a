"""`ci/lab conformance --selftest` as a person types it, with two defects whose tests are soon run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.client.running import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_two_defects_are_caught_each_by_its_own_row(tmp_path: Path) -> None:
    """Another router runs in the lab, and only what is broken in it fails."""
    results = tmp_path / "selftest.json"
    command = [sys.executable, str(ROOT / "tasks.py"), "conformance", "--selftest", "--json", str(results)]
    done = subprocess.run([*command, "--only", "M07", "--only", "M10"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())
    assert (found["seeded"], found["caught"], found["wrongly_failed"]) == (2, 2, 0)
    assert {one["requirement"]: one["caught"] for one in found["defects"]} == {"M07": True, "M10": True}
    assert all(one["tests"] >= 6 and one["reasons"] for one in found["defects"])
    assert "2 seeded, 2 caught, 0 wrongly failed" in done.stdout
