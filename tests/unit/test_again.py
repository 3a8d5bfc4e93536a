"""Tests that a busy machine can spoil get another chance; the others do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = "from tests.again import pytest_runtest_protocol\n"
TESTS = """
import pytest

seen = []

@pytest.fixture(scope="module")
def lab():
    seen.append("booted")
    yield
    print("stopped")

@pytest.fixture
def cold(lab):
    seen.append("restarted")

def tries(name, fails):
    seen.append(name)
    assert seen.count(name) > fails, f"{name} was late"

@pytest.mark.alone
def test_once(cold):
    tries("once", 0)

@pytest.mark.order
def test_twice(cold):
    tries("twice", 1)

@pytest.mark.scaled
def test_never(cold):
    tries("never", 3)

def test_of_no_times(cold):
    tries("no times", 1)

def test_what_was_seen():
    print(seen)
"""
SEEN = [
    "booted",
    "restarted",
    "once",
    *["restarted", "twice"] * 2,
    *["restarted", "never"] * 3,
    "restarted",
    "no times",
]


def test_what_judges_times_is_judged_again(tmp_path: Path) -> None:
    """With fixtures made anew as they are for any test; what fails each time, and what is no matter of time, fails."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_times.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = alone: a\n    scaled: b\n    order: c\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rpP"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert str(SEEN) in done.stdout, done.stdout
    assert "2 failed, 3 passed, 3 warnings" in done.stdout
    assert "FailedFirst: attempt 1:" in done.stdout
    assert "twice was late" in done.stdout
