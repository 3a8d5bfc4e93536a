"""The half of the instrument outside pytest: starts it in a process of its own, and reads the outcomes from a pipe."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from testbed.client.box import give, owner
from testbed.lab import RUNS, LabError
from tests.conformance.catalogue import Cell
from tests.conformance.instrument.marks import IN_MEMORY, LABS, TESTS
from tests.conformance.instrument.under_test import ROOM, UnderTest
from tests.conformance.instrument.verdicts import Evidence

PLUGIN = "tests.conformance.instrument.plugin"
KEEPER = "tests.conformance.instrument.evidence.plugin"
_FINISHED = (0, 1, 5)
"""Exit statuses of pytest after which every chosen test has an outcome: all passed, some failed, none was chosen."""


@dataclass(slots=True)
class Run:
    """What a run found.

    Attributes:
        tests: The tests that were chosen.
        in_memory: How many tests without a lab show each requirement.
        interrupted: Whether somebody ended it early.
        log: What pytest wrote.
    """

    log: Path
    tests: dict[str, Evidence] = field(default_factory=dict)
    in_memory: Mapping[str, int] = field(default_factory=dict)
    interrupted: bool = False

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of the plugin's."""
        if "chosen" in line:
            self.in_memory = line["in_memory"]
            for one in line["chosen"]:
                cell = Cell(one["data_path"], one["family"])
                evidence = Evidence(one["test"], tuple(one["requirements"]), cell, timing=one["timing"])
                self.tests[one["test"]] = evidence
        else:
            found = {key: value for key, value in line.items() if key != "test"}
            self.tests[line["test"]] = replace(self.tests[line["test"]], **found)


def run(
    only: Sequence[str],
    *,
    data_path: str = "",
    junit: Path | None = None,
    captures: Path | None = None,
    jobs: int = 0,
    in_real_time: bool = False,
    judged: UnderTest | None = None,
    places: Sequence[str] = (),
    log: Path = RUNS / "conformance.log",
    progress: Callable[[Run], None],
) -> Run:
    """Run the tests of these requirements; on Ctrl-C or SIGTERM end them in order, labs and all.

    Args:
        only: IDs.
        data_path: Leave out the tests of any other data path.
        junit: Where pytest's JUnit XML goes.
        captures: The directory, which is there, where the packets of each test go.
        jobs: How many labs may work side by side; 0 is one for each core.
        in_real_time: Long timers in real time, in labs side by side, where clocks would run faster.
        judged: What is judged, if it is not our own daemon.
        places: Only the tests of these files, as test names have them; nothing for all.
        log: Where pytest's words go.
        progress: Called whenever a test has ended.

    Raises:
        LabError: pytest did not get through; the line names its log.
    """
    if not RUNS.exists():
        RUNS.mkdir()
        give(RUNS, owner())
    found, begun = Run(log), time.time()
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch, open(f"{scratch}/log", "wb") as output:
        # Output of tests is kept in memory: processes forked from one another would share a file.
        words = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-q", "--tb=short", "--capture=sys"]
        words += ["--basetemp", f"{scratch}/pytest", "-o", f"cache_dir={scratch}/cache"]
        words += ["--conformance-pipe", str(writing)]
        words += ["--conformance-jobs", str(jobs or len(os.sched_getaffinity(0)))]
        words += ["--conformance-only", ",".join(only), "--conformance-data-path", data_path]
        words += ["--conformance-long"] if in_real_time else []
        words += ["--junitxml", str(junit)] if junit else []
        words += ["-p", KEEPER, "--conformance-captures", str(captures)] if captures else []
        words += judged.words if judged else []
        words += places or [str(TESTS / room) for room in ((*LABS, *IN_MEMORY) if judged is None else (ROOM,))]
        # A session of its own: Ctrl-C comes to us alone, and we ask it once to end.
        child = subprocess.Popen(
            words, cwd=TESTS.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            pass_fds=(writing,), start_new_session=True,
        )  # fmt: skip
        os.close(writing)
        with open(reading, "rb") as lines, _asked_to_end(child, found):
            for line in lines:
                found.take(json.loads(line))
                progress(found)
            status = child.wait()
        # Only now: another run may be under way.
        found.log = beside_others(found.log, begun)
        shutil.move(f"{scratch}/log", found.log)
        give(found.log, owner())
    if status not in _FINISHED and not found.interrupted:
        raise LabError(f"pytest ended with status {status}; its words are in {found.log}")
    return found


def beside_others(log: Path, begun: float) -> Path:
    """Where the words of a run go that began at ``begun``: not over those of one that has ended since."""
    return log.with_stem(f"{log.stem}-{os.getpid()}") if log.exists() and log.stat().st_mtime > begun else log


@contextmanager
def _asked_to_end(child: subprocess.Popen[bytes], found: Run) -> Iterator[None]:
    """Meanwhile SIGINT, SIGTERM and SIGHUP ask pytest to end its labs and itself; its outcomes are read on."""

    def ask(_number: int, _frame: object) -> None:
        found.interrupted = True
        child.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
