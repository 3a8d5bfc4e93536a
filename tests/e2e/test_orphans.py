"""What is left of a command in a node whose caller gives up or is killed, where nobody reaps orphans."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import Lab, LabError
from tests.e2e.worlds import plain_world

ROOT = Path(__file__).resolve().parents[2]
PR_SET_CHILD_SUBREAPER = 36
EXEC = "import sys; from testbed.lab import Lab; Lab.attach(sys.argv[1]).exec('h1', ['sh', '-c', 'echo on; exec cat'])"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(plain_world(), name="test-orphans", run_dir=tmp_path_factory.mktemp("runs") / "test-orphans") as running:
        yield running


@pytest.fixture
def orphans() -> Iterator[set[int]]:
    """Makes this process the one that orphans come to, and that does not reap them; those it has before the test."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = children()
    yield before
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    for child in children() - before:
        os.waitpid(child, 0)


def children() -> set[int]:
    return {int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_a_command_that_takes_too_long_is_reaped(plain: Lab, orphans: set[int]) -> None:
    with pytest.raises(LabError, match=r"not done within 0\.2 s"):
        plain.run("h1", ["sleep", "60"], timeout=0.2)
    assert children() == orphans


def test_of_a_client_that_is_killed_only_its_own_child_is_left(plain: Lab, orphans: set[int]) -> None:
    """The command has been ended and reaped; who did that was the killed client's child, and is now ours."""
    client = subprocess.Popen(
        [sys.executable, "-c", EXEC, f"{plain.run_dir}/"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"on\n"
        (helper,) = Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split()
        pidfd = os.pidfd_open(int(helper))
        client.send_signal(signal.SIGKILL)
        assert select.select([pidfd], [], [], 5)[0]  # it has ended
        os.close(pidfd)
    assert children() - orphans == {int(helper)}
