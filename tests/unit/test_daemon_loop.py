"""The daemon's event loop."""

from __future__ import annotations

import os

from nodes.daemon.loop import Loop


def test_a_deadline_in_centuries_is_no_error() -> None:
    """C10: a Record TTL of 2**31 minutes can be all that a node waits for."""
    loop = Loop()
    read_end, write_end = os.pipe()
    loop.add(read_end, lambda _events: loop.stop())
    os.write(write_end, b"x")
    loop.run(lambda: 60.0 * 2**31, lambda: None)
    loop.close()
    os.close(read_end)
    os.close(write_end)
