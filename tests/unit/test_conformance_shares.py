"""Shares of the tests side by side: small tests of files, in a pytest of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conformance.tester.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
import os, pathlib, signal, time
import pytest
from tests.conformance.instrument.shares import SideBySide, end_with_parent

HERE = pathlib.Path(__file__).parent

def pytest_addoption(parser):
    parser.addoption("--conformance-long", action="store_true")

def pytest_configure(config):
    end_with_parent()
    config.addinivalue_line("markers", "alone: nothing else runs meanwhile")
    config.addinivalue_line("markers", "scaled: waits, under --long")
    config.pluginmanager.register(SideBySide(2))

def until(found):
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)

@pytest.fixture(scope="module")
def lab(request):
    file = HERE / f"{request.module.__name__}.{os.getpid()}.lab"
    file.touch()
    yield file
    file.unlink()

@pytest.fixture
def others(lab):
    return lambda: [one for one in HERE.glob("*.lab") if one != lab]
"""
TOGETHER = """
from conftest import until

def test_first(lab, others):
    until(others)

def test_second(lab):
    lab.with_suffix(".met").touch()
    until(lambda: len(list(lab.parent.glob("*.met"))) == 4)
"""
WAITING = """
import pytest
from conftest import until

@pytest.mark.alone
@pytest.mark.scaled
@pytest.mark.parametrize("number", [1, 2])
def test_waits(lab, number):
    lab.with_suffix(".met").touch()
    until(lambda: len(list(lab.parent.glob("*.met"))) == 4)
"""
ALONE = """
import pytest

@pytest.mark.alone
def test_alone(others):
    assert {one.name.partition(".")[0] for one in others()} <= {"test_e"}
"""
HANGS = """
from conftest import until

def test_hangs(lab):
    lab.with_suffix(".met").touch()
    until(lambda: False)
"""


def start(here: Path, modules: dict[str, str], *options: str) -> subprocess.Popen[str]:
    (here / "conftest.py").write_text(CONFTEST)
    for name, text in modules.items():
        (here / f"{name}.py").write_text(text)
    # As in the background of a shell, which has everything ignore Ctrl-C.
    words = [
        "env",
        "--ignore-signal=INT",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--capture=sys",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(here),
    ]
    words += ["--basetemp", str(here / "base"), "--junitxml", str(here / "junit.xml"), *options, str(here)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, cwd=here, env=environment, stdout=subprocess.PIPE, text=True)


def labs(here: Path) -> Callable[[], list[Path]]:
    return lambda: list(here.glob("*.lab"))


def test_two_shares_at_a_time_and_then_those_that_run_alone(tmp_path: Path) -> None:
    """Beside them each that waits in real time, in a lab of its own.

    A process that dies has failed the test that it was in, and no other; one JUnit file has them all.
    """
    modules = {
        "test_a": TOGETHER,
        "test_b": TOGETHER,
        "test_c": "import os\ndef test_dies(lab):\n lab.unlink()\n os._exit(3)\ndef test_goes_on(lab): pass",
        "test_d": ALONE,
        "test_e": WAITING,
    }
    process = start(tmp_path, modules, "--conformance-long")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1, out
    cases = {
        f"{one.get('classname')}.{one.get('name')}": one
        for one in ElementTree.parse(tmp_path / "junit.xml").iter("testcase")
    }
    both = ("test_first", "test_second")
    assert cases.keys() == {f"test_{m}.{one}" for m in "ab" for one in both} | {
        "test_c.test_dies",
        "test_c.test_goes_on",
        "test_d.test_alone",
        "test_e.test_waits[1]",
        "test_e.test_waits[2]",
    }
    failed = {name: one.find("failure") for name, one in cases.items() if len(one)}
    assert failed.keys() == {"test_c.test_dies"}
    assert failed["test_c.test_dies"].get("message") == "the process of this test ended with status 3"
    assert not labs(tmp_path)()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda one: one.name)
def test_an_end_before_its_time_takes_every_lab_down(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, {"test_a": HANGS, "test_b": HANGS})
    # Not while a lab is just being made: a fixture that is cut there has nothing yet to take down.
    eventually(lambda: len(list(tmp_path.glob("*.met"))) == 2, "both tests in their labs", within=60)
    assert len(labs(tmp_path)()) == 2
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == (2 if number == signal.SIGINT else -number)
    eventually(lambda: not labs(tmp_path)(), "no lab is left", within=30)
