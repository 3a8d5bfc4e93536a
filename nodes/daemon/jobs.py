"""Long work, done in slices: between two of them the daemon answers everybody else."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Generator
from typing import Any

from nodes.daemon.control import Client

SLICE = 0.005
"""Seconds after which the loop has its turn: as long as a packet or a control message waits for a job."""
MOST = 16
"""Jobs that wait or are at work."""

Job = Generator[None, None, Any]
"""Yields where it can be interrupted, every millisecond or so; its value is the answer. ValueError: a mistake."""


class Jobs:
    """Does one job after the other, for clients of the control socket."""

    def __init__(self) -> None:
        """Nothing is to be done."""
        self._waiting: deque[tuple[Job, Client]] = deque()

    def add(self, job: Job, client: Client) -> None:
        """Begin a job as soon as those before it are done.

        Raises:
            ValueError: Too many wait already.
        """
        if len(self._waiting) >= MOST:
            raise ValueError(f"{MOST} requests that take long wait already")
        self._waiting.append((job, client))

    @property
    def pending(self) -> bool:
        """Whether there is something to do."""
        return bool(self._waiting)

    def work(self) -> None:
        """Do a slice of the first job; when it is done, its client has the answer."""
        if not self._waiting:
            return
        job, client = self._waiting[0]
        until = time.perf_counter() + SLICE
        # What a job makes, it makes to stay: the collector would look at a hundred thousand entries for a quarter of a
        # second, to find nothing. Until the jobs are done it rests, and then it leaves out what there is now.
        gc.disable()
        try:
            while time.perf_counter() < until:
                next(job)
        except StopIteration as done:
            self._waiting.popleft()
            client.succeed(done.value)
        except ValueError as error:
            self._waiting.popleft()
            client.fail(str(error))
        if not self._waiting:
            gc.freeze()
            gc.enable()
