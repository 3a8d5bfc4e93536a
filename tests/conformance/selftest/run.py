"""Runs the tests for one defect after the other, several at a time, and the same tests without any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.lab import RUNS, LabError
from tests.conformance.catalogue import Catalogue, Cell
from tests.conformance.instrument.marks import TESTS
from tests.conformance.instrument.verdicts import Evidence
from tests.conformance.selftest.defect import Defect
from tests.conformance.selftest.judgement import Found, compared
from tests.conformance.selftest.router import crash_of

ROOM = "tests/conformance"
CROSS_SECTION = (f"{ROOM}/test_reachability.py", f"{ROOM}/test_solicitation.py")
"""Tests that every defect has to pass, but those of its own requirement."""
LOGS = RUNS / "selftest"


class Interrupted(Exception):  # noqa: N818 - no error
    """Somebody ended it."""


class Trials:
    """Runs tests in processes of their own, each with its labs; Ctrl-C ends them all."""

    def __init__(self, catalogue: Catalogue, jobs: int) -> None:
        """Run so many at a time."""
        self._catalogue = catalogue
        self._jobs = jobs
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self.interrupted = False

    def places(self) -> Mapping[str, set[str]]:
        """The test files of each requirement."""
        words = [sys.executable, "-m", "tests.conformance.selftest.places"]
        done = subprocess.run(words, cwd=TESTS.parent, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"the tests cannot be collected: {done.stderr.strip()[-500:]}")
        return {name: set(files) for name, files in json.loads(done.stdout).items()}

    def sound(self, places: Iterable[str], data_path: str) -> list[Evidence]:
        """The outcomes of the router as it is, its tests shared out over all that may run at a time.

        What fails is tried once more, one test after the other: a busy machine is no reason to miss a defect.
        """
        found = {one.name: one for one in self._run("", "sound", sorted(places), data_path, self._jobs)}
        if failed := {name.partition("::")[0] for name, one in found.items() if one.outcome == "failed"}:
            found |= {one.name: one for one in self._run("", "sound-again", sorted(failed), data_path, 1)}
        return list(found.values())

    def all(
        self,
        defects: Sequence[Defect],
        places: Mapping[str, Sequence[str]],
        sound: Sequence[Evidence],
        progress: Callable[[Found], None],
    ) -> list[Found]:
        """What the tests make of each defect.

        Args:
            defects: Which.
            places: The test files for each of them, by requirement.
            sound: The outcomes of the router as it is.
            progress: Called with each result.
        """

        def one(defect: Defect) -> Found | None:
            try:
                found = self._one(defect, places[defect.requirement], sound)
            except Interrupted:
                return None
            except LabError:
                self.interrupted = True  # the others would meet the same
                raise
            progress(found)
            return found

        with ThreadPoolExecutor(self._jobs) as pool:
            return [found for found in pool.map(one, defects) if found is not None]

    def _one(self, defect: Defect, places: Sequence[str], sound: Sequence[Evidence]) -> Found:
        begun = time.monotonic()
        name = defect.requirement
        crash_of(name).unlink(missing_ok=True)
        attempts = [self._run(name, name, places, defect.data_path, 1)]
        found = compared(defect, self._catalogue, sound, *attempts)
        if found.wrongly_failed or not found.caught:
            attempts.append(self._run(name, f"{name}-again", places, defect.data_path, 1))
        found = compared(defect, self._catalogue, sound, *attempts, seconds=time.monotonic() - begun)
        if crash_of(name).exists():  # what a dead router does not do says nothing of the tests
            found = replace(found, caught=False, reasons=[f"a router with it crashes: {crash_of(name).read_text()}"])
        return found

    def _run(self, defect: str, log: str, places: Sequence[str], data_path: str, jobs: int) -> list[Evidence]:
        order = {"defect": defect, "places": list(places), "data_path": data_path, "jobs": jobs}
        words = [
            sys.executable,
            "-m",
            "tests.conformance.selftest.trial",
            json.dumps(order | {"log": str(LOGS / f"{log}.log")}),
        ]
        with self._lock:
            if self.interrupted:
                raise Interrupted
            process = subprocess.Popen(
                words, cwd=TESTS.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
        try:
            out, err = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        if self.interrupted:
            raise Interrupted
        if process.returncode:
            raise LabError(err.strip().splitlines()[-1] if err.strip() else f"{log} ended without a word")
        return [_evidence(one) for one in json.loads(out)["tests"]]

    @contextmanager
    def ended_on_signals(self) -> Iterator[None]:
        """Meanwhile SIGINT, SIGTERM and SIGHUP end what runs, labs and all."""

        def end(_number: int, _frame: object) -> None:
            self.interrupted = True
            for process in list(self._running):
                process.send_signal(signal.SIGINT)

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _evidence(one: Mapping[str, Any]) -> Evidence:
    cell = Cell(*one["cell"])
    return Evidence(**{**one, "cell": cell, "requirements": tuple(one["requirements"])})


def processes() -> int:
    """How many defects are tried at a time: tests wait more than they work."""
    return len(os.sched_getaffinity(0)) + 1


def in_order(places: Iterable[str]) -> list[str]:
    """Test files in a steady order."""
    return sorted({str(Path(one)) for one in places})
