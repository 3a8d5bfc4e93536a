"""What becomes of the packets of a run when its tests have ended: opinions about them, and stories for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from testbed.observe import pcapng
from tests.conformance.instrument.evidence.directory import entries

_PROCESSES = 2


@dataclass(slots=True)
class Workup:
    """What was found.

    Attributes:
        wrong: What three opinions find wrong with what routers sent, by test.
        judged: How many LISP packets our routers have sent, all of them judged.
        entries: The line of the index for each test.
        stories: What the page shows of each test; empty if there is to be none.
    """

    wrong: dict[str, list[str]] = field(default_factory=dict)
    judged: int = 0
    entries: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    stories: dict[str, dict[str, Any]] = field(default_factory=dict)


def work_up(directory: Path, *, page: bool) -> Workup:
    """Read the packets of all tests; with ``page`` also as stories."""
    found = Workup(entries={one["test"]: one for one in entries(directory)})
    tests = list(found.entries.values())
    shares = [tests[number::_PROCESSES] for number in range(_PROCESSES)]
    with get_context("fork").Pool(_PROCESSES) as pool:
        for part in pool.starmap(_share, [(directory, share, page) for share in shares if share]):
            found.wrong |= part.wrong
            found.stories |= part.stories
            found.judged += part.judged
    return found


def _share(directory: Path, tests: Sequence[Mapping[str, Any]], page: bool) -> Workup:
    # Scapy takes a second to load: only now, and only here.
    from tests.conformance.instrument.evidence.opinions import Sent, judge, sent
    from tests.conformance.instrument.evidence.story import story

    found, packets = Workup(), dict[str, list[Sent]]()
    for one in tests:
        frames = [record.frame for record in pcapng.read(directory / one["file"])]
        packets[one["test"]] = list(sent(one, frames))
        if page:
            found.stories[one["test"]] = story(one, frames)
    found.judged = sum(map(len, packets.values()))
    wrong = judge(one for some in packets.values() for one in some)
    for test, some in packets.items():
        if lines := list(dict.fromkeys(f"{one.router}: {line}" for one in some for line in wrong.get(one.alike, ()))):
            found.wrong[test] = lines
    return found
