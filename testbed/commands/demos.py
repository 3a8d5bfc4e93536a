"""The demo: scenarios that show what a LISP network does, told as they happen."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from testbed.commands.labs import progress, terminated_as_interrupted
from testbed.commands.proofs import reachability
from testbed.commands.values import check_writable, unwritten
from testbed.lab import InputError, Lab
from testbed.words import echoed, one_of

SCENARIOS = ("reachability", "mobility")
_WORLD = "two-dc"
_MOBILE_WORLD, _MOBILE = "mobility", "mobile"


def demo(scenario: str = "", *, topology: str = "", dataplane: str | None = None, html: str = "") -> int:
    """Show a scenario, or all; return 1 when one did not do what it promises.

    Args:
        scenario: One of :data:`SCENARIOS`; "" is all of them, or reachability alone where a topology is named.
        topology: Where everybody is to reach everybody.
        dataplane: The data plane of all LISP nodes.
        html: Where the page of the mobility scenario goes; "" is the run directory.

    Raises:
        InputError: There is no such scenario, or it has no such option; nothing was booted.
    """
    chosen = (scenario,) if scenario else SCENARIOS[:1] if topology else SCENARIOS
    if complaint := next(_complaints(chosen, topology, html), None):
        raise InputError(complaint)
    if html:
        check_writable("--html", Path(html))
    status = 0
    if "reachability" in chosen:
        status = reachability(topology or _WORLD, dataplane=dataplane)
    if "mobility" in chosen:
        status |= mobility(dataplane=dataplane, html=Path(html).resolve() if html else None)
    return status


def _complaints(chosen: tuple[str, ...], topology: str, html: str) -> Iterator[str]:
    for name in chosen:
        if name not in SCENARIOS:
            yield f"there is no scenario {echoed(name)}; {one_of(SCENARIOS, name, 'scenarios')}"
    if topology and "reachability" not in chosen:
        yield "--topology is for the scenario reachability"
    if html and "mobility" not in chosen:
        yield "--html is for the scenario mobility"


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """A file is written: what does not fit on the disk is named, and no part of it stays."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC and path.is_file():
            path.unlink()
        raise unwritten(path, error) from None


def mobility(*, dataplane: str | None = None, html: Path | None = None) -> int:
    """Boot a lab, move a host there and back while it talks to all others, make the page, take the lab down.

    Args:
        dataplane: The data plane of all LISP nodes.
        html: Where the page goes; by default the run directory.

    Returns:
        1 when a session was lost, a byte was wrong, or somebody did not find the host again.
    """
    from testbed.act.mobility.scenario import there_and_back
    from testbed.observe.narration import Narrator

    lab = Lab(_MOBILE_WORLD, name=f"demo-{_MOBILE_WORLD}", dataplane=dataplane)
    narrator = Narrator()
    with terminated_as_interrupted():
        lab.boot(progress=progress())
        try:
            print(f"\n{lab.topology.title}\n")
            timeline, packets = there_and_back(lab, _MOBILE, narrator)
        finally:
            lab.stop()
    from testbed.observe.pcapng import Record, write
    from testbed.observe.report.mobility import page
    from testbed.observe.report.mobility.findings import Findings

    findings = Findings(timeline)
    narrator.blackouts(findings)
    narrator.verdict(findings)
    data, wire = lab.run_dir / "mobility.json", lab.run_dir / "mobility.pcapng"
    shown = html or lab.run_dir / "mobility.html"
    epoch = time.time_ns() - time.monotonic_ns()
    with _whole(data):
        timeline.write(data)
    with _whole(wire):
        write(wire, (Record(replace(one, time_ns=one.time_ns + epoch)) for one in packets), timeline.title)
    text = page(timeline, lab.topology, packets, f"{data.name}, {wire.name}")
    with _whole(shown):
        shown.write_text(text, encoding="utf-8")
    lab.publish(data, wire, shown)
    print(f"\n{lab.name} is down; the run's files are in {lab.run_dir}")
    print(f"open {shown}")
    return 0 if findings.ok else 1
