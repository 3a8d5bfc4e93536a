"""Tests that a busy machine can spoil get another chance; the others do not, and there is an end to chances."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.again import MOST

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests.again import Count, pytest_runtest_protocol

def pytest_configure(config):
    config.pluginmanager.register(Count())
"""
SEEN = """
import pytest

seen = []

@pytest.fixture(scope="module")
def lab():
    seen.append("booted")
    yield

@pytest.fixture
def cold(lab):
    seen.append("restarted")

def tries(name, fails):
    seen.append(name)
    assert seen.count(name) > fails, f"{name} was late"
"""
TIMES = """
@pytest.mark.alone
def test_once(cold):
    tries("once", 0)

@pytest.mark.order
def test_thrice(cold):
    tries("thrice", 2)

@pytest.mark.scaled
def test_never(cold):
    tries("never", 3)

def test_of_no_times(cold):
    tries("no times", 1)

def test_what_was_seen():
    print(seen)
"""
ORDER_OF_TIMES = [
    *["booted", "restarted", "once"],
    *["restarted", "thrice"],
    *["booted", "restarted", "thrice"] * 2,
    *["restarted", "never"],
    *["booted", "restarted", "never"] * 2,
    *["restarted", "no times"],
]
LABS = """
broken = [True]

@pytest.fixture(scope="module")
def fragile():
    assert not broken or broken.pop() is None

@pytest.fixture(scope="module")
def dying():
    yield
    if seen.count("dying") == 1:
        pytest.fail("it has ended")

def test_twice(cold):
    tries("twice", 1)

def test_never(cold):
    tries("never", 2)

def test_lab_that_did_not_boot(fragile):
    pass

def test_lab_that_died(dying):
    tries("dying", 1)

def test_what_was_seen():
    print(seen)
"""
ORDER_OF_LABS = [
    *["booted", "restarted", "twice"] * 2,
    *["restarted", "never"],
    *["booted", "restarted", "never"],
    *["dying", "dying"],
]
MANY = """
@pytest.mark.parametrize("number", range({}))
def test_twice(cold, number):
    tries(number, 1)
"""


def run(directory: Path, file: str, tests: str, workers: int = 0) -> subprocess.CompletedProcess[str]:
    """Run tests that stand in such a file."""
    directory.joinpath("conftest.py").write_text(CONFTEST)
    directory.joinpath(file).parent.mkdir(parents=True, exist_ok=True)
    directory.joinpath(file).write_text(SEEN + tests)
    directory.joinpath("pytest.ini").write_text("[pytest]\nmarkers = alone: a\n    scaled: b\n    order: c\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rpP", "-n", str(workers)],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_judges_times_is_judged_again(tmp_path: Path) -> None:
    """With labs made anew; what fails each time, and what is no matter of time, fails."""
    done = run(tmp_path, "test_times.py", TIMES)
    assert str(ORDER_OF_TIMES) in done.stdout, done.stdout
    assert "2 failed, 3 passed, 4 warnings" in done.stdout
    assert "FailedFirst: attempt 1:" in done.stdout
    assert "thrice was late" in done.stdout
    assert "2 failed first" in done.stdout


def test_what_needs_a_lab_is_judged_twice(tmp_path: Path) -> None:
    """A lab that does not boot is built anew as well, and one that cannot be taken down."""
    done = run(tmp_path, "tests/e2e/test_lab.py", LABS)
    assert str(ORDER_OF_LABS) in done.stdout, done.stdout
    assert "1 failed, 4 passed, 5 warnings" in done.stdout
    assert "FailedFirst: after attempt 1: Failed: it has ended" in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [MOST, MOST + 1])
def test_too_many_fail_the_run(tmp_path: Path, number: int, workers: int) -> None:
    done = run(tmp_path, "tests/e2e/test_many.py", MANY.format(number), workers)
    assert f"{number} passed" in done.stdout, done.stdout
    assert f"{number} failed first" in done.stdout
    assert ("which fails the run" in done.stdout) == (number > MOST) == bool(done.returncode)
