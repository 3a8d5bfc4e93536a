"""`ci/lab conformance` as a person types it: verdicts, files, exit status, and how it ends early.

A requirement that is soon tested stands for all; the others are for `ci/lab conformance` itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from testbed.client.box import lab_processes
from testbed.client.running import ROOT
from testbed.observe import pcapng
from tests.conformance.tester.waiting import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
QUICK, MISSING = "M07", "M16"


def start(temporary: Path, *words: str) -> subprocess.Popen[str]:
    temporary.mkdir()
    command = [sys.executable, str(ROOT / "tasks.py"), "conformance", *words]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def children_of(process: str) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_verdicts_of_two_requirements(tmp_path: Path) -> None:
    """One that is shown, one that no router has: table, JSON and JUnit say the same."""
    verdicts, junit, html = (tmp_path / one for one in ("verdicts.json", "junit.xml", "report.html"))
    captures = tmp_path / "captures"
    only = [word for one in (QUICK, MISSING) for word in ("--only", one)]
    process = start(tmp_path / "t", *only, "--json", str(verdicts), "--junit", str(junit),
                    "--captures", str(captures), "--html", str(html))  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = json.loads(verdicts.read_text())
    assert found["requirements"] == {QUICK: "pass", MISSING: "not-implemented"}
    assert found["cells"] == {QUICK: {"any": "pass"}}
    assert found["timing"] == {QUICK: "real"}
    assert found["counts"] == {"pass": 1, "fail": 0, "not-applicable": 0, "not-tested": 0, "not-implemented": 1}
    assert found["interrupted"] is False
    assert found["duration_s"] > 0
    assert list((tmp_path / "t").iterdir()) == []
    (test,) = found["tests"]
    rows = {line.split()[0]: line.split()[2] for line in out.splitlines() if line.startswith(" ") and line.split()}
    assert {one: rows[one] for one in found["requirements"]} == found["requirements"]
    (case,) = ElementTree.parse(junit).iter("testcase")
    assert case.get("name") == test.rpartition("::")[2]
    assert [(one.get("name"), one.get("value")) for one in case.iter("property")] == [("requirement", QUICK)]
    # The packets of the test are there, and on the page.
    (kept,) = captures.glob("*.pcapng")
    frames = [one.frame for one in pcapng.read(kept)]
    assert {4342} & {int.from_bytes(one.data[at : at + 2], "big") for one in frames for at in (34, 36)}
    page = html.read_text(encoding="utf-8")
    assert all(f'id="{one}"' in page for one in found["requirements"])
    assert kept.name.partition(".")[0] in page
    judged = next(line for line in out.splitlines() if "three opinions of" in line)
    assert int(judged.rpartition("three opinions of")[2].split()[0]) > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_an_end_before_its_time_leaves_no_lab(tmp_path: Path, number: signal.Signals) -> None:
    """It says that it was interrupted, and what it found; killed, it says nothing, and its lab ends all the same."""
    verdicts = tmp_path / "verdicts.json"
    process = start(tmp_path / "t", "--only", "C08", "--json", str(verdicts))

    def labs() -> set[str]:
        return {name for name, _ in lab_processes() if any(f"-{one}-" in name for one in shares)}

    def begun() -> list[str]:
        """What pytest has forked."""
        return [one for child in children_of(str(process.pid)) for one in children_of(child)]

    shares = eventually(begun, "a share of the tests", within=60)
    eventually(labs, "its lab", within=30)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    eventually(lambda: not labs(), "the end of its lab", within=30)
    eventually(lambda: not list((tmp_path / "t").iterdir()), "nothing is left", within=30)
    if number == signal.SIGKILL:
        return
    assert process.returncode == 130
    assert "conformance: interrupted; " in err
    found = json.loads(verdicts.read_text())
    assert found["interrupted"] is True
    assert found["requirements"] == {"C08": "not-tested"}
    assert found["timing"] == {"C08": "scaled"}
    assert "not run" in found["tests"].values()
