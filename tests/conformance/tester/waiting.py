"""What tests wait for, and what they leave to the background meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def eventually(found: Callable[[], T], what: str, within: float = 15.0, pause: float = 0.01) -> T:
    """Ask until there is an answer: for what a daemon says of itself, which nobody announces."""
    deadline, nobody = time.monotonic() + within, threading.Event()
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        nobody.wait(pause)
    return result


def in_background(work: Callable[[], Any]) -> threading.Thread:
    """Start something that waits for what the test is about to do; whatever it raises is the test's to find out."""

    def run() -> None:
        try:
            work()
        except Exception:
            return

    thread = threading.Thread(target=run)
    thread.start()
    return thread
