"""Inside pytest: a pcapng file for each test, and a line of ``index.jsonl`` that tells what is in it."""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import Iterator
from hashlib import blake2s
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from testbed.client.box import give, owner
from testbed.drivers import OURS
from testbed.lab import Lab
from testbed.observe import pcapng
from testbed.observe.capture import Frame
from tests.conformance.instrument.evidence.directory import INDEX
from tests.conformance.instrument.evidence.recorder import Recorder, Taken

MOST_FRAMES = 1000
"""Of one test."""
MOST_OCTETS = 1 << 20
_MOST_NAME = 120


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--conformance-captures", default="", help="directory for the packets of each test")


def pytest_configure(config: pytest.Config) -> None:
    if directory := config.getoption("--conformance-captures"):
        patch = pytest.MonkeyPatch()
        config.add_cleanup(patch.undo)
        config.pluginmanager.register(_Keeper(Path(directory), Recorder(patch)), "conformance-keeper")


class _Keeper:
    """Writes down what was taken of each test when it has ended."""

    def __init__(self, directory: Path, recorder: Recorder) -> None:
        self._directory, self._recorder = directory, recorder
        self._call = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        self._call = time.time_ns()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._recorder.begin()
        begin = self._call = time.time_ns()
        try:
            return (yield)
        finally:
            self._keep(item, begin, self._recorder.end())

    def _keep(self, item: pytest.Item, begin: int, taken: Taken) -> None:
        frames = list(islice(_within(taken.frames), MOST_FRAMES))
        cut = len(taken.frames) - len(frames)
        about: dict[str, Any] = {
            "test": item.nodeid,
            "file": file_name(item.nodeid),
            "doc": inspect.getdoc(getattr(item, "function", None)) or "",
            "begin_ns": begin,
            "call_ns": self._call,
            "end_ns": time.time_ns(),
            "lost": taken.lost + cut,
            "handled": taken.handled,
            "foreign": sorted({node for one in taken.labs for node in _foreign(one)}),
            "labs": [_lab(one) for one in taken.labs],
        }
        peers = {(one[0], one[1]): one[2] for lab in about["labs"] for one in lab["links"]}
        records = [pcapng.Record(one, _comment(one, peers, taken.handled)) for one in frames]
        words = [item.nodeid, about["doc"]]
        words += [f"{about['lost']} more frames were not kept"] if about["lost"] else []
        path = self._directory / about["file"]
        pcapng.write(path, records, "\n".join(filter(None, words)))
        give(path, owner())
        # In one piece: other processes write as well.
        with (self._directory / INDEX).open("ab", buffering=0) as index:
            index.write(json.dumps(about).encode() + b"\n")


def _within(frames: list[Frame]) -> Iterator[Frame]:
    """The first frames, as many as there is room for."""
    room = MOST_OCTETS
    for one in frames:
        room -= len(one.data)
        if room < 0:
            return
        yield one


def _comment(frame: Frame, peers: dict[tuple[str, str], str], handled: list[str]) -> str:
    peer = peers.get((frame.node, frame.interface))
    if peer is None:
        return ""
    return f"from {peer} to {frame.node}" + (f"; the test has a socket of its own in {peer}" if peer in handled else "")


def _foreign(lab: Lab) -> list[str]:
    """The routers that are not ours."""
    return [node for node, driver in lab.drivers.items() if driver.name != OURS]


def _lab(lab: Lab) -> dict[str, Any]:
    """Who is who: nodes with their roles and addresses, and [node, interface, peer] for each end of a link."""
    nodes = lab.topology.nodes.values()
    return {
        "name": lab.topology.name,
        "nodes": {
            node.name: {
                "kind": str(node.kind),
                "site": node.site,
                "roles": sorted(map(str, node.lisp.roles)) if node.lisp else [],
                "addresses": [str(a.ip) for one in node.interfaces for a in one.addresses],
            }
            for node in nodes
        },
        "links": [[one.node, one.name, one.peer] for node in nodes for one in node.interfaces],
        "core": [[one.node, one.name] for router in lab.topology.lisp_routers for one in router.interfaces
                 if one.side == "core"],
    }  # fmt: skip


def file_name(test: str) -> str:
    """The file of a test: its node ID in letters that every file system takes, and different for each."""
    path, _, name = test.partition("::")
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{Path(path).stem}.{name}").strip("-")
    short = plain[:_MOST_NAME]
    return f"{short}{'' if short == plain else '-' + blake2s(test.encode(), digest_size=4).hexdigest()}.pcapng"
