"""A timer with nanoseconds that a selector can wait for (timerfd_create(2)), for Pythons without one (before 3.13)."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_PR_SET_TIMERSLACK = 29

_libc = ctypes.CDLL(None, use_errno=True)


class _ITimerSpec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


class Timer:
    """Readable from its moment on, until :meth:`clear`."""

    def __init__(self) -> None:
        """Make it, unset.

        Raises:
            OSError: The kernel refused.
        """
        self._descriptor = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"timerfd_create: {os.strerror(error)}")

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return int(self._descriptor)

    def set(self, moment: int) -> None:
        """Fire at a moment of ``time.monotonic_ns``; one that has passed fires at once."""
        seconds, nanoseconds = divmod(max(1, moment), 1_000_000_000)
        when = _ITimerSpec(0, 0, seconds, nanoseconds)
        _libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(when), None)

    def clear(self) -> None:
        """Be unreadable again, after it fired."""
        with suppress(BlockingIOError):
            os.read(self._descriptor, 8)


def be_punctual() -> None:
    """Have the kernel wake this process when its timers fire, not some 50 µs later to save power."""
    _libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
