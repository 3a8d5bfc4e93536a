"""Where the bench's own threads run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Keep the calling thread on one CPU meanwhile.

    A veth pair runs the receiving side on the CPU of the sending one, so the CPU of the sender is the CPU of every
    router on the way. Left to itself the scheduler moves the sender now and then, and with it all of that.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
