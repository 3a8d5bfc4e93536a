"""When an unsolicited Map-Notify that nobody acknowledges is repeated (RFC 9301 section 5.7)."""

from __future__ import annotations

from dataclasses import dataclass

REPEAT_INTERVAL = 3.0
REPEATS, DOUBLING_REPEATS = 3, 3


@dataclass(slots=True)
class Repetition:
    """Three times each 3 seconds, then three times with an interval that doubles.

    Attributes:
        interval: Seconds until the next repetition, or until it is given up.
        repeated: How often it has been repeated.
    """

    interval: float = REPEAT_INTERVAL
    repeated: int = 0

    def again(self) -> bool:
        """Whether it is to be repeated once more; if so, it counts as repeated."""
        if self.repeated >= REPEATS + DOUBLING_REPEATS:
            return False
        self.repeated += 1
        if self.repeated >= REPEATS:
            self.interval *= 2
        return True
