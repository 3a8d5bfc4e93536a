"""The LISP packets on the core links of every lab that is up, test by test; no test knows of it.

A packet is taken where it arrives: at a LISP router, or at the core router that one is connected to. The kernel keeps
what has come until a test has ended, so that nothing runs beside the test. Of data packets it keeps the first ones, of
control messages all that a test can cause. What the test's own captures take goes to the same place.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from testbed.lab import Lab, LabError
from testbed.model import Side
from testbed.observe import filters
from testbed.observe.capture import Capture, Frame

DATA, CONTROL = 4341, 4342
_OCTETS = 1600
"""Of each frame: any message that fits into the core's MTU, with its Ethernet header."""
_BUFFERS = {CONTROL: 4 << 20, DATA: 1 << 19}
_MOST_ROUTERS = 40
"""A lab with more has only what the test's own captures take."""
_OWN_FRAMES = 1000
"""What is taken of one test's own captures."""


@dataclass(slots=True)
class _Tapped:
    """A lab that is up: its captures, and the interfaces that lead to or from the core sides of its routers."""

    captures: list[Capture]
    links: frozenset[tuple[str, str]]


@dataclass(slots=True)
class Taken:
    """What was taken of one test.

    Attributes:
        frames: In the order of time.
        labs: The labs whose packets they are.
        handled: Routers in whose place a test has opened a socket that sends packets as they are: what left there may
            be the test's.
        lost: How many frames there was no room for.
    """

    frames: list[Frame] = field(default_factory=list)
    labs: list[Lab] = field(default_factory=list)
    handled: list[str] = field(default_factory=list)
    lost: int = 0


class Recorder:
    """Follows labs from their boot to their end."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        """Begin to follow the labs that this process boots from now on."""
        self._labs: weakref.WeakKeyDictionary[Lab, _Tapped] = weakref.WeakKeyDictionary()
        self._taps: weakref.WeakSet[Capture] = weakref.WeakSet()
        self._used: weakref.WeakSet[Lab] = weakref.WeakSet()
        self._kept: list[tuple[Lab, Frame]] = []
        self._own: list[tuple[Lab, Frame]] = []
        self._lost = 0
        # Sockets that send what a test has made, in whose node; sockets of an earlier test may still be used.
        self._sockets: weakref.WeakKeyDictionary[Any, tuple[Lab, str]] = weakref.WeakKeyDictionary()
        self._handled: set[tuple[Lab, str]] = set()
        self._follow(patch)

    def _follow(self, patch: pytest.MonkeyPatch) -> None:
        boot, stop, ask, drain = Lab.boot, Lab.stop, Lab._ask, Capture.drain
        open_socket = Lab.socket

        def boot_and_tap(lab: Lab, *arguments: Any, **options: Any) -> None:
            boot(lab, *arguments, **options)
            self._tap(lab)

        def untap_and_stop(lab: Lab) -> None:
            self._take(lab, close=True)
            stop(lab)

        def ask_and_note(lab: Lab, *arguments: Any, **options: Any) -> Any:
            self._used.add(lab)
            return ask(lab, *arguments, **options)

        def drain_and_copy(capture: Capture) -> list[Frame]:
            fresh = drain(capture)
            lab = capture.lab
            if isinstance(lab, Lab) and capture not in self._taps:
                room = max(0, _OWN_FRAMES - len(self._own))
                self._own += [(lab, frame) for frame in fresh[:room]]
                self._lost += len(fresh[room:])
            return fresh

        def open_and_note(
            lab: Lab, node: str, family: int = socket.AF_INET, type: int = socket.SOCK_DGRAM, proto: int = 0
        ) -> socket.socket:
            opened = open_socket(lab, node, family, type, proto)
            if lab[node].lisp is not None and not (family == socket.AF_PACKET and proto):
                self._sockets[opened] = (lab, node)
                self._handled.add((lab, node))
            return opened

        patch.setattr(Lab, "boot", boot_and_tap)
        patch.setattr(Lab, "stop", untap_and_stop)
        patch.setattr(Lab, "_ask", ask_and_note)
        patch.setattr(Lab, "socket", open_and_note)
        patch.setattr(Capture, "drain", drain_and_copy)

    def _tap(self, lab: Lab) -> None:
        routers = lab.topology.lisp_routers
        if len(routers) > _MOST_ROUTERS:
            return
        core = [one for router in routers for one in router.interfaces if one.side is Side.CORE]
        links = {(one.node, one.name) for one in core} | {(one.peer, one.peer_interface) for one in core}
        nodes = sorted({node for node, _ in links})
        captures = [Capture(lab, nodes, filters.udp_port(port, _OCTETS), size) for port, size in _BUFFERS.items()]
        self._taps.update(captures)
        self._labs[lab] = _Tapped(captures, frozenset(links))

    def _take(self, lab: Lab, close: bool = False) -> None:
        """Take what the kernel has kept of a lab."""
        if (tapped := self._labs.get(lab)) is None:
            return
        for capture in tapped.captures:
            fresh = capture.drain()
            capture.frames.clear()
            self._kept += [(lab, one) for one in fresh if (one.node, one.interface) in tapped.links]
            self._lost += capture.lost()
            if close:
                capture.close()
        if close:
            del self._labs[lab]

    def begin(self) -> None:
        """A test begins: what comes now is its own."""
        for lab in list(self._labs):
            self._take(lab)
        self._kept.clear()
        self._own.clear()
        self._used.clear()
        self._lost = 0
        self._handled = set(self._sockets.values())

    def end(self) -> Taken:
        """The test has ended: what came meanwhile in the labs that it did something with."""
        for lab in list(self._labs):
            with suppress(OSError, LabError):
                self._take(lab)
        used = list(dict.fromkeys(lab for lab, _ in self._own))
        used += [lab for lab in self._used if lab not in used]
        labs = used or list(dict.fromkeys(lab for lab, _ in self._kept))
        return Taken(
            list(self._of(labs)), labs, sorted({node for lab, node in self._handled if lab in labs}), self._lost
        )

    def _of(self, labs: list[Lab]) -> Iterator[Frame]:
        """Each frame once, in the order of time, though several captures have taken it."""
        seen = set()
        for lab, frame in sorted((*self._kept, *self._own), key=lambda one: one[1].time_ns):
            place = (lab.name, frame.node, frame.interface, frame.time_ns, frame.data[:64])
            if lab in labs and place not in seen:
                seen.add(place)
                yield frame
