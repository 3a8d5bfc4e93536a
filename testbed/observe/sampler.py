"""Samples of what arrives at chosen nodes: the way of heavy traffic, at little cost however heavy it is."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from testbed.observe.capture import Capture, Frame, SocketMaker

_HEADERS = 128
"""Octets of each frame: Ethernet, two IPv6 headers, UDP and LISP between them, and ports."""
_ENOUGH = 200
"""Frames at one look above which fewer are taken; below a quarter of it, more."""


class Sampler:
    """Frames that arrive at some nodes, from ``with`` to its end: each one at first, fewer when there are many.

    Attributes:
        frames: Each frame of the sample with the number of frames that it stands for.
    """

    def __init__(self, lab: SocketMaker, nodes: Iterable[str]) -> None:
        """Begin to look at what arrives at ``nodes``."""
        self.frames: list[tuple[Frame, int]] = []
        self._capture = Capture(lab, nodes)
        self._one_in = 1
        self._capture.sample(self._one_in, _HEADERS)

    def __enter__(self) -> Sampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.look()
        self._capture.close()

    def look(self) -> None:
        """Take what the kernel holds, and fewer or more frames from now on; to be called every few milliseconds."""
        fresh = self._take()
        wanted = self._one_in
        if len(fresh) > _ENOUGH:
            wanted *= -(-len(fresh) // _ENOUGH)
        elif len(fresh) < _ENOUGH // 4:
            wanted = max(wanted // 2, 1)
        if wanted != self._one_in:
            self._capture.sample(wanted, _HEADERS)
            self._take()  # what arrived before that still stands for as many as before
            self._one_in = wanted

    def _take(self) -> list[Frame]:
        fresh = self._capture.drain()
        self._capture.frames.clear()
        self.frames += [(frame, self._one_in) for frame in fresh]
        return fresh
