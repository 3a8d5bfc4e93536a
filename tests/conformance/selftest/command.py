"""`ci/lab conformance --selftest`: whether the tests see what they are for, defect by defect."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from nodes.dataplane.bpf.compiler import CompileError
from testbed.client.box import give, owner
from testbed.lab import RUNS
from testbed.observe.tables import draw
from tests.conformance.catalogue import CatalogueError, load, named
from tests.conformance.selftest.defect import Defect, Edit
from tests.conformance.selftest.defects import DEFECTS
from tests.conformance.selftest.judgement import Found, report
from tests.conformance.selftest.programs import compiled
from tests.conformance.selftest.run import CROSS_SECTION, LOGS, Interrupted, Trials, in_order, processes

INTERRUPTED = 130


def selftest(
    *, only: Sequence[str], every: bool, json_file: str, defects: Mapping[str, Defect] = DEFECTS, jobs: int = 0
) -> int:
    """Seed each defect, and see that its requirement fails, and no other.

    Args:
        only: IDs of requirements whose defects are seeded, or nothing for all.
        every: Run every test for each defect, not only those of the files that show its requirement.
        json_file: Where the results go.
        defects: Those that there are, by requirement.
        jobs: How many are tried at a time; 0 is one more than there are cores.

    Returns:
        0 when each defect was caught by its own row alone, 1 when not, 130 when it was interrupted.

    Raises:
        CatalogueError: There is no such requirement, or no defect for it.
        LabError: The tests could not be run.
    """
    catalogue = load()
    chosen = [defects[one] for one in _named(only, defects)]
    _compile(chosen)
    LOGS.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    trials = Trials(catalogue, jobs or processes())
    found: list[Found] = []
    with trials.ended_on_signals():
        files = trials.places()
        whole = {file for some in files.values() for file in some}
        places = {
            one.requirement: in_order(whole if every else files.get(one.requirement, set()) | set(CROSS_SECTION))
            for one in chosen
        }
        paths = {one.data_path for one in chosen}
        needed = {file for one in places.values() for file in one}
        try:
            sound = trials.sound(needed, paths.pop() if len(paths) == 1 else "")
            found = trials.all(chosen, places, sound, _Progress(len(chosen)))
        except Interrupted:
            pass  # what was found until then is told
    seconds = time.monotonic() - begun
    document = report(found, seconds, trials.interrupted)
    Path(json_file).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in (RUNS, LOGS, *LOGS.iterdir(), Path(json_file)):
        give(path, owner())
    draw(_table(found), "Seeded defects")
    _explain(found)
    words = f"{document['seeded']} seeded, {document['caught']} caught, {document['wrongly_failed']} wrongly failed"
    print(f"\n{words}; in {seconds:.0f} s, the tests' words in {LOGS}")
    if trials.interrupted:
        print(f"ci/lab: conformance: interrupted; {len(chosen) - len(found)} defects were not tried", file=sys.stderr)
        return INTERRUPTED
    return 0 if document["caught"] == document["seeded"] and not document["wrongly_failed"] else 1


def _named(only: Sequence[str], defects: Mapping[str, Defect]) -> list[str]:
    """The IDs, in the catalogue's order.

    Raises:
        CatalogueError: There is no such requirement, or no defect for it.
    """
    known = named(load(), only or list(defects))
    if missing := [one for one in known if one not in defects]:
        raise CatalogueError(
            f"there is no seeded defect for {', '.join(missing)}; there is one for {', '.join(defects)}"
        )
    return known


def _compile(chosen: Sequence[Defect]) -> None:
    """Compile the tc programs with defects, before many routers at once need them.

    Raises:
        CatalogueError: That cannot be.
    """
    for one in chosen:
        if any(isinstance(how, Edit) and how.is_program for how in one.how):
            try:
                compiled(one)
            except CompileError as error:
                raise CatalogueError(f"the defect of {one.requirement} needs the tc programs: {error}") from None


class _Progress:
    """One line for each defect, for people who look on."""

    def __init__(self, count: int) -> None:
        self._count, self._done = count, 0
        self._lock = threading.Lock()

    def __call__(self, found: Found) -> None:
        with self._lock:
            self._done += 1
            if sys.stderr.isatty():
                told = "caught" if found.caught else "not caught"
                line = f"{self._done} of {self._count}: {found.defect.requirement} {told} in {found.seconds:.0f} s"
                print(f"\r{line:60}", end="\n" if self._done == self._count else "", file=sys.stderr, flush=True)


def _table(found: Sequence[Found]) -> Table:
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=True)
    for title, width in (("ID", 3), ("Caught", 6), ("Wrongly failed", 14), ("Tests", 5), ("What is broken", 55)):
        drawn.add_column(title, width=width)
    for one in found:
        drawn.add_row(
            one.defect.requirement,
            Text("yes", style="green") if one.caught else Text("no", style="bold red"),
            Text(", ".join(one.wrongly_failed) or "-", style="bold red" if one.wrongly_failed else "dim"),
            str(one.tests),
            one.defect.broken,
        )
    return drawn


def _explain(found: Sequence[Found]) -> None:
    """Why something was not as it should be."""
    for one in found:
        if not one.caught:
            print(f"\n{one.defect.requirement} is not caught: {one.defect.broken} ({one.defect.where})")
            print("\n".join(f"  {reason}" for reason in one.reasons[:4]))
        for name, reasons in one.wrongly_failed.items():
            print(f"\n{name} fails as well with the defect of {one.defect.requirement}: {one.defect.broken}")
            print("\n".join(f"  {reason}" for reason in reasons[:4]))
